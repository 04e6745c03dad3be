//! The line being typed: a text, and a cursor between two of its characters.
//!
//! A character here is a grapheme cluster (Unicode Standard Annex #29), which a reader sees as one
//! character. An `é` may be two code points, a flag is two, a family of emoji seven; the arrow keys
//! step over all of them at once, and Backspace deletes them whole.
//!
//! Every edit moves the cursor to a boundary of two characters: `settle` restores this invariant after
//! edits that may have joined the characters on both sides. A *word* is a run of letters and digits,
//! except for Ctrl-W (`kill_word`), whose words are separated by white space, as in the kernel.

use unicode_segmentation::GraphemeCursor;

/// The longest line that can be typed, in bytes; it is the kernel's own bound in canonical mode
/// (termios(3)).
pub const LINE_LIMIT: usize = 4096;

/// The line being typed.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// At most [`LINE_LIMIT`] bytes.
    text: String,
    /// Position in `text` in bytes; always between two characters.
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

    /// Moves the cursor to the start of the word at or before it.
    pub(super) fn word_left(&mut self) {
        self.cursor = self.word_before();
        self.settle();
    }

    /// Moves the cursor to the end of the word at or after it.
    pub(super) fn word_right(&mut self) {
        self.cursor = self.word_after();
        self.settle();
    }

    /// Deletes and returns the text before the cursor.
    pub(super) fn kill_before(&mut self) -> String {
        self.delete_back_to(0)
    }

    /// Deletes and returns the text after the cursor.
    pub(super) fn kill_after(&mut self) -> String {
        self.text.split_off(self.cursor)
    }

    /// Deletes and returns the text from the last white space before the cursor to the cursor; white
    /// space next to the cursor is deleted too.
    pub(super) fn kill_word(&mut self) -> String {
        let before_word = self
            .before_cursor()
            .trim_end()
            .trim_end_matches(|char: char| !char.is_whitespace());
        self.delete_back_to(before_word.len())
    }

    /// Deletes and returns the text from the start of the word before the cursor to the cursor.
    pub(super) fn kill_word_left(&mut self) -> String {
        self.delete_back_to(self.word_before())
    }

    /// Deletes and returns the text from the cursor to the end of the word after it.
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

    /// Moves the cursor to the end of a character that an edit has formed around it, such as of a
    /// letter and an accent.
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

/// Whether a character belongs to a word: letters and digits do, and all characters beyond ASCII
/// except white space, such as accents.
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
