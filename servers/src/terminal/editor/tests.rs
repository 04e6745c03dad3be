//! The editor's screen, judged by a terminal emulator.

use std::num::NonZeroU16;

use proptest::prelude::*;
use unicode_segmentation::UnicodeSegmentation;

use super::*;
use crate::terminal::{HISTORY_LIMIT, LINE_LIMIT};

const ROWS: u16 = 12;

/// An editor and its terminal.
struct Desk {
    editor: Editor,
    emulator: vt100::Parser,
    width: usize,
    typed: Vec<Typed>,
    bells: usize,
}

impl Desk {
    /// A desk with an empty line on its terminal of `width` columns.
    fn new(prompt: &str, width: usize) -> Desk {
        let mut desk = Desk {
            editor: Editor::new(prompt),
            emulator: vt100::Parser::new(size(ROWS.into()), size(width), 0),
            width,
            typed: Vec::new(),
            bells: 0,
        };
        desk.redraw();
        desk
    }

    fn keys(&mut self, bytes: impl AsRef<[u8]>) {
        let mut screen = Vec::new();
        let typed = |typed| self.typed.push(typed);
        self.editor
            .keys(bytes.as_ref(), self.width, &mut screen, typed);
        self.show(&screen);
    }

    fn print(&mut self, text: &str) {
        let mut screen = Vec::new();
        self.editor.print(text.as_bytes(), self.width, &mut screen);
        self.show(&screen);
    }

    fn redraw(&mut self) {
        let mut screen = Vec::new();
        self.editor.draw(self.width, &mut screen);
        self.show(&screen);
    }

    fn resize(&mut self, width: usize) {
        self.width = width;
        self.emulator
            .screen_mut()
            .set_size(size(ROWS.into()), size(width));
        self.redraw();
    }

    /// Passes output through the kernel's ONLCR to the terminal.
    fn show(&mut self, output: &[u8]) {
        self.bells += output.split(|&byte| byte == BELL).count() - 1;
        for line in output.split_inclusive(|&byte| byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) => self.emulator.process(&[line, b"\r\n"].concat()),
                None => self.emulator.process(line),
            }
        }
    }

    /// The rows down to the cursor, without white space at their ends.
    fn rows(&self) -> Vec<String> {
        let screen = self.emulator.screen();
        let (row, _) = screen.cursor_position();
        let rows: Vec<String> = screen.rows(0, screen.size().1.get()).collect();
        let (above, below) = rows.split_at(usize::from(row) + 1);
        assert!(
            below.iter().all(String::is_empty),
            "below the line: {below:?}"
        );
        above.iter().map(|row| row.trim_end().to_owned()).collect()
    }

    /// The row of the line being typed, with a `|` where the cursor is.
    fn row(&self) -> String {
        let (row, column) = self.emulator.screen().cursor_position();
        let cells = |from, to| -> String {
            (from..to)
                .filter_map(|column| self.emulator.screen().cell(row, column))
                .filter(|cell| !cell.is_wide_continuation())
                .map(|cell| {
                    if cell.has_contents() {
                        cell.contents()
                    } else {
                        " "
                    }
                })
                .collect()
        };
        let width = self.width as u16;
        format!("{}|{}", cells(0, column), cells(column, width).trim_end())
    }

    fn lines<'a>(&'a self) -> Vec<&'a str> {
        let line = |typed: &'a Typed| match typed {
            Typed::Line(line) => line.as_str(),
            Typed::Eof => "(eof)",
        };
        self.typed.iter().map(line).collect()
    }
}

fn size(cells: usize) -> NonZeroU16 {
    NonZeroU16::new(cells as u16).expect("a terminal has cells")
}

const LEFT: &str = "\x1b[D";
const RIGHT: &str = "\x1b[C";
const UP: &str = "\x1b[A";
const DOWN: &str = "\x1b[B";
const HOME: &str = "\x1b[H";

#[test]
fn what_is_typed_is_seen_and_a_finished_line_stays() {
    let mut desk = Desk::new("> ", 20);
    assert_eq!(desk.row(), "> |");
    desk.keys("hello");
    assert_eq!(desk.row(), "> hello|");
    assert!(desk.typed.is_empty());
    desk.keys("\r");
    desk.keys("next");
    assert_eq!(desk.lines(), ["hello"]);
    assert_eq!(desk.rows(), ["> hello", "> next"]);
}

#[test]
fn a_line_is_edited_in_its_middle() {
    let mut desk = Desk::new("> ", 20);
    desk.keys(["one three", LEFT, LEFT, LEFT, LEFT, LEFT, "two "].concat());
    assert_eq!(desk.row(), "> one two |three");
    desk.keys("\x7f\x7f\x1b[3~\x04");
    assert_eq!(desk.row(), "> one tw|ree");
    desk.keys("\x01\x1b[C\x0b");
    assert_eq!(desk.row(), "> o|");
    desk.keys("n\x05e two\x17\n");
    assert_eq!(desk.lines(), ["one "]);
}

#[test]
fn wide_characters_and_clusters_are_stepped_over_and_deleted_whole() {
    let mut desk = Desk::new("你说 ", 20);
    desk.keys(["好的，世界", LEFT, LEFT].concat());
    assert_eq!(desk.row(), "你说 好的，|世界");
    assert_eq!(desk.emulator.screen().cursor_position(), (0, 11));
    desk.keys("\x7f");
    assert_eq!(desk.row(), "你说 好的|世界");
    desk.keys([HOME, "e\u{301}👍🏽", LEFT].concat());
    assert_eq!(desk.row(), "你说 e\u{301}|👍🏽好的世界");
    desk.keys("\x1b[3~\x7f\n");
    assert_eq!(desk.lines(), ["好的世界"]);
}

#[test]
fn text_appears_above_the_line_being_typed() {
    let mut desk = Desk::new("> ", 20);
    desk.keys(["half a line", LEFT, LEFT].concat());
    desk.print("[bob] hello\n[eve] 你好\n");
    assert_eq!(desk.rows(), ["[bob] hello", "[eve] 你好", "> half a line"]);
    assert_eq!(desk.row(), "> half a li|ne");
    desk.print("a line that is wider than the terminal\n");
    desk.print("cut off");
    desk.keys("fted\n");
    assert_eq!(
        desk.rows()[2..],
        [
            "a line that is wider",
            " than the terminal",
            "cut off",
            "> half a liftedne",
            ">"
        ],
    );
    assert_eq!(desk.lines(), ["half a liftedne"]);
}

#[test]
fn text_between_the_bytes_of_a_key_does_not_disturb_it() {
    let mut desk = Desk::new("> ", 20);
    desk.keys(b"ab\xe4\xbd");
    desk.print("one\n");
    desk.keys(b"\xa0\x1b[");
    desk.print("two\n");
    desk.keys("D\x7f");
    assert_eq!(desk.row(), "> a|你");
}

#[test]
fn a_long_line_scrolls_within_its_row() {
    let mut desk = Desk::new("> ", 13);
    desk.keys("abcdefghij");
    assert_eq!(desk.row(), "> abcdefghij|", "the last column is free");
    desk.keys("k");
    assert_eq!(desk.row(), "<fghijk|");
    desk.keys("lm");
    assert_eq!(desk.row(), "<fghijklm|");
    desk.keys(LEFT.repeat(5));
    assert_eq!(desk.row(), "<fgh|ijklm");
    desk.keys(HOME);
    assert_eq!(desk.row(), "> |abcdefghi>");
    desk.keys(RIGHT.repeat(6));
    assert_eq!(desk.row(), "> abcdef|ghi>");
    desk.keys(RIGHT);
    assert_eq!(desk.row(), "<fg|hijklm");
    desk.keys("\n");
    assert_eq!(
        desk.rows(),
        ["> abcdefghijk", "lm", ">"],
        "the whole line stays"
    );
}

#[test]
fn a_wide_character_cut_in_two_leaves_a_blank() {
    let mut desk = Desk::new("", 9);
    desk.keys("a一二三四五六七");
    assert_eq!(desk.row(), "<五六七|");
    desk.keys(HOME);
    assert_eq!(desk.row(), "|a一二三>");
    desk.keys("b");
    assert_eq!(desk.row(), "b|a一二 >");
    desk.keys("\x05");
    assert_eq!(desk.row(), "< 五六七|");
}

#[test]
fn a_terminal_of_another_width_is_drawn_on_anew() {
    let mut desk = Desk::new("> ", 20);
    desk.keys("0123456789abcdef");
    assert_eq!(desk.row(), "> 0123456789abcdef|");
    desk.resize(10);
    assert_eq!(desk.row(), "<bcdef|");
    desk.resize(3);
    assert_eq!(desk.row(), "|", "there is no room");
    desk.resize(30);
    assert_eq!(desk.row(), "> 0123456789abcdef|");
}

#[test]
fn the_arrow_keys_bring_back_earlier_lines() {
    let mut desk = Desk::new("> ", 20);
    desk.keys("one\ntwo\ndraft");
    desk.keys([UP, UP, UP].concat());
    assert_eq!(desk.row(), "> one|");
    desk.keys(DOWN);
    assert_eq!(desk.row(), "> two|");
    desk.keys([DOWN, DOWN].concat());
    assert_eq!(desk.row(), "> draft|");
    desk.keys([UP, "!\n", UP].concat());
    assert_eq!(desk.row(), "> two!|");
    assert_eq!(desk.lines(), ["one", "two", "two!"]);
}

#[test]
fn the_history_is_bounded() {
    let mut desk = Desk::new("", 20);
    for number in 0..=HISTORY_LIMIT {
        desk.keys(format!("{number}\n"));
    }
    desk.keys(UP.repeat(HISTORY_LIMIT + 10));
    assert_eq!(desk.row(), "1|");
}

#[test]
fn what_is_pasted_is_lines_like_any_others() {
    let mut desk = Desk::new("> ", 20);
    desk.keys("one\ttwo\r\x1b[20~thr\0ee\r\rlast");
    assert_eq!(desk.lines(), ["one two", "three", ""]);
    assert_eq!(desk.rows(), ["> one two", "> three", ">", "> last"]);
}

#[test]
fn a_marked_paste_is_text() {
    let mut desk = Desk::new("> ", 30);
    desk.keys("[\x1b[200~a\tb\x17\x04\x1b[D c\nd\te\x1b[201~]");
    assert_eq!(desk.lines(), ["[a\tb c"]);
    assert_eq!(desk.row(), "> d e]|", "a tab is drawn as a space");
    desk.keys("\n");
    assert_eq!(desk.lines()[1..], ["d\te]"]);
}

#[test]
fn deleted_words_come_back() {
    let mut desk = Desk::new("> ", 40);
    desk.keys("\x19one two three four\x1b\x7f\x17\x17");
    assert_eq!(desk.row(), "> one |");
    desk.keys("\x19\x19");
    assert_eq!(desk.row(), "> one two three fourtwo three four|");
    // Deletions with another key between them are not joined.
    desk.keys("\x17\x1b[1;5D\x0b\x01\x19");
    assert_eq!(desk.row(), "> three |one two three fourtwo");
    // Deletions on both sides of the cursor are joined.
    desk.keys("\x15\x1bd\x19\n");
    assert_eq!(desk.lines(), ["three one two three fourtwo "]);
}

#[test]
fn where_the_row_was_broken_the_rows_above_are_taken_back() {
    // 26 columns of text and the cursor, in 10 columns: three rows, the cursor in the seventh.
    let narrowed = |answer: &str| {
        let mut editor = Editor::new("");
        let (mut screen, ignore) = (Vec::new(), |_| {});
        editor.keys(b"abcdefghijklmnopqrstuvwxyz", 80, &mut screen, ignore);
        screen.clear();
        editor.draw(10, &mut screen);
        assert!(screen.starts_with(ASK_FOR_CURSOR));
        screen.clear();
        editor.keys(answer.as_bytes(), 10, &mut screen, ignore);
        screen.starts_with(b"\x1b[2A\r")
    };
    assert!(narrowed("\x1b[5;7R"));
    assert!(narrowed("z\x1b[5;7R"), "with a key before it");
    assert!(!narrowed("\x1b[5;10R"), "it was cut off");
    assert!(!narrowed("\x1b[5;3R"), "it is somewhere else");
    assert!(!narrowed("\x1b[A"), "no answer");
}

#[test]
fn the_terminal_is_asked_only_if_it_may_have_broken_the_row() {
    let mut editor = Editor::new("> ");
    let mut screen = Vec::new();
    editor.keys(b"abc", 80, &mut screen, |_| {});
    editor.draw(6, &mut screen);
    editor.draw(80, &mut screen);
    editor.keys(b"\x1b[5;3R", 80, &mut screen, |_| {});
    let asks = screen.windows(ASK_FOR_CURSOR.len());
    assert_eq!(asks.filter(|bytes| *bytes == ASK_FOR_CURSOR).count(), 0);
    assert!(!screen.windows(4).any(|bytes| bytes == b"\x1b[0A"));
}

#[test]
fn a_full_line_rings_the_bell_and_keeps_what_it_has() {
    let mut desk = Desk::new("> ", 20);
    desk.keys("x".repeat(LINE_LIMIT));
    assert_eq!(desk.bells, 0);
    desk.keys("yz\x7f!?");
    assert!(desk.row().ends_with("x!|"));
    desk.keys("\n");
    assert_eq!(desk.bells, 1, "once for all that was dropped");
    let expected = format!("{}!", "x".repeat(LINE_LIMIT - 1));
    assert_eq!(desk.lines(), [expected]);
}

#[test]
fn ctrl_d_ends_the_input_on_an_empty_line_only() {
    let mut desk = Desk::new("> ", 20);
    desk.keys("a\x04\x01\x04");
    assert_eq!((desk.row().as_str(), desk.lines()), ("> |", vec![]));
    desk.keys("\x04");
    assert_eq!(desk.typed, [Typed::Eof]);
}

#[test]
fn ctrl_l_leaves_nothing_but_the_line_being_typed() {
    let mut desk = Desk::new("> ", 20);
    desk.print("old\n");
    desk.keys(["ab", LEFT, "\x0c"].concat());
    assert_eq!((desk.rows().len(), desk.row().as_str()), (1, "> a|b"));
}

#[test]
fn a_line_taken_off_the_screen_is_not_lost() {
    let mut desk = Desk::new("> ", 20);
    desk.keys("one\ntwo");
    let mut screen = Vec::new();
    desk.editor.erase(&mut screen);
    desk.show(&screen);
    assert_eq!(
        (desk.rows(), desk.row().as_str()),
        (vec!["> one".into(), String::new()], "|")
    );
    desk.redraw();
    assert_eq!(desk.row(), "> two|");
}

/// Bytes from a keyboard: text, keys, nonsense.
fn any_keys() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof![
        8 => "[a-z ]{1,4}|[é你好世界👍🏽🇩🇪\u{301}\u{200d}]{1,3}".prop_map(String::into_bytes),
        6 => prop::sample::select(vec![
            LEFT, RIGHT, UP, DOWN, HOME, "\x1bOF", "\x1b[3~", "\x7f", "\x08", "\x04", "\x0b", "\x15", "\x17",
            "\n", "\r", "\t", "\x1b[1;5C", "\x1b]0;t\x07", "\x1b[[A", "\x1ba", "\x0c",
        ]).prop_map(|key| key.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
        1 => any::<char>().prop_map(|char| char.to_string().into_bytes()),
    ];
    prop::collection::vec(key, 0..40).prop_map(|keys| keys.concat())
}

/// [`any_keys`] without those that finish a line or clear the screen.
fn any_keys_of_one_line() -> impl Strategy<Value = Vec<u8>> {
    any_keys().prop_map(|mut keys| {
        keys.retain(|byte| !b"\r\n\x0c".contains(byte));
        keys
    })
}

proptest! {
    #[test]
    fn lines_and_screen_do_not_depend_on_where_the_keys_are_cut(
        keys in prop::collection::vec(any_keys(), 1..4),
        cuts in prop::collection::vec(1_usize..6, 1..20),
        width in 1_usize..40,
    ) {
        let (mut whole, mut cut) = (Desk::new("> ", width), Desk::new("> ", width));
        let mut cuts = cuts.into_iter().cycle();
        for keys in keys {
            let mut rest = keys.as_slice();
            while let Some((piece, others)) = cuts.next().and_then(|cut| rest.split_at_checked(cut)) {
                cut.keys(piece);
                rest = others;
            }
            cut.keys(rest);
            whole.keys(keys);
            cut.print("meanwhile\n");
            whole.print("meanwhile\n");
        }
        prop_assert_eq!(whole.typed, cut.typed);
        prop_assert_eq!(
            whole.emulator.screen().contents_formatted(),
            cut.emulator.screen().contents_formatted(),
        );
    }

    #[test]
    fn the_line_being_typed_keeps_to_its_row(
        keys in any_keys_of_one_line(),
        text in any::<String>(),
        width in 1_usize..40,
    ) {
        let mut desk = Desk::new("> ", width);
        let text: String = text.chars().filter(|char| !char.is_control()).collect();
        for keys in [keys.as_slice(), text.as_bytes(), HOME.as_bytes()] {
            for cut in keys.chunks(3) {
                desk.keys(cut);
                let screen = desk.emulator.screen();
                prop_assert_eq!(screen.cursor_position().0, 0);
                prop_assert!(!screen.row_wrapped(0));
                let last = screen.cell(0, width as u16 - 1);
                prop_assert!(last.is_some_and(|cell| !cell.has_contents() && !cell.is_wide_continuation()));
            }
        }
    }

    /// A second copy of the line, of characters that are one code point each, beside the one on the
    /// screen.
    #[test]
    fn the_cursor_stands_between_the_right_characters(
        edits in prop::collection::vec((0_u8..12, prop::sample::select(vec!['a', 'b', 'é', '你', '好', '😀'])), 0..80),
        width in 12_usize..40,
    ) {
        let mut desk = Desk::new("", width);
        let (mut paper, mut cursor) = (Vec::new(), 0_usize);
        for (edit, char) in edits {
            match edit {
                0 => {
                    desk.keys(LEFT);
                    cursor = cursor.saturating_sub(1);
                }
                1 => {
                    desk.keys(RIGHT);
                    cursor = paper.len().min(cursor + 1);
                }
                2 => {
                    desk.keys(HOME);
                    cursor = 0;
                }
                3 if cursor > 0 => {
                    desk.keys("\x7f");
                    cursor -= 1;
                    paper.remove(cursor);
                }
                4 if cursor < paper.len() => {
                    desk.keys("\x1b[3~");
                    paper.remove(cursor);
                }
                _ => {
                    desk.keys(char.to_string());
                    paper.insert(cursor, char);
                    cursor += 1;
                }
            }
            let wide = |text: &[char]| -> usize { text.iter().map(|char| 1 + usize::from(*char > 'é')).sum() };
            let (before, after) = paper.split_at(cursor);
            if wide(&paper) < width {
                let column = desk.emulator.screen().cursor_position().1;
                prop_assert_eq!(usize::from(column), wide(before));
                prop_assert_eq!(desk.emulator.screen().contents(), String::from_iter(&paper));
            }
            let row = desk.row();
            let (shown_before, shown_after) = row.split_once('|').expect("a cursor");
            let last = shown_before.graphemes(true).next_back().map(str::to_owned);
            prop_assert_eq!(last, before.last().map(char::to_string), "in {}", row);
            let first = shown_after.graphemes(true).next().map(str::to_owned);
            prop_assert_eq!(first, after.first().map(char::to_string), "in {}", row);
        }
    }
}
