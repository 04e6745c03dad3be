//! Clients that read slowly but steadily lose nothing, and cost little kernel memory.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use tests::client::{dial_narrow, difference, fill, until_cut_off};
use tests::random::Random;
use tests::server::{Launch, MODELS};
use tests::sockets::{Socket, tcp_sockets};
use tests::{MIB, until};

/// Receive buffer of the clients, in bytes: small, so that their windows open often.
const NARROW: usize = 8 * 1024;

/// A reader of about 10 KB/s makes progress within every stall timeout, although in most of them
/// the server's kernel gets no room for more output.
#[test]
fn a_steady_slow_reader_is_served_in_every_model() {
    thread::scope(|scope| {
        for model in MODELS {
            scope.spawn(move || read_steadily(model));
        }
    });
}

fn read_steadily(model: &str) {
    const STALL: Duration = Duration::from_secs(2);
    let echo = Launch::echo().model(model);
    let server = echo.args(&["--stall-timeout", "2s"]).start();
    let data = Random::new(7).bytes(8 * MIB);
    let stream = dial_narrow(server.tcp(), NARROW);
    let mut answer = Vec::new();
    thread::scope(|scope| {
        let writer = scope.spawn(|| (&stream).write_all(&data));
        let began = Instant::now();
        // The pause between two reads makes the reader slow.
        while began.elapsed() < 3 * STALL {
            let mut chunk = [0; 500];
            let count = (&stream).read(&mut chunk).expect("the server goes on");
            assert!(count > 0, "{model}: cut off after {} bytes", answer.len());
            answer.extend_from_slice(&chunk[..count]);
            thread::sleep(Duration::from_millis(50));
        }
        stream.shutdown(Shutdown::Both).expect("shutdown");
        // The writer was blocked all the time, and the shutdown releases it.
        let _ = writer.join().expect("no panic");
    });
    let (expected, _) = data.split_at(answer.len());
    assert!(answer == expected, "{}", difference(&answer, expected));
}

/// The server's kernel must not buffer megabytes for a client that does not read.
#[test]
fn a_client_that_reads_nothing_costs_the_kernel_little() {
    for model in MODELS {
        let server = Launch::echo().model(model).start();
        let stream = dial_narrow(server.tcp(), NARROW);
        let _ = fill(&stream, &vec![b'x'; 65_536]);
        let client = stream.local_addr().expect("an address");
        let ours = |socket: &Socket| socket.local == server.tcp() && socket.remote == client;
        let socket = tcp_sockets().into_iter().find(ours).expect("a connection");
        let queued = socket.unacknowledged;
        assert!((1..256 * 1024).contains(&queued), "{model}: {queued} bytes");
    }
}

/// A peer that accepts nothing is closed, although the server first checks for progress in the
/// kernel.
#[test]
fn a_stalled_peer_is_closed_though_looked_at_twice() {
    let server = Launch::echo().args(&["--stall-timeout", "1s"]).start();
    until_cut_off(&dial_narrow(server.tcp(), NARROW));
    until("the stalled peer is closed", || {
        server.stats().get("closed_stalled") == 1
    });
}
