//! Wakes from other threads, and the stop of a reactor.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{
    Heard, Notes, PATIENCE, adopt_socket, alone, echo, noise, reactor, reactor_with, read_some,
    sink, turn_at_once, turn_until, write_some,
};
use edgeloop_reactor::{Address, Closed, Limits, Outbox, Reactor};

/// More bytes than the kernel holds for a peer that does not read.
const PENDING: usize = 8 * 1024 * 1024;

/// Each message is followed by a wake, so that none is left over whatever the timing of the two
/// threads.
#[test]
fn no_wake_is_lost() {
    alone(|| {
        const THREADS: usize = 4;
        const MESSAGES: usize = 10_000;
        let (sender, messages) = mpsc::channel();
        let mut got = 0;
        let mut reactor = reactor(move |_, out| {
            got += messages.try_iter().count();
            if got == THREADS * MESSAGES {
                out.stop();
            }
        });
        let waker = reactor.waker().unwrap();
        thread::scope(|scope| {
            for _ in 0..THREADS {
                let (sender, waker) = (sender.clone(), waker.clone());
                scope.spawn(move || {
                    for message in 0..MESSAGES {
                        sender.send(message).unwrap();
                        waker.wake().unwrap();
                    }
                });
            }
            reactor.run().unwrap();
        });
        let heard = reactor.protocol().count(&Heard::Wake);
        assert!((1..=THREADS * MESSAGES).contains(&heard), "{heard}");
    });
}

#[test]
fn a_waker_ends_a_wait_and_many_are_one() {
    alone(|| {
        let mut reactor = reactor(|_, _| {});
        let waker = reactor.waker().unwrap();
        for _ in 0..10 {
            waker.wake().unwrap();
        }
        thread::scope(|scope| {
            reactor.turn().unwrap();
            scope.spawn(|| waker.wake().unwrap());
            reactor.turn().unwrap();
        });
        assert_eq!(reactor.protocol().heard, [Heard::Wake, Heard::Wake]);
        drop(reactor);
        waker.wake().unwrap();
    });
}

/// A stop that is asked for before the first turn is carried out by that turn.
#[test]
fn a_waker_may_stop_a_reactor_that_does_not_run_yet() {
    alone(|| {
        let mut reactor = reactor(|_, _| {});
        let waker = reactor.waker().unwrap();
        waker.stop().unwrap();
        let at = listen(&mut reactor);
        reactor.run().unwrap();
        assert_eq!(reactor.protocol().heard, [Heard::Stop]);
        assert_eq!(reactor.stats().turns, 1);
        assert!(TcpStream::connect(at).is_err(), "nobody listens");
        waker.stop().unwrap();
        drop(reactor);
        waker.stop().unwrap();
        waker.report().unwrap();
    });
}

#[test]
fn another_thread_may_stop_a_reactor_that_waits() {
    alone(|| {
        let (told, tell) = mpsc::channel();
        let mut reactor = reactor(move |heard, _| {
            if *heard == Heard::Wake {
                told.send(()).unwrap();
            }
        });
        let (_, peer) = adopt_socket(&mut reactor, 0);
        let waker = reactor.waker().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                waker.wake().unwrap();
                tell.recv().unwrap();
                waker.stop().unwrap();
            });
            reactor.run().unwrap();
        });
        assert_eq!(reactor.protocol().closed(), [Closed::Shutdown]);
        assert_eq!(reactor.protocol().count(&Heard::Stop), 1);
        assert_eq!(read_some(&peer), b"");
    });
}

/// The first stop is graceful and the second immediate, whether or not a turn lies between them;
/// further stops change nothing.
#[test]
fn the_second_stop_is_immediate() {
    alone(|| {
        for (at_first, later) in [(1, 1), (1, 2), (2, 0), (5, 0)] {
            let mut reactor = reactor_with(with_grace(10 * PATIENCE), |_, _| {});
            let waker = reactor.waker().unwrap();
            let (id, _reads_nothing) = adopt_socket(&mut reactor, 0);
            reactor.call(|_, out| out.send(id, &noise(PENDING)));
            turn_at_once(&mut reactor);
            (0..at_first).for_each(|_| waker.stop().unwrap());
            reactor.turn().unwrap();
            turn_at_once(&mut reactor);
            let closed = reactor.protocol().closed().len();
            assert_eq!(closed, usize::from(at_first > 1), "a wake is no stop");
            (0..later).for_each(|_| waker.stop().unwrap());
            reactor.run().unwrap();
            assert_eq!(reactor.protocol().closed(), [Closed::Shutdown]);
            assert_eq!(reactor.protocol().count(&Heard::Stop), 1);
        }
    });
}

#[test]
fn a_reactor_waits_for_wakers_as_long_as_there_is_one() {
    alone(|| {
        let (sender, woken) = mpsc::channel();
        let mut reactor = reactor(move |_, _| sender.send(()).unwrap());
        let waker = reactor.waker().unwrap();
        waker.wake().unwrap();
        drop(waker);
        reactor.run().unwrap();
        assert_eq!(reactor.protocol().heard, [Heard::Wake], "asked for before");
        woken.recv().unwrap();

        let waker = reactor.waker().unwrap();
        let copy = waker.clone();
        drop(waker);
        assert!(!reactor.is_done(), "one is left");
        let waking = thread::spawn(move || {
            copy.wake().unwrap();
            woken.recv().unwrap();
        });
        reactor.run().unwrap();
        waking.join().unwrap();
        let heard = reactor.into_protocol().heard;
        assert_eq!(heard, [Heard::Wake, Heard::Wake]);
    });
}

#[test]
fn a_report_is_made_when_a_waker_asks_for_it() {
    alone(|| {
        let mut reactor = reactor(|_, _| {});
        let waker = reactor.waker().unwrap();
        // No reactor has taken the request yet.
        waker.report().unwrap();
        reactor.turn().unwrap();
        let (into, reports) = mpsc::channel();
        reactor.report(None, move |_, stats, _| {
            into.send(stats.connections).unwrap()
        });
        let (_, _peer) = adopt_socket(&mut reactor, 0);
        (0..3).for_each(|_| waker.report().unwrap());
        reactor.turn().unwrap();
        let mut connections: Vec<u64> = reports.try_iter().collect();
        thread::scope(|scope| {
            scope.spawn(|| waker.report().unwrap());
            while connections.len() < 2 {
                reactor.turn().unwrap();
                connections.extend(reports.try_iter());
            }
        });
        assert_eq!(reactor.protocol().count(&Heard::Wake), 0);
        turn_at_once(&mut reactor);
        connections.extend(reports.try_iter());
        assert_eq!(
            connections,
            [1, 1],
            "one for three at once, none for a wake"
        );
    });
}

/// Requests of one batch are carried out in this order: the wake, the report, the stop.
#[test]
fn a_waker_may_ask_for_everything_at_once() {
    alone(|| {
        let (heard, order) = mpsc::channel();
        let reported = heard.clone();
        let mut reactor = reactor(move |it, _| heard.send(format!("{it:?}")).unwrap());
        reactor.report(None, move |_, _, _| reported.send("report".into()).unwrap());
        let waker = reactor.waker().unwrap();
        waker.stop().unwrap();
        waker.report().unwrap();
        waker.wake().unwrap();
        reactor.run().unwrap();
        let order: Vec<String> = order.try_iter().collect();
        assert_eq!(order, ["Wake", "report", "Stop"]);
    });
}

#[test]
fn a_stop_sends_what_is_pending() {
    alone(|| {
        let sent = noise(PENDING);
        let mut reactor = reactor(|_, _| {});
        let (id, mut peer) = adopt_socket(&mut reactor, 0);
        reactor.call(|_, out| {
            out.send(id, &sent);
            out.stop();
        });
        peer.set_nonblocking(false).unwrap();
        let reader = thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            received
        });
        reactor.run().unwrap();
        assert!(reader.join().unwrap() == sent, "not the same bytes");
        assert_eq!(reactor.protocol().closed(), [Closed::Shutdown]);
    });
}

#[test]
fn a_stop_waits_no_longer_than_its_grace_period() {
    alone(|| {
        let grace = Duration::from_millis(100);
        let mut reactor = reactor_with(with_grace(grace), |_, _| {});
        let (id, _reads_nothing) = adopt_socket(&mut reactor, 0);
        let (_, _says_nothing) = adopt_socket(&mut reactor, 0);
        reactor.call(|_, out| out.send(id, &noise(PENDING)));
        turn_at_once(&mut reactor);
        let start = Instant::now();
        reactor.stop();
        reactor.run().unwrap();
        assert!(start.elapsed() + Duration::from_millis(1) >= grace);
        assert_eq!(reactor.protocol().closed(), [Closed::Shutdown; 2]);
    });
}

/// The time of a turn is read when it begins, and the last turn may be long ago: the time since then is not
/// taken from the grace period.
#[test]
fn a_stop_long_after_the_last_turn_grants_the_whole_grace() {
    alone(|| {
        let grace = Duration::from_millis(100);
        let mut reactor = reactor_with(with_grace(grace), |_, _| {});
        let (id, _reads_nothing) = adopt_socket(&mut reactor, 0);
        reactor.call(|_, out| out.send(id, &noise(PENDING)));
        turn_at_once(&mut reactor);
        thread::sleep(2 * grace);
        let start = Instant::now();
        reactor.stop();
        reactor.run().unwrap();
        assert!(start.elapsed() + Duration::from_millis(1) >= grace);
        assert_eq!(reactor.protocol().closed(), [Closed::Shutdown]);
    });
}

#[test]
fn a_stop_from_outside_is_carried_out_by_the_next_turn() {
    alone(|| {
        let mut reactor = reactor_with(with_grace(PATIENCE), |_, _| {});
        let (_, peer) = adopt_socket(&mut reactor, 0);
        turn_at_once(&mut reactor);
        reactor.stop();
        reactor.turn().unwrap();
        assert_eq!(reactor.protocol().closed(), [Closed::Shutdown]);
        assert_eq!(read_some(&peer), b"");
    });
}

/// Like a stop, the requests of a call from outside need no event to be carried out.
#[test]
fn a_call_from_outside_is_carried_out_by_the_next_turn() {
    alone(|| {
        let mut reactor = reactor(|_, _| {});
        let (id, peer) = adopt_socket(&mut reactor, 0);
        turn_until(&mut reactor, |_| true);
        turn_at_once(&mut reactor);
        reactor.call(|_, out| out.send(id, b"hello"));
        reactor.turn().unwrap();
        assert_eq!(read_some(&peer), b"hello");
    });
}

#[test]
fn last_words_arrive() {
    alone(|| {
        let mut open = Vec::new();
        let mut reactor = reactor(move |heard, out| match heard {
            Heard::Open(id, _) => open.push(*id),
            Heard::Data(..) => out.stop(),
            Heard::Stop => out.broadcast(open.iter().copied(), b"farewell"),
            _ => {}
        });
        let (_, mut peer) = adopt_socket(&mut reactor, 0);
        let (_, other) = adopt_socket(&mut reactor, 0);
        peer.write_all(b"stop").unwrap();
        // The peers read to the end of the stream, and close.
        let readers = [peer, other].map(|mut peer| {
            thread::spawn(move || {
                peer.set_nonblocking(false).unwrap();
                let mut words = String::new();
                peer.read_to_string(&mut words).unwrap();
                words
            })
        });
        reactor.run().unwrap();
        assert_eq!(
            readers.map(|reader| reader.join().unwrap()),
            ["farewell"; 2]
        );
        assert_eq!(reactor.protocol().count(&Heard::Stop), 1);
        assert_eq!(reactor.protocol().closed(), [Closed::Shutdown; 2]);
    });
}

/// A protocol may ask for the stop in `on_close`, at the end of a turn in which the other
/// connections had their visit: they are ended without waiting for an event or a deadline.
#[test]
fn a_stop_that_a_close_leads_to_ends_the_others_at_once() {
    alone(|| {
        let ended_before_any_deadline = || {
            let mut reactor = reactor(|heard, out| match heard {
                Heard::Close(..) => out.stop(),
                other => sink(other, out),
            });
            let (_, closing) = adopt_socket(&mut reactor, 0);
            let (other, mut peer) = adopt_socket(&mut reactor, 0);
            turn_at_once(&mut reactor);
            reactor.call(|_, out| out.send(other, b"unread"));
            turn_at_once(&mut reactor);
            drop(closing);
            for _ in 0..2 {
                reactor.turn().unwrap();
            }
            let mut heard = [0; 10];
            assert_eq!(peer.read(&mut heard).unwrap(), 6);
            let ended = peer.read(&mut heard).is_ok_and(|count| count == 0);
            ended && reactor.stats().timers == 0
        };
        // A stop has deadlines of its own, 20 ms apart, and one of them may come due on a busy
        // machine.
        assert!((0..10).any(|_| ended_before_any_deadline()));
    });
}

#[test]
fn last_words_may_be_datagrams() {
    alone(|| {
        let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
        listener.set_read_timeout(Some(PATIENCE)).unwrap();
        let to = listener.local_addr().unwrap();
        let mut reactor = reactor(move |heard, out| {
            if *heard == Heard::Stop {
                out.send_to(1, to, b"farewell");
            }
        });
        reactor.listen_on("udp://0", 1).unwrap();
        reactor.call(|_, out| out.stop());
        reactor.run().unwrap();
        assert_eq!(reactor.stats().datagrams_out, 1);
        let mut words = [0; 8];
        listener.recv(&mut words).unwrap();
        assert_eq!(&words, b"farewell");
    });
}

/// A client that reconnects on each close would never end, so a stopping reactor begins no connect.
#[test]
fn a_protocol_that_reconnects_on_close_does_not_outlive_a_stop() {
    alone(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let to = Address::Unix(path.clone());
        let elsewhere = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let again = to.clone();
        let grace = Duration::from_millis(50);
        let mut reactor = reactor_with(with_grace(grace), move |heard, out| match heard {
            Heard::Open(..) => out.stop(),
            Heard::Close(..) => {
                out.connect(again.clone(), 0);
            }
            _ => {}
        });
        reactor.connect(&to, 0).unwrap();
        reactor.run().unwrap();
        let refused = Heard::ConnectError(0, Closed::Shutdown);
        assert_eq!(reactor.protocol().count(&refused), 1);
        drop(elsewhere);
    });
}

#[test]
fn a_reactor_that_stops_listening_keeps_its_connections() {
    alone(|| {
        let mut reactor = reactor(|heard, out| {
            if let Heard::Open(..) = heard {
                out.stop_listening();
            }
            echo(heard, out);
        });
        let at = listen(&mut reactor);
        let client = TcpStream::connect(at).unwrap();
        turn_until(&mut reactor, |notes| !notes.heard.is_empty());
        assert!(TcpStream::connect(at).is_err(), "nobody listens");
        write_some(&client, b"hello");
        client.set_nonblocking(true).unwrap();
        turn_until(&mut reactor, |_| read_some(&client) == b"hello");
        drop(client);
        reactor.run().unwrap();
        assert_eq!(reactor.stats().accepted, 1);
        assert_eq!(reactor.protocol().closed(), [Closed::Eof]);
    });
}

#[test]
fn the_port_is_free_again_at_once() {
    alone(|| {
        let mut first = reactor(sink);
        let at = listen(&mut first);
        let _client = TcpStream::connect(at).unwrap();
        turn_until(&mut first, |notes| !notes.heard.is_empty());
        first.stop();
        first.run().unwrap();
        let mut second = reactor(sink);
        second.listen(&at.into(), 0).unwrap();
    });
}

fn with_grace(grace: Duration) -> Limits {
    Limits {
        grace,
        ..Limits::default()
    }
}

fn listen<F: FnMut(&Heard, &mut Outbox)>(reactor: &mut Reactor<Notes<F>>) -> SocketAddr {
    let bound = reactor.listen_on("0", 0).unwrap();
    bound[0].socket_addr().unwrap()
}
