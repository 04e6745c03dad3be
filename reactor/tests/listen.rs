//! Accepting: who comes in when many are at the door.

mod common;

use std::net::TcpStream;

use common::{Heard, alone, echo, reactor_with, read_some, turn_at_once, turn_until, write_some};
use edgeloop_reactor::{Limits, Opened};

/// Many at one door keep nobody waiting at another, nor who is inside already.
#[test]
fn no_turn_accepts_more_than_its_budget() {
    alone(|| {
        const BUDGET: u64 = 4;
        let limits = Limits {
            accept_budget: BUDGET as usize,
            ..Limits::default()
        };
        let mut reactor = reactor_with(limits, echo);
        let [busy, quiet] = [0, 1].map(|tag| {
            let bound = reactor.listen("0", tag).unwrap();
            bound[0].socket_addr().unwrap()
        });
        let crowd: Vec<_> = (0..50).map(|_| TcpStream::connect(busy).unwrap()).collect();
        turn_at_once(&mut reactor);
        assert_eq!(reactor.stats().accepted, BUDGET);

        let other = TcpStream::connect(quiet).unwrap();
        other.set_nonblocking(true).unwrap();
        write_some(&other, b"hello");
        let mut inside = reactor.stats().accepted;
        while inside < 51 {
            reactor.turn().unwrap();
            let now = reactor.stats().accepted;
            assert!(now - inside <= 2 * BUDGET, "{now} after {inside}");
            inside = now;
        }
        turn_until(&mut reactor, |_| read_some(&other) == b"hello");
        let position = |wanted| {
            let opened = reactor
                .protocol()
                .heard
                .iter()
                .filter_map(|heard| match heard {
                    Heard::Open(_, Opened { tag, .. }) => Some(*tag),
                    _ => None,
                });
            opened.enumerate().find(|(_, tag)| *tag == wanted)
        };
        let (before_the_other, _) = position(1).unwrap();
        assert!(
            before_the_other <= 3 * BUDGET as usize,
            "{before_the_other}"
        );
        drop(crowd);
    });
}
