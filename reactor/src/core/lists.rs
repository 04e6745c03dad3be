//! Sources that no edge will bring back: the ready list and the starved list.
//!
//! An edge comes once. A source that stops before it is drained has to be remembered: on the ready
//! list if its budget was spent, on the starved list if the kernel lacked memory or descriptors, of
//! which no event tells that there are some again. Connections, listeners and UDP sockets all put
//! themselves there, by their token.

use std::collections::VecDeque;

use crate::poll::Token;

/// The sources that go on without an event.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    ready: VecDeque<Token>,
    /// How many of the ready list have their turn in this turn of the loop. The others came later: a
    /// source has one budget in a turn.
    due: usize,
    /// Sources that have an event of this turn, for which its budget did not last.
    waiting: Vec<Token>,
    /// Sources that should have had their turn in an earlier one are on the ready list: events of this
    /// turn wait behind them.
    is_behind: bool,
    starved: Vec<Token>,
}

impl Lists {
    /// A turn of the loop begins: each source that is on the ready list now has its turn in it. Returns
    /// whether one of them should have had it in an earlier turn, so that new events wait behind it.
    pub(crate) fn begin_turn(&mut self) -> bool {
        self.is_behind = self.due > 0 || !self.waiting.is_empty();
        if !self.waiting.is_empty() {
            // Before those that were listed in the last turn, since these have had a turn in it.
            let listed = self.ready.split_off(self.due);
            self.ready.extend(self.waiting.drain(..));
            self.ready.extend(listed);
        }
        self.due = self.ready.len();
        self.is_behind
    }

    /// Puts a source on the ready list that has an event, but no turn yet. If all events wait, it has it
    /// in this turn, as far as the budget lasts.
    pub(crate) fn add_waiting(&mut self, source: Token) {
        if self.is_behind {
            self.ready.push_back(source);
            self.due += 1;
        } else {
            self.waiting.push(source);
        }
    }

    /// Takes the next of the sources whose turn it is from the ready list.
    pub(crate) fn next(&mut self) -> Option<Token> {
        self.due = self.due.checked_sub(1)?;
        self.ready.pop_front()
    }

    /// Whether the next wait must not wait.
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty() || !self.waiting.is_empty()
    }

    /// Puts a source on the ready list. A source keeps count of that itself, and is there once.
    pub(crate) fn add_ready(&mut self, source: Token) {
        self.ready.push_back(source);
    }

    /// Puts a source on the starved list.
    pub(crate) fn add_starved(&mut self, source: Token) {
        self.starved.push(source);
    }

    /// There may be memory and descriptors again: all starved sources become ready. They have had
    /// nothing of this turn, so they are due in it.
    pub(crate) fn feed(&mut self) {
        for source in self.starved.drain(..) {
            self.ready.push_front(source);
            self.due += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_wait_behind_the_sources_that_had_no_turn() {
        let mut lists = Lists::default();
        (1..=2).for_each(|source| lists.add_ready(Token(source)));
        assert!(!lists.begin_turn());
        assert_eq!(lists.next(), Some(Token(1)));
        assert!(lists.begin_turn(), "the second had no turn");
        lists.add_waiting(Token(3));
        lists.add_ready(Token(4));
        let next = [lists.next(), lists.next(), lists.next()];
        assert_eq!(next, [Some(Token(2)), Some(Token(3)), None]);
        assert!(!lists.begin_turn() && lists.is_ready());
        lists.add_waiting(Token(5));
        assert_eq!([lists.next(), lists.next()], [Some(Token(4)), None]);
        assert!(lists.begin_turn(), "the event of the fifth had no turn");
        assert_eq!([lists.next(), lists.next()], [Some(Token(5)), None]);
        assert!(!lists.is_ready() && !lists.begin_turn());
    }

    #[test]
    fn starved_sources_are_due_before_those_that_have_had_their_turn() {
        let mut lists = Lists::default();
        lists.add_ready(Token(1));
        (2..=3).for_each(|source| lists.add_starved(Token(source)));
        lists.feed();
        let next = [lists.next(), lists.next(), lists.next()];
        assert_eq!(next, [Some(Token(3)), Some(Token(2)), None]);
    }
}
