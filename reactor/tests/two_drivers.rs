//! One core, two drivers: a protocol gets the same callbacks, and sends the same bytes, with
//! [`Script`] and with [`Reactor`].
//!
//! Regression: when the script followed rules of its own, each of these tests had two outcomes.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use common::{alone, turn_until};
use edgeloop_reactor::{
    Closed, ConnId, Data, Direction, Limits, Outbox, Protocol, Reactor, Script,
};

/// A protocol that acts upon the first byte of its input, and records its callbacks.
#[derive(Default)]
struct Notes {
    heard: Vec<u8>,
    ended: bool,
    timers: usize,
    services: usize,
    closed: Option<Closed>,
}

impl Protocol for Notes {
    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        self.heard.extend_from_slice(&data);
        match data[0] {
            b'a' => {
                out.send(id, b"bye");
                out.abort(id);
            }
            b'h' => out.half_close(id),
            b'l' => {
                out.send(id, b"half-closed, so this is ignored");
                out.finish(id);
            }
            b'p' => out.pause(id),
            b't' => {
                out.finish(id);
                out.set_timer(id, Duration::from_millis(1));
            }
            _ => {}
        }
    }

    fn on_eof(&mut self, _: ConnId, _: &mut Outbox) {
        self.ended = true;
    }

    fn on_timer(&mut self, _: ConnId, _: &mut Outbox) {
        self.timers += 1;
    }

    fn on_service_timer(&mut self, _: &mut Outbox) {
        self.services += 1;
    }

    fn on_close(&mut self, _: ConnId, why: Closed, _: &mut Outbox) {
        self.closed = Some(why);
    }
}

/// The protocol on a reactor, and the peer of its one connection.
struct Real {
    reactor: Reactor<Notes>,
    peer: TcpStream,
}

impl Real {
    fn new() -> Real {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peer.set_nodelay(true).unwrap();
        let (ours, _) = listener.accept().unwrap();
        let mut reactor = Reactor::new(Notes::default(), Limits::default()).unwrap();
        reactor
            .adopt(OwnedFd::from(ours), Direction::Both, 0)
            .unwrap();
        Real { reactor, peer }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.peer.write_all(bytes).unwrap();
    }

    fn until(&mut self, done: impl FnMut(&Notes) -> bool) {
        turn_until(&mut self.reactor, done);
    }

    /// A few turns, in which a wrong callback would have time to come.
    fn rest(&mut self) {
        let before = self.reactor.protocol().services;
        for round in 1..=5 {
            self.reactor
                .call(|_, out| out.set_service_timer(Duration::from_millis(5)));
            turn_until(&mut self.reactor, |notes| notes.services == before + round);
        }
    }

    /// All bytes that the peer receives until the end of the stream.
    fn received(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.peer.read_to_end(&mut bytes).unwrap();
        bytes
    }
}

#[test]
fn bytes_sent_before_an_abort_are_offered_to_the_kernel() {
    alone(|| {
        let mut script = Script::new(Notes::default());
        let client = script.open();
        script.data(client, b"a");
        assert_eq!(script.take_output(client), b"bye");
        assert_eq!(script.closed(client), Some(Closed::Aborted));

        let mut real = Real::new();
        real.say(b"a");
        real.until(|notes| notes.closed == Some(Closed::Aborted));
        let mut bye = [0; 3];
        real.peer.read_exact(&mut bye).unwrap();
        assert_eq!(&bye, b"bye");
        let end = real.peer.read(&mut bye).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::ConnectionReset);
        assert!(script.was_reset(client));
    });
}

#[test]
fn a_half_closed_connection_ends_with_its_peer() {
    alone(|| {
        let mut script = Script::new(Notes::default());
        let client = script.open();
        script.data(client, b"h");
        assert_eq!(script.closed(client), None);
        script.eof(client);
        assert_eq!(script.closed(client), Some(Closed::Eof));

        let mut real = Real::new();
        real.say(b"h");
        real.until(|notes| notes.heard == b"h");
        assert_eq!(real.reactor.protocol().closed, None);
        real.peer.shutdown(Shutdown::Write).unwrap();
        real.until(|notes| notes.closed == Some(Closed::Eof));
        assert!(real.reactor.protocol().ended);
    });
}

/// Regression: bytes that were sent after the half-close went to a socket that was shut down, and
/// the connection closed as if its peer had reset it.
#[test]
fn a_send_between_a_half_close_and_a_finish_is_ignored() {
    alone(|| {
        let mut script = Script::new(Notes::default());
        let client = script.open();
        script.data(client, b"h");
        script.data(client, b"l");
        assert_eq!(script.take_output(client), b"");
        assert_eq!(script.closed(client), Some(Closed::Finished));

        let mut real = Real::new();
        real.say(b"h");
        real.until(|notes| notes.heard == b"h");
        real.say(b"l");
        real.until(|notes| notes.heard == b"hl");
        assert_eq!(real.received(), b"");
        real.peer.shutdown(Shutdown::Write).unwrap();
        real.until(|notes| notes.closed.is_some());
        assert_eq!(real.reactor.protocol().closed, Some(Closed::Finished));
    });
}

#[test]
fn a_paused_connection_hears_no_data() {
    alone(|| {
        let mut script = Script::new(Notes::default());
        let client = script.open();
        script.data(client, b"p");
        script.data(client, b"more");
        assert_eq!(script.protocol().heard, b"p");
        script.call(|_, out| out.resume(client));
        assert_eq!(script.protocol().heard, b"pmore");

        let mut real = Real::new();
        real.say(b"p");
        real.until(|notes| notes.heard == b"p");
        real.say(b"more");
        real.rest();
        assert_eq!(real.reactor.protocol().heard, b"p");
    });
}

#[test]
fn the_timer_of_a_finished_connection_does_not_fire() {
    alone(|| {
        let mut script = Script::new(Notes::default());
        let client = script.open();
        script.data(client, b"t");
        script.advance(Duration::from_secs(1));
        assert_eq!(script.protocol().timers, 0);

        let mut real = Real::new();
        real.say(b"t");
        real.until(|notes| notes.heard == b"t");
        real.rest();
        assert_eq!(real.reactor.protocol().timers, 0);
    });
}
