//! The row of the screen on which a line is typed.
//!
//! A line of any length is drawn on one row, so that it can be drawn again without knowing how the
//! terminal breaks lines: the row shows a window of the line, which moves with the cursor, with a `<`
//! or `>` where the line is cut off. The window depends on line, cursor and width alone, not on the
//! previous content of the screen.
//!
//! Terminals disagree on the width of some characters, above all of emoji with several code points. So
//! each character is measured at the widest that a terminal may draw it, which keeps the row within
//! its bounds everywhere. The cursor is not placed by its column, but saved and restored between the
//! two characters where it belongs, however wide they are.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::line::Line;

/// Moves to the start of the row and erases from there to the end of the screen. Nothing is below
/// the row, unless the terminal became narrower and broke it.
pub(super) const ERASE: &[u8] = b"\r\x1b[J";

const ERASE_REST: &[u8] = b"\x1b[J";
const SAVE_CURSOR: &[u8] = b"\x1b7";
const RESTORE_CURSOR: &[u8] = b"\x1b8";

/// The narrowest row that can be drawn, in columns: a mark at either end and the cursor between them.
const LEAST_ROOM: usize = 3;

/// Draws `prompt` and `line` over the content of the row, and places the cursor. Returns the column of
/// the cursor, counted from 0.
pub(super) fn draw(prompt: &str, line: &Line, width: usize, screen: &mut Vec<u8>) -> usize {
    // A character in the last column would make some terminals go on to the next row.
    let room = width.saturating_sub(1);
    if room < LEAST_ROOM {
        screen.extend_from_slice(ERASE);
        return 0;
    }
    let cursor = columns(prompt) + columns(line.before_cursor());
    let window = Window::new(cursor, cursor + columns(line.after_cursor()), room);
    screen.push(b'\r');
    if window.cut_left {
        screen.push(b'<');
    }
    let mut column = 0;
    window.write(prompt, &mut column, screen);
    window.write(line.before_cursor(), &mut column, screen);
    screen.extend_from_slice(SAVE_CURSOR);
    window.write(line.after_cursor(), &mut column, screen);
    if window.cut_right {
        screen.push(b'>');
    }
    screen.extend_from_slice(ERASE_REST);
    screen.extend_from_slice(RESTORE_CURSOR);
    cursor - window.first
}

/// The part of a line that is on the screen. Columns are counted from the start of the prompt.
#[derive(Debug)]
struct Window {
    /// The column of the line at the first column of the screen.
    first: usize,
    /// Start of the columns that are shown, after a mark.
    start: usize,
    /// End of the columns that are shown, before a mark.
    end: usize,
    /// Columns before `start` are cut off.
    cut_left: bool,
    /// Columns from `end` on are cut off.
    cut_right: bool,
}

impl Window {
    /// The window of `room` columns, at least [`LEAST_ROOM`], for a line of `total` columns with the
    /// cursor at `cursor`. It moves by half a window, and keeps a third of its columns for the text
    /// after the cursor, if there is so much.
    fn new(cursor: usize, total: usize, room: usize) -> Window {
        let rightmost = room - (total - cursor).min(room / 3);
        let first = cursor.saturating_sub(rightmost).next_multiple_of(room / 2);
        let (cut_left, cut_right) = (first > 0, first + room < total);
        Window {
            first,
            start: first + usize::from(cut_left),
            end: first + room - usize::from(cut_right),
            cut_left,
            cut_right,
        }
    }

    /// Writes the part of a text within the window. The text begins at `column`, which is moved to its
    /// end.
    fn write(&self, text: &str, column: &mut usize, screen: &mut Vec<u8>) {
        for character in text.graphemes(true) {
            let start = *column;
            *column += character_width(character);
            if start >= self.start && *column <= self.end {
                // The width of a tab depends on its column; it is drawn as a space.
                let shown = if character == "\t" { " " } else { character };
                screen.extend_from_slice(shown.as_bytes());
            } else {
                // Blanks for a wide character that is cut in two, so that the next keeps its column.
                let part = (*column)
                    .min(self.end)
                    .saturating_sub(start.max(self.start));
                screen.resize(screen.len() + part, b' ');
            }
        }
    }
}

/// The width of a text, in columns.
fn columns(text: &str) -> usize {
    text.graphemes(true).map(character_width).sum()
}

/// The greatest width of a character, in columns: modern terminals draw it as a whole, others draw
/// its code points one by one.
pub(super) fn character_width(character: &str) -> usize {
    let sum = character.chars().filter_map(UnicodeWidthChar::width).sum();
    character.width().max(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_measured_at_their_widest() {
        for (character, width) in [
            ("a", 1),
            ("é", 1),
            ("e\u{301}", 1),
            ("界", 2),
            ("😀", 2),
            ("1\u{fe0f}\u{20e3}", 2), // one column as the sum
            ("👨‍👩‍👧", 6),                // two as one
            ("\u{200b}", 0),
            ("\t", 1), // drawn as a space
        ] {
            assert_eq!(character_width(character), width, "{character:?}");
        }
    }

    #[test]
    fn the_cursor_is_always_inside_the_window() {
        for room in LEAST_ROOM..40 {
            for total in 0..100 {
                for cursor in 0..=total {
                    let window = Window::new(cursor, total, room);
                    let inside = window.start <= cursor && cursor <= window.end;
                    assert!(inside, "{window:?} for {cursor} of {total} in {room}");
                    let hides_nothing = window.start == 0 && total <= window.end;
                    assert_eq!(hides_nothing, total <= room, "{window:?}");
                    assert_eq!(window.cut_left, window.start > 0);
                    assert_eq!(window.cut_right, window.end < total);
                    let marks = usize::from(window.cut_left) + usize::from(window.cut_right);
                    assert_eq!(window.end - window.start + marks, room);
                }
            }
        }
    }
}
