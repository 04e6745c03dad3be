//! Datagrams: the server returns each one whole, to its sender, from the address it was sent to.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use tests::client::{dial_udp, difference};
use tests::random::Random;
use tests::server::{Launch, Server};
use tests::skip;

fn start() -> Server {
    Launch::new("echo", &["udp://127.0.0.1:0"]).start()
}

fn ping(socket: &UdpSocket, datagram: &[u8]) {
    assert_eq!(socket.send(datagram).expect("send"), datagram.len());
    let mut answer = vec![0; 70_000];
    let length = socket.recv(&mut answer).expect("the server answers");
    assert!(
        answer[..length] == *datagram,
        "{}",
        difference(&answer[..length], datagram)
    );
}

#[test]
fn datagrams_of_every_kind() {
    let server = start();
    let socket = dial_udp(server.udp());
    let mut random = Random::new(1);
    for length in [1, 0, 0, 1472, 1473, 8192, 65_506, 65_507, 0, 3] {
        ping(&socket, &random.bytes(length));
    }
    let stats = server.stats();
    ping(&socket, &[0; 100]);
    assert!(
        server.stats().get("bytes_in") > stats.get("bytes_in"),
        "datagrams are not counted"
    );
}

#[test]
fn an_empty_datagram_as_the_first() {
    let server = start();
    let socket = dial_udp(server.udp());
    ping(&socket, b"");
    ping(&socket, b"and another");
}

/// All datagrams arrive as one event. They fit into any receive buffer, although each takes most of
/// a KiB there.
#[test]
fn a_queue_of_datagrams() {
    const DATAGRAMS: u32 = 100;
    let server = start();
    let socket = dial_udp(server.udp());
    for _ in 0..3 {
        server.stop();
        for number in 0..DATAGRAMS {
            socket.send(&number.to_be_bytes()).expect("send");
        }
        server.resume();
        let answers: BTreeSet<u32> = (0..DATAGRAMS)
            .map(|_| {
                let mut answer = [0; 10];
                let length = socket.recv(&mut answer).expect("the server answers");
                u32::from_be_bytes(answer[..length].try_into().expect("4 bytes"))
            })
            .collect();
        assert!(answers.into_iter().eq(0..DATAGRAMS));
    }
}

#[test]
fn many_clients_interleaved() {
    let server = start();
    let sockets: Vec<_> = (0..100).map(|_| dial_udp(server.udp())).collect();
    for round in 0..10 {
        let text = |client| format!("client {client}, round {round}").into_bytes();
        for (client, socket) in sockets.iter().enumerate() {
            socket.send(&text(client)).expect("send");
        }
        for (client, socket) in sockets.iter().enumerate() {
            let mut answer = [0; 100];
            let length = socket.recv(&mut answer).expect("the server answers");
            assert_eq!(answer[..length], text(client));
        }
    }
}

/// The server's replies to closed sockets come back as "port unreachable".
#[test]
fn clients_that_close_at_once() {
    let server = start();
    let baseline = server.open_descriptors();
    let bystander = dial_udp(server.udp());
    for round in 0..20 {
        server.stop();
        for _ in 0..10 {
            dial_udp(server.udp()).send(b"do not answer").expect("send");
        }
        server.resume();
        ping(&bystander, format!("round {round}").as_bytes());
    }
    server.descriptors_return_to(baseline);
}

/// Two echo services that answer each other would never stop, and such services use ports below
/// 1024, so the server does not answer those ports.
#[test]
fn low_source_ports() {
    let low = (512..1024)
        .rev()
        .map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)))
        .find(|bound| !matches!(bound, Err(error) if error.kind() == ErrorKind::AddrInUse));
    let low = match low.expect("a free port below 1024") {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return skip("needs the right to use a port below 1024");
        }
        bound => bound.expect("bind"),
    };
    low.set_read_timeout(Some(tests::PATIENCE))
        .expect("SO_RCVTIMEO");

    let server = start();
    low.connect(server.udp()).expect("connect");
    low.send(b"from a low port").expect("send");
    // A socket keeps its order: a reply to the first datagram would precede this one.
    ping(&dial_udp(server.udp()), b"from a high port");
    low.set_nonblocking(true).expect("O_NONBLOCK");
    let answer = low.recv(&mut [0; 100]).map_err(|error| error.kind());
    assert_eq!(
        answer,
        Err(ErrorKind::WouldBlock),
        "a low port was answered"
    );

    // Many unanswered datagrams and an answered one behind them arrive as one event.
    let other = dial_udp(server.udp());
    server.stop();
    for _ in 0..100 {
        low.send(b"from a low port").expect("send");
    }
    other.send(b"from a high port").expect("send");
    server.resume();
    let length = other.recv(&mut [0; 100]).expect("the server answers");
    assert_eq!(length, 16);

    let server = Launch::new("echo", &["udp://127.0.0.1:0"])
        .args(&["--answer-low-ports"])
        .start();
    low.set_nonblocking(false).expect("O_NONBLOCK");
    low.connect(server.udp()).expect("connect");
    ping(&low, b"from a low port");
}

/// A connected client receives only from the address to which it has sent.
#[test]
fn a_wildcard_server_answers_from_the_address_it_was_asked_at() {
    let server = Launch::new("echo", &["udp://0.0.0.0:0"]).start();
    let port = server.udp().port();
    for last in [1, 2, 3, 1] {
        let socket = dial_udp(SocketAddr::from(([127, 0, 0, last], port)));
        ping(&socket, b"who are you?");
        ping(&socket, b"");
    }
}

#[test]
fn ipv6() {
    let server = Launch::new("echo", &["udp://[::1]:0"]).start();
    let socket = dial_udp(server.udp());
    ping(&socket, b"over IPv6");
    ping(&socket, &Random::new(2).bytes(65_507));
}

#[test]
fn dual_stack() {
    let server = Launch::new("echo", &["udp://[::]:0"]).start();
    let port = server.udp().port();
    ping(
        &dial_udp(SocketAddr::from(([127, 0, 0, 2], port))),
        b"over IPv4",
    );
    ping(
        &dial_udp(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))),
        b"over IPv6",
    );
}
