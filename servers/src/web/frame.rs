//! The frames of WebSocket (RFC 6455, section 5): bytes in, parts of messages out.
//!
//! A peer decides how its messages are cut into frames, the network how its frames are cut into reads.
//! So the decoder never waits for a frame to be whole: it hands out the bytes of a message as they
//! come, unmasked where they lie. It keeps what is small: the header of a frame while a part of it is
//! missing, the payload of a control frame likewise, which has 125 bytes at the most, and a character
//! that is cut in two. Between frames it keeps no memory of its own.
//!
//! A frame is refused as soon as the bytes that are wrong with it have come: the length of a message is
//! judged when a header announces it, and UTF-8 byte by byte.
//!
//! The frames of a client are masked and those of a server are not (section 5.3). All else is the same in
//! both directions, so servers and clients share this file.

use std::ops::Range;

use super::utf8::Utf8;

/// A status code of a close frame (RFC 6455, section 7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u16);

impl Code {
    /// The regular end.
    pub const NORMAL: Code = Code(1000);
    /// The end of a server that stops.
    pub const GOING_AWAY: Code = Code(1001);
    const PROTOCOL_ERROR: Code = Code(1002);
    const UNSUPPORTED: Code = Code(1003);
    const NO_TEXT: Code = Code(1007);
    /// The server has a rule against it.
    pub(super) const POLICY: Code = Code(1008);
    const TOO_BIG: Code = Code(1009);

    /// Whether a peer may send it in a frame.
    fn is_legal(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// A frame breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code to close with.
    pub code: Code,
    /// The rule, for the log.
    pub why: &'static str,
}

const fn wrong(why: &'static str) -> Failure {
    let code = Code::PROTOCOL_ERROR;
    Failure { code, why }
}

/// The frames that are taken.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The peer is a client, whose frames are masked.
    pub masked: bool,
    /// The longest message, in bytes, over all its frames.
    pub max_message: u32,
    /// Messages may be binary.
    pub binary: bool,
}

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// Something that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A part of a message.
    Part(Part),
    /// A ping, with its payload.
    Ping(Vec<u8>),
    /// The reply to a ping.
    Pong,
    /// The peer sends no more, and gives this code or none.
    Close(Option<Code>),
}

/// Bytes of a message: as many as there are of one frame, and in a text perhaps a part of a character.
/// They are empty only in a message, or at the end of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The kind of the message.
    pub kind: Kind,
    /// Where they lie in the input, unmasked.
    pub bytes: Range<usize>,
    /// The message begins with them.
    pub is_first: bool,
    /// The message ends with them.
    pub is_last: bool,
}

/// The mask of a frame of a client, as it is for the next byte of the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask(pub [u8; 4]);

impl Mask {
    /// Masks or unmasks the next bytes of the payload: both are the same.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        let mut wide = [0; 64];
        wide.as_chunks_mut().0.fill(self.0);
        let apply = |bytes: &mut [u8]| {
            bytes
                .iter_mut()
                .zip(wide)
                .for_each(|(byte, mask)| *byte ^= mask)
        };
        // A whole number of vector registers: the compiler makes vector instructions of the loop.
        let (chunks, rest) = bytes.as_chunks_mut::<64>();
        chunks.iter_mut().for_each(|chunk| apply(chunk));
        apply(rest);
        self.0.rotate_left(rest.len() % size_of::<Mask>());
    }
}

const OPCODE: u8 = 0x0f;
const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The longest payload of a control frame, and of a frame whose length is one byte.
const SHORT: usize = 125;
/// In place of a length: two bytes of length follow, or eight.
const LEN_16: u8 = 126;
const LEN_64: u8 = 127;
/// The longest header: 2 bytes, 8 of length, 4 of mask.
pub const HEADER_MAX: usize = 14;

/// A message of which a part has come, or is about to.
#[derive(Debug)]
struct Message {
    kind: Kind,
    /// Bytes of its frames so far, as far as their headers announce them.
    len: u32,
    /// A part of it was handed out.
    is_begun: bool,
    /// The frame whose payload is awaited is its last.
    is_last: bool,
    text: Utf8,
}

/// The state of one peer's stream.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The header of a frame, as far as it has come: `have` bytes.
    header: [u8; HEADER_MAX],
    have: u8,
    /// The payload of the current frame is awaited.
    in_payload: bool,
    /// Bytes of that payload that are still to come.
    left: u32,
    mask: Mask,
    message: Option<Message>,
    /// The payload of a control frame, as far as it has come.
    control: Vec<u8>,
}

impl Decoder {
    /// Decodes the input from `at` on up to the next event, unmasks what belongs to it, and moves `at`
    /// behind that. `None`: all input is used up. After a failure or a close it must not be called again.
    pub fn next(
        &mut self,
        input: &mut [u8],
        at: &mut usize,
        rules: Rules,
    ) -> Result<Option<Event>, Failure> {
        loop {
            if !self.in_payload && !self.take_header(input, at, rules)? {
                return Ok(None);
            }
            let count = (self.left as usize).min(input.len() - *at);
            let bytes = *at..*at + count;
            if count == 0 && self.left > 0 {
                return Ok(None);
            }
            *at += count;
            self.left -= count as u32;
            self.in_payload = self.left > 0;
            if self.header[1] & MASKED != 0 {
                self.mask.apply(&mut input[bytes.clone()]);
            }
            let event = match self.header[0] & OPCODE {
                opcode @ CLOSE.. => self.control(opcode, &input[bytes])?,
                _ => self.part(input, bytes)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Whether the peer has sent all its messages and frames whole: another decoder can go on.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.message.is_none() && !self.in_payload && self.have == 0
    }

    /// Takes in bytes of a header; true when it is complete.
    fn take_header(&mut self, input: &[u8], at: &mut usize, rules: Rules) -> Result<bool, Failure> {
        loop {
            let have = usize::from(self.have);
            let need = match have {
                0 | 1 => 2,
                _ => 2 + len_bytes(self.header[1]) + mask_bytes(self.header[1]),
            };
            if have == need {
                break;
            }
            let count = (need - have).min(input.len() - *at);
            if count == 0 {
                return Ok(false);
            }
            self.header[have..have + count].copy_from_slice(&input[*at..*at + count]);
            *at += count;
            self.have += count as u8;
            if have < 2 && self.have == 2 {
                self.check_start(rules)?;
            }
        }
        self.begin_frame(rules)?;
        Ok(true)
    }

    /// Checks the first two bytes of a header.
    fn check_start(&self, rules: Rules) -> Result<(), Failure> {
        let [first, second, ..] = self.header;
        let (opcode, is_fin) = (first & OPCODE, first & FIN != 0);
        if first & RESERVED != 0 {
            return Err(wrong("a reserved bit is set"));
        }
        match (rules.masked, second & MASKED != 0) {
            (true, false) => return Err(wrong("a frame of a client is not masked")),
            (false, true) => return Err(wrong("a frame of a server is masked")),
            _ => {}
        }
        match opcode {
            CONTINUATION if self.message.is_none() => {
                Err(wrong("a continuation without a message"))
            }
            TEXT | BINARY if self.message.is_some() => {
                Err(wrong("a message begins within another"))
            }
            BINARY if !rules.binary => {
                let code = Code::UNSUPPORTED;
                let why = "a binary message";
                Err(Failure { code, why })
            }
            CLOSE | PING | PONG if !is_fin => Err(wrong("a control frame is fragmented")),
            CLOSE | PING | PONG if usize::from(second & !MASKED) > SHORT => {
                Err(wrong("a control frame is longer than 125 bytes"))
            }
            CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG => Ok(()),
            _ => Err(wrong("a reserved opcode")),
        }
    }

    /// A header is complete.
    fn begin_frame(&mut self, rules: Rules) -> Result<(), Failure> {
        let len_bytes = len_bytes(self.header[1]);
        let (len, rest) = self.header[2..].split_at(len_bytes);
        let long = len.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let len = match len_bytes {
            0 => u64::from(self.header[1] & !MASKED),
            2 if long <= SHORT as u64 => return Err(wrong("a length has too many bytes")),
            8 if u16::try_from(long).is_ok() => return Err(wrong("a length has too many bytes")),
            8 if long >> 63 == 1 => return Err(wrong("a length has its highest bit set")),
            _ => long,
        };
        if let [mask, ..] = rest.as_chunks().0 {
            self.mask = Mask(*mask);
        }
        if self.header[0] & OPCODE < CLOSE {
            self.count(len, rules)?;
        }
        // A message that is longer than its limit is refused by now.
        self.left = len as u32;
        (self.have, self.in_payload) = (0, true);
        Ok(())
    }

    /// Adds a frame of this length to the message that it belongs to, or that it begins.
    fn count(&mut self, len: u64, rules: Rules) -> Result<(), Failure> {
        let kind = match self.header[0] & OPCODE {
            BINARY => Kind::Binary,
            _ => Kind::Text,
        };
        let message = self.message.get_or_insert_with(|| Message {
            kind,
            len: 0,
            is_begun: false,
            is_last: false,
            text: Utf8::default(),
        });
        message.is_last = self.header[0] & FIN != 0;
        let len = len.saturating_add(message.len.into());
        if len > rules.max_message.into() {
            let code = Code::TOO_BIG;
            let why = "a message is too long";
            return Err(Failure { code, why });
        }
        message.len = len as u32;
        Ok(())
    }

    /// Bytes of a message, as many as have come of its current frame.
    fn part(&mut self, input: &[u8], bytes: Range<usize>) -> Result<Option<Event>, Failure> {
        let Some(message) = &mut self.message else {
            return Ok(None);
        };
        let is_last = message.is_last && self.left == 0;
        if message.kind == Kind::Text {
            let is_text = message.text.push(&input[bytes.clone()]);
            if !is_text || is_last && !message.text.is_whole() {
                let code = Code::NO_TEXT;
                let why = "a text is not UTF-8";
                return Err(Failure { code, why });
            }
        }
        if bytes.is_empty() && !is_last {
            return Ok(None);
        }
        let is_first = !std::mem::replace(&mut message.is_begun, true);
        let kind = message.kind;
        if is_last {
            self.message = None;
        }
        Ok(Some(Event::Part(Part {
            kind,
            bytes,
            is_first,
            is_last,
        })))
    }

    /// Bytes of a control frame.
    fn control(&mut self, opcode: u8, bytes: &[u8]) -> Result<Option<Event>, Failure> {
        self.control.extend_from_slice(bytes);
        if self.in_payload {
            return Ok(None);
        }
        let payload = std::mem::take(&mut self.control);
        Ok(Some(match opcode {
            PING => Event::Ping(payload),
            PONG => Event::Pong,
            _ => Event::Close(close_code(&payload)?),
        }))
    }
}

/// The number of bytes of a length, by the second byte of a header.
fn len_bytes(second: u8) -> usize {
    match second & !MASKED {
        LEN_16 => 2,
        LEN_64 => 8,
        _ => 0,
    }
}

/// The number of bytes of a mask, likewise.
fn mask_bytes(second: u8) -> usize {
    if second & MASKED == 0 {
        0
    } else {
        size_of::<Mask>()
    }
}

/// The code in the payload of a close frame, which a reason in UTF-8 may follow.
fn close_code(payload: &[u8]) -> Result<Option<Code>, Failure> {
    let [high, low, reason @ ..] = payload else {
        return match payload {
            [] => Ok(None),
            _ => Err(wrong("half a code in a close frame")),
        };
    };
    let code = Code(u16::from_be_bytes([*high, *low]));
    if !code.is_legal() {
        return Err(wrong("a code in a close frame that none may send"));
    }
    if str::from_utf8(reason).is_err() {
        let code = Code::NO_TEXT;
        let why = "the reason in a close frame is not UTF-8";
        return Err(Failure { code, why });
    }
    Ok(Some(code))
}

/// Appends the header of a frame. A frame of a client has a mask.
fn push_header(first: u8, len: usize, mask: Option<Mask>, out: &mut Vec<u8>) {
    let masked = if mask.is_some() { MASKED } else { 0 };
    out.push(first);
    if len <= SHORT {
        out.push(masked | len as u8);
    } else if let Ok(len) = u16::try_from(len) {
        out.push(masked | LEN_16);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(masked | LEN_64);
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
    mask.iter().for_each(|mask| out.extend_from_slice(&mask.0));
}

/// Appends a whole frame.
fn push_frame(first: u8, payload: &[u8], mask: Option<Mask>, out: &mut Vec<u8>) {
    push_header(first, payload.len(), mask, out);
    let at = out.len();
    out.extend_from_slice(payload);
    if let Some(mut mask) = mask {
        mask.apply(&mut out[at..]);
    }
}

/// Appends a text message in one frame; the text is UTF-8. Here and below a client gives a mask.
pub fn push_text(text: &[u8], mask: Option<Mask>, out: &mut Vec<u8>) {
    push_frame(FIN | TEXT, text, mask, out);
}

/// Appends the header of a text message in one frame, whose payload, masked, follows in parts.
pub fn push_text_header(len: usize, mask: Option<Mask>, out: &mut Vec<u8>) {
    push_header(FIN | TEXT, len, mask, out);
}

/// Appends the header of a server's fragment that a part of a message is the payload of.
pub fn push_part_header(part: &Part, out: &mut Vec<u8>) {
    let opcode = match (part.is_first, part.kind) {
        (false, _) => CONTINUATION,
        (true, Kind::Text) => TEXT,
        (true, Kind::Binary) => BINARY,
    };
    let fin = if part.is_last { FIN } else { 0 };
    push_header(fin | opcode, part.bytes.len(), None, out);
}

/// Appends the reply to a ping.
pub fn push_pong(payload: &[u8], mask: Option<Mask>, out: &mut Vec<u8>) {
    push_frame(FIN | PONG, payload, mask, out);
}

/// Appends a close frame.
pub fn push_close(code: Option<Code>, mask: Option<Mask>, out: &mut Vec<u8>) {
    let code = code.map(|code| code.0.to_be_bytes());
    let code = code.as_ref().map_or(&[][..], |code| &code[..]);
    push_frame(FIN | CLOSE, code, mask, out);
}

/// A server's ping without a payload.
pub const HEARTBEAT: &[u8] = &[FIN | PING, 0];
/// A server's close frame with code 1000, the regular end.
pub const END: &[u8] = &[FIN | CLOSE, 2, 0x03, 0xe8];

#[cfg(test)]
mod tests;
