//! HTTP and WebSocket: requests, frames, and an echo behind them.

use edgeloop::echo::Echo;
use edgeloop::web::{Page, Policy, Site, WEB, Web};
use edgeloop_reactor::Script;

use crate::input::{Input, chunks};

/// A request that becomes a WebSocket.
const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// The most that a connection is sent beside the echo of its input: the head of an answer, a page,
/// and a close.
const OWN_WORDS: usize = 4096;

/// The answer to a browser, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    /// The head of the answer, and the page if there is one.
    http: Vec<u8>,
    /// Messages that have come to their end: their first byte, and their payload.
    messages: Vec<(u8, Vec<u8>)>,
    pongs: Vec<Vec<u8>>,
    close: Option<Vec<u8>>,
}

impl Heard {
    /// Takes an answer apart, and checks that its frames are a server's.
    fn of(output: &[u8]) -> Heard {
        let end = output.windows(4).position(|four| four == b"\r\n\r\n");
        let is_upgrade = output.starts_with(b"HTTP/1.1 101 ");
        let (http, mut rest) = output.split_at(match end {
            Some(at) if is_upgrade => at + 4,
            _ => output.len(),
        });
        let mut heard = Heard {
            http: http.to_vec(),
            ..Heard::default()
        };
        let mut message = None;
        while let Some((first, payload)) = frame(&mut rest) {
            assert_eq!(heard.close, None, "a close is the last frame");
            heard.take(first, payload, &mut message);
        }
        heard
    }

    fn take(&mut self, first: u8, payload: &[u8], message: &mut Option<(u8, Vec<u8>)>) {
        let (is_last, opcode) = (first & 0x80 != 0, first & 0x0f);
        assert_eq!(first & 0x70, 0, "reserved bits");
        match opcode {
            0 => message.as_mut().expect("a beginning").1.extend(payload),
            1 | 2 => {
                let before = message.replace((opcode, payload.to_vec()));
                assert_eq!(before, None, "a message within a message");
            }
            8 => self.close = Some(payload.to_vec()),
            10 => self.pongs.push(payload.to_vec()),
            _ => panic!("opcode {opcode}"),
        }
        if opcode < 8 && is_last {
            self.messages.extend(message.take());
        }
        assert!(opcode < 8 || (is_last && payload.len() <= 125));
    }
}

/// The first frame of a server's output: its first byte, and its payload.
fn frame<'a>(output: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let [first, len, rest @ ..] = *output else {
        assert!(output.is_empty(), "a torn frame");
        return None;
    };
    let (len, rest) = match (len, rest) {
        (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
        (127, rest) => {
            let (len, rest) = rest.split_first_chunk().expect("a length");
            (u64::from_be_bytes(*len) as usize, rest)
        }
        (len, rest) => (usize::from(*len), rest),
    };
    let (payload, rest) = rest.split_at(len);
    *output = rest;
    Some((*first, payload))
}

/// The answer to a browser that sends these pieces, and ends its stream.
fn hears(pieces: &[&[u8]]) -> Heard {
    let answers_low_ports = false;
    let site = Site::of_echo(Policy::default()).with_page("/page", Page::text("a page"));
    let mut script = Script::new(Web::new(Echo { answers_low_ports }, site));
    let id = script.open_tagged(WEB);
    pieces.iter().for_each(|piece| script.data(id, piece));
    script.eof(id);
    assert!(
        script.closed(id).is_some(),
        "a browser that ends its stream is let go"
    );
    let output = script.take_output(id);
    let sent: usize = pieces.iter().map(|piece| piece.len()).sum();
    // A frame that is cut into single bytes comes back as one fragment a byte.
    assert!(output.len() <= OWN_WORDS + 3 * sent);
    Heard::of(&output)
}

/// The answer to a browser is in order, and cuts of its input do not matter.
pub fn web(input: &[u8]) {
    let mut input = Input(input);
    let is_upgraded = input.byte() % 2 == 1;
    let cuts = input.cuts();
    let head = if is_upgraded { UPGRADE } else { b"" };
    let bytes = [head, input.0].concat();
    let whole = hears(&[&bytes]);
    assert_eq!(hears(&chunks(&bytes, cuts)), whole);
}
