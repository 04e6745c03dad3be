//! A reactor turned by another loop, and in another thread than it was made in.

mod common;

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Heard, Notes, alone, echo, reactor, read_some, sink, turn_until, write_some};
use edgeloop_reactor::{Events, Interest, Limits, Outbox, Poll, Protocol, Reactor, Token};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

const STEP: Duration = Duration::from_millis(20);

/// Waits as another loop does, and returns whether the reactor's descriptor was ready.
fn wait_outside<P: Protocol>(poll: &Poll, reactor: &Reactor<P>) -> bool {
    let mut events = Events::with_capacity(1);
    poll.wait(&mut events, reactor.timeout()).unwrap();
    !events.is_empty()
}

#[test]
fn another_loop_waits_for_events_and_for_timers() {
    alone(|| {
        let mut reactor = reactor(|heard, out| match heard {
            Heard::Eof(id) => {
                out.finish(*id);
                out.stop_listening();
                out.set_service_timer(STEP);
            }
            other => echo(other, out),
        });
        let at = reactor.listen_on("0", 0).unwrap()[0].socket_addr().unwrap();
        let poll = Poll::new().unwrap();
        poll.add(&reactor, Token(0), Interest::IN).unwrap();
        assert_eq!(reactor.timeout(), None);

        let client = TcpStream::connect(at).unwrap();
        client.set_nonblocking(true).unwrap();
        write_some(&client, b"hello");
        let turn = |reactor: &mut Reactor<_>| {
            let is_ready = wait_outside(&poll, reactor);
            reactor.turn_for(Some(Duration::ZERO)).unwrap();
            is_ready
        };
        while read_some(&client) != b"hello" {
            assert!(turn(&mut reactor), "nothing but events is waited for");
        }
        drop(client);
        while !reactor.is_done() {
            turn(&mut reactor);
        }
        assert_eq!(reactor.protocol().count(&Heard::ServiceTimer), 1);
    });
}

#[test]
fn a_turn_waits_no_longer_than_it_may() {
    alone(|| {
        let mut reactor = reactor(|_, _| {});
        reactor.listen_on("0", 0).unwrap();
        let hour = Duration::from_secs(3600);
        for timer in [None, Some(hour)] {
            reactor.call(|_, out| timer.map_or((), |after| out.set_service_timer(after)));
            // Setting the timer is work left.
            reactor.turn_for(Some(Duration::ZERO)).unwrap();
            let began = Instant::now();
            reactor.turn_for(Some(STEP)).unwrap();
            assert!((STEP..hour).contains(&began.elapsed()));
        }
        let began = Instant::now();
        reactor.call(|_, out| out.set_service_timer(STEP));
        while reactor.protocol().count(&Heard::ServiceTimer) == 0 {
            reactor.turn_for(Some(hour)).unwrap();
        }
        assert!((STEP..hour).contains(&began.elapsed()));
    });
}

/// Turns a reactor in a thread of its own, and returns its protocol.
fn turn_elsewhere<P>(mut reactor: Reactor<P>, done: fn(&P) -> bool) -> P
where
    P: Protocol + Send + 'static,
{
    let turning = thread::spawn(move || {
        turn_until(&mut reactor, done);
        reactor.into_protocol()
    });
    turning.join().unwrap()
}

#[test]
fn a_reactor_goes_to_the_thread_that_its_protocol_may_go_to() {
    alone(|| {
        let answer: fn(&Heard, &mut Outbox) = echo;
        let mut reactor = reactor(answer);
        reactor.report(None, |_, _, _| {});
        reactor.listen_on("udp://0", 0).unwrap();
        let at = reactor.listen_on("0", 0).unwrap()[0].socket_addr().unwrap();
        let client = TcpStream::connect(at).unwrap();
        write_some(&client, b"hello");
        drop(client);
        let notes = turn_elsewhere(reactor, |notes| notes.closed().len() == 1);
        let hello = |heard: &Heard| matches!(heard, Heard::Data(_, bytes) if bytes == b"hello");
        assert!(notes.heard.iter().any(hello));
    });
}

/// The inner reactor's connections count nowhere in the outer one, whose limit does not hold for them, and
/// which they do not keep running.
#[test]
fn a_reactor_serves_another_one_inside_it() {
    alone(|| {
        let mut inner = reactor(|heard, out| match heard {
            Heard::Open(id, _) => out.set_timer(*id, STEP),
            Heard::Timer(id) => out.send(*id, b"late"),
            other => echo(other, out),
        });
        let at = inner.listen_on("0", 0).unwrap()[0].socket_addr().unwrap();
        let limits = Limits {
            max_connections: 0,
            ..Limits::default()
        };
        let mut outer = Reactor::new(Notes::new(|_: &Heard, _: &mut Outbox| {}), limits).unwrap();
        outer.listen_on("0", 0).unwrap();
        outer
            .nest(inner, |inner, _, stats, _| {
                assert_eq!(stats.connections, 0);
                inner.turn_for(Some(Duration::ZERO)).unwrap();
                inner.timeout()
            })
            .unwrap();
        let again = outer.nest(Poll::new().unwrap(), |_, _, _, _| None);
        assert_eq!(again.unwrap_err().raw_os_error(), Some(libc::EBUSY));

        let clock = outer.time_turns();
        let client = TcpStream::connect(at).unwrap();
        client.set_nonblocking(true).unwrap();
        write_some(&client, b"early ");
        let mut answer = Vec::new();
        while answer != b"early late" {
            // It is turned by events and by its own timer: each wait has an end.
            outer.turn().unwrap();
            answer.extend(read_some(&client));
        }
        assert_eq!((outer.stats().accepted, outer.stats().refused), (0, 0));
        let times = clock.read();
        assert!(times.counts.iter().sum::<u64>() <= outer.stats().turns);
        assert!(times.busy > Duration::ZERO && times.busy < Duration::from_secs(10));
        outer.stop();
        outer.run().unwrap();
    });
}

/// A wait returns 512 events at the most. Regression: the outer reactor saw no edge for the others, which
/// waited for a further event.
#[test]
fn more_events_than_one_wait_returns_are_all_seen_to() {
    const CLIENTS: u64 = 600;
    alone(|| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        let mut inner = reactor(sink);
        let at = inner.listen_on("0", 0).unwrap()[0].socket_addr().unwrap();
        let mut outer = reactor(|_, _| {});
        let received = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&received);
        outer
            .nest(inner, move |inner, _, _, _| {
                inner.turn_for(Some(Duration::ZERO)).unwrap();
                count.store(inner.stats().bytes_in, Ordering::Relaxed);
                inner.timeout()
            })
            .unwrap();
        let mut until_received = |bytes| {
            while received.load(Ordering::Relaxed) < bytes {
                outer.turn().unwrap();
            }
        };
        let mut clients = Vec::new();
        for number in 1..=CLIENTS {
            let client = TcpStream::connect(at).unwrap();
            write_some(&client, b"x");
            until_received(number);
            clients.push(client);
        }
        clients
            .iter()
            .for_each(|client| _ = write_some(client, b"y"));
        until_received(2 * CLIENTS);
    });
}
