//! The end that a peer sees: a FIN where the stream is whole, a reset where it is not.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use common::{alone, turn_until};
use edgeloop_reactor::{Closed, ConnId, Data, Direction, Limits, Outbox, Protocol, Reactor};

/// Does what the first byte says.
#[derive(Default)]
struct Ends {
    closed: Option<Closed>,
}

/// More than the kernel takes for a peer that does not read.
const MUCH: usize = 12 * 1024 * 1024;

impl Protocol for Ends {
    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        out.send(id, b"bye");
        match data[0] {
            b'a' => out.abort(id),
            b'c' => out.close(id),
            b'f' => out.finish(id),
            b'h' => {
                out.hold(id);
                out.close(id);
            }
            b'm' => out.send(id, &vec![b'x'; MUCH]),
            b's' => out.stop(),
            b'w' => out.hold(id),
            _ => {}
        }
    }

    fn on_high_water(&mut self, _: ConnId, _: &mut Outbox) {}

    fn on_close(&mut self, _: ConnId, why: Closed, _: &mut Outbox) {
        self.closed = Some(why);
    }
}

/// A reactor with one TCP connection, which has heard this.
fn told(what: &[u8], limits: Limits) -> (Reactor<Ends>, TcpStream) {
    let mut reactor = Reactor::new(Ends::default(), limits).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let ours = OwnedFd::from(listener.accept().unwrap().0);
    reactor.adopt(ours, Direction::Both, 0).unwrap();
    peer.write_all(what).unwrap();
    (reactor, peer)
}

/// The connection closes for this cause, and its peer reads on to the end of the stream.
fn end(what: &[u8], limits: Limits, why: Closed) -> (usize, Option<ErrorKind>) {
    let (mut reactor, mut peer) = told(what, limits);
    turn_until(&mut reactor, |ends| ends.closed.is_some());
    assert_eq!(reactor.protocol().closed, Some(why));
    let mut received = Vec::new();
    let end = peer.read_to_end(&mut received);
    assert!(received.starts_with(b"bye"), "{} bytes", received.len());
    (received.len(), end.err().map(|error| error.kind()))
}

const RESET: Option<ErrorKind> = Some(ErrorKind::ConnectionReset);
const SHORT: Duration = Duration::from_millis(50);

#[test]
fn an_abort_is_a_reset_and_a_close_is_none() {
    alone(|| {
        assert_eq!(end(b"a", Limits::default(), Closed::Aborted), (3, RESET));
        assert_eq!(end(b"c", Limits::default(), Closed::Finished), (3, None));
        assert_eq!(end(b"h", Limits::default(), Closed::Finished), (3, None));
    });
}

#[test]
fn a_finish_ends_the_stream() {
    alone(|| {
        let limits = Limits {
            linger_timeout: SHORT,
            ..Limits::default()
        };
        assert_eq!(end(b"f", limits, Closed::Finished), (3, None));
    });
}

#[test]
fn an_idle_connection_ends_in_good_order() {
    alone(|| {
        let limits = Limits {
            idle_timeout: SHORT,
            ..Limits::default()
        };
        assert_eq!(end(b"-", limits, Closed::Idle), (3, None));
    });
}

#[test]
fn a_stalled_peer_and_a_slow_one_are_reset() {
    alone(|| {
        let stalls = Limits {
            stall_timeout: SHORT,
            ..Limits::default()
        };
        let (received, end_of_stalled) = end(b"m", stalls, Closed::Stalled);
        assert!(received < MUCH);
        assert_eq!(end_of_stalled, RESET);
        let slow = Limits {
            queue_limit: Some(1_000),
            ..Limits::default()
        };
        let (received, end_of_slow) = end(b"m", slow, Closed::SlowConsumer);
        assert!(received < MUCH);
        assert_eq!(end_of_slow, RESET);
    });
}

#[test]
fn output_that_the_grace_period_cuts_is_reset() {
    alone(|| {
        let limits = Limits {
            grace: SHORT,
            ..Limits::default()
        };
        let (mut reactor, mut peer) = told(b"m", limits);
        while reactor.stats().bytes_out == 0 {
            reactor.turn().unwrap();
        }
        reactor.stop();
        reactor.run().unwrap();
        assert_eq!(reactor.protocol().closed, Some(Closed::Shutdown));
        let cut = peer.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_reply_that_is_still_to_come_when_the_grace_period_ends_is_cut_off() {
    alone(|| {
        let limits = Limits {
            grace: SHORT,
            ..Limits::default()
        };
        let (mut reactor, mut peer) = told(b"w", limits);
        while reactor.stats().bytes_out == 0 {
            reactor.turn().unwrap();
        }
        reactor.stop();
        reactor.run().unwrap();
        let cut = peer.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_stop_without_pending_output_ends_the_stream() {
    alone(|| assert_eq!(end(b"s", Limits::default(), Closed::Shutdown), (3, None)));
}
