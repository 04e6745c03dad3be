//! Timers on the real clock. A timer that fires early fails a test; one that fires late does not,
//! for a loaded machine may be late.

mod common;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{
    Heard, PATIENCE, adopt_socket, alone, reactor, reactor_with, sink, turn_at_once, turn_until,
};
use edgeloop_reactor::process::raise_descriptor_limit;
use edgeloop_reactor::{Closed, ConnId, Data, Limits, Outbox, Protocol, Script};

const MS: Duration = Duration::from_millis(1);

#[test]
fn timers_fire_in_the_order_of_their_deadlines() {
    alone(|| {
        let mut reactor = reactor(|_, _| {});
        let peers = [(); 4].map(|()| adopt_socket(&mut reactor, 0));
        let [first, second, third, fourth] = [0, 1, 2, 3].map(|index: usize| peers[index].0);
        let start = Instant::now();
        reactor.call(|_, out| {
            out.set_timer(fourth, 60 * MS);
            out.set_timer(third, 40 * MS);
            out.set_timer(second, 10 * MS);
            out.set_service_timer(30 * MS);
            out.set_timer(first, 20 * MS);
            // The second timer is set again, behind all others, and the fourth is cleared.
            out.set_timer(second, 50 * MS);
            out.clear_timer(fourth);
        });
        turn_until(&mut reactor, |notes| {
            notes.count(&Heard::Timer(second)) == 1
        });
        assert!(start.elapsed() >= 49 * MS, "{:?}", start.elapsed());
        drop(peers);
        sleep(20 * MS);
        turn_at_once(&mut reactor);
        let timers: Vec<_> = (reactor.protocol().heard.iter())
            .filter(|heard| matches!(heard, Heard::Timer(_) | Heard::ServiceTimer))
            .collect();
        let (first, second) = (Heard::Timer(first), Heard::Timer(second));
        let third = Heard::Timer(third);
        assert_eq!(timers, [&first, &Heard::ServiceTimer, &third, &second]);
    });
}

#[test]
fn a_timer_fires_once_for_each_time_it_is_set() {
    alone(|| {
        let mut left = 5;
        let mut reactor = reactor(move |_, out| {
            left -= 1;
            if left > 0 {
                out.set_service_timer(5 * MS);
            }
        });
        let start = Instant::now();
        reactor.call(|_, out| out.set_service_timer(5 * MS));
        reactor.run().unwrap();
        assert!(start.elapsed() >= 5 * 4 * MS, "{:?}", start.elapsed());
        assert_eq!(reactor.protocol().heard, [const { Heard::ServiceTimer }; 5]);
    });
}

/// The loop turns all the time, so that a timer has many occasions to be early.
#[test]
fn no_timer_fires_before_its_time() {
    alone(|| {
        const AFTER: Duration = Duration::from_millis(3);
        let mut reactor = reactor(|heard, out| {
            if *heard == Heard::ServiceTimer {
                out.set_service_timer(AFTER);
            }
        });
        let start = Instant::now();
        let mut set_in = start;
        reactor.call(|_, out| out.set_service_timer(AFTER));
        let mut fired = 0;
        while start.elapsed() < 200 * MS {
            let this_turn = Instant::now();
            turn_at_once(&mut reactor);
            if reactor.protocol().count(&Heard::ServiceTimer) > fired {
                let waited = set_in.elapsed();
                assert!(waited >= AFTER, "{waited:?} instead of {AFTER:?}");
                (fired, set_in) = (fired + 1, this_turn);
            }
        }
        assert!(fired > 0);
    });
}

/// A timer that is set between two turns counts from then, not from the turn before.
#[test]
fn time_passes_between_turns_too() {
    alone(|| {
        let mut reactor = reactor(|_, _| {});
        sleep(50 * MS);
        let start = Instant::now();
        reactor.call(|_, out| out.set_service_timer(40 * MS));
        while reactor.protocol().count(&Heard::ServiceTimer) == 0 {
            turn_at_once(&mut reactor);
        }
        assert!(start.elapsed() >= 39 * MS, "{:?}", start.elapsed());
    });
}

#[test]
fn a_connection_that_is_new_is_not_idle() {
    alone(|| {
        let limits = Limits {
            idle_timeout: 40 * MS,
            ..Limits::default()
        };
        let mut reactor = reactor_with(limits, sink);
        sleep(50 * MS);
        let start = Instant::now();
        let (_, _peer) = adopt_socket(&mut reactor, 0);
        turn_until(&mut reactor, |notes| !notes.closed().is_empty());
        assert!(start.elapsed() >= 39 * MS, "{:?}", start.elapsed());
    });
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    alone(|| {
        let limits = Limits {
            idle_timeout: 400 * MS,
            ..Limits::default()
        };
        let start = Instant::now();
        let mut reactor = reactor_with(limits, |heard, out| {
            if let Heard::Timer(id) = heard {
                out.send(*id, b"still here");
                out.set_timer(*id, 10 * MS);
            }
        });
        let (idle, _silent) = adopt_socket(&mut reactor, 0);
        let (busy, _peer) = adopt_socket(&mut reactor, 0);
        reactor.call(|_, out| out.set_timer(busy, 10 * MS));
        turn_until(&mut reactor, |notes| !notes.closed().is_empty());
        assert!(start.elapsed() >= 399 * MS, "{:?}", start.elapsed());
        let notes = reactor.protocol();
        assert_eq!(notes.count(&Heard::Close(idle, Closed::Idle)), 1);
        assert_eq!(reactor.stats().closed_idle, 1);
        assert_eq!(reactor.stats().connections, 1);
    });
}

/// After `finish` the protocol hears of the close and of nothing else.
#[test]
fn the_timer_of_a_finished_connection_does_not_fire() {
    alone(|| {
        let limits = Limits {
            stall_timeout: 50 * MS,
            ..Limits::default()
        };
        let mut reactor = reactor_with(limits, |_, _| {});
        let (id, _peer) = adopt_socket(&mut reactor, 0);
        reactor.call(|_, out| {
            out.set_timer(id, MS);
            out.send(id, &vec![0; 4 * 1024 * 1024]);
            out.finish(id);
        });
        reactor.run().unwrap();
        let heard = &reactor.protocol().heard[1..];
        assert_eq!(heard, [Heard::Close(id, Closed::Stalled)]);
    });
}

#[test]
fn a_reactor_with_nothing_to_wait_for_returns() {
    alone(|| {
        let mut empty = reactor(|_, _| {});
        empty.run().unwrap();
        assert_eq!(empty.stats().turns, 0);

        let mut timed = reactor(|_, _| {});
        timed.call(|_, out| out.set_service_timer(MS));
        timed.run().unwrap();
        assert_eq!(timed.protocol().heard, [Heard::ServiceTimer]);

        let mut listening = reactor(|_, out| out.stop_listening());
        listening.listen_on("0", 0).unwrap();
        listening.listen_on("udp://0", 0).unwrap();
        listening.call(|_, out| out.set_service_timer(MS));
        listening.run().unwrap();

        let mut connected = reactor(sink);
        let (_, peer) = adopt_socket(&mut connected, 0);
        drop(peer);
        connected.run().unwrap();
        assert_eq!(connected.stats().closed_eof, 1);
    });
}

/// Idle connections cost no time, though each has a deadline.
#[test]
fn ten_thousand_idle_connections_cause_no_turns() {
    alone(|| {
        let descriptors = raise_descriptor_limit().unwrap() as usize;
        let count = (descriptors.saturating_sub(100) / 2).min(10_000);
        let limits = Limits {
            idle_timeout: Duration::from_secs(3_600),
            ..Limits::default()
        };
        let mut reactor = reactor_with(limits, |_, _| {});
        let peers: Vec<_> = (0..count).map(|_| adopt_socket(&mut reactor, 0)).collect();
        // Each connection has a first edge, since it can be written to.
        while reactor.stats().events < peers.len() as u64 {
            reactor.turn().unwrap();
        }
        let before = reactor.stats();
        reactor.call(|_, out| out.set_service_timer(300 * MS));
        turn_until(&mut reactor, |notes| {
            notes.heard.last() == Some(&Heard::ServiceTimer)
        });
        let after = reactor.stats();
        let turns = after.turns - before.turns;
        assert!(turns <= 2, "{turns} turns with {count} idle connections");
        assert_eq!(after.events, before.events);
        assert_eq!(after.timers, before.timers + 1);
    });
}

#[test]
fn a_timer_of_zero_fires_in_the_next_turn_and_once_a_turn() {
    alone(|| {
        let mut reactor = reactor(|heard, out| {
            if *heard == Heard::ServiceTimer {
                out.set_service_timer(Duration::ZERO);
            }
        });
        reactor.call(|_, out| out.set_service_timer(Duration::ZERO));
        for fired in 1..=3 {
            reactor.turn().unwrap();
            assert_eq!(reactor.protocol().count(&Heard::ServiceTimer), fired);
        }
        reactor.call(|_, out| out.clear_service_timer());
        turn_at_once(&mut reactor);
        assert_eq!(reactor.protocol().count(&Heard::ServiceTimer), 3);
    });
}

#[test]
fn a_timer_at_a_time_that_is_past_fires_once_a_turn_too() {
    alone(|| {
        let mut reactor = reactor(|heard, out| {
            if *heard == Heard::ServiceTimer {
                out.set_service_timer_at(Duration::ZERO);
            }
        });
        reactor.call(|_, out| out.set_service_timer_at(Duration::ZERO));
        for fired in 1..=3 {
            reactor.turn().unwrap();
            assert_eq!(reactor.protocol().count(&Heard::ServiceTimer), fired);
        }
    });
}

/// The wait was once computed from the time before the callbacks: a timer was late by all the time
/// that they had taken.
#[test]
fn a_wait_is_shorter_by_the_time_that_callbacks_have_taken() {
    const TAKEN: Duration = Duration::from_millis(50);
    alone(|| {
        let mut reactor = reactor(|heard, _| {
            let start = Instant::now();
            while *heard == Heard::Wake && start.elapsed() < TAKEN {}
        });
        let deadline = 10 * PATIENCE;
        reactor.call(|_, out| out.set_service_timer(deadline));
        turn_at_once(&mut reactor);
        let wait = reactor.timeout().unwrap();
        assert!(wait + TAKEN <= deadline + 2 * MS, "{wait:?}");
    });
}

/// Ticks every 20 ms.
struct Ticker {
    next: Duration,
    ticks: Vec<Duration>,
}

impl Protocol for Ticker {
    fn on_data(&mut self, _: ConnId, _: Data<'_>, _: &mut Outbox) {}

    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.ticks.push(out.now());
        self.next += 20 * MS;
        out.set_service_timer_at(self.next);
    }
}

#[test]
fn ticks_do_not_drift() {
    let next = Duration::ZERO;
    let mut script = Script::new(Ticker {
        next,
        ticks: Vec::new(),
    });
    script.call(|_, out| out.set_service_timer_at(next));
    // The clock moves in steps that are no divisors of the interval.
    (0..100).for_each(|_| script.advance(7 * MS));
    let ticks = (0..=35).map(|number| number * 20 * MS);
    assert!(script.protocol().ticks.iter().copied().eq(ticks));
}
