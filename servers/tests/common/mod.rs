//! A chat on a real reactor that is turned by hand, and its clients, all on one thread.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use edgeloop::chat::{Chat, Settings};
use edgeloop_reactor::{ConnId, Direction, Limits, Reactor, Stats, Waker};

/// Longest wait for a condition; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The defaults, without a limit of the rate.
pub(crate) fn settings() -> Settings {
    Settings {
        rate: 0,
        ..Settings::default()
    }
}

pub(crate) struct Party {
    reactor: Reactor<Chat>,
    waker: Waker,
}

pub(crate) struct Client {
    pub(crate) id: ConnId,
    pub(crate) stream: UnixStream,
    /// An incomplete line.
    begun: Vec<u8>,
}

impl Party {
    pub(crate) fn new(settings: Settings, limits: Limits) -> Party {
        let mut reactor = Reactor::new(Chat::new(settings, None), limits).unwrap();
        let waker = reactor.waker().unwrap();
        Party { reactor, waker }
    }

    pub(crate) fn stats(&self) -> Stats {
        self.reactor.stats()
    }

    /// Turns the reactor once, without waiting for events.
    pub(crate) fn turn(&mut self) {
        self.waker.wake().unwrap();
        self.reactor.turn().unwrap();
    }

    pub(crate) fn until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < PATIENCE, "not after {PATIENCE:?}: {what}");
            self.turn();
        }
    }

    pub(crate) fn connect(&mut self) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let id = self.reactor.adopt(theirs.into(), Direction::Both, 0);
        let begun = Vec::new();
        let mut client = Client {
            id: id.unwrap(),
            stream: ours,
            begun,
        };
        assert!(self.next_line(&mut client).starts_with("Welcome!"));
        client
    }

    /// Joins a member, and reads its list of the room.
    pub(crate) fn join(&mut self, name: &str) -> Client {
        let mut client = self.connect();
        client.says(name);
        assert!(self.next_line(&mut client).starts_with("* The room "));
        client
    }

    pub(crate) fn next_line(&mut self, client: &mut Client) -> String {
        let mut line = None;
        self.until("a line comes", || {
            line = client.line();
            line.is_some()
        });
        line.unwrap_or_default()
    }
}

impl Client {
    pub(crate) fn says(&mut self, line: &str) {
        self.stream.write_all(line.as_bytes()).unwrap();
        self.stream.write_all(b"\n").unwrap();
    }

    /// Reads one line if it has arrived, and nothing beyond it.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut byte = [0];
        loop {
            match self.stream.read(&mut byte) {
                Ok(0) => panic!("the stream ended"),
                Ok(_) if byte == *b"\n" => {
                    let line = std::mem::take(&mut self.begun);
                    return Some(String::from_utf8(line).unwrap());
                }
                Ok(_) => self.begun.push(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }
}
