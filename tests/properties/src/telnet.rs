//! The Telnet filter.

use edgeloop::telnet::{Part, Telnet};

use crate::input::{Input, chunks};

/// Most answers to one client.
const ANSWERS_MAX: usize = 64;

#[derive(Debug, PartialEq)]
struct Filtered {
    text: Vec<u8>,
    answers: Vec<[u8; 3]>,
    state: Telnet,
}

fn filter<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Filtered {
    let (mut text, mut answers, mut state) = (Vec::new(), Vec::new(), Telnet::default());
    for mut bytes in chunks {
        while let Some(part) = state.next(&mut bytes) {
            match part {
                Part::Text(part) => {
                    assert!(!part.is_empty());
                    let (_, before) = part.split_last().unwrap_or((&0, &[]));
                    assert!(!before.contains(&b'\n'), "text goes to the end of a line");
                    text.extend_from_slice(part);
                }
                Part::Answer(answer) => answers.push(answer),
            }
        }
        assert!(bytes.is_empty());
    }
    Filtered {
        text,
        answers,
        state,
    }
}

/// Cuts do not matter, nothing is added to the text, answers are refusals and few, and text without
/// the bytes of Telnet passes as it is.
pub fn telnet(input: &[u8]) {
    let mut input = Input(input);
    let cuts = input.cuts();
    let bytes = input.0;
    let whole = filter([bytes]);
    assert_eq!(filter(chunks(bytes, cuts)), whole);
    assert_eq!(filter(bytes.chunks(1)), whole);
    assert!(whole.text.len() <= bytes.len());
    assert!(whole.answers.len() <= ANSWERS_MAX);
    let is_refusal = |answer: &[u8; 3]| matches!(answer, [255, 252 | 254, _]);
    assert!(whole.answers.iter().all(is_refusal));
    if !bytes.iter().any(|byte| matches!(byte, 0 | 255)) {
        assert_eq!(whole.text, bytes);
    }
    // The end of a line is never swallowed, but within a subnegotiation.
    if !bytes.contains(&250) {
        let newlines = |text: &[u8]| text.split(|&byte| byte == b'\n').count();
        assert!(newlines(&whole.text) >= newlines(bytes));
    }
}
