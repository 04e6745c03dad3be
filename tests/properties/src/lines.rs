//! Lines out of a stream.

use edgeloop::line::{Line, LineAssembler};

use crate::input::{Input, chunks};

type Owned = (Vec<u8>, bool);

fn owned(line: Line<'_>) -> Owned {
    (line.text.to_vec(), line.cut)
}

/// The model: the lines of a whole stream, cut to `max` bytes.
fn model(stream: &[u8], max: usize) -> Vec<Owned> {
    let mut texts: Vec<&[u8]> = stream.split(|&byte| byte == b'\n').collect();
    let last = texts.pop().filter(|last| !last.is_empty());
    let ended = texts
        .into_iter()
        .map(|text| text.strip_suffix(b"\r").unwrap_or(text));
    let bounded = |text: &[u8]| (text[..text.len().min(max)].to_vec(), text.len() > max);
    ended.chain(last).map(bounded).collect()
}

/// However a stream is cut, its lines are those of the model. Parts of lines that are handed over and
/// erased never yield a line that is too long, and the end of a line leaves nothing behind.
pub fn lines(input: &[u8]) {
    let mut input = Input(input);
    let max = input.number(0);
    let cuts = input.cuts();
    let mut assembler = LineAssembler::default();
    let mut seen = Vec::new();
    for chunk in chunks(input.0, cuts) {
        assembler.feed(chunk, max, |line| seen.push(owned(line)));
    }
    assembler.finish(max, |line| seen.push(owned(line)));
    assert!(assembler.is_empty());
    assert_eq!(seen, model(input.0, max));
    in_parts(input, max);
}

fn in_parts(mut input: Input<'_>, max: usize) {
    let mut assembler = LineAssembler::default();
    let fits = |line: Line<'_>| assert!(line.text.len() <= max);
    while !input.0.is_empty() {
        match input.byte() % 4 {
            0 => assembler.erase(input.byte().into()),
            1 => {
                assembler.end(input.bytes(), max, fits);
                assert!(assembler.is_empty());
            }
            _ => {
                // No newline may be among them.
                let text = input.bytes().split(|&byte| byte == b'\n').next();
                assembler.push(text.unwrap_or_default(), max, fits);
            }
        }
    }
}
