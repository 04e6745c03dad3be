//! A browser's page, as far as the server knows it: a WebSocket, and a count of messages.

use std::net::TcpStream;

use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket, client};

use crate::chat::assert_harmless;
use crate::client::{dial, reset};
use crate::server::{Launch, Server};

/// The question for a name.
pub const WELCOME: &str = "Welcome! What is your name?";
/// A token that a page has, as the query of its WebSocket.
pub const TOKEN: &str = "token=0123456789abcdef-secret";

/// A chat for `nc` and for browsers, with these options.
pub fn room(options: &[&str]) -> Launch {
    Launch::new("chat", &["127.0.0.1:0", "http://127.0.0.1:0"]).args(options)
}

/// A page with its WebSocket.
#[derive(Debug)]
pub struct Page {
    /// The WebSocket.
    pub socket: WebSocket<TcpStream>,
    /// Number of messages that it has received.
    pub seen: u64,
}

impl Page {
    /// Opens a WebSocket with this query.
    #[must_use]
    pub fn open(server: &Server, query: &str) -> Page {
        Page::on(dial(server.http()), server, query)
    }

    /// As `open`, on this connection.
    #[must_use]
    pub fn on(stream: TcpStream, server: &Server, query: &str) -> Page {
        let address = format!("ws://{}/room?{query}", server.http());
        let (socket, answer) = client(address, stream).expect("a handshake");
        assert_eq!(answer.status(), 101);
        Page { socket, seen: 0 }
    }

    /// Opens a WebSocket, gives this name, and reads the list of members.
    #[must_use]
    pub fn join(server: &Server, query: &str, name: &str) -> Page {
        Page::open(server, query).joined(name)
    }

    /// Gives this name, and reads the list of members.
    #[must_use]
    pub fn joined(mut self, name: &str) -> Page {
        self.hears(WELCOME);
        self.say(name);
        let present = self.next();
        assert!(present.starts_with("* The room "), "{present:?}");
        self
    }

    /// Opens another connection of this page.
    #[must_use]
    pub fn back(&self, server: &Server) -> Page {
        let query = format!("{TOKEN}&seen={}", self.seen);
        let seen = self.seen;
        Page {
            seen,
            ..Page::open(server, &query)
        }
    }

    /// Sends a line.
    pub fn say(&mut self, line: &str) {
        self.socket.send(Message::text(line)).expect("sent");
    }

    /// The next text message.
    #[allow(clippy::should_implement_trait, reason = "it does not end, it fails")]
    pub fn next(&mut self) -> String {
        loop {
            match self.socket.read().expect("a message") {
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Text(text) => {
                    self.seen += 1;
                    assert_harmless(&text);
                    return text.as_str().to_owned();
                }
                message => panic!("{message:?}"),
            }
        }
    }

    /// Checks that the next line is this one.
    pub fn hears(&mut self, line: &str) {
        assert_eq!(self.next(), line);
    }

    /// The code of the close frame that ends the WebSocket, after all text messages.
    pub fn code(&mut self) -> u16 {
        loop {
            match self.socket.read().expect("a message") {
                Message::Close(Some(frame)) => return frame.code.into(),
                Message::Close(None) => panic!("no code"),
                _ => {}
            }
        }
    }

    /// Closes the WebSocket with this code, and reads the answer.
    pub fn close(mut self, code: u16) {
        let code = CloseCode::from(code);
        let reason = "".into();
        self.socket
            .close(Some(CloseFrame { code, reason }))
            .expect("a close frame");
        assert_eq!(self.code(), u16::from(code));
    }

    /// Breaks the connection off with an RST.
    pub fn reset(self) {
        // Unlike a drop, this sends no close frame.
        reset(self.socket.into_inner());
    }
}
