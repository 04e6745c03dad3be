//! A chat with pages and clients of `nc`, and the frames that pages send and receive.

use std::time::Duration;

use edgeloop::chat::{Chat, Settings};
use edgeloop::web::{Page, Policy, Site, Web};
use edgeloop_reactor::{ConnId, Script};

pub(crate) const WEB: u64 = Web::<Chat>::TAG;
pub(crate) const TCP: u64 = 0;
pub(crate) const STDIN: u64 = 1;
pub(crate) const STDOUT: u64 = 2;
pub(crate) const WELCOME: &str = "Welcome! What is your name?";
pub(crate) const TOKEN: &str = "token=0123456789abcdef";
pub(crate) const GOING_AWAY: [u8; 2] = 1001u16.to_be_bytes();
pub(crate) const DONE: [u8; 2] = 1000u16.to_be_bytes();

pub(crate) fn web(settings: Settings) -> Web<Chat> {
    let site = Site::of_lines(Policy::default(), "/room", settings.max_line);
    let site = site.with_page("/", Page::text("a page"));
    Web::new(Chat::new(settings, None), site)
}

pub(crate) fn settings() -> Settings {
    Settings {
        history: 100,
        ..Settings::default()
    }
}

/// The request of a WebSocket, with this query.
pub(crate) fn request(query: &str) -> Vec<u8> {
    let query = match query {
        "" => String::new(),
        query => format!("?{query}"),
    };
    format!(
        "GET /room{query} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

/// A frame of a client, of less than 64 KiB, whose mask is 0.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0xfe);
            frame.extend((len as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

pub(crate) fn say(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// The text messages of a server's output, and the code of its close frame.
pub(crate) fn messages(mut output: &[u8]) -> (Vec<String>, Option<u16>) {
    let (mut messages, mut code) = (Vec::new(), None);
    while let [first, len, rest @ ..] = output {
        let (len, rest) = match len {
            126 => {
                let (len, rest) = rest.split_at(2);
                (u16::from_be_bytes([len[0], len[1]]).into(), rest)
            }
            len => (usize::from(*len), rest),
        };
        let (payload, rest) = rest.split_at(len);
        assert_eq!(code, None, "a frame behind the close frame");
        match first {
            0x81 => messages.push(String::from_utf8(payload.to_vec()).unwrap()),
            0x88 => code = Some(u16::from_be_bytes([payload[0], payload[1]])),
            0x89 => {}
            other => panic!("frame {other:#x}"),
        }
        output = rest;
    }
    (messages, code)
}

/// The output behind the head of the handshake's answer.
pub(crate) fn behind_head(output: &[u8]) -> &[u8] {
    assert!(output.starts_with(b"HTTP/1.1 101 "), "{output:?}");
    let at = output.windows(4).position(|four| four == b"\r\n\r\n");
    &output[at.unwrap() + 4..]
}

pub(crate) struct Party {
    pub(crate) script: Script<Web<Chat>>,
}

impl Party {
    pub(crate) fn new() -> Party {
        Party::with(settings())
    }

    pub(crate) fn with(settings: Settings) -> Party {
        Party {
            script: Script::new(web(settings)),
        }
    }

    /// A WebSocket with this query, and what it is told first.
    pub(crate) fn visit(&mut self, query: &str) -> (ConnId, Vec<String>) {
        let id = self.script.open_tagged(WEB);
        self.script.data(id, &request(query));
        let output = self.script.take_output(id);
        (id, messages(behind_head(&output)).0)
    }

    /// A WebSocket that has joined, and the number of messages that it was sent.
    pub(crate) fn join(&mut self, query: &str, name: &str) -> (ConnId, u64) {
        let (id, welcome) = self.visit(query);
        assert_eq!(welcome, [WELCOME]);
        self.says(id, name);
        let told = self.hears(id);
        assert!(told[0].starts_with("* The room "), "{told:?}");
        (id, 1 + told.len() as u64)
    }

    /// A member over TCP.
    pub(crate) fn join_tcp(&mut self, name: &str) -> ConnId {
        let id = self.script.open_tagged(TCP);
        self.types(id, name);
        assert!(self.reads(id).contains("\n* The room "));
        id
    }

    /// A WebSocket that comes back, and what it is told.
    pub(crate) fn back(&mut self, seen: u64) -> (ConnId, Vec<String>) {
        self.visit(&format!("{TOKEN}&seen={seen}"))
    }

    pub(crate) fn says(&mut self, id: ConnId, text: &str) {
        self.script.data(id, &say(text));
    }

    pub(crate) fn hears(&mut self, id: ConnId) -> Vec<String> {
        messages(&self.script.take_output(id)).0
    }

    /// The code of the close frame that ends the output.
    pub(crate) fn code(&mut self, id: ConnId) -> Option<u16> {
        messages(&self.script.take_output(id)).1
    }

    pub(crate) fn types(&mut self, id: ConnId, line: &str) {
        self.script.data(id, format!("{line}\n").as_bytes());
    }

    pub(crate) fn reads(&mut self, id: ConnId) -> String {
        String::from_utf8(self.script.take_output(id)).unwrap()
    }

    pub(crate) fn ends_with(&mut self, id: ConnId, code: [u8; 2]) {
        self.script.data(id, &frame(0x88, &code));
        self.script.eof(id);
        assert!(self.script.closed(id).is_some());
    }

    pub(crate) fn seconds_pass(&mut self, seconds: u64) {
        self.script.advance(Duration::from_secs(seconds));
    }
}
