//! `--workers`: a server with several reactors behaves like one with a single reactor.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::tempdir;

use tests::PATIENCE;
use tests::client::{
    Fate, Probe, count, dial, dial_from, dial_narrow, dial_udp, dial_unix, expect_end, fill,
    is_closed, ping, ping_all, watch,
};
use tests::process::threads;
use tests::random::Random;
use tests::server::{Launch, Server};
use tests::sockets::{tcp_listeners, udp_addresses};

const WORKERS: usize = 3;

fn echo() -> Launch {
    Launch::echo().args(&["--workers", "3"])
}

/// A client that never reads, so that the server has pending output for it.
fn stalled_client(server: &Server) -> TcpStream {
    let stream = dial_narrow(server.tcp(), 16 * 1024);
    let _ = fill(&stream, &vec![b'x'; 65_536]);
    stream
}

fn ends_well(mut server: Server) {
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn all_are_served_and_counted() {
    const CLIENTS: usize = 100;
    let server = echo().start();
    assert_eq!(tcp_listeners(server.pid()), [server.tcp(); WORKERS]);
    // One more thread waits for signals.
    assert_eq!(threads(server.pid()), WORKERS + 1);
    let clients: Vec<_> = (0..CLIENTS).map(|_| dial(server.tcp())).collect();
    for _ in 0..3 {
        ping_all(&clients, b"hello, whoever you are");
    }
    let stats = server.stats();
    assert_eq!(stats.get("connections"), CLIENTS as u64);
    assert_eq!(stats.get("accepted"), CLIENTS as u64);
    let bytes = (3 * CLIENTS * b"hello, whoever you are".len()) as u64;
    assert_eq!(
        (stats.get("bytes_in"), stats.get("bytes_out")),
        (bytes, bytes)
    );
    drop(clients);
    server.stats_until("all have left", |stats| stats.get("connections") == 0);
    assert_eq!(server.stats().get("closed"), CLIENTS as u64);
    ends_well(server);
}

/// The kernel distributes clients by a hash of their addresses: of a hundred, each worker gets
/// some.
#[test]
fn each_of_them_works() {
    let server = echo().args(&["-v"]).start();
    let clients: Vec<_> = (0..100).map(|_| dial(server.tcp())).collect();
    ping_all(&clients, b"hello");
    // Each worker numbers its connections from the same number on.
    let log = server.stderr().text();
    let opened = log
        .lines()
        .filter(|line| line.contains("] connection ") && !line.contains("closed"));
    let mut numbers: Vec<&str> = opened
        .filter_map(|line| line.split("] connection ").nth(1)?.split(' ').next())
        .collect();
    assert_eq!(numbers.len(), 100, "{log}");
    numbers.sort_unstable();
    let most = numbers.chunk_by(|a, b| a == b).map(<[&str]>::len).max();
    assert_eq!(most, Some(WORKERS));
}

#[test]
fn datagrams_and_unix_sockets_are_shared_as_well() {
    let directory = tempdir().expect("a temporary directory");
    let path = directory.path().join("upper.sock");
    let unix = format!("unix:{}", path.display());
    let launch = Launch::new("upper", &["udp://127.0.0.1:0", &unix]);
    let server = launch.args(&["--workers", "3"]).start();
    assert_eq!(udp_addresses(server.pid()), [server.udp(); WORKERS]);
    for _ in 0..50 {
        let socket = dial_udp(server.udp());
        socket.send(b"hello").expect("send");
        let mut answer = [0; 10];
        let count = socket.recv(&mut answer).expect("an answer");
        assert_eq!(&answer[..count], b"HELLO");
    }
    let clients: Vec<_> = (0..50).map(|_| dial_unix(&path)).collect();
    for mut client in &clients {
        client.write_all(b"hello").expect("write");
        tests::client::expect(client, b"HELLO");
    }
    let stats = server.stats();
    assert_eq!((stats.get("datagrams_in"), stats.get("accepted")), (50, 50));
    ends_well(server);
    assert!(!path.exists(), "the socket's file is left");
}

#[test]
fn counters_every_so_often() {
    let server = echo().args(&["--stats", "50ms"]).start();
    let clients: Vec<_> = (0..10).map(|_| dial(server.tcp())).collect();
    ping_all(&clients, b"counted");
    let mut next = 0;
    for _ in 0..3 {
        let stats = |line: &str| line.starts_with("stats: ") && line.contains(" connections=10 ");
        let found = server.stderr().wait_from(next, PATIENCE, stats);
        next = found.expect("a line of counters").0 + 1;
    }
}

/// Pending output is sent before the server ends.
#[test]
fn a_stop_in_good_order() {
    let mut server = echo().start();
    let data = Random::new(1).bytes(200_000);
    let pending: Vec<_> = (0..6)
        .map(|_| {
            let mut stream = dial_narrow(server.tcp(), 16 * 1024);
            stream.write_all(&data).expect("write");
            // The rest is on its way to the client, or pending in the server.
            tests::client::expect(&stream, &data[..1000]);
            tests::sockets::until_read(&stream);
            stream
        })
        .collect();
    let idle: Vec<_> = (0..6).map(|_| dial(server.tcp())).collect();
    ping_all(&idle, b"attached");
    server.signal(Signal::SIGTERM);
    assert!(idle.iter().all(is_closed));
    for stream in &pending {
        expect_end(stream, &data[1000..]);
    }
    drop(pending);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = echo().args(&["--grace", "1h"]).start();
    let _stalled: Vec<_> = (0..3).map(|_| stalled_client(&server)).collect();
    server.signal(Signal::SIGTERM);
    let ended = server.wait(Duration::from_millis(300));
    assert_eq!(ended, None, "pending output was given up");
    server.signal(Signal::SIGINT);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn the_grace_period_ends() {
    let mut server = echo().args(&["--grace", "300ms"]).start();
    let _stalled: Vec<_> = (0..3).map(|_| stalled_client(&server)).collect();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

/// A signal that arrives before the workers have started is not lost.
#[test]
fn a_signal_right_after_the_start() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        for _ in 0..10 {
            let mut server = echo().start();
            server.signal(signal);
            assert_eq!(server.exit_code(), 0);
        }
    }
}

/// The workers share a port by SO_REUSEPORT, but a second server must not.
#[test]
fn a_port_in_use() {
    let fails = |address: &str, workers: &str| {
        let finished = Launch::new("echo", &[address])
            .args(&["--workers", workers])
            .run();
        assert_eq!(finished.code, 1, "{finished:?}");
        let expected = format!("edgeloop: cannot listen on {address}: Address already in use");
        assert_eq!(finished.complaint(), expected);
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let at = listener.local_addr().expect("getsockname");
    fails(&format!("tcp://{at}"), "3");
    let launch = Launch::new("echo", &["127.0.0.1:0", "udp://127.0.0.1:0"]);
    let server = launch.args(&["--workers", "3"]).start();
    for address in server.addresses() {
        fails(address, "3");
        fails(address, "1");
    }
    ping(dial(server.tcp()), b"undisturbed");
}

/// The workers share the places: however the kernel deals the clients out, exactly as many as there may
/// be are served, and places are free again after closes.
#[test]
fn max_connections() {
    let launch = Launch::echo().args(&["--workers", "4", "--max-connections", "20"]);
    let server = launch.start();
    let ask = |clients: usize, served: usize| {
        let mut probes: Vec<_> = (0..clients)
            .map(|_| Probe::ask(server.tcp(), "me"))
            .collect();
        watch(&mut probes, 1000);
        assert_eq!(count(&probes, Fate::Served), served);
        assert_eq!(count(&probes, Fate::Refused), clients - served);
        probes.retain(|probe| probe.fate == Fate::Served);
        probes
    };
    let mut first = ask(20, 20);
    ask(30, 0);
    let stats = server.stats();
    assert_eq!(
        (stats.get("accepted"), stats.get("refused_limit")),
        (20, 30)
    );
    drop(first.split_off(13));
    server.stats_until("seven have left", |stats| stats.get("connections") == 13);
    let second = ask(60, 7);
    first.iter().chain(&second).for_each(Probe::ask_again);
    drop((first, second));
    server.stats_until("all have left", |stats| stats.get("connections") == 0);
    drop(ask(60, 20));
}

#[test]
fn max_per_ip() {
    let launch = Launch::echo().args(&["--workers", "4", "--max-per-ip", "8"]);
    let server = launch.start();
    let at = |last: u8| std::net::Ipv4Addr::new(127, 0, 0, last);
    let connect = |last: u8, clients: usize| -> Vec<TcpStream> {
        let client = |_| dial_from(at(last), server.tcp());
        let clients: Vec<_> = (0..clients).map(client).collect();
        let is_served = |stream: &TcpStream| {
            let mut stream = stream;
            stream.write_all(b"x").is_ok() && matches!(stream.read(&mut [0]), Ok(1))
        };
        clients.into_iter().filter(is_served).collect()
    };
    let mut first = connect(2, 8);
    assert_eq!(first.len(), 8);
    assert_eq!(connect(2, 20).len(), 0);
    assert_eq!(server.stats().get("refused_address"), 20);
    let other = connect(3, 30);
    assert_eq!(other.len(), 8);
    drop(first.split_off(5));
    server.stats_until("three have left", |stats| stats.get("connections") == 13);
    let second = connect(2, 20);
    assert_eq!(second.len(), 3);
    ping_all(first.iter().chain(&second).chain(&other), b"still here");
}

#[test]
fn options_that_do_not_go_together() {
    for (server, options) in [
        ("echo", &["--workers", "2", "--once"][..]),
        ("echo", &["--workers", "2", "--model", "fork"]),
        ("echo", &["--workers", "2", "--model", "thread"]),
        ("talk", &["--workers", "2"]),
        ("chat", &["--workers", "2", "--once"]),
        ("chat", &["--workers", "65"]),
        ("chat", &["--workers", "2", "--plain"]),
        (
            "chat",
            &[
                "--workers",
                "2",
                "--max-line",
                "1MiB",
                "--high-water",
                "2MiB",
            ],
        ),
        ("echo", &["--workers", "0"]),
        ("echo", &["--workers", "many"]),
        ("echo", &["--workers"]),
    ] {
        let finished = Launch::new(server, &["127.0.0.1:0"]).args(options).run();
        assert_eq!(finished.code, 2, "{server} {options:?}: {finished:?}");
        assert!(finished.stderr.contains("--workers"), "{finished:?}");
        assert_eq!(finished.stdout, "");
    }
    // One worker is the default, so every server accepts it.
    for server in ["echo", "talk", "chat"] {
        let one = Launch::new(server, &["127.0.0.1:0"]).args(&["--workers", "1"]);
        ends_well(one.stdin(std::process::Stdio::piped()).start());
    }
}

#[test]
fn a_thousand_visits_leave_nothing_behind() {
    let server = echo().start();
    let descriptors = server.open_descriptors();
    let address = server.tcp();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for visit in 0..250 {
                    ping(dial(address), format!("visit {visit}").as_bytes());
                }
            });
        }
    });
    server.stats_until("all have left", |stats| stats.get("connections") == 0);
    assert_eq!(server.stats().get("accepted"), 1000);
    server.descriptors_return_to(descriptors);
    assert_eq!(threads(server.pid()), WORKERS + 1);
    ends_well(server);
}
