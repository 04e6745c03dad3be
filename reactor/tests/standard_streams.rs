//! Standard input and output as connections. They have no peer, so no timeout closes them.

mod common;

use std::fs::File;
use std::io::{ErrorKind, Read, Write, pipe};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use common::{
    Heard, Notes, PATIENCE, adopt_socket, alone, narrow, noise, reactor, reactor_with, sink,
    turn_at_once, turn_until,
};
use edgeloop_reactor::{Closed, ConnId, Direction, Limits, Outbox, Reactor, Stats};
use nix::pty::{OpenptyResult, openpty};

const TIMEOUT: Duration = Duration::from_millis(50);
/// More bytes than a pipe, a terminal or a socket holds.
const TOO_MUCH: usize = 4 * 1024 * 1024;

/// A peer that connects later is closed by the idle timeout, while the standard streams, silent for
/// longer, are not.
#[test]
fn a_user_may_be_silent_for_longer_than_the_idle_timeout() {
    alone(|| {
        let limits = Limits {
            idle_timeout: TIMEOUT,
            ..Limits::default()
        };
        let start = Instant::now();
        let mut reactor = reactor_with(limits, sink);
        let (from_pipe, mut typing) = pipe().unwrap();
        let (mut reading, to_pipe) = pipe().unwrap();
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let same = slave.try_clone().unwrap();
        let [piped_in, piped_out, keyboard, screen] = [
            (from_pipe.into(), Direction::Input),
            (to_pipe.into(), Direction::Output),
            (slave, Direction::Input),
            (same, Direction::Output),
        ]
        .map(|(fd, direction)| reactor.adopt(fd, direction, 0).unwrap());
        for _ in 0..3 {
            let (peer, _silent) = adopt_socket(&mut reactor, 0);
            let idle = Heard::Close(peer, Closed::Idle);
            turn_until(&mut reactor, |notes| notes.count(&idle) == 1);
        }
        let rounding = Duration::from_millis(3);
        assert!(start.elapsed() + rounding >= 3 * TIMEOUT);
        assert_eq!(reactor.protocol().closed(), [Closed::Idle; 3]);

        // All four streams still work.
        let mut terminal = File::from(master);
        typing.write_all(b"piped").unwrap();
        terminal.write_all(b"typed\n").unwrap();
        turn_until(&mut reactor, |notes| {
            notes.received(piped_in) == b"piped" && notes.received(keyboard) == b"typed\n"
        });
        reactor.call(|_, out| out.broadcast([piped_out, screen], b"shown"));
        reactor.turn().unwrap();
        let (mut shown, mut on_screen) = ([0; 5], [0; 12]);
        reading.read_exact(&mut shown).unwrap();
        terminal.read_exact(&mut on_screen).unwrap();
        assert_eq!(&shown, b"shown");
        // The terminal echoes its input.
        assert_eq!(&on_screen, b"typed\r\nshown");
    });
}

/// A user who leaves a full screen standing, as in `server | less`, misses no output. A peer that
/// stops reading is closed.
#[test]
fn a_user_may_stop_reading_for_longer_than_the_stall_timeout() {
    alone(|| {
        let limits = Limits {
            stall_timeout: TIMEOUT,
            ..Limits::default()
        };
        let mut reactor = reactor_with(limits, |_, _| {});
        let (mut reading, to_pipe) = pipe().unwrap();
        narrow(&to_pipe);
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let [piped, shown] =
            [to_pipe.into(), slave].map(|fd| reactor.adopt(fd, Direction::Output, 0).unwrap());
        let words = noise(TOO_MUCH);
        reactor.call(|_, out| {
            out.broadcast([piped, shown], &words);
            out.finish(piped);
        });
        turn_at_once(&mut reactor);
        let (peer, _reads_nothing) = adopt_socket(&mut reactor, 0);
        reactor.call(|_, out| out.send(peer, &words));
        turn_until(&mut reactor, |notes| !notes.closed().is_empty());
        assert_eq!(reactor.protocol().closed(), [Closed::Stalled]);

        let reader = thread::spawn(move || {
            let mut read = Vec::new();
            reading.read_to_end(&mut read).unwrap();
            read
        });
        let finished = Heard::Close(piped, Closed::Finished);
        turn_until(&mut reactor, |notes| notes.count(&finished) == 1);
        assert!(reader.join().unwrap() == words, "not the same bytes");
        drop(master);
        let gone = Heard::Close(shown, Closed::Reset);
        turn_until(&mut reactor, |notes| notes.count(&gone) == 1);
    });
}

#[test]
fn the_user_is_not_counted_among_the_connections() {
    alone(|| {
        let mut reactor = reactor(sink);
        let (from_pipe, typing) = pipe().unwrap();
        let (_reading, to_pipe) = pipe().unwrap();
        reactor
            .adopt(from_pipe.into(), Direction::Input, 0)
            .unwrap();
        let output = reactor.adopt(to_pipe.into(), Direction::Output, 0).unwrap();
        let counted = |stats: Stats| (stats.connections, stats.peak, stats.closed);
        assert_eq!(counted(reactor.stats()), (0, 0, 0));
        let (_, peer) = adopt_socket(&mut reactor, 0);
        assert_eq!(counted(reactor.stats()), (1, 1, 0));
        drop((peer, typing));
        reactor.call(|_, out| {
            out.send(output, b"counted");
            out.finish(output);
        });
        reactor.run().unwrap();
        assert_eq!(reactor.protocol().closed().len(), 3);
        let stats = reactor.stats();
        assert_eq!(counted(stats), (0, 1, 1));
        assert_eq!((stats.closed_eof, stats.closed_finished), (1, 0));
        assert_eq!(stats.bytes_out, 7, "bytes are bytes");
    });
}

/// Under inetd(8), or with a shell's `<>`, standard input and output are one socket. The end of the
/// input does not shut down the output.
#[test]
fn input_that_ends_leaves_output_of_the_same_socket_open() {
    alone(|| {
        for (socket, mut peer) in pairs() {
            let mut reactor = reactor(|_, _| {});
            let [input, output] = adopt_both(&mut reactor, &socket);
            drop(socket);
            reactor.call(|_, out| {
                out.send(output, b"one ");
                out.finish(input);
            });
            turn_at_once(&mut reactor);
            let ended = Heard::Close(input, Closed::Finished);
            assert_eq!(reactor.protocol().count(&ended), 1);
            reactor.call(|_, out| out.send(output, b"two"));
            turn_at_once(&mut reactor);
            let mut words = [0; 8];
            peer.read_exact(&mut words[..7]).unwrap();
            assert_eq!(&words[..7], b"one two");
            peer.set_nonblocking(true).unwrap();
            let open = peer.read(&mut words).unwrap_err();
            assert_eq!(open.kind(), ErrorKind::WouldBlock);
            reactor.call(|_, out| out.finish(output));
            turn_at_once(&mut reactor);
            peer.set_nonblocking(false).unwrap();
            assert_eq!(peer.read(&mut words).unwrap(), 0);
        }
    });
}

#[test]
fn a_peer_that_ends_its_half_still_hears_the_output() {
    alone(|| {
        for (socket, mut peer) in pairs() {
            let mut reactor = reactor(sink);
            let [input, output] = adopt_both(&mut reactor, &socket);
            drop(socket);
            peer.write_all(b"question").unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            let ended = Heard::Close(input, Closed::Eof);
            turn_until(&mut reactor, |notes| notes.count(&ended) == 1);
            assert_eq!(reactor.protocol().received(input), b"question");
            reactor.call(|_, out| {
                out.send(output, b"answer");
                out.finish(output);
            });
            reactor.run().unwrap();
            let mut words = String::new();
            peer.read_to_string(&mut words).unwrap();
            assert_eq!(words, "answer");
        }
    });
}

#[test]
fn last_words_reach_the_peer_of_a_socket_that_is_both_input_and_output() {
    alone(|| {
        for (socket, mut peer) in pairs() {
            let mut both = Vec::new();
            let mut reactor = reactor(move |heard, out| match heard {
                Heard::Open(id, _) => both.push(*id),
                Heard::Stop => out.send(both[1], b"farewell"),
                _ => {}
            });
            adopt_both(&mut reactor, &socket);
            drop(socket);
            reactor.call(|_, out| out.stop());
            let reader = thread::spawn(move || {
                let mut words = String::new();
                peer.read_to_string(&mut words).unwrap();
                words
            });
            reactor.run().unwrap();
            assert_eq!(reader.join().unwrap(), "farewell");
            assert_eq!(reactor.protocol().closed(), [Closed::Shutdown; 2]);
        }
    });
}

/// The kernel watches an open file description until its last descriptor is closed, and the program
/// has other descriptors of it (epoll(7)). A stream that has ended does not wake the reactor any
/// more, and may be adopted again.
#[test]
fn a_stream_that_has_ended_is_not_watched_any_more() {
    alone(|| {
        for (socket, mut peer) in pairs() {
            let mut reactor = reactor(|_, _| {});
            let [input, output] = adopt_both(&mut reactor, &socket);
            turn_at_once(&mut reactor);
            reactor.call(|_, out| out.finish(input));
            turn_at_once(&mut reactor);
            peer.write_all(b"hello").unwrap();
            turn_at_once(&mut reactor);
            assert_eq!(reactor.stats().stale, 0);

            let again = socket.try_clone().unwrap();
            let again = reactor.adopt(again, Direction::Input, 0).unwrap();
            turn_until(&mut reactor, |notes| notes.received(again) == b"hello");
            reactor.call(|_, out| out.abort(output));
            turn_at_once(&mut reactor);
            assert_eq!(reactor.protocol().closed().len(), 2);
        }
    });
}

/// A connected socket of each family, and its peer. The tests use both families in the same way, so
/// one type serves for both.
fn pairs() -> [(OwnedFd, TcpStream); 2] {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    let (unix, its_peer) = UnixStream::pair().unwrap();
    let its_peer = TcpStream::from(OwnedFd::from(its_peer));
    [(ours.into(), peer), (unix.into(), its_peer)].map(|(socket, peer)| {
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        (socket, peer)
    })
}

/// Adopts a socket as input and as output, as a program does whose descriptors 0 and 1 are one
/// socket.
fn adopt_both<F>(reactor: &mut Reactor<Notes<F>>, socket: &OwnedFd) -> [ConnId; 2]
where
    F: FnMut(&Heard, &mut Outbox),
{
    [Direction::Input, Direction::Output].map(|direction| {
        let descriptor = socket.try_clone().unwrap();
        reactor.adopt(descriptor, direction, 0).unwrap()
    })
}
