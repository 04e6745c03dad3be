//! Signals as events. Each is sent to the test's own thread, where it is blocked, and so reaches no
//! other test.

mod common;

use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use common::{Heard, PATIENCE, adopt_socket, alone, noise, reactor, reactor_with};
use edgeloop_reactor::process::raise_descriptor_limit;
use edgeloop_reactor::terminal::REDRAW_SIGNALS;
use edgeloop_reactor::{
    Closed, Events, Interest, Limits, Outbox, Poll, Protocol, Reactor, SignalAction, Signals, Token,
};
use nix::libc;
use nix::sys::signal::{Signal, raise};

#[test]
fn each_signal_becomes_its_action() {
    alone(|| {
        let signals = Signals::new().unwrap();
        assert_eq!(signals.next(), None);
        for (signal, action) in [
            (Signal::SIGTERM, SignalAction::Stop),
            (Signal::SIGINT, SignalAction::Stop),
            (Signal::SIGUSR1, SignalAction::Report),
            (Signal::SIGHUP, SignalAction::Reload),
        ] {
            raise(signal).unwrap();
            assert_eq!(signals.next(), Some(action), "{signal}");
            assert_eq!(signals.next(), None, "{signal}");
        }
        // Several pending signals of one kind are one.
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGINT] {
            raise(signal).unwrap();
        }
        let heard = [signals.next(), signals.next(), signals.next()];
        let stop = Some(SignalAction::Stop);
        assert_eq!(heard, [stop, stop, None]);
    });
}

#[test]
fn signals_can_be_waited_for() {
    alone(|| {
        let signals = Signals::new().unwrap();
        let (poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(1));
        poll.add(&signals, Token(7), Interest::IN).unwrap();
        poll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
        raise(Signal::SIGUSR1).unwrap();
        poll.wait(&mut events, Some(PATIENCE)).unwrap();
        assert_eq!(events.get(0).map(|event| event.token), Some(Token(7)));
        assert_eq!(signals.next(), Some(SignalAction::Report));
    });
}

#[test]
fn a_reactor_stops_upon_a_signal_and_at_once_upon_the_second() {
    alone(|| {
        let limits = Limits {
            grace: 10 * PATIENCE,
            ..Limits::default()
        };
        let mut reactor = reactor_with(limits, |_, _| {});
        reactor.handle_signals().unwrap();
        let (id, _reads_nothing) = adopt_socket(&mut reactor, 0);
        // More bytes than the kernel holds for a peer that does not read.
        reactor.call(|_, out| out.send(id, &noise(8 * 1024 * 1024)));
        raise(Signal::SIGTERM).unwrap();
        while reactor.protocol().count(&Heard::Stop) == 0 {
            reactor.turn().unwrap();
        }
        assert_eq!(reactor.protocol().closed(), []);
        raise(Signal::SIGTERM).unwrap();
        reactor.run().unwrap();
        assert_eq!(reactor.protocol().closed(), [Closed::Shutdown]);
    });
}

#[test]
fn sighup_is_passed_to_the_protocol() {
    alone(|| {
        let mut reactor = reactor(|_, _| {});
        reactor.handle_signals().unwrap();
        raise(Signal::SIGHUP).unwrap();
        reactor.turn().unwrap();
        assert_eq!(reactor.protocol().heard, [Heard::Reload]);
    });
}

/// A letter for each callback.
struct Signalled(Vec<u8>);

impl Protocol for Signalled {
    fn on_service_timer(&mut self, _: &mut Outbox) {
        self.0.push(b't');
    }
}

#[test]
fn other_signals_have_callbacks_of_their_own() {
    alone(|| {
        let mut reactor = Reactor::new(Signalled(Vec::new()), Limits::default()).unwrap();
        let hook = |signalled: &mut Signalled, out: &mut Outbox| {
            signalled.0.push(b'r');
            out.set_service_timer(Duration::ZERO);
        };
        let too_early = reactor.on_signals(&REDRAW_SIGNALS, hook).unwrap_err();
        assert_eq!(too_early.raw_os_error(), Some(libc::EINVAL));
        reactor.handle_signals().unwrap();
        for taken in [libc::SIGTERM, libc::SIGHUP, 1_000] {
            let error = reactor.on_signals(&[taken], hook).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{taken}");
        }
        reactor.on_signals(&REDRAW_SIGNALS, hook).unwrap();
        reactor
            .on_signals(&[libc::SIGUSR2], |signalled, _| signalled.0.push(b'u'))
            .unwrap();
        for (signal, heard) in [
            (Signal::SIGWINCH, &b"rt"[..]),
            (Signal::SIGCONT, b"rtrt"),
            (Signal::SIGUSR2, b"rtrtu"),
        ] {
            raise(signal).unwrap();
            while reactor.protocol().0.len() < heard.len() {
                reactor.turn().unwrap();
            }
            assert_eq!(reactor.protocol().0, heard, "{signal}");
        }
        // A signal that stops the reactor still does.
        raise(Signal::SIGTERM).unwrap();
        reactor.run().unwrap();
    });
}

#[test]
fn grace_left_is_the_rest_of_the_grace_period() {
    alone(|| {
        let grace = 10 * PATIENCE;
        let limits = Limits {
            grace,
            ..Limits::default()
        };
        let mut reactor = reactor_with(limits, |_, _| {});
        reactor.handle_signals().unwrap();
        let (id, _reads_nothing) = adopt_socket(&mut reactor, 0);
        reactor.call(|_, out| out.send(id, &noise(8 * 1024 * 1024)));
        assert_eq!(reactor.grace_left(), grace);
        raise(Signal::SIGTERM).unwrap();
        reactor.turn().unwrap();
        let left = reactor.grace_left();
        assert!(left <= grace && left > Duration::ZERO, "{left:?}");
        raise(Signal::SIGTERM).unwrap();
        reactor.run().unwrap();
        assert_eq!(reactor.grace_left(), Duration::ZERO);
    });
}

/// A process that sends signals faster than they are handled does not keep the reactor from its
/// connections.
#[test]
fn signals_that_never_end_do_not_hold_a_turn() {
    alone(|| {
        let mut reactor = reactor(|_, _| {});
        reactor.handle_signals().unwrap();
        let (id, mut peer) = adopt_socket(&mut reactor, 0);
        let mut reports = 0;
        reactor.report(None, move |_, _, _| {
            reports += 1;
            assert!(reports < 1_000, "the reactor does nothing else");
            // The next signal is pending before this one is handled.
            raise(Signal::SIGUSR1).unwrap();
        });
        raise(Signal::SIGUSR1).unwrap();
        peer.write_all(b"and who hears us?").unwrap();
        for _ in 0..3 {
            reactor.turn().unwrap();
        }
        let heard = Heard::Data(id, b"and who hears us?".to_vec());
        assert_eq!(reactor.protocol().count(&heard), 1);
    });
}

/// One thread may wait for the signals and pass them on to reactors in other threads.
#[test]
fn signals_can_be_passed_on() {
    alone(|| {
        let signals = Signals::new().unwrap();
        let mut reactor = reactor(|_, _| {});
        let (counted, counts) = mpsc::channel();
        reactor.report(None, move |_, stats, _| counted.send(*stats).unwrap());
        let waker = reactor.waker().unwrap();
        raise(Signal::SIGUSR1).unwrap();
        raise(Signal::SIGTERM).unwrap();
        while let Some(action) = signals.next() {
            match action {
                SignalAction::Stop => waker.stop().unwrap(),
                SignalAction::Report => waker.report().unwrap(),
                _ => {}
            }
        }
        reactor.run().unwrap();
        assert_eq!(reactor.protocol().heard, [Heard::Stop]);
        assert_eq!(counts.try_iter().count(), 1);
    });
}

/// Regression: 300 members of a chat that each had much to ask for held up a signal for 28 s, since a turn
/// had all of their requests in it.
#[test]
fn a_signal_is_heard_within_a_turn_whatever_the_connections_have_to_do() {
    /// More connections than one wait has events.
    const PEERS: usize = 600;
    /// Callbacks that a turn has a budget for.
    const CALLBACKS: usize = 20;
    alone(|| {
        raise_descriptor_limit().unwrap();
        let limits = Limits::default();
        let units = limits.turn_budget / CALLBACKS;
        let mut heard_before = 0;
        let mut reactor = reactor_with(limits, move |heard, out| {
            if let Heard::Data(..) = heard {
                heard_before += 1;
                out.charge(units);
                if heard_before == 100 {
                    raise(Signal::SIGTERM).unwrap();
                }
            }
        });
        reactor.handle_signals().unwrap();
        let mut peers: Vec<_> = (0..PEERS)
            .map(|_| adopt_socket(&mut reactor, 0).1)
            .collect();
        for peer in &mut peers {
            peer.write_all(b"x").unwrap();
        }
        while reactor.protocol().count(&Heard::Stop) == 0 {
            reactor.turn().unwrap();
        }
        // The rest of that turn runs, and of the next one the events that precede the signal's.
        let most = 100 + 2 * (CALLBACKS + 1);
        let heard = reactor.protocol().heard.iter();
        let data = heard.filter(|heard| matches!(heard, Heard::Data(..)));
        let data = data.count();
        assert!((100..=most).contains(&data), "{data} callbacks");
        assert!(reactor.stats().turns_cut > 0);
    });
}
