//! Protocols, and the words between them and the loop. Nothing here does I/O.

/// One side of a conversation.
pub(crate) trait Protocol {
    /// Bytes arrived. TCP splits and joins messages as it likes: one call is not one message.
    fn on_data(&mut self, data: &[u8], out: &mut Outbox);

    /// No more bytes will arrive. The connection ends when all replies are sent.
    fn on_eof(&mut self, _: &mut Outbox) {}
}

/// The output of a callback.
#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) bytes: Vec<u8>,
}

impl Outbox {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }
}

/// Sends everything back.
pub(crate) struct Echo;

impl Protocol for Echo {
    fn on_data(&mut self, data: &[u8], out: &mut Outbox) {
        out.send(data);
    }
}

/// Sends everything back in capital letters.
pub(crate) struct Upper;

impl Protocol for Upper {
    fn on_data(&mut self, data: &[u8], out: &mut Outbox) {
        out.send(&data.to_ascii_uppercase());
    }
}

/// Counts the bytes, and says at the end how many came.
#[derive(Default)]
pub(crate) struct Count(u64);

impl Protocol for Count {
    fn on_data(&mut self, data: &[u8], _: &mut Outbox) {
        self.0 += data.len() as u64;
    }

    fn on_eof(&mut self, out: &mut Outbox) {
        out.send(format!("{} bytes\n", self.0).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The replies to `input`, whatever the pieces in which it arrives.
    fn replies(protocol: fn() -> Box<dyn Protocol>, input: &[u8]) -> Vec<u8> {
        let reply_to_pieces = |length| {
            let (mut protocol, mut out) = (protocol(), Outbox::default());
            for piece in input.chunks(length) {
                protocol.on_data(piece, &mut out);
            }
            protocol.on_eof(&mut out);
            out.bytes
        };
        let in_one_piece = reply_to_pieces(input.len());
        for length in 1..input.len() {
            assert_eq!(reply_to_pieces(length), in_one_piece, "pieces of {length}");
        }
        in_one_piece
    }

    #[test]
    fn protocols_are_tested_without_sockets() {
        let input = b"a b\nc\n";
        assert_eq!(replies(|| Box::new(Echo), input), input);
        assert_eq!(replies(|| Box::new(Upper), input), b"A B\nC\n");
        let count = replies(|| Box::new(Count::default()), input);
        assert_eq!(count, b"6 bytes\n");
    }
}
