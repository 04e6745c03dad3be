//! Two servers that answer each other's replies: a datagram with a forged sender starts the loop,
//! and its time to live ends it.
//!
//! Forging the sender needs no privilege here: the test sends the datagram from the port on which
//! the second server will listen, while the first one is stopped.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};

use tests::client::dial_udp;
use tests::server::{Launch, Server};
use tests::strace::Trace;
use tests::{PATIENCE, until};

/// The greatest time to live of a datagram, in hops.
const HOPS_MAX: i32 = 255;

/// A server that answers datagrams, on the given address.
type Kind = fn(SocketAddr) -> Launch;

fn echo(at: SocketAddr) -> Launch {
    Launch::new("echo", &[&format!("udp://{at}")])
}

fn upper(at: SocketAddr) -> Launch {
    Launch::new("upper", &[&format!("udp://{at}")])
}

fn workers(at: SocketAddr) -> Launch {
    echo(at).args(&["--workers", "3"])
}

fn set_hops(socket: &UdpSocket, hops: i32) {
    match socket.local_addr().expect("getsockname") {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4Ttl, &hops),
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6Ttl, &hops),
    }
    .expect("the time to live");
}

/// Sends one datagram from the second server's future port, and starts that server. `None` if
/// another program has taken the port meanwhile.
fn start_second(first: &Server, target: SocketAddr, kind: Kind, at: SocketAddr) -> Option<Server> {
    first.stop();
    let forger = UdpSocket::bind(SocketAddr::new(target.ip(), 0)).expect("bind");
    set_hops(&forger, HOPS_MAX);
    forger.send_to(b"forged", target).expect("send");
    let port = forger.local_addr().expect("getsockname").port();
    drop(forger);
    let second = kind(SocketAddr::new(at.ip(), port)).spawn();
    let told = second.stderr().wait_for(PATIENCE, |line| {
        line.contains("listening on") || line.contains("cannot listen")
    });
    let listens = told.expect("a banner").contains("listening on");
    first.resume();
    listens.then_some(second)
}

/// Checks that two servers exchange replies over this loopback address exactly as often as the
/// datagram's time to live allows.
fn come_to_an_end(first: Launch, second: Kind, at: SocketAddr, loopback: SocketAddr) {
    let first = first.start();
    let target = SocketAddr::new(loopback.ip(), first.udp().port());
    let second = std::iter::repeat_with(|| start_second(&first, target, second, at))
        .flatten()
        .next()
        .expect("a port that is free");
    let sum = |name| first.stats().get(name) + second.stats().get(name);
    until("the last datagram is not answered", || {
        let answers = sum("datagrams_out");
        assert!(
            answers < HOPS_MAX as u64,
            "{answers} answers to one datagram"
        );
        sum("datagrams_expired") == 1
    });
    assert_eq!(sum("datagrams_out"), HOPS_MAX as u64 - 1);
}

fn any_port(ip: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(ip.into(), 0)
}

fn loopback_4() -> SocketAddr {
    any_port(Ipv4Addr::LOCALHOST)
}

fn loopback_6() -> SocketAddr {
    any_port(Ipv6Addr::LOCALHOST)
}

#[test]
fn servers_of_every_kind() {
    let at = loopback_4();
    for (first, second) in [
        (echo as Kind, echo as Kind),
        (echo, upper),
        (upper, upper),
        (workers, upper),
        (workers, workers),
    ] {
        come_to_an_end(first(at), second, at, at);
    }
}

#[test]
fn servers_on_every_interface() {
    let at = any_port(Ipv4Addr::UNSPECIFIED);
    come_to_an_end(echo(at), upper, at, loopback_4());
    come_to_an_end(echo(at), workers, loopback_4(), loopback_4());
}

#[test]
fn servers_over_ipv6() {
    let (at, dual_stack) = (loopback_6(), any_port(Ipv6Addr::UNSPECIFIED));
    come_to_an_end(echo(at), upper, at, at);
    come_to_an_end(echo(dual_stack), upper, at, at);
    come_to_an_end(workers(dual_stack), upper, dual_stack, at);
}

/// The datagrams are IPv4, and the sockets IPv6.
#[test]
fn servers_of_both_families() {
    let (at, dual_stack) = (loopback_4(), any_port(Ipv6Addr::UNSPECIFIED));
    come_to_an_end(echo(dual_stack), upper, dual_stack, at);
    come_to_an_end(echo(dual_stack), upper, at, at);
    come_to_an_end(echo(at), workers, dual_stack, at);
}

/// The kernel refuses every second reply at first, so the server sends it later.
#[test]
fn servers_that_answer_late() {
    let at = loopback_4();
    let trace = Trace::new();
    let fault = "inject=sendmmsg:error=EAGAIN:when=1+2";
    let slow = echo(at).under(&trace.wrapper(&["-e", "trace=sendmmsg", "-e", fault]));
    come_to_an_end(slow, upper, at, at);
    assert!(trace.injected() >= 100, "no answer was late");
}

/// Expired datagrams within a batch are not answered, and the others are.
#[test]
fn a_batch_with_expired_datagrams() {
    const DATAGRAMS: u64 = 100;
    let server = echo(loopback_4()).start();
    let (answered, unanswered) = (dial_udp(server.udp()), dial_udp(server.udp()));
    set_hops(&unanswered, 1);
    server.stop();
    for _ in 0..DATAGRAMS {
        unanswered.send(b"the last of an exchange").expect("send");
        answered.send(b"a question").expect("send");
    }
    server.resume();
    for _ in 0..DATAGRAMS {
        let mut answer = [0; 100];
        let length = answered.recv(&mut answer).expect("the server answers");
        assert_eq!(&answer[..length], b"a question");
    }
    let stats = server.stats();
    assert_eq!(stats.get("datagrams_expired"), DATAGRAMS);
    assert_eq!(stats.get("datagrams_out"), DATAGRAMS);
    assert_eq!(stats.get("datagrams_lost"), 0);
}

/// The time to live of the next datagram that arrives.
fn hops_of_answer(socket: &UdpSocket) -> i32 {
    let (mut bytes, mut control) = ([0; 100], nix::cmsg_space!(i32));
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let (fd, flags) = (socket.as_raw_fd(), MsgFlags::empty());
    let message =
        recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut control), flags).expect("recvmsg");
    let hops = message
        .cmsgs()
        .expect("control messages")
        .find_map(|message| match message {
            ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => {
                Some(hops)
            }
            _ => None,
        });
    hops.expect("a time to live")
}

#[test]
fn an_answer_has_one_hop_less_than_its_question() {
    for (at, loopback) in [
        (loopback_4(), loopback_4()),
        (any_port(Ipv4Addr::UNSPECIFIED), loopback_4()),
        (loopback_6(), loopback_6()),
        (any_port(Ipv6Addr::UNSPECIFIED), loopback_6()),
        (any_port(Ipv6Addr::UNSPECIFIED), loopback_4()),
    ] {
        let server = echo(at).start();
        let client = dial_udp(SocketAddr::new(loopback.ip(), server.udp().port()));
        match loopback {
            SocketAddr::V4(_) => setsockopt(&client, sockopt::Ipv4RecvTtl, &true),
            SocketAddr::V6(_) => setsockopt(&client, sockopt::Ipv6RecvHopLimit, &true),
        }
        .expect("the time to live of answers");
        for hops in [2, 64, HOPS_MAX] {
            set_hops(&client, hops);
            client.send(b"how far is it?").expect("send");
            assert_eq!(hops_of_answer(&client), hops - 1, "{at} at {loopback}");
        }
    }
}

/// A server that does not answer accepts a datagram without a hop left.
#[test]
fn a_datagram_without_a_hop_left_is_accepted_if_not_answered() {
    let sink = Launch::new("sink", &["udp://127.0.0.1:0"]).start();
    let client = dial_udp(sink.udp());
    set_hops(&client, 1);
    client.send(b"from far away").expect("send");
    sink.stdout()
        .wait_for(PATIENCE, |line| line.contains("from far away"))
        .expect("printed");
    assert_eq!(sink.stats().get("datagrams_expired"), 0);
}
