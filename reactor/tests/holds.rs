//! Connections that wait for the protocol: holds, and two kinds of pauses.

mod common;

use std::io::Read;
use std::time::Duration;

use common::{adopt_socket, alone, turn_until};
use edgeloop_reactor::{Closed, ConnId, Data, Limits, Outbox, Protocol, Reactor, Script};

const SECOND: Duration = Duration::from_secs(1);

/// Computes its replies elsewhere: holds a connection from its input until [`Later::reply`].
#[derive(Default)]
struct Later {
    heard: Vec<u8>,
    closed: Option<Closed>,
}

impl Protocol for Later {
    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        self.heard.extend_from_slice(&data);
        out.hold(id);
    }

    fn on_close(&mut self, _: ConnId, why: Closed, _: &mut Outbox) {
        self.closed = Some(why);
    }
}

fn reply(id: ConnId, out: &mut Outbox) {
    out.send(id, b"reply");
    out.release(id);
}

fn asked() -> (Script<Later>, ConnId) {
    let mut script = Script::new(Later::default());
    let client = script.open();
    script.data(client, b"question");
    (script, client)
}

#[test]
fn a_client_that_half_closes_gets_the_reply_that_is_being_computed() {
    let (mut script, client) = asked();
    script.eof(client);
    assert_eq!(script.closed(client), None);
    script.call(|_, out| reply(client, out));
    assert_eq!(script.take_output(client), b"reply");
    assert!(script.closed(client).is_some());
}

#[test]
fn a_stop_waits_for_the_reply_that_is_being_computed() {
    let (mut script, client) = asked();
    let idle = script.open();
    script.stop();
    assert_eq!(script.closed(idle), Some(Closed::Shutdown));
    assert_eq!(script.closed(client), None);
    script.call(|_, out| reply(client, out));
    assert_eq!(script.take_output(client), b"reply");
    assert_eq!(script.closed(client), Some(Closed::Shutdown));
}

#[test]
fn an_abort_does_not_wait_for_a_release() {
    let (mut script, client) = asked();
    script.call(|_, out| out.abort(client));
    assert_eq!(script.closed(client), Some(Closed::Aborted));
    script.call(|_, out| reply(client, out));
}

#[test]
fn a_stop_does_not_wait_for_a_release_beyond_the_grace_period() {
    alone(|| {
        let limits = Limits {
            grace: Duration::from_millis(50),
            ..Limits::default()
        };
        let mut reactor = Reactor::new(Later::default(), limits).unwrap();
        let (id, mut peer) = adopt_socket(&mut reactor, 0);
        reactor.call(|_, out| out.hold(id));
        reactor.stop();
        reactor.run().unwrap();
        assert_eq!(reactor.protocol().closed, Some(Closed::Shutdown));
        assert_eq!(
            peer.read(&mut [0]).unwrap(),
            0,
            "a Unix socket has no reset"
        );
    });
}

#[test]
fn a_connection_is_not_idle_while_its_reply_is_being_computed() {
    alone(|| {
        let limits = Limits {
            idle_timeout: Duration::from_millis(50),
            ..Limits::default()
        };
        let mut reactor = Reactor::new(Later::default(), limits).unwrap();
        let (held, _held_peer) = adopt_socket(&mut reactor, 0);
        reactor.call(|_, out| out.hold(held));
        let (_, idle_peer) = adopt_socket(&mut reactor, 0);
        turn_until(&mut reactor, |later| later.closed == Some(Closed::Idle));
        drop(idle_peer);
        assert_eq!(reactor.stats().connections, 1, "the held one stays");
        reactor.call(|later, out| {
            later.closed = None;
            out.release(held);
        });
        turn_until(&mut reactor, |later| later.closed == Some(Closed::Idle));
    });
}

/// Pauses its client for a reason of its own until it is told to resume.
#[derive(Default)]
struct Paused {
    heard: Vec<u8>,
}

impl Protocol for Paused {
    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        self.heard.extend_from_slice(&data);
        out.pause(id);
    }
}

/// The default of `on_low_water` once lifted every pause.
#[test]
fn the_end_of_backpressure_does_not_lift_a_pause_of_the_protocol() {
    let mut script = Script::new(Paused::default());
    let client = script.open();
    script.data(client, b"1");
    script.high_water(client, true);
    script.data(client, b"2");
    script.high_water(client, false);
    script.advance(SECOND);
    assert_eq!(script.protocol().heard, b"1");
    assert!(script.is_paused(client));
    script.call(|_, out| out.resume(client));
    assert_eq!(script.protocol().heard, b"12");
}

#[test]
fn a_resume_does_not_lift_backpressure() {
    let mut script = Script::new(Paused::default());
    let client = script.open();
    script.high_water(client, true);
    script.call(|_, out| out.resume(client));
    script.data(client, b"1");
    assert_eq!(script.protocol().heard, b"");
    script.high_water(client, false);
    assert_eq!(script.protocol().heard, b"1");
}
