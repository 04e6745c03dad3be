//! RESP2, the protocol of Redis: replies in, commands out.
//!
//! The decoder takes bytes as they come. What it keeps of one reply has bounds; what exceeds them is
//! read over, and the reply has [`Value::Skipped`] in its place. So whatever lies in Redis, the
//! connection goes on.

use std::mem;

/// Longest string that is kept, in bytes.
pub(super) const BULK_MAX: usize = 256 * 1024;
/// Most bytes of strings that are kept of one reply.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most values that are kept of one reply.
const VALUES_MAX: usize = 64 * 1024;
/// Deepest nesting of arrays. Replies to the commands of the client have four levels.
const DEPTH_MAX: usize = 8;
/// Longest line, in bytes: a status, an error, a number.
const LINE_MAX: usize = 64 * 1024;

/// A reply, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Status(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    Array(Vec<Value>),
    Nil,
    /// It was too long, or there were too many.
    Skipped,
}

/// The bytes are not RESP2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonsense;

/// Replies from bytes.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The line that is not complete yet.
    line: Vec<u8>,
    bulk: Option<Bulk>,
    /// The arrays that are not complete yet, the outermost first.
    arrays: Vec<Partial>,
    /// The part of the present reply that is kept.
    bytes: usize,
    values: usize,
}

#[derive(Debug)]
struct Bulk {
    bytes: Vec<u8>,
    /// Bytes that are still to come, the newline included.
    left: usize,
    is_kept: bool,
}

#[derive(Debug)]
struct Partial {
    values: Vec<Value>,
    left: u64,
    /// There was room for it when it began: whatever it has too much of, it has a place itself.
    is_kept: bool,
}

impl Decoder {
    /// The next reply, from the front of `bytes`; `None` if more bytes are needed, all of these being
    /// consumed.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Value>, Nonsense> {
        while !bytes.is_empty() {
            let value = match self.bulk.take() {
                Some(bulk) => self.take_bulk(bulk, bytes)?,
                None => self.take_line(bytes)?,
            };
            if let Some(reply) = value.and_then(|value| self.complete(value)) {
                (self.bytes, self.values) = (0, 0);
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    fn take_bulk(&mut self, mut bulk: Bulk, bytes: &mut &[u8]) -> Result<Option<Value>, Nonsense> {
        let (now, rest) = bytes.split_at(bulk.left.min(bytes.len()));
        *bytes = rest;
        let text = now.len().min(bulk.left.saturating_sub(2));
        if bulk.is_kept {
            bulk.bytes.extend_from_slice(&now[..text]);
        }
        // The string is followed by a newline, of which one byte or both are here.
        for (index, byte) in now.iter().enumerate().skip(text) {
            let expected = if bulk.left - index == 2 { b'\r' } else { b'\n' };
            if *byte != expected {
                return Err(Nonsense);
            }
        }
        bulk.left -= now.len();
        if bulk.left > 0 {
            self.bulk = Some(bulk);
            return Ok(None);
        }
        Ok(Some(match bulk.is_kept {
            true => Value::Bulk(bulk.bytes),
            false => Value::Skipped,
        }))
    }

    fn take_line(&mut self, bytes: &mut &[u8]) -> Result<Option<Value>, Nonsense> {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let (now, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        *bytes = rest;
        if self.line.len() + now.len() > LINE_MAX {
            return Err(Nonsense);
        }
        self.line.extend_from_slice(now);
        if end.is_none() {
            return Ok(None);
        }
        let line = mem::take(&mut self.line);
        let (kind, text) = line
            .strip_suffix(b"\r\n")
            .and_then(<[u8]>::split_first)
            .ok_or(Nonsense)?;
        match kind {
            b'+' => Ok(Some(Value::Status(text.into()))),
            b'-' => Ok(Some(Value::Error(text.into()))),
            b':' => Ok(Some(Value::Integer(number(text)?))),
            b'$' => self.begin_bulk(number(text)?),
            b'*' => self.begin_array(number(text)?),
            _ => Err(Nonsense),
        }
    }

    fn begin_bulk(&mut self, len: i64) -> Result<Option<Value>, Nonsense> {
        if len == -1 {
            return Ok(Some(Value::Nil));
        }
        let len = usize::try_from(len).map_err(|_| Nonsense)?;
        let is_kept = len <= BULK_MAX && self.bytes + len <= BYTES_MAX;
        self.bytes += if is_kept { len } else { 0 };
        self.bulk = Some(Bulk {
            bytes: Vec::new(),
            left: len.checked_add(2).ok_or(Nonsense)?,
            is_kept,
        });
        Ok(None)
    }

    fn begin_array(&mut self, len: i64) -> Result<Option<Value>, Nonsense> {
        match len {
            -1 => Ok(Some(Value::Nil)),
            0 => Ok(Some(Value::Array(Vec::new()))),
            1.. if self.arrays.len() < DEPTH_MAX => {
                self.values += 1;
                self.arrays.push(Partial {
                    values: Vec::new(),
                    left: len as u64,
                    is_kept: self.values <= VALUES_MAX,
                });
                Ok(None)
            }
            _ => Err(Nonsense),
        }
    }

    /// A value is complete, and perhaps the arrays that it is the last one of. Returns a whole reply.
    fn complete(&mut self, mut value: Value) -> Option<Value> {
        self.values += 1;
        let mut is_kept = self.values <= VALUES_MAX;
        while let Some(array) = self.arrays.last_mut() {
            if is_kept {
                array.values.push(value);
            } else if array.is_kept && array.values.last() != Some(&Value::Skipped) {
                array.values.push(Value::Skipped);
            }
            array.left -= 1;
            if array.left > 0 {
                return None;
            }
            let array = self.arrays.pop()?;
            (value, is_kept) = (Value::Array(array.values), array.is_kept);
        }
        Some(value)
    }
}

fn number(text: &[u8]) -> Result<i64, Nonsense> {
    let text = str::from_utf8(text).map_err(|_| Nonsense)?;
    text.parse().map_err(|_| Nonsense)
}

/// Appends a command.
pub(super) fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    let head = |out: &mut Vec<u8>, kind: u8, len: usize| {
        out.push(kind);
        out.extend_from_slice(len.to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    head(out, b'*', words.len());
    for word in words {
        head(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::{ConnId, Data, Outbox, Protocol, every_split};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Tells the replies that it receives.
    #[derive(Default)]
    struct Teller(Decoder);

    impl Protocol for Teller {
        fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
            let mut bytes = &data[..];
            loop {
                match self.0.next(&mut bytes) {
                    Ok(Some(value)) => out.send(id, format!("{value:?}\n").as_bytes()),
                    Ok(None) => return,
                    Err(Nonsense) => {
                        out.send(id, b"nonsense\n");
                        return out.finish(id);
                    }
                }
            }
        }
    }

    fn told(input: &[u8]) -> String {
        String::from_utf8(every_split(Teller::default, input)).expect("text")
    }

    #[test]
    fn replies_are_decoded_however_they_are_cut() {
        let input = b"+OK\r\n-ERR no\r\n:-7\r\n$5\r\na\r\nbc\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n\
            *2\r\n*2\r\n$1\r\nx\r\n*1\r\n:1\r\n$-1\r\n+END\r\n";
        let expected = [
            r"Status([79, 75])",
            r"Error([69, 82, 82, 32, 110, 111])",
            "Integer(-7)",
            "Bulk([97, 13, 10, 98, 99])",
            "Bulk([])",
            "Nil",
            "Nil",
            "Array([])",
            "Array([Array([Bulk([120]), Array([Integer(1)])]), Nil])",
            "Status([69, 78, 68])",
            "",
        ];
        assert_eq!(told(input), expected.join("\n"));
    }

    #[test]
    fn nonsense_is_refused() {
        for input in [
            &b"?\r\n"[..],
            b"\r\n",
            b"+OK\n",
            b"$x\r\n",
            b"$-2\r\n",
            b"*-2\r\n",
            b"$1\r\nab\r\n",
            b"$1\r\na\n\n",
            b":\r\n",
            b"$99999999999999999999\r\n",
            &b"*1\r\n".repeat(DEPTH_MAX + 1),
        ] {
            assert_eq!(told(input), "nonsense\n", "{input:?}");
        }
        let mut decoder = Decoder::default();
        let line = vec![b'+'; LINE_MAX + 1];
        assert_eq!(decoder.next(&mut &line[..]), Err(Nonsense));
    }

    fn one(input: &[u8]) -> Value {
        let (mut decoder, mut bytes) = (Decoder::default(), input);
        let value = decoder.next(&mut bytes).expect("RESP").expect("a reply");
        assert!(bytes.is_empty());
        assert_eq!((decoder.bytes, decoder.values), (0, 0));
        value
    }

    #[test]
    fn what_is_too_long_is_read_over() {
        let long = vec![b'x'; BULK_MAX + 1];
        let mut input = format!("*2\r\n${}\r\n", long.len()).into_bytes();
        input.extend_from_slice(&long);
        input.extend_from_slice(b"\r\n:1\r\n");
        let expected = vec![Value::Skipped, Value::Integer(1)];
        assert_eq!(one(&input), Value::Array(expected));
        let mut many = format!("*{}\r\n", 2 * VALUES_MAX).into_bytes();
        many.extend_from_slice(&b":1\r\n".repeat(2 * VALUES_MAX));
        let Value::Array(kept) = one(&many) else {
            panic!("an array");
        };
        assert_eq!(kept.len(), VALUES_MAX);
        assert_eq!(kept.last(), Some(&Value::Skipped));
        let nested = [&b"*1\r\n*2\r\n:7\r\n"[..], &many].concat();
        let Value::Array(outer) = one(&nested) else {
            panic!("an array");
        };
        let Some(Value::Array(inner)) = outer.first() else {
            panic!("an array");
        };
        assert_eq!(inner[0], Value::Integer(7));
        assert!(matches!(&inner[1], Value::Array(kept) if kept.len() < VALUES_MAX));
    }

    #[test]
    fn a_length_alone_takes_no_memory() {
        let mut decoder = Decoder::default();
        let mut bytes = &b"*9000000000000000000\r\n$9000000000000000000\r\nabc"[..];
        assert_eq!(decoder.next(&mut bytes), Ok(None));
        let kept = decoder.bulk.map(|bulk| bulk.bytes.len());
        assert_eq!(kept, Some(0));
    }

    #[test]
    fn a_command_is_an_array_of_strings() {
        let mut out = Vec::new();
        command(&mut out, &[b"XADD", b"", b"a\r\nb"]);
        assert_eq!(out, b"*3\r\n$4\r\nXADD\r\n$0\r\n\r\n$4\r\na\r\nb\r\n");
        let words = [&b"XADD"[..], b"", b"a\r\nb"].map(|word| Value::Bulk(word.into()));
        assert_eq!(one(&out), Value::Array(words.into()));
    }

    proptest! {
        /// Any bytes, in any pieces: the same replies, or the same refusal.
        #[test]
        fn hostile_bytes_are_decoded_alike_in_any_pieces(
            parts in vec(
                prop_oneof![
                    Just(b"*2\r\n".to_vec()),
                    Just(b"$3\r\nabc\r\n".to_vec()),
                    Just(b"$-1\r\n".to_vec()),
                    Just(b":5\r\n".to_vec()),
                    vec(any::<u8>(), 0..6),
                ],
                0..12,
            ),
        ) {
            told(&parts.concat());
        }
    }
}
