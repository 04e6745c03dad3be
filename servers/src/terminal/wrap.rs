//! Lines of others on the screen: broken into rows by this program, not by the terminal.
//!
//! A terminal breaks a long line wherever its width ends, and goes on at the left margin. The author
//! of the line can choose what stands there, and make it look like another line: of another author, or
//! of this program. So rows but the first are indented.

use unicode_segmentation::UnicodeSegmentation;

use super::row::character_width;

/// The beginning of each row of a line but the first.
const INDENT: &[u8] = b"    ";
/// The narrowest screen on which lines are broken, in columns.
const LEAST_WIDTH: usize = 16;
/// Columns from one tab stop to the next.
const TAB: usize = 8;

/// Appends a text of several lines to `screen`, each in rows of at most `width` columns. `continues`:
/// the text begins within a line, whose beginning was shown before.
pub(crate) fn wrap(text: &str, width: usize, continues: bool, screen: &mut Vec<u8>) {
    if width < LEAST_WIDTH {
        return screen.extend_from_slice(text.as_bytes());
    }
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let mut column = 0;
        if continues && number == 0 && line != "\n" {
            begin_row(&mut column, screen);
        }
        let is_plain = |byte| matches!(byte, b' '..=b'~' | b'\n');
        if column + line.len() <= width && line.bytes().all(is_plain) {
            screen.extend_from_slice(line.as_bytes());
            continue;
        }
        for character in line.graphemes(true) {
            if column + columns(character, column) > width {
                screen.push(b'\n');
                begin_row(&mut column, screen);
            }
            column += columns(character, column);
            screen.extend_from_slice(character.as_bytes());
        }
    }
}

/// The columns of a character in this column.
fn columns(character: &str, column: usize) -> usize {
    match character {
        "\n" => 0,
        "\t" => TAB - column % TAB,
        character => character_width(character),
    }
}

fn begin_row(column: &mut usize, screen: &mut Vec<u8>) {
    screen.extend_from_slice(INDENT);
    *column = INDENT.len();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, width: usize, continues: bool) -> Vec<String> {
        let mut screen = Vec::new();
        wrap(text, width, continues, &mut screen);
        let screen = String::from_utf8(screen).expect("UTF-8");
        screen.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        for line in [
            "",
            "[bob] hello",
            "0123456789abcdef",
            "\tx",
            "界界界界界界界界",
        ] {
            assert_eq!(rows(&format!("{line}\n"), 16, false), [line]);
        }
        assert_eq!(rows("a\n\nb", 16, false), ["a", "", "b"]);
        let narrow = "0123456789abcdefghi";
        assert_eq!(rows(narrow, 15, false), [narrow], "too narrow to be broken");
    }

    #[test]
    fn no_row_but_the_first_begins_at_the_margin() {
        let forged = format!("[eve] {}peer closed\nnext\n", " ".repeat(14));
        let expected = ["[eve]               ", "    peer closed", "next"];
        assert_eq!(rows(&forged, 20, false), expected);
        assert_eq!(
            rows("peer closed\nnext", 20, true),
            ["    peer closed", "next"]
        );
        for width in LEAST_WIDTH..60 {
            for blank in [" ", "\t", "界", "é", "\u{200b} "] {
                for count in 0..200 {
                    let line = format!("[eve] {}* forged\n", blank.repeat(count));
                    let rows = rows(&line, width, false);
                    assert!(rows[1..].iter().all(|row| row.starts_with("    ")));
                    let end = |column, character: &str| column + columns(character, column);
                    let fits = |row: &String| row.graphemes(true).fold(0, end) <= width;
                    assert!(rows.iter().all(fits), "{rows:?} in {width}");
                }
            }
        }
    }
}
