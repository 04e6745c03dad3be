//! Text from the network for a terminal or a log.

use edgeloop::harmless::{Harmless, harmless, harmless_up_to};

use crate::input::{Input, chunks, is_obeyed};

fn stream<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut harmless, mut out) = (Harmless::default(), Vec::new());
    for chunk in chunks {
        harmless.feed(chunk, &mut out);
    }
    harmless.finish(&mut out);
    out
}

/// Cuts do not matter, the result is text that no terminal obeys and stays as it is, it is at most
/// four times as long, and a bound holds to the byte.
pub fn harmless_text(input: &[u8]) {
    let mut input = Input(input);
    let max = input.number(0);
    let cuts = input.cuts();
    let bytes = input.0;
    let shown = stream([bytes]);
    assert_eq!(stream(chunks(bytes, cuts)), shown);
    assert!(shown.len() <= 4 * bytes.len());
    let text = String::from_utf8(shown).expect("harmless text is UTF-8");
    assert!(!text.contains(is_obeyed), "{text:?}");
    assert_eq!(stream([text.as_bytes()]), text.as_bytes());

    let line = harmless(bytes);
    assert!(!line.contains(|char| is_obeyed(char) || char == '\n'));
    assert_eq!(harmless(line.as_bytes()), line);
    let mut bounded = Vec::new();
    let is_whole = harmless_up_to(bytes, max, &mut bounded);
    assert!(bounded.len() <= max && line.as_bytes().starts_with(&bounded));
    assert_eq!(is_whole, line.len() <= max && bounded == line.as_bytes());
}
