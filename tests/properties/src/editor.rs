//! The line editor of a terminal: keys, escape sequences, and the bytes for the screen.

use edgeloop::harmless::harmless;
use edgeloop::terminal::{Editor, LINE_LIMIT, Typed};

use crate::input::{Input, chunks};

const PROMPT: &str = "> ";

/// Types these chunks, and returns the finished lines and the row that is drawn in the end.
fn type_in<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, width: usize) -> (Vec<Typed>, Vec<u8>) {
    let (mut editor, mut typed, mut screen) = (Editor::new(PROMPT), Vec::new(), Vec::new());
    editor.draw(width, &mut screen);
    check_screen(&screen);
    for chunk in chunks {
        screen.clear();
        let before = typed.len();
        editor.keys(chunk, width, &mut screen, |it| typed.push(it));
        check_screen(&screen);
        let printed = (typed.len() - before + 1) * (LINE_LIMIT + PROMPT.len() + 64);
        assert!(
            screen.len() <= printed + 16 * chunk.len(),
            "{}",
            screen.len()
        );
    }
    screen.clear();
    editor.draw(width, &mut screen);
    (typed, screen)
}

/// The bytes for the screen are text, line ends, the bell, and the sequences that the editor knows.
fn check_screen(screen: &[u8]) {
    let mut text = str::from_utf8(screen).expect("the screen gets UTF-8");
    while let Some((before, after)) = text.split_once('\x1b') {
        check_text(before);
        let known = ["[J", "7", "8", "[H", "[2J", "[6n"];
        let known = known
            .iter()
            .find_map(|sequence| after.strip_prefix(sequence));
        text = known.or_else(|| rows_up(after)).expect("a known sequence");
    }
    check_text(text);
}

/// `[NA`: up by N rows.
fn rows_up(text: &str) -> Option<&str> {
    let rest = text
        .strip_prefix('[')?
        .trim_start_matches(|char: char| char.is_ascii_digit());
    rest.strip_prefix('A')
}

fn check_text(text: &str) {
    let is_odd = |char: char| char.is_control() && !matches!(char, '\r' | '\n' | '\t' | '\x07');
    assert!(!text.contains(is_odd), "{text:?}");
}

/// Cuts of the keys do not matter, typed lines are short and without controls, and the screen gets
/// no sequence but the editor's own, however wide it is.
pub fn editor(input: &[u8]) {
    let mut input = Input(input);
    let width = input.number(0);
    let cuts = input.cuts();
    let keys = input.0;
    let (typed, row) = type_in([keys], width);
    assert_eq!(type_in(chunks(keys, cuts), width), (typed.clone(), row));
    for line in typed {
        if let Typed::Line(line) = line {
            assert!(line.len() <= LINE_LIMIT);
            assert!(!line.contains(|char: char| char.is_control() && char != '\t'));
        }
    }
    resized(input);
}

/// The terminal changes its width, lines of a peer arrive, and the terminal says where its cursor is.
fn resized(mut input: Input<'_>) {
    let (mut editor, mut screen) = (Editor::new(PROMPT), Vec::new());
    while !input.0.is_empty() {
        screen.clear();
        let width = input.number(0);
        match input.byte() % 3 {
            0 => editor.draw(width, &mut screen),
            1 => editor.print(harmless(input.bytes()).as_bytes(), width, &mut screen),
            _ => editor.keys(input.bytes(), width, &mut screen, |_| ()),
        }
        check_screen(&screen);
    }
}
