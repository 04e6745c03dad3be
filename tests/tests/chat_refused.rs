//! A refused client is closed: at once if its address has too many connections, otherwise once it
//! has had time to read the reason. Until then it counts as a connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use tests::MIB;
use tests::chat::{Guest, chat};
use tests::client::dial_from;
use tests::server::Server;

const HOME: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 1);

/// Waits until the server has exactly `count` connections.
fn until_open(server: &Server, count: u64) {
    server.stats_until("refused clients are gone", |stats| {
        stats.get("connections") == count
    });
}

/// Sends a byte now and then, until the server resets the connection.
fn drip(mut stream: TcpStream) {
    thread::spawn(move || {
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    });
}

#[test]
fn over_the_limit_of_an_address_it_is_closed_at_once() {
    let server = chat(&["--max-per-ip", "1", "--quiet"]).start();
    let _ann = Guest::on(dial_from(HOME, server.tcp())).joined("ann");
    let refused = [(); 100].map(|()| {
        let mut refused = dial_from(HOME, server.tcp());
        let mut told = String::new();
        refused.read_to_string(&mut told).expect("the end");
        assert_eq!(told, "* too many connections from your address\n");
        refused
    });
    // Each client still has its half open, but the server has closed the connection.
    until_open(&server, 1);
    drop(refused);
    assert_eq!(server.stats().get("refused_address"), 100);
}

#[test]
fn a_bad_name_is_told_why_and_counts_until_it_is_gone() {
    let server = chat(&["--max-per-ip", "3", "--quiet"]).start();
    let begun = Instant::now();
    for name in ["not a name", "", "two words"] {
        let mut refused = Guest::on(dial_from(HOME, server.tcp()));
        refused.say(name);
        assert!(refused.next().starts_with("* a name "));
        refused.hears_the_end();
        drip(refused.stream().try_clone().expect("dup"));
    }
    let open = server.stats().get("connections");
    let mut one_more = String::new();
    let mut stream = dial_from(HOME, server.tcp());
    stream.read_to_string(&mut one_more).expect("the end");
    // On a machine that stood still for the linger time, the refused clients are gone already.
    if begun.elapsed() < Duration::from_millis(1500) {
        assert_eq!(open, 3);
        assert_eq!(one_more, "* too many connections from your address\n");
    }
    until_open(&server, 0);
    // The linger time is two seconds; the default timeouts would take thirty.
    assert!(begun.elapsed() < Duration::from_secs(20));
    let _ann = Guest::on(dial_from(HOME, server.tcp())).joined("ann");
}

/// The server discards the input of a refused client for a while, since a reset could destroy the
/// reason before the client has read it, but not without end.
#[test]
fn a_bad_name_cannot_go_on_sending() {
    let server = chat(&["--quiet"]).start();
    let mut refused = Guest::knock(server.tcp());
    refused.say("not a name");
    assert!(refused.next().starts_with("* a name "));
    let mut sent = 0;
    let failure = loop {
        match refused.stream().write(&[b'x'; 4096]) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
        assert!(sent < 100 * MIB, "all of it was read");
    };
    let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(kinds.contains(&failure.kind()), "{failure}");
    until_open(&server, 0);
}
