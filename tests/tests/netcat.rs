//! A user with `nc` gets every byte back, over TCP, UDP and Unix sockets.

use tempfile::tempdir;

use tests::netcat::{Netcat, nc};
use tests::random::Random;
use tests::server::Launch;

#[test]
fn a_line_comes_back() {
    let server = Launch::echo().start();
    let port = server.tcp().port().to_string();
    assert_eq!(
        nc(&["-N", "127.0.0.1", &port], b"hello, world\n"),
        b"hello, world\n"
    );
    assert_eq!(nc(&["-N", "127.0.0.1", &port], b""), b"");
    assert_eq!(
        nc(&["-N", "127.0.0.1", &port], b"no newline"),
        b"no newline"
    );
}

#[test]
fn a_file_comes_back() {
    let server = Launch::echo().start();
    let port = server.tcp().port().to_string();
    let file = Random::new(1).bytes(5_000_000);
    assert!(nc(&["-N", "127.0.0.1", &port], &file) == file);
}

#[test]
fn three_hundred_at_once() {
    let server = Launch::echo().start();
    let port = server.tcp().port().to_string();
    let texts: Vec<String> = (0..300)
        .map(|client| format!("this is client {client}\n").repeat(1 + client % 50))
        .collect();
    let clients: Vec<_> = texts
        .iter()
        .map(|text| Netcat::start(&["-N", "127.0.0.1", &port], text.as_bytes()))
        .collect();
    for (client, text) in clients.into_iter().zip(&texts) {
        assert_eq!(String::from_utf8(client.finish()).as_ref(), Ok(text));
    }
}

#[test]
fn datagrams() {
    let server = Launch::new("echo", &["udp://127.0.0.1:0"]).start();
    let port = server.udp().port().to_string();
    for text in ["hello, world\n", "x", "a datagram without a newline"] {
        // -W 1: `nc` ends after the first datagram that arrives.
        assert_eq!(
            nc(&["-u", "-W", "1", "127.0.0.1", &port], text.as_bytes()),
            text.as_bytes()
        );
    }
}

#[test]
fn unix_socket() {
    let directory = tempdir().expect("a temporary directory");
    let path = directory.path().join("echo.sock");
    let path = path.to_str().expect("a path in UTF-8");
    let server = Launch::new("echo", &[&format!("unix:{path}")]).start();
    assert_eq!(server.addresses(), [format!("unix:{path}")]);
    assert_eq!(
        nc(&["-N", "-U", path], b"hello, world\n"),
        b"hello, world\n"
    );
    let file = Random::new(2).bytes(3_000_000);
    assert!(nc(&["-N", "-U", path], &file) == file);
}

#[test]
fn ipv6() {
    let server = Launch::new("echo", &["[::1]:0"]).start();
    let port = server.tcp().port().to_string();
    assert_eq!(
        nc(&["-6", "-N", "::1", &port], b"hello, world\n"),
        b"hello, world\n"
    );
}

#[test]
fn dual_stack() {
    let server = Launch::new("echo", &["[::]:0"]).start();
    let port = server.tcp().port().to_string();
    assert_eq!(
        nc(&["-4", "-N", "127.0.0.1", &port], b"over IPv4\n"),
        b"over IPv4\n"
    );
    assert_eq!(
        nc(&["-6", "-N", "::1", &port], b"over IPv6\n"),
        b"over IPv6\n"
    );
}
