//! Lines as text messages, as IRCv3's WebSocket specification has them: a message is a line without its
//! newline.

use std::time::Duration;

use edgeloop_reactor::Framing;
use memchr::memchr;

use super::frame::{END, HEARTBEAT, push_text};

/// Proxies drop a connection after a minute of silence, by default.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);

/// Of an open WebSocket: each line of the protocol is a text message.
pub(super) static LINES: Framing = Framing {
    encode: push_lines,
    end: END,
    heartbeat: (HEARTBEAT_INTERVAL, HEARTBEAT),
};

/// Of a WebSocket whose close frame was sent: nothing may follow it.
pub(super) static SILENCE: Framing = Framing {
    encode: |_, _| {},
    end: b"",
    heartbeat: (Duration::ZERO, b""),
};

/// Appends whole lines as text messages. A text must be UTF-8: what is not is replaced. A rest without a
/// newline is taken for a line.
fn push_lines(mut bytes: &[u8], out: &mut Vec<u8>) {
    while !bytes.is_empty() {
        let end = memchr(b'\n', bytes);
        let text = String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]);
        push_text(text.as_bytes(), None, out);
        bytes = end.map_or(&[], |end| &bytes[end + 1..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_message() {
        for (bytes, frames) in [
            (&b"hello\n"[..], &b"\x81\x05hello"[..]),
            (b"a\n\nb\n", b"\x81\x01a\x81\x00\x81\x01b"),
            (b"no end", b"\x81\x06no end"),
            (b"\xff!\n", b"\x81\x04\xef\xbf\xbd!"),
            (b"", b""),
        ] {
            let mut out = Vec::new();
            push_lines(bytes, &mut out);
            assert_eq!(out, frames, "{bytes:?}");
        }
    }
}
