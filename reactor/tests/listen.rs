//! Accepting within a budget.

mod common;

use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use common::{
    Heard, alone, echo, reactor, reactor_with, read_some, turn_at_once, turn_until, write_some,
};
use edgeloop_reactor::{Bound, Limits, Opened, Peer};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{getsockopt, sockopt};

/// A long queue of one listener delays neither the clients of another listener nor open
/// connections.
#[test]
fn no_turn_accepts_more_than_its_budget() {
    alone(|| {
        const BUDGET: u64 = 4;
        let limits = Limits {
            accept_budget: BUDGET as usize,
            ..Limits::default()
        };
        let mut reactor = reactor_with(limits, echo);
        let [busy, quiet] = [0, 1].map(|tag| {
            let bound = reactor.listen_on("0", tag).unwrap();
            bound[0].socket_addr().unwrap()
        });
        let crowd: Vec<_> = (0..50).map(|_| TcpStream::connect(busy).unwrap()).collect();
        turn_at_once(&mut reactor);
        assert_eq!(reactor.stats().accepted, BUDGET);

        let other = TcpStream::connect(quiet).unwrap();
        other.set_nonblocking(true).unwrap();
        write_some(&other, b"hello");
        let mut inside = reactor.stats().accepted;
        while inside < 51 {
            reactor.turn().unwrap();
            let now = reactor.stats().accepted;
            assert!(now - inside <= 2 * BUDGET, "{now} after {inside}");
            inside = now;
        }
        turn_until(&mut reactor, |_| read_some(&other) == b"hello");
        let position = |wanted| {
            let opened = reactor
                .protocol()
                .heard
                .iter()
                .filter_map(|heard| match heard {
                    Heard::Open(_, Opened { tag, .. }) => Some(*tag),
                    _ => None,
                });
            opened.enumerate().find(|(_, tag)| *tag == wanted)
        };
        let (before_the_other, _) = position(1).unwrap();
        assert!(
            before_the_other <= 3 * BUDGET as usize,
            "{before_the_other}"
        );
        drop(crowd);
    });
}

#[test]
fn a_listener_and_a_udp_socket_are_ended_alone_and_another_may_take_their_place() {
    const ENDED: u64 = 1;
    const OTHER: u64 = 2;
    alone(|| {
        let mut reactor = reactor(|heard, out| match heard {
            Heard::Data(_, bytes) if bytes == b"end" => out.stop_listening_to(ENDED),
            other => echo(other, out),
        });
        let mut listen = |at, tag| {
            reactor.listen_on(at, tag).unwrap()[0]
                .socket_addr()
                .unwrap()
        };
        let [ended, other] = [ENDED, OTHER].map(|tag| listen("0", tag));
        let [ended_udp, other_udp] = [ENDED, OTHER].map(|tag| listen("udp://0", tag));
        let client = TcpStream::connect(ended).unwrap();
        write_some(&client, b"end");
        let heard_end = |heard: &Heard| matches!(heard, Heard::Data(_, bytes) if bytes == b"end");
        turn_until(&mut reactor, |notes| notes.heard.iter().any(heard_end));

        let refused = TcpStream::connect(ended).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        drop(UdpSocket::bind(ended_udp).unwrap());
        assert!(UdpSocket::bind(other_udp).is_err());
        let third = reactor.listen_on("0", ENDED).unwrap()[0]
            .socket_addr()
            .unwrap();
        let others = [other, third].map(|at| TcpStream::connect(at).unwrap());
        for client in others.iter().chain([&client]) {
            client.set_nonblocking(true).unwrap();
            write_some(client, b"hello");
            turn_until(&mut reactor, |_| read_some(client) == b"hello");
        }
    });
}

/// The spare descriptor serves to refuse each client that waits, and finds that no other does.
#[test]
fn clients_that_find_no_descriptor_are_refused_and_the_listener_waits_for_an_edge() {
    alone(|| {
        let mut reactor = reactor(echo);
        let bound = reactor.listen_on("0", 0).unwrap();
        let at = bound[0].socket_addr().unwrap();
        let clients = [(); 2].map(|()| TcpStream::connect(at).unwrap());
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let lowest_free = clients[0].try_clone().unwrap().as_raw_fd();
        setrlimit(Resource::RLIMIT_NOFILE, lowest_free as u64, hard).unwrap();
        let turned = reactor.turn();
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        turned.unwrap();
        let stats = reactor.stats();
        assert_eq!((stats.refused_descriptors, stats.accept_paused), (2, 0));
        for mut client in clients {
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
    });
}

/// A limit on descriptors below the spare one leaves nothing to accept or to refuse a client with.
#[test]
fn a_client_that_cannot_even_be_refused_is_accepted_later_without_an_edge() {
    alone(|| {
        let mut reactor = reactor(echo);
        let bound = reactor.listen_on("0", 0).unwrap();
        let client = TcpStream::connect(bound[0].socket_addr().unwrap()).unwrap();
        client.set_nonblocking(true).unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
        let turned = reactor.turn();
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        turned.unwrap();
        let stats = reactor.stats();
        assert_eq!((stats.refused_descriptors, stats.accept_paused), (0, 1));
        write_some(&client, b"hello");
        turn_until(&mut reactor, |_| read_some(&client) == b"hello");
    });
}

#[test]
fn clients_over_a_limit_are_counted_by_it_and_told_of_that_of_their_address() {
    alone(|| {
        let of_all = Limits {
            max_connections: 1,
            ..Limits::default()
        };
        let of_an_address = Limits {
            max_per_address: Some(1),
            refusals: vec![(0, "too many\n")],
            ..Limits::default()
        };
        let cases = [
            (of_all, "", [1, 0, 0]),
            (of_an_address, "too many\n", [0, 1, 2]),
        ];
        for (limits, farewell, counts) in cases {
            let mut reactor = reactor_with(limits, echo);
            let bound = reactor.listen_on("0", 0).unwrap();
            let at = bound[0].socket_addr().unwrap();
            let [first, mut second] = [(); 2].map(|()| TcpStream::connect(at).unwrap());
            write_some(&second, b"hi");
            turn_at_once(&mut reactor);
            let mut heard = String::new();
            // A client whose input was not read sees a reset.
            second.read_to_string(&mut heard).unwrap_or_default();
            assert_eq!(heard, farewell);
            let stats = reactor.stats();
            let counted = [stats.refused_limit, stats.refused_address, stats.bytes_in];
            assert_eq!(counted, counts);
            assert_eq!((stats.accepted, stats.refused), (1, 1));
            assert_eq!(stats.reads, stats.refused_address);
            drop(first);
        }
    });
}

#[test]
fn the_near_end_of_a_connection_is_known_where_that_costs_nothing() {
    alone(|| {
        let mut reactor = reactor(|_, _| {});
        let mut listen = |at, tag| {
            reactor.listen_on(at, tag).unwrap()[0]
                .socket_addr()
                .unwrap()
        };
        let [single, wildcard] = [listen("127.0.0.1:0", 1), listen("0.0.0.0:0", 2)];
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, wildcard.port()));
        let clients = [single, loopback].map(|at| TcpStream::connect(at).unwrap());
        reactor.connect(&loopback.into(), 3).unwrap();
        turn_until(&mut reactor, |notes| notes.heard.len() == 4);
        let opened = reactor.protocol().heard.iter().map(|heard| match heard {
            Heard::Open(_, opened) => opened,
            other => panic!("{other:?}"),
        });
        let opened: Vec<&Opened> = opened.collect();
        let of = |tag| opened.iter().filter(move |opened| opened.tag == tag);
        assert!(of(1).all(|opened| opened.local == Some(single)));
        assert!(of(2).all(|opened| opened.local.is_none()));
        let ours = of(3).next().unwrap().local.unwrap();
        let theirs = of(2).filter(|opened| opened.peer == Peer::Inet(ours));
        assert_eq!(theirs.count(), 1);
        drop(clients);
    });
}

/// Clients inherit the option from their listener (tcp(7)).
#[test]
fn a_socket_that_was_bound_before_has_keepalive_as_every_listener() {
    alone(|| {
        for (keepalive, is_on) in [(Duration::from_secs(60), true), (Duration::ZERO, false)] {
            let limits = Limits {
                keepalive,
                ..Limits::default()
            };
            let bound = Bound::new(&"0".parse().unwrap(), 1).unwrap().remove(0);
            let socket = bound.as_fd().try_clone_to_owned().unwrap();
            let mut reactor = reactor_with(limits, echo);
            reactor.serve(bound, 0).unwrap();
            assert_eq!(getsockopt(&socket, sockopt::KeepAlive), Ok(is_on));
        }
    });
}
