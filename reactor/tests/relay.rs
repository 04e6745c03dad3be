//! From one connection to others: backpressure across two connections, half-close, broadcasts.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;

use common::{
    Heard, adopt_socket, alone, noise, reactor, reactor_with, read_some, turn_at_once, write_some,
};
use edgeloop_reactor::process::raise_descriptor_limit;
use edgeloop_reactor::{
    Closed, ConnId, ConnMap, Data, Direction, Limits, Opened, Outbox, Protocol, Reactor,
};
use nix::sys::socket::{setsockopt, sockopt};

/// More bytes than all buffers between two peers hold.
const LEN: usize = 16 * 1024 * 1024;

/// A relay between pairs of connections: the first is connected with the second, the third with the
/// fourth, and so on.
#[derive(Default)]
struct Relay {
    single: Option<ConnId>,
    others: ConnMap<ConnId>,
    closed: Vec<Closed>,
}

impl Protocol for Relay {
    fn on_open(&mut self, id: ConnId, _: Opened, _: &mut Outbox) {
        match self.single.take() {
            None => self.single = Some(id),
            Some(single) => {
                self.others.insert(id, single);
                self.others.insert(single, id);
            }
        }
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        if let Some(other) = self.others.get(id) {
            out.send(*other, &data);
        }
    }

    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(other) = self.others.get(id) {
            out.half_close(*other);
        }
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        self.closed.push(why);
        if let Some(other) = self.others.remove(id) {
            self.others.remove(other);
            out.finish(other);
        }
    }

    fn on_high_water(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(other) = self.others.get(id) {
            out.pause(*other);
        }
    }

    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(other) = self.others.get(id) {
            out.resume(*other);
        }
    }
}

#[test]
fn a_slow_reader_slows_the_writer_down() {
    alone(|| {
        let mut reactor = Reactor::new(Relay::default(), Limits::default()).unwrap();
        let (_, writer) = adopt_socket(&mut reactor, 0);
        let (_, reader) = adopt_socket(&mut reactor, 0);
        let (bytes, mut written, mut received) = (noise(LEN), 0, Vec::new());
        // The reader does not read until the writer finds no room and a turn brings nothing new.
        loop {
            written += write_some(&writer, &bytes[written..]);
            let before = reactor.stats().bytes_in;
            turn_at_once(&mut reactor);
            assert_bounded(&reactor);
            if reactor.stats().bytes_in == before {
                break;
            }
        }
        assert!(written < LEN / 4, "{written} bytes are somewhere");
        assert_eq!(reactor.stats().paused, 1);
        while received.len() < LEN {
            received.extend(read_some(&reader));
            written += write_some(&writer, &bytes[written..]);
            turn_at_once(&mut reactor);
            assert_bounded(&reactor);
        }
        assert!(received == bytes, "not the same bytes");
    });
}

/// Pending output is the difference between the bytes in and the bytes out: at most the high-water
/// mark, and the bytes of one turn.
fn assert_bounded(reactor: &Reactor<Relay>) {
    let (stats, limits) = (reactor.stats(), Limits::default());
    let waiting = stats.bytes_in - stats.bytes_out;
    let bound = (limits.high_water + 2 * limits.read_budget) as u64;
    assert!(waiting <= bound, "{waiting} bytes wait in the reactor");
}

#[test]
fn every_byte_arrives_both_ways_and_half_closes_are_passed_on() {
    alone(|| {
        let mut reactor = Reactor::new(Relay::default(), Limits::default()).unwrap();
        let [left, right] = [(); 2].map(|()| adopt_tcp(&mut reactor));
        let (there, mut back) = (noise(LEN), noise(LEN));
        back.reverse();
        thread::scope(|scope| {
            // One peer asks and ends its side before it reads; the other answers after that end.
            scope.spawn(|| {
                send_all(&left, &there);
                assert!(read_all(&left) == back, "not the same bytes came back");
            });
            scope.spawn(|| {
                assert!(read_all(&right) == there, "not the same bytes arrived");
                send_all(&right, &back);
            });
            reactor.run().unwrap();
        });
        assert_eq!(reactor.protocol().closed, [Closed::Eof; 2]);
        assert_eq!(reactor.stats().bytes_out, 2 * LEN as u64);
    });
}

/// Each direction is slowed down by its own reader only, so two peers never wait for each other.
#[test]
fn two_peers_that_write_before_they_read_are_both_served() {
    alone(|| {
        let mut reactor = Reactor::new(Relay::default(), Limits::default()).unwrap();
        let (_, left) = adopt_socket(&mut reactor, 0);
        let (_, right) = adopt_socket(&mut reactor, 0);
        let (bytes, mut sent, mut received) = (noise(LEN), [0; 2], [0; 2]);
        let mut reads = false;
        while received != [LEN; 2] {
            let before = (sent, received);
            for (index, (from, to)) in [(&left, &right), (&right, &left)].into_iter().enumerate() {
                sent[index] += write_some(from, &bytes[sent[index]..]);
                if reads {
                    let (new, start) = (read_some(to), received[index]);
                    assert!(new == bytes[start..start + new.len()], "not the same bytes");
                    received[index] += new.len();
                }
            }
            turn_at_once(&mut reactor);
            // The peers begin to read when neither can write any more.
            reads |= (sent, received) == before;
        }
        assert!(reactor.stats().paused >= 2);
    });
}

/// An echo pauses a peer that does not read its answers at the high-water mark. The default queue
/// limit lies above that mark however high the mark is set.
#[test]
fn a_peer_below_a_raised_high_water_mark_is_no_slow_consumer() {
    alone(|| {
        const LEN: usize = 20 * 1024 * 1024;
        let limits = Limits {
            high_water: 2 * LEN,
            ..Limits::default()
        };
        let mut reactor = reactor_with(limits, common::echo);
        let (_, peer) = adopt_socket(&mut reactor, 0);
        let (bytes, mut written, mut received) = (noise(LEN), 0, Vec::new());
        let mut reads = false;
        while received.len() < LEN {
            let before = written;
            written += write_some(&peer, &bytes[written..]);
            turn_at_once(&mut reactor);
            assert_eq!(reactor.protocol().closed(), [], "{written} bytes said");
            // The client reads once all of its bytes are pending in the reactor.
            reads |= written == before;
            if reads {
                received.extend(read_some(&peer));
            }
        }
        assert!(received == bytes, "not the same bytes");
    });
}

/// A protocol that has half-closed a connection can send nothing more on it: `send_back` is
/// ignored, as every other send is, and does not close the connection.
#[test]
fn send_back_after_a_half_close_is_ignored() {
    struct LastWords {
        whole: bool,
        heard: Vec<u8>,
    }
    impl Protocol for LastWords {
        fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
            if self.heard.is_empty() {
                out.send(id, b"last words");
                if self.whole {
                    out.finish(id);
                } else {
                    out.half_close(id);
                }
            }
            self.heard.extend_from_slice(&data);
            out.send_back(data);
        }
    }
    alone(|| {
        for whole in [false, true] {
            let heard = Vec::new();
            let protocol = LastWords { whole, heard };
            let mut reactor = Reactor::new(protocol, Limits::default()).unwrap();
            let (_, mut peer) = adopt_socket(&mut reactor, 0);
            for words in ["first, ", "second, ", "third"] {
                peer.write_all(words.as_bytes()).unwrap();
                turn_at_once(&mut reactor);
                turn_at_once(&mut reactor);
            }
            assert_eq!(reactor.stats().closed, 0, "it was lost");
            peer.set_nonblocking(false).unwrap();
            let mut answer = String::new();
            peer.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "last words");
            let all = b"first, second, third";
            let heard = &reactor.protocol().heard;
            // A finished connection hears nothing more.
            assert_eq!(heard, if whole { &all[..7] } else { all });
        }
    });
}

#[test]
fn a_broadcast_costs_one_write_for_each_peer() {
    alone(|| {
        const PEERS: usize = 100;
        let (mut ids, mut expected) = (Vec::new(), vec![Vec::new(); PEERS]);
        let mut reactor = reactor(|_, _| {});
        let peers: Vec<_> = (0..PEERS)
            .map(|_| {
                let (id, peer) = adopt_socket(&mut reactor, 0);
                ids.push(id);
                peer
            })
            .collect();
        turn_at_once(&mut reactor);
        let writes = reactor.stats().writes;
        reactor.call(|_, out| {
            for round in 0..20 {
                let line = format!("line {round} for all\n");
                out.broadcast(ids.iter().copied(), line.as_bytes());
                for (index, id) in ids.iter().enumerate() {
                    let words = format!("line {round} for {index}\n");
                    out.send(*id, words.as_bytes());
                    expected[index].extend_from_slice(line.as_bytes());
                    expected[index].extend_from_slice(words.as_bytes());
                }
            }
        });
        turn_at_once(&mut reactor);
        assert_eq!(reactor.stats().writes - writes, PEERS as u64);
        for (peer, expected) in peers.iter().zip(expected) {
            assert_eq!(read_some(peer), expected);
        }
    });
}

/// Bytes that are sent back and bytes that are sent before and after them leave by one call, in
/// their order.
#[test]
fn sends_before_and_after_a_send_back_cost_one_write() {
    struct Frame;
    impl Protocol for Frame {
        fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
            let first = data[0];
            if first == b'b' {
                out.send(id, b"<");
            }
            out.send_back(data);
            if first == b'a' {
                out.send(id, b">");
            }
        }
    }
    alone(|| {
        for (said, answer) in [(b"before", b"<before".as_slice()), (b"after!", b"after!>")] {
            let mut reactor = Reactor::new(Frame, Limits::default()).unwrap();
            let (_, peer) = adopt_socket(&mut reactor, 0);
            (&peer).write_all(said).unwrap();
            reactor.turn().unwrap();
            assert_eq!(read_some(&peer), answer);
            assert_eq!(reactor.stats().writes, 1);
        }
    });
}

/// In two rooms that talk by turns no two lines for one peer are adjacent, so each line is a piece
/// of its own for each peer: sixteen bytes of bookkeeping for a line of two. The number of pieces
/// is bounded too, and the outbox is flushed before the turn is over.
#[test]
fn short_lines_for_two_rooms_do_not_pile_up() {
    alone(|| {
        const ROUNDS: usize = 4_000;
        let mut reactor = reactor(|_, _| {});
        let mut rooms = [b"a\n", b"b\n"].map(|line| {
            let members = (0..50).map(|_| adopt_socket(&mut reactor, 0));
            let (ids, peers): (Vec<_>, Vec<_>) = members.unzip();
            (line, ids, peers, vec![Vec::new(); 50])
        });
        turn_at_once(&mut reactor);
        for _ in 0..ROUNDS {
            for (line, ids, ..) in &rooms {
                reactor.call(|_, out| out.broadcast(ids.iter().copied(), *line));
            }
        }
        assert!(reactor.stats().writes > 0, "all of it waits for the end");
        turn_at_once(&mut reactor);
        for (line, _, peers, heard) in &mut rooms {
            for (peer, heard) in peers.iter().zip(heard) {
                heard.extend(read_some(peer));
                assert!(*heard == line.repeat(ROUNDS), "not the same lines");
            }
        }
    });
}

#[test]
fn a_broadcast_reaches_slow_readers_whole() {
    alone(|| {
        const PEERS: usize = 100;
        let mut reactor = reactor(|_, _| {});
        let (ids, peers): (Vec<_>, Vec<_>) =
            (0..PEERS).map(|_| adopt_socket(&mut reactor, 0)).unzip();
        let (bytes, mut received) = (noise(1024 * 1024), vec![Vec::new(); PEERS]);
        let mut lines = bytes.chunks(1_000);
        while received.iter().any(|received| received.len() < bytes.len()) {
            for line in lines.by_ref().take(50) {
                reactor.call(|_, out| out.broadcast(ids.iter().copied(), line));
            }
            turn_at_once(&mut reactor);
            for (peer, received) in peers.iter().zip(&mut received) {
                // A slow reader takes less than is sent in one turn.
                let mut some = [0; 10_000];
                let count = (&mut &*peer).read(&mut some).unwrap_or(0);
                received.extend_from_slice(&some[..count]);
            }
        }
        assert!(received.iter().all(|received| *received == bytes));
        assert!(reactor.stats().paused >= PEERS as u64);
    });
}

/// `on_high_water` of one connection sends to another, whose output of this turn has been written
/// already.
#[test]
fn a_send_from_on_high_water_is_sent() {
    alone(|| {
        let limits = Limits {
            high_water: 0,
            ..Limits::default()
        };
        let mut open = Vec::new();
        let mut reactor = reactor_with(limits, move |heard, out| match heard {
            Heard::Open(id, _) => open.push(*id),
            Heard::HighWater(_) => out.send(open[0], b"somebody is slow"),
            _ => {}
        });
        let (listener, peer) = adopt_socket(&mut reactor, 0);
        let (slow, _reads_nothing) = adopt_full(&mut reactor);
        reactor.call(|_, out| {
            out.send(listener, b"hello, ");
            out.send(slow, b"hello");
        });
        let mut heard = Vec::new();
        for _ in 0..3 {
            turn_at_once(&mut reactor);
            heard.extend(read_some(&peer));
        }
        assert_eq!(heard, b"hello, somebody is slow");
    });
}

/// The protocol is told of all of them in a loop, not on a stack that grows with their number.
#[test]
fn thousands_over_the_high_water_mark_are_told_in_a_loop() {
    alone(|| {
        let descriptors = raise_descriptor_limit().unwrap() as usize;
        let count = (descriptors.saturating_sub(100) / 2).min(5_000);
        let limits = Limits {
            high_water: 0,
            ..Limits::default()
        };
        let mut reactor = reactor_with(limits, |_, _| {});
        let (ids, _peers): (Vec<_>, Vec<_>) = (0..count).map(|_| adopt_full(&mut reactor)).unzip();
        reactor.call(|_, out| {
            for id in &ids {
                out.send(*id, &[0; 100]);
            }
        });
        turn_at_once(&mut reactor);
        assert_eq!(reactor.stats().paused, count as u64);
    });
}

/// Adopts a socket whose send buffer is full, since its peer does not read.
fn adopt_full<P: Protocol>(reactor: &mut Reactor<P>) -> (ConnId, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    setsockopt(&ours, sockopt::SndBuf, &1).unwrap();
    ours.set_nonblocking(true).unwrap();
    write_some(&ours, &vec![0; 100_000]);
    let id = reactor.adopt(ours.into(), Direction::Both, 0).unwrap();
    (id, theirs)
}

/// Adopts the accepted end of a TCP connection, and returns the other one.
fn adopt_tcp<P: Protocol>(reactor: &mut Reactor<P>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    reactor.adopt(ours.into(), Direction::Both, 0).unwrap();
    theirs
}

/// Sends all bytes and a FIN.
fn send_all(mut to: &TcpStream, bytes: &[u8]) {
    to.write_all(bytes).unwrap();
    to.shutdown(Shutdown::Write).unwrap();
}

/// Reads to the end, in small reads.
fn read_all(mut from: &TcpStream) -> Vec<u8> {
    let (mut bytes, mut some) = (Vec::new(), [0; 10_000]);
    loop {
        match from.read(&mut some).unwrap() {
            0 => return bytes,
            count => bytes.extend_from_slice(&some[..count]),
        }
    }
}
