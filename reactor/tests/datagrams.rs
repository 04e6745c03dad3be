//! UDP: answers, datagrams of our own, and those that get lost.

mod common;

use std::net::{SocketAddr, UdpSocket};

use common::{Heard, PATIENCE, alone, reactor, turn_until};
use edgeloop_reactor::{Address, ConnId, Data, Datagram, Limits, Outbox, Protocol, Reactor};

const TAG: u32 = 5;

/// Sends back every datagram, in capitals.
#[derive(Default)]
struct Upper {
    heard: usize,
}

impl Protocol for Upper {
    fn on_data(&mut self, _: ConnId, _: Data<'_>, _: &mut Outbox) {}

    fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox) {
        assert_eq!(datagram.tag, TAG);
        self.heard += 1;
        let mut data = datagram.data;
        data.make_ascii_uppercase();
        out.send_back(data);
    }
}

#[test]
fn more_than_a_batch_is_answered_in_order() {
    alone(|| {
        const COUNT: usize = 150;
        let mut reactor = Reactor::new(Upper::default(), Limits::default()).unwrap();
        let at = listen(&mut reactor);
        let client = connected(at);
        for number in 0..COUNT {
            client
                .send(format!("datagram {number}").as_bytes())
                .unwrap();
        }
        let before = reactor.stats();
        turn_until(&mut reactor, |upper| upper.heard == COUNT);
        for number in 0..COUNT {
            assert_eq!(receive(&client), format!("DATAGRAM {number}").as_bytes());
        }
        let stats = reactor.stats();
        assert_eq!((stats.datagrams_in, stats.datagrams_out), (150, 150));
        assert_eq!((stats.datagrams_lost, stats.datagrams_missed), (0, 0));
        assert_eq!(stats.bytes_in, stats.bytes_out);
        // 64 to the call, and what the protocol may need to see that there is no more.
        assert!(
            stats.reads - before.reads <= 4 && stats.writes <= 4,
            "{stats}"
        );
    });
}

#[test]
fn empty_and_full_ones_are_datagrams_like_any_other() {
    alone(|| {
        let mut reactor = Reactor::new(Upper::default(), Limits::default()).unwrap();
        let at = listen(&mut reactor);
        let client = connected(at);
        for (number, len) in [0, 65_507, 0, 1].into_iter().enumerate() {
            client.send(&vec![b'a'; len]).unwrap();
            turn_until(&mut reactor, |upper| upper.heard == number + 1);
            assert!(receive(&client) == vec![b'A'; len], "{len} bytes");
        }
    });
}

/// The ICMP message that a vanished client causes is no reason to forget the others.
#[test]
fn a_client_that_vanishes_does_no_harm() {
    alone(|| {
        let mut reactor = Reactor::new(Upper::default(), Limits::default()).unwrap();
        let at = listen(&mut reactor);
        for round in 0..10 {
            let (vanishing, staying) = (connected(at), connected(at));
            vanishing.send(b"nobody").unwrap();
            drop(vanishing);
            staying.send(b"somebody").unwrap();
            turn_until(&mut reactor, |upper| upper.heard == 2 * (round + 1));
            assert_eq!(receive(&staying), b"SOMEBODY");
        }
    });
}

#[test]
fn a_protocol_may_send_to_anyone() {
    alone(|| {
        let (first, second) = (bound(), bound());
        let to = [&first, &second].map(|socket| socket.local_addr().unwrap());
        let mut reactor = reactor(move |heard, out| {
            if let Heard::Datagram(from, TAG, bytes) = heard {
                assert_eq!((*from, bytes.as_slice()), (to[0], b"hello".as_slice()));
                out.send_to(TAG, to[0], b"and you");
                out.send_to(TAG, to[1], b"a third party");
            }
        });
        let at = listen(&mut reactor);
        first.send_to(b"hello", at).unwrap();
        turn_until(&mut reactor, |notes| !notes.heard.is_empty());
        assert_eq!(receive(&first), b"and you");
        assert_eq!(receive(&second), b"a third party");
        let stats = reactor.stats();
        assert_eq!((stats.datagrams_out, stats.datagrams_lost), (2, 0));
        assert_eq!(stats.bytes_out, 7 + 13);
    });
}

#[test]
fn what_cannot_be_sent_counts_as_lost() {
    alone(|| {
        let client = bound();
        let to = client.local_addr().unwrap();
        let mut reactor = reactor(|_, _| {});
        listen(&mut reactor);
        reactor.call(|_, out| {
            out.send_to(TAG + 1, to, b"from nobody");
            out.send_to(TAG, to, &vec![0; 65_508]);
            out.send_to(TAG, "[::1]:9".parse().unwrap(), b"of another family");
            out.send_to(TAG, to, b"hello");
        });
        reactor.turn().unwrap();
        assert_eq!(receive(&client), b"hello");
        let stats = reactor.stats();
        assert_eq!((stats.datagrams_out, stats.datagrams_lost), (1, 3));
    });
}

fn listen<P: Protocol>(reactor: &mut Reactor<P>) -> SocketAddr {
    let at = "udp://127.0.0.1:0".parse().unwrap();
    let bound: Vec<Address> = reactor.listen(&at, TAG).unwrap();
    bound[0].resolve().unwrap()[0]
}

fn bound() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn connected(to: SocketAddr) -> UdpSocket {
    let socket = bound();
    socket.connect(to).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = vec![0; 65_536];
    let count = socket.recv(&mut bytes).unwrap();
    bytes.truncate(count);
    bytes
}
