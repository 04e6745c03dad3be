//! The handshake that makes a WebSocket of an HTTP connection (RFC 6455, sections 4.1 and 4.2): the answer
//! of a server, and the request of a client.

use data_encoding::BASE64;
use httparse::{EMPTY_HEADER, Status};
use sha1_smol::Sha1;

use super::request::{HEADERS_MAX, Head, Headers};
use crate::harmless::harmless;

/// The beginning of every answer.
const HTTP: &[u8] = b"HTTP/1.1 ";
/// Bytes of a refusal's reason that are passed on.
const REASON_MAX: usize = 100;

/// The answer to the handshake with this key: from here on the connection is a WebSocket.
#[must_use]
pub fn granted(key: &str) -> Vec<u8> {
    let accept = accept(key);
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    head.into_bytes()
}

/// The proof that the server has read a key (RFC 6455, section 4.2.2).
fn accept(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(&hash.digest().bytes())
}

/// A client's handshake: a request that was sent, and the answer as far as it has come.
#[derive(Debug)]
pub struct Handshake {
    key: String,
    answer: Head,
}

impl Handshake {
    /// A handshake whose key is made of this number, which should be random. It asks for no extension.
    #[must_use]
    pub fn new(random: u128) -> Handshake {
        Handshake {
            key: BASE64.encode(&random.to_le_bytes()),
            answer: Head::default(),
        }
    }

    /// The request, to `path` at the server that `host` names, perhaps with a port.
    #[must_use]
    pub fn request(&self, host: &str, path: &str) -> String {
        let key = &self.key;
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
    }

    /// Takes in bytes of the answer. Returns how many of them belong to its head, if they complete it:
    /// the connection is a WebSocket then. Error: the server refuses, or speaks something else, in words
    /// that are harmless on a terminal; no more bytes must be given then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        let complete = self.answer.push(bytes);
        let known = HTTP.len().min(self.answer.bytes().len());
        if self.answer.bytes()[..known] != HTTP[..known] {
            return Err("this is no server of HTTP/1.1".into());
        }
        let Some(len) = complete.map_err(|_| "the head of the answer is too long")? else {
            return Ok(None);
        };
        self.check()?;
        Ok(Some(len))
    }

    /// Checks a complete answer.
    fn check(&self) -> Result<(), String> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut headers);
        let status = parsed.parse(self.answer.bytes());
        let (Ok(Status::Complete(_)), Some(code)) = (status, parsed.code) else {
            return Err("the answer is malformed".into());
        };
        if code != 101 {
            let reason = parsed.reason.unwrap_or_default().as_bytes();
            let reason = harmless(&reason[..reason.len().min(REASON_MAX)]);
            return Err(format!("{code} {reason}").trim_ascii_end().to_owned());
        }
        let headers = Headers(parsed.headers);
        let only = |name| headers.only(name).ok().flatten();
        if !headers.lists("upgrade", "websocket") || !headers.lists("connection", "upgrade") {
            return Err("the server changes to another protocol".into());
        }
        if only("sec-websocket-accept") != Some(&accept(&self.key)) {
            return Err("the server has not read the key".into());
        }
        match ["sec-websocket-extensions", "sec-websocket-protocol"].map(|name| headers.has(name)) {
            [false, false] => Ok(()),
            _ => Err("the server wants an extension that was not offered".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_that_of_the_standard() {
        assert_eq!(
            accept("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    /// The result of this answer, wherever it is cut: the bytes after its head, or the error.
    fn answered(answer: &str) -> Result<Option<usize>, String> {
        let run = |cut: usize| {
            let mut handshake = Handshake::new(7);
            let (first, second) = answer.as_bytes().split_at(cut);
            let left = |len: Option<usize>, rest: usize| len.map(|len| rest - len);
            match handshake.push(first)? {
                None => Ok(left(handshake.push(second)?, second.len())),
                len => Ok(left(len, first.len()).map(|left| left + second.len())),
            }
        };
        let whole = run(answer.len());
        for cut in 0..answer.len() {
            assert_eq!(run(cut), whole, "cut at {cut}");
        }
        whole
    }

    #[test]
    fn our_servers_answer_is_what_our_client_expects() {
        let handshake = Handshake::new(7);
        let request = handshake.request("localhost:80", "/room?a=b");
        let mut head = Head::default();
        assert_eq!(head.push(request.as_bytes()), Ok(Some(request.len())));
        let parsed = head.parse().unwrap();
        assert_eq!((parsed.host, parsed.path), ("localhost:80", "/room"));
        assert_eq!(
            (parsed.origin, parsed.websocket),
            (None, Some(&*handshake.key))
        );
        let answer = String::from_utf8(granted(&handshake.key)).unwrap();
        assert_eq!(answered(&(answer + "frame")), Ok(Some(5)));
    }

    #[test]
    fn a_refusal_is_told_in_its_own_words() {
        let good = String::from_utf8(granted(&Handshake::new(7).key)).unwrap();
        let long = format!("HTTP/1.1 101 Yes\r\nx: {}", "y".repeat(10_000));
        let without = |word: &str| good.replace(word, "other");
        for (answer, why) in [
            ("HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden"),
            ("HTTP/1.1 404\r\n\r\n", "404"),
            ("HTTP/1.1 200 O\u{1b}K\r\n\r\n", "the answer is malformed"),
            ("HTTP/1.1 1 OK\r\n\r\n", "the answer is malformed"),
            ("HTTP/1.0 101 Yes\r\n\r\n", "this is no server of HTTP/1.1"),
            ("What is your name?\n", "this is no server of HTTP/1.1"),
            (&long, "the head of the answer is too long"),
            (
                &without("websocket"),
                "the server changes to another protocol",
            ),
            (
                &without("Connection"),
                "the server changes to another protocol",
            ),
            (&without("="), "the server has not read the key"),
            (&without("Accept"), "the server has not read the key"),
            (
                &good.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: x\r\n\r\n"),
                "the server wants an extension that was not offered",
            ),
        ] {
            assert_eq!(answered(answer), Err(why.to_owned()), "{answer:?}");
        }
        assert_eq!(answered("HTTP/1.1 10"), Ok(None));
    }
}
