//! The head of an HTTP request: parsed once, when it is complete.
//!
//! A parser that is called for each piece of a head costs the square of the head's length, which is how
//! a popular library came to CVE-2023-43669. So the bytes are collected, and only the new ones are
//! searched for the end.

use httparse::{EMPTY_HEADER, Error, Status};
use memchr::memmem;

use super::response::{Answered, Refusal};

/// The longest head, in bytes, and the most headers in it.
const HEAD_MAX: usize = 8 * 1024;
pub(super) const HEADERS_MAX: usize = 64;
/// The empty line that ends a head, with the end of the line before it.
const END: &[u8] = b"\r\n\r\n";

/// A head as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Head {
    bytes: Vec<u8>,
}

impl Head {
    /// Takes in bytes. Returns how many of them belong to the head, if they complete it. Error: the head
    /// is too long.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        let before = self.bytes.len();
        let room = HEAD_MAX - before;
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        let from = before.saturating_sub(END.len() - 1);
        if let Some(at) = memmem::find(&self.bytes[from..], END) {
            self.bytes.truncate(from + at + END.len());
            return Ok(Some(self.bytes.len() - before));
        }
        match self.bytes.len() < HEAD_MAX {
            true => Ok(None),
            false => Err(Refusal::HeadTooLong),
        }
    }

    /// The head, as far as it has come.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The request in a complete head: a GET.
    pub(super) fn parse(&self) -> Result<Request<'_>, Refusal> {
        self.parse_as(&["GET"])
    }

    /// The request in a complete head, whose method is one of these.
    pub(crate) fn parse_as(&self, methods: &[&str]) -> Result<Request<'_>, Refusal> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(&self.bytes) {
            Ok(Status::Complete(len)) if len == self.bytes.len() => {}
            Err(Error::TooManyHeaders) => return Err(Refusal::HeadTooLong),
            _ => return Err(Refusal::Malformed),
        }
        Request::new(&parsed, methods)
    }
}

/// A request that this server understands: one without a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    pub(super) method: &'a str,
    /// The client will have another request on this connection.
    pub(super) keeps_alive: bool,
    /// The path, and the query that follows it after a `?`; empty if there is none.
    pub(crate) path: &'a str,
    pub(super) query: &'a str,
    /// The values of `Host`, which there must be, and `Origin`.
    pub(super) host: &'a str,
    pub(super) origin: Option<&'a str>,
    /// The key of a WebSocket handshake, if it is one.
    pub(super) websocket: Option<&'a str>,
}

impl<'a> Request<'a> {
    fn new(parsed: &httparse::Request<'_, 'a>, methods: &[&str]) -> Result<Request<'a>, Refusal> {
        let method = parsed.method.unwrap_or_default();
        if !methods.contains(&method) {
            return Err(Refusal::NotGet);
        }
        let target = parsed.path.unwrap_or_default();
        if !target.starts_with('/') {
            return Err(Refusal::Malformed);
        }
        let headers = Headers(parsed.headers);
        // A body that is not read would be taken for something else by a proxy or by us.
        if headers.has("content-length") || headers.has("transfer-encoding") {
            return Err(Refusal::Body);
        }
        let host = headers.only("host")?.ok_or(Refusal::Malformed)?;
        let is_http_1_1 = parsed.version == Some(1);
        // A browser sends no fragment.
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Request {
            method,
            keeps_alive: is_http_1_1 && !headers.lists("connection", "close"),
            path,
            query,
            host,
            origin: headers.only("origin")?,
            websocket: headers.websocket(is_http_1_1)?,
        })
    }

    /// The manner of its answer, if the connection may be kept.
    pub(crate) fn answered(&self) -> Answered {
        Answered {
            is_head: self.method == "HEAD",
            keeps_alive: self.keeps_alive,
        }
    }
}

/// The headers of a request, or of an answer.
pub(super) struct Headers<'h, 'a>(pub(super) &'h [httparse::Header<'a>]);

impl<'a> Headers<'_, 'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let is = move |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name);
        self.0.iter().filter(is).map(|header| header.value)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// The value of a header that must not come twice.
    pub(super) fn only(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        let mut values = self.all(name);
        match (values.next().map(str::from_utf8), values.next()) {
            (None, _) => Ok(None),
            (Some(Ok(value)), None) => Ok(Some(value.trim_ascii())),
            _ => Err(Refusal::Malformed),
        }
    }

    /// Whether a header, which may come several times, has this word in its list.
    pub(super) fn lists(&self, name: &str, word: &str) -> bool {
        let mut words = self
            .all(name)
            .flat_map(|value| value.split(|byte| *byte == b','));
        words.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The key of a WebSocket handshake (RFC 6455, section 4.2.1), if the request asks for one.
    fn websocket(&self, is_http_1_1: bool) -> Result<Option<&'a str>, Refusal> {
        if !self.lists("upgrade", "websocket") {
            return Ok(None);
        }
        if !is_http_1_1 || !self.lists("connection", "upgrade") {
            return Err(Refusal::Malformed);
        }
        if self.only("sec-websocket-version")? != Some("13") {
            return Err(Refusal::Version);
        }
        let key = self.only("sec-websocket-key")?.ok_or(Refusal::Malformed)?;
        let bytes = data_encoding::BASE64.decode(key.as_bytes());
        match bytes.is_ok_and(|bytes| bytes.len() == 16) {
            true => Ok(Some(key)),
            false => Err(Refusal::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn head(text: &str) -> Head {
        let mut head = Head::default();
        let len = head.push(text.as_bytes());
        assert_eq!(len.unwrap(), Some(text.len()), "{text:?}");
        head
    }

    /// The refusal of a GET with these lines.
    fn refusal(lines: &str) -> Option<Refusal> {
        let text = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
        head(&text).parse().err()
    }

    #[test]
    fn a_handshake_is_understood() {
        let text = format!(
            "GET /room?a=b HTTP/1.1\r\nhost:  localhost:8080 \r\nConnection: keep-alive, Upgrade\r\n\
             UPGRADE: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\
             Origin: http://localhost:8080\r\nX-Other: \u{e9}\r\n\r\n"
        );
        let expected = Request {
            method: "GET",
            keeps_alive: true,
            path: "/room",
            query: "a=b",
            host: "localhost:8080",
            origin: Some("http://localhost:8080"),
            websocket: Some(KEY),
        };
        assert_eq!(head(&text).parse().unwrap(), expected);
    }

    #[test]
    fn a_get_is_all_that_is_understood() {
        for (request, refusal) in [
            ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::NotGet),
            ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::NotGet),
            ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::NotGet),
            ("get / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::NotGet),
            (
                "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
                Refusal::Malformed,
            ),
            ("GET / HTTP/1.1\r\n\r\n", Refusal::Malformed),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Refusal::Malformed),
            ("GET /\r\n\r\n", Refusal::Malformed),
            ("hello\r\n\r\n", Refusal::Malformed),
            ("\x16\x03\x01\x02\0\r\n\r\n", Refusal::Malformed),
        ] {
            assert_eq!(head(request).parse(), Err(refusal), "{request:?}");
        }
        assert_eq!(
            head("GET /a HTTP/1.0\r\nHost: a\r\n\r\n")
                .parse()
                .unwrap()
                .path,
            "/a"
        );
    }

    #[test]
    fn a_body_is_refused_and_so_is_what_could_be_read_in_two_ways() {
        for lines in [
            "Content-Length: 0\r\n",
            "content-length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(refusal(lines), Some(Refusal::Body), "{lines:?}");
        }
        for lines in [
            "Host: other\r\n",
            "Origin: http://a\r\nOrigin: http://b\r\n",
            "A : b\r\n",
            " folded: line\r\n",
            "no colon\r\n",
            "Origin: \u{1}\r\n",
        ] {
            assert_eq!(refusal(lines), Some(Refusal::Malformed), "{lines:?}");
        }
    }

    #[test]
    fn a_handshake_has_a_version_and_a_key() {
        let with = |lines: &str| refusal(&format!("Upgrade: websocket\r\n{lines}"));
        let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
        let all = format!("Connection: upgrade\r\nSec-WebSocket-Version: 13\r\n{key}");
        assert_eq!(with(&all), None);
        for (lines, expected) in [
            (all.replace("upgrade", "close"), Refusal::Malformed),
            (all.replace("13", "8"), Refusal::Version),
            (
                all.replace("Sec-WebSocket-Version: 13\r\n", ""),
                Refusal::Version,
            ),
            (all.replace(&key, ""), Refusal::Malformed),
            (
                all.replace(KEY, "dGhlIHNhbXBsZSBub25jZQ"),
                Refusal::Malformed,
            ),
            (all.replace(KEY, "AAAA"), Refusal::Malformed),
            (format!("{all}{key}"), Refusal::Malformed),
        ] {
            assert_eq!(with(&lines), Some(expected), "{lines:?}");
        }
        assert_eq!(
            refusal("Upgrade: h2c\r\nConnection: Upgrade\r\n"),
            None,
            "no handshake of ours"
        );
    }

    #[test]
    fn a_head_has_its_bounds() {
        let line = |index: usize| format!("x{index}: y\r\n");
        let lines: Vec<String> = (0..HEADERS_MAX - 1).map(line).collect();
        assert_eq!(refusal(&lines.concat()), None);
        assert_eq!(
            refusal(&(lines.concat() + "z: y\r\n")),
            Some(Refusal::HeadTooLong)
        );
        let padded = |len: usize| {
            let (start, end) = ("GET / HTTP/1.1\r\nHost: a\r\nx: ", "\r\n\r\n");
            format!("{start}{}{end}", "y".repeat(len - start.len() - end.len()))
        };
        assert!(head(&padded(HEAD_MAX)).parse().is_ok());
        let long = padded(HEAD_MAX + 1);
        assert_eq!(
            Head::default().push(long.as_bytes()),
            Err(Refusal::HeadTooLong)
        );
        let mut head = Head::default();
        assert_eq!(head.push(&long.as_bytes()[..HEAD_MAX - 1]), Ok(None));
        assert_eq!(
            head.push(&long.as_bytes()[HEAD_MAX - 1..]),
            Err(Refusal::HeadTooLong)
        );
    }

    proptest! {
        #[test]
        fn the_end_is_found_wherever_the_head_is_cut(cuts in prop::collection::vec(1..30usize, 1..8)) {
            let text = "GET / HTTP/1.1\r\nHost: a\r\n\r\nand what follows\r\n\r\n";
            let (mut head, mut rest) = (Head::default(), text.as_bytes());
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                if let Some(len) = head.push(piece).unwrap() {
                    let left = &text.as_bytes()[text.len() - (piece.len() - len + after.len())..];
                    prop_assert_eq!(left, b"and what follows\r\n\r\n");
                    break;
                }
                rest = after;
            }
            prop_assert!(head.parse().is_ok());
        }

        #[test]
        fn random_bytes_are_refused_in_good_order(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut head = Head::default();
            if head.push(&[&bytes[..], END].concat()).unwrap().is_some() {
                prop_assert!(head.parse().is_err());
            }
        }
    }
}
