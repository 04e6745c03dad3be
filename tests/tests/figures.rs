//! The cost of messages and of silence in system calls and turns of the loop. The counts are exact,
//! on any machine.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;

use tests::client::{dial, dial_udp, expect, ping, ping_all};
use tests::process::{raise_own_descriptor_limit, state};
use tests::server::{Launch, Server};
use tests::strace::Trace;
use tests::until;

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 50;
const MESSAGES: usize = CONNECTIONS * ROUNDS;

/// Allowed calls for ten messages. A message costs two calls, and a batch of 64 shares one wait:
/// 2.1 calls at most.
const CALLS_PER_TEN: usize = 21;

fn assert_two_calls_for_each(calls: u64) {
    let allowed = MESSAGES * CALLS_PER_TEN / 10;
    assert!(
        calls as usize <= allowed,
        "{calls} calls for {MESSAGES} messages"
    );
    assert!(
        calls as usize >= 2 * MESSAGES,
        "{calls} calls for {MESSAGES} messages: counted wrongly"
    );
}

fn connect(server: &Server) -> Vec<TcpStream> {
    let streams: Vec<_> = (0..CONNECTIONS).map(|_| dial(server.tcp())).collect();
    ping_all(&streams, b"connected");
    streams
}

/// Sends a message on each connection while the server is stopped, so that it finds all at once.
fn round(server: &Server, streams: &mut [TcpStream]) {
    let message = [b'm'; 64];
    until("the server waits for events", || state(server.pid()) == 'S');
    server.stop();
    for stream in streams.iter_mut() {
        stream.write_all(&message).expect("write");
    }
    server.resume();
    for stream in streams {
        expect(&*stream, &message);
    }
}

#[test]
fn two_calls_for_a_message() {
    let server = Launch::echo().start();
    let mut streams = connect(&server);
    let before = server.stats();
    for _ in 0..ROUNDS {
        round(&server, &mut streams);
    }
    let after = server.stats();
    let since = |name| after.since(&before, name);
    assert_eq!(since("bytes_in"), 64 * MESSAGES as u64);
    assert_eq!(since("bytes_out"), 64 * MESSAGES as u64);
    assert_eq!(
        since("controls"),
        0,
        "epoll_ctl is called when a connection opens, and never again"
    );
    let calls = ["turns", "reads", "writes", "again"]
        .map(since)
        .iter()
        .sum::<u64>();
    assert_two_calls_for_each(calls);
}

/// `strace` confirms the count independently of the server's counters.
#[test]
fn two_calls_for_a_message_as_strace_counts() {
    let calls = |rounds| {
        let trace = Trace::new();
        let mut server = Launch::echo().under(&trace.wrapper(&["-c"])).start();
        let mut streams = connect(&server);
        for _ in 0..rounds {
            round(&server, &mut streams);
        }
        drop(streams);
        server.stats_until("all have left", |stats| stats.get("connections") == 0);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0);
        trace.total_calls()
    };
    let (without, with) = (calls(0), calls(ROUNDS));
    assert_two_calls_for_each(with.saturating_sub(without));
}

/// 64 datagrams that arrive at once share their calls: a wait, a recvmmsg(2) that receives them,
/// one that finds no more, and a sendmmsg(2). That is less than 0.1 calls each. The time to live of
/// the replies costs no call.
#[test]
fn a_batch_of_datagrams_shares_its_calls() {
    const DATAGRAMS: usize = 64;
    for address in ["udp://127.0.0.1:0", "udp://[::]:0"] {
        let server = Launch::new("echo", &[address]).start();
        let socket = dial_udp(SocketAddr::from((Ipv4Addr::LOCALHOST, server.udp().port())));
        let before = server.stats();
        for _ in 0..ROUNDS {
            until("the server waits for events", || state(server.pid()) == 'S');
            server.stop();
            for _ in 0..DATAGRAMS {
                socket.send(b"datagram").expect("send");
            }
            server.resume();
            for _ in 0..DATAGRAMS {
                assert_eq!(socket.recv(&mut [0; 100]).expect("an answer"), 8);
            }
        }
        let after = server.stats();
        let calls = ["turns", "reads", "writes"].map(|name| after.since(&before, name));
        let (calls, datagrams) = (calls.iter().sum::<u64>(), (ROUNDS * DATAGRAMS) as u64);
        assert!(calls <= datagrams / 10, "{calls} calls on {address}");
        assert_eq!(after.since(&before, "datagrams_out"), datagrams);
    }
}

#[test]
fn one_epoll_ctl_for_a_connection() {
    let server = Launch::echo().start();
    ping(dial(server.tcp()), b"warm");
    let before = server.stats_until("all have left", |stats| stats.get("connections") == 0);
    for _ in 0..10 {
        drop(connect(&server));
    }
    let after = server.stats_until("all have left", |stats| stats.get("connections") == 0);
    assert_eq!(after.since(&before, "accepted"), 10 * CONNECTIONS as u64);
    assert_eq!(
        after.since(&before, "controls"),
        after.since(&before, "accepted")
    );
    assert_eq!(
        after.since(&before, "closed"),
        after.since(&before, "accepted")
    );
}

/// A thousand silent connections cost no turn of the loop, with or without timeouts.
#[test]
fn silence_costs_no_turn() {
    let _ = raise_own_descriptor_limit();
    for options in [
        &[][..],
        &["--idle-timeout", "10m", "--stall-timeout", "1m"][..],
    ] {
        let mut server = Launch::echo().args(options).start();
        let streams: Vec<_> = (0..1000).map(|_| dial(server.tcp())).collect();
        ping_all(&streams, b"and now silence");
        let before = server.stats();
        assert_eq!(before.get("connections"), 1000);
        assert_eq!(server.wait(Duration::from_secs(1)), None);
        // Each of the two lines of counters costs a turn.
        let turns = server.stats().since(&before, "turns");
        assert!(
            turns <= 2,
            "{turns} turns of the loop in a second of silence with {options:?}"
        );
    }
}
