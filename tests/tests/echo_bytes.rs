//! The echo server returns every byte, in order, exactly once, and before the end of the stream,
//! however the bytes are split.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send, setsockopt, sockopt};

use tests::client::{dial, dial_narrow, expect, expect_end, fill, pile_up, ping, ping_and_end};
use tests::process::resident_bytes;
use tests::random::Random;
use tests::server::Launch;
use tests::{LowerOnDrop, MIB};

/// One of many connections that one thread drives. It sends and receives chunks of random sizes.
struct Talker {
    stream: TcpStream,
    data: Vec<u8>,
    sent: usize,
    received: usize,
    ended: bool,
    random: Random,
}

impl Talker {
    fn new(stream: TcpStream, seed: u64) -> Self {
        stream.set_nonblocking(true).expect("O_NONBLOCK");
        let mut random = Random::new(seed);
        let length = random.below(150_000);
        let data = random.bytes(length);
        Self {
            stream,
            data,
            sent: 0,
            received: 0,
            ended: false,
            random,
        }
    }

    fn events(&self) -> PollFlags {
        if self.sent < self.data.len() {
            PollFlags::POLLIN | PollFlags::POLLOUT
        } else {
            PollFlags::POLLIN
        }
    }

    fn send_some(&mut self) {
        let rest = &self.data[self.sent..];
        let chunk = &rest[..self.random.length(16).min(rest.len())];
        match self.stream.write(chunk) {
            Ok(count) => self.sent += count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        if self.sent == self.data.len() {
            self.stream.shutdown(Shutdown::Write).expect("shutdown");
        }
    }

    fn receive_some(&mut self, scratch: &mut [u8]) {
        let size = self.random.length(16);
        match self.stream.read(&mut scratch[..size]) {
            Ok(0) => {
                assert_eq!(self.received, self.data.len(), "the stream ended too early");
                self.ended = true;
            }
            Ok(count) => {
                let expected = &self.data[self.received..];
                assert!(
                    expected.starts_with(&scratch[..count]),
                    "after byte {}",
                    self.received
                );
                self.received += count;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
    }
}

#[test]
fn two_hundred_connections_in_random_chunks() {
    let server = Launch::echo().start();
    let mut talkers: Vec<_> = (0..200)
        .map(|seed| Talker::new(dial(server.tcp()), seed))
        .collect();
    // A talker without a byte to send never waits for POLLOUT: it half-closes at once.
    for talker in talkers.iter().filter(|talker| talker.data.is_empty()) {
        talker.stream.shutdown(Shutdown::Write).expect("shutdown");
    }
    let mut scratch = vec![0; 1 << 17];
    while !talkers.is_empty() {
        let mut descriptors: Vec<_> = talkers
            .iter()
            .map(|talker| PollFd::new(talker.stream.as_fd(), talker.events()))
            .collect();
        let count = poll(&mut descriptors, PollTimeout::from(30_000u16)).expect("poll");
        assert!(
            count > 0,
            "{} connections have come to a halt",
            talkers.len()
        );
        let events: Vec<_> = descriptors
            .iter()
            .map(|d| d.revents().unwrap_or(PollFlags::all()))
            .collect();
        for (talker, events) in talkers.iter_mut().zip(events) {
            if events.contains(PollFlags::POLLOUT) && talker.sent < talker.data.len() {
                talker.send_some();
            }
            if events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                talker.receive_some(&mut scratch);
            }
        }
        talkers.retain(|talker| !talker.ended);
    }
}

/// The client starts to read only when all buffers on the way are full.
#[test]
fn sixteen_mebibytes_through_full_buffers_and_a_half_close() {
    let server = Launch::echo().start();
    let data = Random::new(1).bytes(16 * MIB);
    let stream = dial_narrow(server.tcp(), 64 * 1024);
    let sent = fill(&stream, &data);
    thread::scope(|scope| {
        scope.spawn(|| {
            (&stream)
                .write_all(&data)
                .expect("the server reads the rest");
            stream.shutdown(Shutdown::Write).expect("shutdown");
        });
        let before = data.iter().copied().cycle().take(sent);
        expect_end(&stream, &before.chain(data.clone()).collect::<Vec<u8>>());
    });
}

/// The client half-closes before it reads a byte: the server sees the end of the stream while most
/// of its reply is pending output.
#[test]
fn sixteen_mebibytes_pending_at_half_close() {
    let server = Launch::echo().args(&["--high-water", "1024MiB"]).start();
    let block = Random::new(2).bytes(MIB);
    let (stream, sent) = pile_up(&server, &block, 16 * MIB);
    stream.shutdown(Shutdown::Write).expect("shutdown");
    expect_end(&stream, &block.repeat(sent / block.len()));
}

/// The FIN arrives at every stage of a write that the kernel accepts only in part.
#[test]
fn half_close_at_many_sizes() {
    let server = Launch::echo().args(&["--high-water", "4MiB"]).start();
    let data = Random::new(3).bytes(3 * MIB);
    for bits in 0..=21 {
        for length in [(1 << bits) - 1, 1 << bits, (1 << bits) + 1] {
            let mut stream = dial_narrow(server.tcp(), 4096);
            stream
                .write_all(&data[..length])
                .expect("the server reads below its high-water mark");
            stream.shutdown(Shutdown::Write).expect("shutdown");
            expect_end(&stream, &data[..length]);
        }
    }
}

#[test]
fn clients_that_never_read_cost_bounded_memory_and_delay_no_other_client() {
    const CLIENTS: usize = 10;
    let server = Launch::echo().start();
    let block = Random::new(4).bytes(100_003);
    let active = dial(server.tcp());
    ping(&active, &block);
    let before = resident_bytes(server.pid());

    let filling = AtomicBool::new(true);
    let stalled: Vec<(TcpStream, usize)> = thread::scope(|scope| {
        let lower = LowerOnDrop(&filling);
        let fillers: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let stream = dial_narrow(server.tcp(), 64 * 1024);
                    let sent = fill(&stream, &block);
                    (stream, sent)
                })
            })
            .collect();
        scope.spawn(|| {
            while filling.load(Ordering::Relaxed) {
                ping(&active, b"while the others fill up\n");
            }
        });
        let stalled = fillers
            .into_iter()
            .map(|filler| filler.join().expect("a filler"))
            .collect();
        drop(lower);
        stalled
    });

    for _ in 0..100 {
        ping(&active, b"while the others are full\n");
    }
    let growth = resident_bytes(server.pid()).saturating_sub(before);
    let allowed = CLIENTS * (256 + 256) * 1024 + 6 * MIB;
    assert!(
        growth < allowed,
        "{growth} bytes for clients that do not read, not {allowed}"
    );

    for (stream, sent) in stalled {
        let data: Vec<u8> = block.iter().copied().cycle().take(sent).collect();
        stream.shutdown(Shutdown::Write).expect("shutdown");
        expect_end(&stream, &data);
    }
}

#[test]
fn half_close_without_a_byte() {
    let server = Launch::echo().start();
    for _ in 0..10 {
        ping_and_end(&dial(server.tcp()), b"");
    }
}

#[test]
fn last_bytes_need_no_newline() {
    let server = Launch::echo().start();
    ping_and_end(&dial(server.tcp()), b"a line\nand no newline");
    let stream = dial(server.tcp());
    ping(&stream, b"not even a line");
    ping(&stream, b"\r");
    ping_and_end(&stream, b"\r\n\n\r");
}

#[test]
fn all_byte_values_are_data() {
    let server = Launch::echo().start();
    let stream = dial(server.tcp());
    let every: Vec<u8> = (0..=255).collect();
    for value in &every {
        ping(&stream, &[*value]);
    }
    ping(&stream, &every);
    ping(&stream, &[0; 10_000]);
    // Telnet commands, escape sequences, broken UTF-8.
    ping(
        &stream,
        b"\xff\xf4\xff\xfd\x06\x1b[2J\x9b\xc3\x28\xf0\x9f\x04",
    );
    ping_and_end(&stream, &[0; 3]);
}

/// The urgent byte itself travels outside the stream and may be dropped. The bytes around it must
/// arrive.
#[test]
fn urgent_data_neither_stalls_nor_swallows() {
    let server = Launch::echo().start();
    for _ in 0..20 {
        let mut stream = dial(server.tcp());
        stream.write_all(b"before").expect("write");
        let count = send(stream.as_raw_fd(), b"!", MsgFlags::MSG_OOB).expect("MSG_OOB");
        assert_eq!(count, 1);
        stream.write_all(b"after").expect("write");
        expect(&stream, b"before");
        let mut next = [0];
        stream.read_exact(&mut next).expect("the server answers");
        if next == *b"!" {
            expect(&stream, b"after");
        } else {
            assert_eq!(next, *b"a");
            expect(&stream, b"fter");
        }
        ping_and_end(&stream, b"and on");
    }
}

/// Data and a FIN that arrive before the server waits are one event under edge triggering: a server
/// that takes a short read for "drained" misses the end of the stream.
#[test]
fn data_and_fin_in_one_event() {
    let server = Launch::echo().start();
    let data = Random::new(5).bytes(131_072);
    let lengths = [
        1, 100, 4095, 4096, 16_384, 32_768, 65_535, 65_536, 65_537, 131_072,
    ];
    // The longest message fits into the client's send buffer.
    let open = |_| {
        let stream = dial(server.tcp());
        setsockopt(&stream, sockopt::SndBuf, &200_000).expect("SO_SNDBUF");
        stream
    };
    // Some connections are opened before the server stops, the others while it is stopped.
    let early = lengths.map(open);
    for stream in &early {
        ping(stream, b"open");
    }
    server.stop();
    let late = lengths.map(open);
    let streams: Vec<_> = early
        .iter()
        .chain(&late)
        .zip(lengths.iter().cycle())
        .collect();
    for &(mut stream, &length) in &streams {
        stream.write_all(&data[..length]).expect("write");
        stream.shutdown(Shutdown::Write).expect("shutdown");
    }
    server.resume();
    for &(stream, &length) in &streams {
        expect_end(stream, &data[..length]);
    }
}

/// Clients that send one byte at a time, as in an attack on servers with a thread per connection,
/// do not delay the other clients, and each of their bytes comes back.
#[test]
fn two_hundred_clients_send_one_byte_at_a_time() {
    const WORDS: &[u8] = b"GET / HTTP/1.1\r\n";
    let server = Launch::echo().start();
    let mut slow: Vec<_> = (0..200).map(|_| dial(server.tcp())).collect();
    let others: Vec<_> = (0..5).map(|_| dial(server.tcp())).collect();
    let message = Random::new(9).bytes(10_000);
    for byte in WORDS.chunks(1) {
        for client in &mut slow {
            client.write_all(byte).expect("write");
        }
        for client in &others {
            ping(client, &message);
        }
        ping_and_end(&dial(server.tcp()), &message);
        for client in &slow {
            expect(client, byte);
        }
    }
    let spoken = WORDS.len() * (slow.len() + (others.len() + 1) * message.len());
    assert_eq!(server.stats().get("bytes_in"), spoken as u64);
    for client in &slow {
        client.shutdown(Shutdown::Write).expect("shutdown");
        expect_end(client, b"");
    }
}
