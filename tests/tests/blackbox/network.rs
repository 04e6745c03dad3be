//! Bad networks: packets that are lost, a link that is down for a while, and more requests for
//! connections than the backlog holds.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use tests::PATIENCE;
use tests::chat::Guest;
use tests::client::{difference, ping, ping_and_end, ready};
use tests::link::Link;
use tests::random::Random;
use tests::server::{Launch, Server};

use super::{echo, ends, in_every_model};

/// A server behind a link, and the port of the server; `None` where no link can be made.
fn behind_a_link(launch: Launch) -> Option<(Link, Server, u16)> {
    let link = Link::shaped("1gbit")?;
    let server = launch.under(&link.wrapper()).start();
    let port = server.tcp().port();
    Some((link, server, port))
}

fn everywhere(name: &str, options: &[&str]) -> Launch {
    Launch::new(name, &["0.0.0.0:0"]).args(options)
}

/// Four clients send and get every byte over a link that loses packets, while one at full speed is
/// served at once.
#[test]
fn a_link_that_loses_packets() {
    in_every_model(|model| {
        let launch = everywhere("echo", &["--model", model]);
        let Some((link, server, port)) = behind_a_link(launch) else {
            return;
        };
        link.worsen();
        thread::scope(|scope| {
            for seed in 0..4 {
                let stream = link.dial_far(port);
                scope.spawn(move || ping_and_end(&stream, &Random::new(seed).bytes(200_000)));
            }
            let near = link.dial_near(port);
            for message in 0..100 {
                ping(&near, format!("message {message}").as_bytes());
            }
        });
        let dropped = link.dropped();
        assert!(dropped > 10, "{dropped} packets were lost: no bad link");
        ends(server);
    });
}

/// A member behind that link hears every line of a talker at full speed.
#[test]
fn a_member_behind_a_link_that_loses_packets() {
    const LINES: usize = 300;
    let Some((link, server, port)) = behind_a_link(everywhere("chat", &["--rate", "0"])) else {
        return;
    };
    let mut ann = Guest::on(link.dial_far(port)).joined("ann");
    link.worsen();
    let bob = Guest::on(link.dial_near(port)).joined("bob");
    ann.hears("* bob has entered the room");
    let text = "x".repeat(900);
    for number in 0..LINES {
        bob.say(format!("{number} {text}"));
    }
    for number in 0..LINES {
        ann.hears(&format!("[bob] {number} {text}"));
    }
    assert!(link.dropped() > 10, "no bad link");
    ends(server);
}

/// The link is down while a client sends and while replies are under way. When it is up again, every
/// byte arrives; meanwhile other clients are served.
#[test]
fn a_link_that_is_down_for_a_while() {
    in_every_model(|model| {
        let launch = everywhere("echo", &["--model", model]);
        let Some((link, server, port)) = behind_a_link(launch) else {
            return;
        };
        let mut far = link.dial_far(port);
        let near = link.dial_near(port);
        for round in 0..3 {
            ping(&far, format!("up {round}").as_bytes());
            let sent = Random::new(round).bytes(50_000);
            let (before, after) = sent.split_at(25_000);
            far.write_all(before).expect("the kernel takes it");
            link.cut();
            far.write_all(after).expect("the kernel takes it");
            ping(&near, b"meanwhile");
            link.mend();
            let mut answer = vec![0; sent.len()];
            far.read_exact(&mut answer).expect("a reply");
            assert!(answer == sent, "{}", difference(&answer, &sent));
        }
        ends(server);
    });
}

/// Three thousand requests that are never completed, where the backlog holds 16: clients get in all
/// the same, because the kernel answers with SYN cookies (tcp(7)), and the server does not notice.
#[test]
fn a_flood_of_requests() {
    in_every_model(|model| {
        let launch = everywhere("echo", &["--model", model, "--backlog", "16"]);
        let Some((link, server, port)) = behind_a_link(launch) else {
            return;
        };
        let inside = link.dial_far(port);
        ping(&inside, b"before");
        let before = server.stats();
        for round in 0..3 {
            link.flood(port, 1_000);
            ping(&inside, b"during");
            ping(link.dial_far(port), format!("far {round}").as_bytes());
            ping(link.dial_near(port), format!("near {round}").as_bytes());
        }
        let accepted = server.stats().since(&before, "accepted");
        assert_eq!(accepted, 6, "{model}: a request was taken for a connection");
        ends(server);
    });
}

/// While the server is stopped, more clients connect than the backlog holds. Those that the kernel
/// has turned away come again (a SYN is repeated after a second), and all are served.
#[test]
fn more_clients_than_the_backlog_holds() {
    const CLIENTS: usize = 60;
    in_every_model(|model| {
        let server = echo(model).args(&["--backlog", "4"]).start();
        server.stop();
        let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| begin(server.tcp())).collect();
        let waiting = clients
            .iter()
            .filter(|client| !is_connected(client))
            .count();
        assert!(waiting > CLIENTS / 2, "{model}: only {waiting} wait");
        server.resume();
        for (number, client) in clients.iter().enumerate() {
            let connected = ready(client, PollFlags::POLLOUT, 30_000);
            assert!(connected, "{model}: client {number} is not let in");
            client.set_nonblocking(false).expect("O_NONBLOCK");
            client
                .set_read_timeout(Some(PATIENCE))
                .expect("SO_RCVTIMEO");
            ping(client, format!("client {number}").as_bytes());
        }
        ends(server);
    });
}

/// Begins to connect, and does not wait.
fn begin(server: SocketAddr) -> TcpStream {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("socket");
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(server)) {
        Ok(()) | Err(Errno::EINPROGRESS) => TcpStream::from(socket),
        Err(errno) => panic!("connect: {errno}"),
    }
}

fn is_connected(client: &TcpStream) -> bool {
    ready(client, PollFlags::POLLOUT, 0)
}
