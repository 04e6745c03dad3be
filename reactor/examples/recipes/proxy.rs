//! Recipe: a TCP proxy that passes everything on: bytes, the end of each direction, and failures.
//!
//! The two connections of a pair are each other's cause of output. A slow reader therefore pauses
//! *the other* connection, so that no more than the high-water mark and one read wait for each peer,
//! however much goes through. A FIN becomes a half-close of the other connection, and a failure
//! becomes a reset, so that no peer takes a truncated stream for a whole one.
//!
//! ```sh
//! cargo run -p edgeloop-reactor --example proxy 127.0.0.1:9877 127.0.0.1:9876
//! nc -N 127.0.0.1 9877 < README.md
//! ```

use edgeloop_reactor::{Address, Closed, ConnId, ConnMap, Data, Limits};
use edgeloop_reactor::{Opened, Outbox, Protocol, Reactor};

/// Tags: connections that were accepted, and those that this program makes.
const ACCEPTED: u64 = 0;
const UPSTREAM: u64 = 1;

struct Proxy {
    upstream: Address,
    sides: ConnMap<Side>,
}

/// One of the two connections of a pair. The pair is complete from the start, as a connect has its id
/// before it is open.
struct Side {
    other: ConnId,
    /// The peer has ended its direction.
    ended: bool,
}

impl Proxy {
    fn new(upstream: Address) -> Proxy {
        Proxy {
            upstream,
            sides: ConnMap::new(),
        }
    }

    fn other(&self, id: ConnId) -> Option<ConnId> {
        self.sides.get(id).map(|side| side.other)
    }

    fn add_side(&mut self, id: ConnId, other: ConnId) {
        let ended = false;
        self.sides.insert(id, Side { other, ended });
    }
}

impl Protocol for Proxy {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        if opened.tag == ACCEPTED {
            let server = out.connect(self.upstream.clone(), UPSTREAM);
            self.add_side(id, server);
            self.add_side(server, id);
            out.pause(id);
        } else if let Some(client) = self.other(id) {
            // A paused connection still hears of its peer's end, if nothing lies before it.
            if self.sides.get(client).is_some_and(|side| side.ended) {
                out.half_close(id);
            }
            out.resume(client);
        }
    }

    fn on_connect_error(&mut self, id: ConnId, _: u64, _: Closed, out: &mut Outbox) {
        if let Some(side) = self.sides.remove(id) {
            out.abort(side.other);
        }
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        if let Some(other) = self.other(id) {
            out.send(other, &data);
        }
    }

    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(side) = self.sides.get_mut(id) else {
            return;
        };
        side.ended = true;
        out.half_close(side.other);
    }

    fn on_high_water(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(other) = self.other(id) {
            out.pause(other);
        }
    }

    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(other) = self.other(id) {
            out.resume(other);
        }
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        let other = self.sides.remove(id).map(|side| side.other);
        match why {
            // Both directions have ended: the other connection closes when it has its last bytes.
            Closed::Eof | Closed::Shutdown => {}
            _ => other.into_iter().for_each(|other| out.abort(other)),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:9877".into());
    let upstream = arguments.next().unwrap_or("127.0.0.1:9876".into());
    // Names are looked up here: the loop does not wait for a resolver.
    let upstream = upstream.parse::<Address>()?.resolved()?;
    let mut reactor = Reactor::new(Proxy::new(upstream), Limits::default())?;
    reactor.handle_signals()?;
    let bound = reactor.listen_on(&address, ACCEPTED)?;
    eprintln!("listening on {}", bound[0]);
    Ok(reactor.run()?)
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::Script;

    use super::*;

    fn script() -> Script<Proxy> {
        Script::new(Proxy::new("127.0.0.1:9".parse().unwrap()))
    }

    /// The connect that was asked for last succeeds.
    fn connected(script: &mut Script<Proxy>) -> ConnId {
        let (server, ..) = script.take_connects().pop().unwrap();
        script.connected(server);
        server
    }

    #[test]
    fn what_came_before_the_connect_succeeded_is_passed_on() {
        let mut script = script();
        let client = script.open();
        assert!(script.is_paused(client));
        script.data(client, b"question");
        let server = connected(&mut script);
        assert_eq!(script.take_output(server), b"question");
        script.eof(client);
        assert!(script.is_half_closed(server));
        script.data(server, b"answer");
        script.eof(server);
        assert_eq!(script.take_output(client), b"answer");
        assert_eq!(script.closed(client), Some(Closed::Eof));
        assert_eq!(script.closed(server), Some(Closed::Eof));
    }

    #[test]
    fn an_early_end_is_not_forgotten() {
        let mut script = script();
        let client = script.open();
        script.eof(client);
        let server = connected(&mut script);
        assert!(script.is_half_closed(server));
    }

    #[test]
    fn a_failure_is_passed_on_as_a_reset() {
        let mut script = script();
        let client = script.open();
        let server = connected(&mut script);
        script.close(server, Closed::Reset);
        assert!(script.was_reset(client));
        let client = script.open();
        let (server, ..) = script.take_connects().pop().unwrap();
        script.connect_error(server, Closed::TimedOut);
        assert!(script.was_reset(client));
    }

    #[test]
    fn a_client_that_is_lost_takes_its_connect_with_it() {
        let mut script = script();
        let client = script.open();
        script.close(client, Closed::Reset);
        assert_eq!(script.take_connects(), []);
        assert!(script.protocol().sides.is_empty());
    }

    #[test]
    fn a_slow_reader_pauses_the_other_connection_and_not_itself() {
        let mut script = script();
        let client = script.open();
        let server = connected(&mut script);
        script.high_water(client, true);
        assert!(script.is_paused(server) && !script.is_paused(client));
        script.high_water(client, false);
        assert!(!script.is_paused(server));
    }
}
