//! The line being typed: a text, and a cursor between two of its characters.
//!
//! A character here is what a reader takes for one, a grapheme cluster (Unicode Standard Annex
//! #29). An `é` may be two code points, a flag is two, a family of emoji seven; the arrow keys step
//! over all of them at once, and Backspace deletes them whole.

use unicode_segmentation::GraphemeCursor;

/// Bytes of the longest line that can be typed; the kernel's own bound in canonical mode
/// (termios(3)).
pub const LINE_LIMIT: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Line {
    text: String,
    /// In bytes; always between two characters.
    cursor: usize,
}

impl Line {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn before_cursor(&self) -> &str {
        &self.text[..self.cursor]
    }

    pub(super) fn after_cursor(&self) -> &str {
        &self.text[self.cursor..]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Replaces the line; the cursor goes to the end.
    pub(super) fn set(&mut self, text: &str) {
        text.clone_into(&mut self.text);
        self.cursor = self.text.len();
    }

    /// Takes the text, and leaves an empty line.
    pub(super) fn take(&mut self) -> String {
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    /// Inserts at the cursor; false if the line is full.
    pub(super) fn insert(&mut self, char: char) -> bool {
        let fits = self.text.len() + char.len_utf8() <= LINE_LIMIT;
        if fits {
            self.text.insert(self.cursor, char);
            self.cursor += char.len_utf8();
            self.settle();
        }
        fits
    }

    pub(super) fn left(&mut self) {
        self.cursor = self.boundary_before();
    }

    pub(super) fn right(&mut self) {
        self.cursor = self.boundary_after();
    }

    pub(super) fn home(&mut self) {
        self.cursor = 0;
    }

    pub(super) fn end(&mut self) {
        self.cursor = self.text.len();
    }

    /// Deletes the character before the cursor.
    pub(super) fn backspace(&mut self) {
        self.delete_back_to(self.boundary_before());
    }

    /// Deletes the character after the cursor.
    pub(super) fn delete(&mut self) {
        self.text.drain(self.cursor..self.boundary_after());
        self.settle();
    }

    /// To the start of the word at or before the cursor.
    pub(super) fn word_left(&mut self) {
        self.cursor = self.word_before();
        self.settle();
    }

    /// To the end of the word at or after the cursor.
    pub(super) fn word_right(&mut self) {
        self.cursor = self.word_after();
        self.settle();
    }

    /// Deletes all before the cursor, and returns it.
    pub(super) fn kill_before(&mut self) -> String {
        self.delete_back_to(0)
    }

    /// Deletes all after the cursor, and returns it.
    pub(super) fn kill_after(&mut self) -> String {
        self.text.split_off(self.cursor)
    }

    /// Deletes what is between white space and the cursor, and the white space between, and returns
    /// it.
    pub(super) fn kill_word(&mut self) -> String {
        let before_word = self
            .before_cursor()
            .trim_end()
            .trim_end_matches(|char: char| !char.is_whitespace());
        self.delete_back_to(before_word.len())
    }

    /// Deletes the word before the cursor, and what is between, and returns it.
    pub(super) fn kill_word_left(&mut self) -> String {
        self.delete_back_to(self.word_before())
    }

    /// Deletes the word after the cursor, and what is between, and returns it.
    pub(super) fn kill_word_right(&mut self) -> String {
        let killed = self.text.drain(self.cursor..self.word_after()).collect();
        self.settle();
        killed
    }

    fn word_before(&self) -> usize {
        let before = self.before_cursor();
        let word = before.trim_end_matches(|char| !is_of_word(char));
        word.trim_end_matches(is_of_word).len()
    }

    fn word_after(&self) -> usize {
        let after = self.after_cursor();
        let word = after.trim_start_matches(|char| !is_of_word(char));
        self.text.len() - word.trim_start_matches(is_of_word).len()
    }

    fn delete_back_to(&mut self, start: usize) -> String {
        let deleted = self.text.drain(start..self.cursor).collect();
        self.cursor = start;
        self.settle();
        deleted
    }

    /// After a change, what stands before and after the cursor may have become one character, such
    /// as a letter and its accent: the cursor goes behind it.
    fn settle(&mut self) {
        if self.at_cursor().is_boundary(&self.text, 0) == Ok(false) {
            self.cursor = self.boundary_after();
        }
    }

    fn boundary_before(&self) -> usize {
        let boundary = self.at_cursor().prev_boundary(&self.text, 0);
        boundary.ok().flatten().unwrap_or(0)
    }

    fn boundary_after(&self) -> usize {
        let boundary = self.at_cursor().next_boundary(&self.text, 0);
        boundary.ok().flatten().unwrap_or(self.text.len())
    }

    fn at_cursor(&self) -> GraphemeCursor {
        GraphemeCursor::new(self.cursor, self.text.len(), true)
    }
}

/// Whether a character belongs to a word: letters and digits do, with all that may stand on them.
fn is_of_word(char: char) -> bool {
    char.is_alphanumeric() || !char.is_ascii() && !char.is_whitespace()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_segmentation::UnicodeSegmentation;

    use super::*;

    /// A line with its cursor at the `|`.
    fn line(shown: &str) -> Line {
        let (before, after) = shown.split_once('|').expect("a cursor");
        Line {
            text: [before, after].concat(),
            cursor: before.len(),
        }
    }

    fn shown(line: &Line) -> String {
        format!("{}|{}", line.before_cursor(), line.after_cursor())
    }

    #[test]
    fn every_edit_does_what_it_says() {
        type Edit = fn(&mut Line);
        let insert: Edit = |line| assert!(line.insert('x'));
        let kill_word: Edit = |line| drop(line.kill_word());
        let kill_word_left: Edit = |line| drop(line.kill_word_left());
        let kill_word_right: Edit = |line| drop(line.kill_word_right());
        let edits: [(Edit, &str, &str); 30] = [
            (insert, "ab|c", "abx|c"),
            (Line::left, "ab|c", "a|bc"),
            (Line::left, "|abc", "|abc"),
            (Line::right, "ab|c", "abc|"),
            (Line::right, "abc|", "abc|"),
            (Line::home, "ab|c", "|abc"),
            (Line::end, "ab|c", "abc|"),
            (Line::backspace, "ab|c", "a|c"),
            (Line::backspace, "|abc", "|abc"),
            (Line::delete, "ab|c", "ab|"),
            (Line::delete, "abc|", "abc|"),
            (|line| drop(line.kill_before()), "ab|c", "|c"),
            (|line| drop(line.kill_after()), "ab|c", "ab|"),
            (kill_word, "one two|three", "one |three"),
            (kill_word, "one two  |three", "one |three"),
            (kill_word, "one|", "|"),
            (kill_word, "  |one", "|one"),
            (kill_word, "你好\u{3000}世界|", "你好\u{3000}|"),
            (Line::word_left, "one, two, |", "one, |two, "),
            (Line::word_left, "  |one", "|  one"),
            (Line::word_left, "e\u{301}te\u{301}|", "|e\u{301}te\u{301}"),
            (Line::word_right, "one|, two, ", "one, two|, "),
            (Line::word_right, "one|  ", "one  |"),
            (kill_word_left, "/usr/local/|bin", "/usr/|bin"),
            (kill_word_left, "|one", "|one"),
            (kill_word_right, "/usr|/local/bin", "/usr|/bin"),
            (Line::left, "🇩🇪🇫🇷|", "🇩🇪|🇫🇷"),
            (Line::right, "|👨‍👩‍👧!", "👨‍👩‍👧|!"),
            (Line::backspace, "e\u{301}|e\u{301}", "|e\u{301}"),
            (Line::delete, "a|👍🏽b", "a|b"),
        ];
        for (edit, before, after) in edits {
            let mut line = line(before);
            edit(&mut line);
            assert_eq!(shown(&line), after, "from {before}");
        }
    }

    #[test]
    fn a_cursor_never_stays_within_a_character() {
        let mut line = line("a|\u{301}");
        line.settle();
        assert_eq!(shown(&line), "a\u{301}|");
        line = self::line("ab|\u{301}c");
        line.backspace();
        assert_eq!(shown(&line), "a\u{301}|c", "the accent has a new letter");
    }

    #[test]
    fn a_full_line_takes_no_more() {
        let mut line = Line::default();
        for _ in 0..LINE_LIMIT - 1 {
            assert!(line.insert('a'));
        }
        assert!(!line.insert('é'), "two bytes where there is room for one");
        assert!(line.insert('b'));
        assert!(!line.insert('c'));
        assert_eq!(line.text().len(), LINE_LIMIT);
        line.backspace();
        assert!(line.insert('d'));
    }

    proptest! {
        /// Characters that join with each other, and edits at any place.
        #[test]
        fn the_cursor_is_always_between_two_characters(
            steps in prop::collection::vec((0_u8..12, prop::sample::select(vec![
                'a', ' ', '-', '界', '\u{301}', '\u{200d}', '\u{fe0f}', '👩', '🏽', '🇩', '🇪', 'ᄀ', 'ᅡ', 'ᆨ', 'क', '\u{94d}',
            ])), 0..60),
        ) {
            let mut line = Line::default();
            for (edit, char) in steps {
                match edit {
                    0 => line.left(),
                    1 => line.right(),
                    2 => line.backspace(),
                    3 => line.delete(),
                    4 => drop(line.kill_word()),
                    5 => line.word_left(),
                    6 => line.word_right(),
                    7 => drop(line.kill_word_left()),
                    8 => drop(line.kill_word_right()),
                    _ => prop_assert!(line.insert(char)),
                }
                let mut boundaries = line.text.grapheme_indices(true).map(|(start, _)| start);
                prop_assert!(line.cursor == line.text.len() || boundaries.any(|start| start == line.cursor));
            }
        }
    }
}
