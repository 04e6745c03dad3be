//! The lines typed before, and the position of the arrow keys among them.

use std::collections::VecDeque;

/// Number of lines that are kept.
pub const HISTORY_LIMIT: usize = 100;

/// The lines typed before.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Newest last.
    lines: VecDeque<String>,
    /// Position of the line that is shown: 1 for the newest, 0 for the line being typed.
    back: usize,
    /// The line being typed, while an older one is shown.
    draft: String,
}

impl History {
    /// Adds a finished line, unless it is empty or equal to the newest.
    pub(super) fn add(&mut self, line: &str) {
        self.back = 0;
        if line.is_empty() || self.lines.back().is_some_and(|newest| newest == line) {
            return;
        }
        if self.lines.len() == HISTORY_LIMIT {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
    }

    /// Goes to the line before the one shown; `None` if that is the oldest. Edits of a line from the
    /// history are lost; the line being typed (`shown`) is kept as the draft.
    pub(super) fn older(&mut self, shown: &str) -> Option<&str> {
        if self.back == self.lines.len() {
            return None;
        }
        if self.back == 0 {
            shown.clone_into(&mut self.draft);
        }
        self.back += 1;
        Some(&self.lines[self.lines.len() - self.back])
    }

    /// Goes to the line after the one shown; `None` if that is the line being typed.
    pub(super) fn newer(&mut self) -> Option<&str> {
        self.back = self.back.checked_sub(1)?;
        match self.back {
            0 => Some(&self.draft),
            back => Some(&self.lines[self.lines.len() - back]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arrow_keys_go_through_the_lines_and_back_to_the_draft() {
        let mut history = History::default();
        assert_eq!(history.older("draft"), None);
        assert_eq!(history.newer(), None);
        for line in ["one", "", "two", "two"] {
            history.add(line);
        }
        assert_eq!(history.older("draft"), Some("two"));
        assert_eq!(history.older("two, edited"), Some("one"));
        assert_eq!(history.older("one"), None);
        assert_eq!(history.newer(), Some("two"));
        assert_eq!(history.newer(), Some("draft"));
        assert_eq!(history.newer(), None);
    }

    #[test]
    fn a_finished_line_leads_back_to_the_newest() {
        let mut history = History::default();
        history.add("one");
        history.add("two");
        history.older("");
        history.older("two");
        history.add("three");
        assert_eq!(history.newer(), None);
        assert_eq!(history.older(""), Some("three"));
    }

    #[test]
    fn the_oldest_lines_are_forgotten() {
        let mut history = History::default();
        for number in 0..=HISTORY_LIMIT {
            history.add(&number.to_string());
        }
        let mut oldest = None;
        while let Some(line) = history.older("") {
            oldest = Some(line.to_owned());
        }
        assert_eq!(oldest.as_deref(), Some("1"));
        assert_eq!(history.back, HISTORY_LIMIT);
    }
}
