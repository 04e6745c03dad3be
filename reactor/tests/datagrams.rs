//! UDP: answers, other datagrams, losses, and sockets with one peer.

mod common;

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use common::{Heard, PATIENCE, adopt_socket, alone, reactor, turn_at_once, turn_until};
use edgeloop_reactor::{
    Address, Closed, ConnId, Datagram, Limits, Outbox, Protocol, Reactor, Stats, SystemError,
};
use nix::errno::Errno;

const TAG: u64 = 5;

/// An echo that sends every datagram back in capitals.
#[derive(Default)]
struct Upper {
    heard: usize,
}

impl Protocol for Upper {
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
        // 64 datagrams to the call, and one call more that finds no datagram.
        assert!(
            stats.reads - before.reads <= 4 && stats.writes <= 4,
            "{stats}"
        );
    });
}

#[test]
fn empty_datagrams_and_the_largest_ones_are_answered() {
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

/// The ICMP message that a vanished client causes does not end the service for the others.
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
fn a_protocol_may_send_to_any_address() {
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
fn a_datagram_that_cannot_be_sent_counts_as_lost() {
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

#[test]
fn a_socket_with_one_peer_ignores_other_senders() {
    alone(|| {
        let mut peer = Remote::new();
        let stranger = bound();
        let mut reactor = reactor(|_, _| {});
        let ours = peer.meet(&mut reactor);
        stranger.send_to(b"hello", ours).unwrap();
        peer.socket.send_to(b"", ours).unwrap();
        peer.socket.send_to(b"hello", ours).unwrap();
        let to = stranger.local_addr().unwrap();
        reactor.call(|_, out| out.send_to(TAG, to, b"to a stranger"));
        turn_until(&mut reactor, |notes| notes.heard.len() >= 2);
        let datagram = |bytes: &[u8]| Heard::Datagram(peer.at, TAG, bytes.to_vec());
        assert_eq!(
            reactor.protocol().heard,
            [datagram(b""), datagram(b"hello")]
        );
        assert_eq!(reactor.stats().datagrams_lost, 1);
        stranger.set_nonblocking(true).unwrap();
        let nothing = stranger.recv(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn the_answers_of_a_socket_with_one_peer_go_back_to_it() {
    alone(|| {
        const COUNT: usize = 150;
        let mut reactor = Reactor::new(Upper::default(), Limits::default()).unwrap();
        let mut peer = Remote::new();
        let ours = peer.meet(&mut reactor);
        for number in 0..COUNT {
            let words = format!("datagram {number}");
            peer.socket.send_to(words.as_bytes(), ours).unwrap();
        }
        turn_until(&mut reactor, |upper| upper.heard == COUNT);
        for number in 0..COUNT {
            let words = format!("DATAGRAM {number}");
            assert_eq!(receive(&peer.socket), words.as_bytes());
        }
    });
}

/// The one that is too long ends the first call early, and is lost alone.
#[test]
fn datagrams_that_are_said_together_leave_together() {
    const MANY: usize = 100;
    alone(|| {
        let mut reactor = reactor(|_, _| {});
        listen(&mut reactor);
        let receivers = [bound(), bound()];
        let [first, second] = [&receivers[0], &receivers[1]].map(|to| to.local_addr().unwrap());
        reactor.call(|_, out| {
            (0..MANY).for_each(|count| out.send_to(TAG, first, &vec![count as u8; count]));
            out.send_to(TAG, second, &vec![0; 65_508]);
            out.send_to(TAG, second, b"hello");
            out.send_to(TAG, first, b"the end");
        });
        let before = reactor.stats();
        turn_at_once(&mut reactor);
        for count in 0..MANY {
            assert_eq!(receive(&receivers[0]), vec![count as u8; count]);
        }
        assert_eq!(receive(&receivers[0]), b"the end");
        assert_eq!(receive(&receivers[1]), b"hello");
        let after = reactor.stats();
        let sent = after.datagrams_out - before.datagrams_out;
        assert_eq!((sent, after.datagrams_lost), (MANY as u64 + 2, 1));
        // Of 64, of 36, of the one that is too long, of two.
        assert_eq!(after.writes - before.writes, 4);
        let bytes = (0..MANY).sum::<usize>() + b"hello".len() + b"the end".len();
        assert_eq!(after.bytes_out - before.bytes_out, bytes as u64);
    });
}

/// The error of a datagram is told once, and then the loop rests, although the error is both an
/// event and the result of the next call.
#[test]
fn a_refused_datagram_is_told() {
    alone(|| {
        let mut reactor = reactor(|_, _| {});
        let mut peer = Remote::new();
        peer.meet(&mut reactor);
        peer.vanish();
        for (round, count) in [1, 1, 3].into_iter().enumerate() {
            reactor.call(|_, out| (0..count).for_each(|_| out.send_to(TAG, peer.at, b"?")));
            let before = reactor.protocol().count(&REFUSED);
            turn_until(&mut reactor, |notes| {
                notes.count(&REFUSED) == before + count
            });
            turn_at_once(&mut reactor);
            let quiet = reactor.stats();
            (0..10).for_each(|_| turn_at_once(&mut reactor));
            let stats = reactor.stats();
            let calls = |stats: Stats| (stats.reads, stats.writes);
            assert_eq!(calls(stats), calls(quiet), "round {round}");
            assert_eq!(stats.events, quiet.events + 10, "nothing but wakes");
        }
        let stats = reactor.stats();
        assert_eq!((stats.datagrams_lost, stats.connect_errors), (0, 5));
    });
}

/// The error of a datagram is the result of a later call, which may be the one that sends the next
/// datagram: that datagram is sent all the same.
#[test]
fn a_peer_that_returns_misses_nothing() {
    alone(|| {
        let mut peer = Remote::new();
        let at = peer.at;
        let mut reactor = reactor(move |heard, out| {
            if *heard == Heard::Stop {
                out.send_to(TAG, at, b"farewell");
            }
        });
        peer.meet(&mut reactor);
        for (round, words) in [b"one", b"two"].into_iter().enumerate() {
            peer.vanish();
            reactor.call(|_, out| out.send_to(TAG, at, b"lost"));
            turn_until(&mut reactor, |notes| notes.count(&REFUSED) == round + 1);
            peer.come_back();
            reactor.call(|_, out| out.send_to(TAG, at, words));
            turn_at_once(&mut reactor);
            assert_eq!(receive(&peer.socket), words);
        }
        peer.vanish();
        reactor.call(|_, out| out.send_to(TAG, at, b"lost"));
        turn_at_once(&mut reactor);
        peer.come_back();
        // Datagrams of `on_stop` are sent before the reactor waits for events.
        let before = reactor.protocol().count(&REFUSED);
        reactor.stop();
        assert_eq!(receive(&peer.socket), b"farewell");
        assert_eq!(reactor.protocol().count(&REFUSED), before + 1);
        let ids = &reactor.protocol().failed;
        assert!(ids.iter().all(|id| Some(*id) == peer.id), "{ids:?}");
        assert_eq!(reactor.stats().datagrams_lost, 0);
    });
}

/// Only errors that say something about the peer are told. A datagram that is too long says nothing
/// about the peer.
#[test]
fn a_datagram_that_is_too_long_is_no_error_of_the_peer() {
    alone(|| {
        let mut peer = Remote::new();
        let at = peer.at;
        let mut reactor = reactor(|_, _| {});
        peer.meet(&mut reactor);
        reactor.call(|_, out| {
            out.send_to(TAG, at, &vec![0; 65_508]);
            out.send_to(TAG, at, b"hello");
        });
        reactor.turn().unwrap();
        assert_eq!(receive(&peer.socket), b"hello");
        assert_eq!(reactor.protocol().heard, []);
        let stats = reactor.stats();
        assert_eq!((stats.datagrams_lost, stats.connect_errors), (1, 0));
    });
}

/// A peer may send at any time, so a reactor with a UDP socket runs until it is stopped.
#[test]
fn a_reactor_with_a_udp_socket_keeps_running() {
    alone(|| {
        let mut peer = Remote::new();
        let mut reactor = reactor(|heard, out| match heard {
            Heard::ServiceTimer => out.stop(),
            other => assert_eq!(other, &Heard::Stop),
        });
        peer.meet(&mut reactor);
        reactor.call(|_, out| out.set_service_timer(Duration::from_millis(20)));
        reactor.run().unwrap();
        assert_eq!(reactor.protocol().heard, [Heard::ServiceTimer, Heard::Stop]);
    });
}

/// The error of a vanished peer arrives in the turn that stops the reactor, or later: in neither
/// case does the stop wait for the peer.
#[test]
fn a_peer_that_is_gone_holds_up_no_stop() {
    alone(|| {
        let mut peer = Remote::new();
        let at = peer.at;
        let mut reactor = reactor(move |heard, out| {
            if matches!(heard, Heard::Stop | Heard::ConnectError(..)) {
                out.send_to(TAG, at, b"lost");
            }
        });
        peer.meet(&mut reactor);
        peer.vanish();
        reactor.call(|_, out| {
            out.send_to(TAG, at, b"lost");
            out.stop();
        });
        reactor.run().unwrap();
        assert!(reactor.protocol().heard.contains(&Heard::Stop));
    });
}

/// The id of a UDP socket has no timer, and its slot has another tenant once the socket is closed.
#[test]
fn a_timer_that_was_set_for_a_udp_socket_is_heard_of_nothing() {
    alone(|| {
        let mut reactor = reactor(|_, _| {});
        let to = Address::Udp(bound().local_addr().unwrap().into());
        let udp = reactor.call(|_, out| {
            let id = out.connect(to, TAG);
            out.set_timer(id, Duration::from_millis(5));
            id
        });
        turn_at_once(&mut reactor);
        reactor.call(|_, out| out.stop_listening_to(TAG));
        turn_at_once(&mut reactor);
        let (id, _peer) = adopt_socket(&mut reactor, 0);
        assert_eq!(id.slot(), udp.slot());
        reactor.call(|_, out| out.set_service_timer(Duration::from_millis(20)));
        turn_until(&mut reactor, |notes| notes.count(&Heard::ServiceTimer) == 1);
        assert_eq!(reactor.protocol().count(&Heard::Timer(id)), 0);
    });
}

/// The callback for a datagram that was sent to a port without a socket.
const REFUSED: Heard = Heard::ConnectError(
    TAG,
    Closed::Error(SystemError::new(Errno::ECONNREFUSED as i32)),
);

/// A peer that can vanish and keep its port: while its socket is connected to another address, the
/// kernel refuses the reactor's datagrams as for a closed port.
struct Remote {
    socket: UdpSocket,
    at: SocketAddr,
    elsewhere: UdpSocket,
    /// The address of the reactor's socket, and the id of its connect.
    ours: SocketAddr,
    id: Option<ConnId>,
}

impl Remote {
    fn new() -> Remote {
        let (socket, elsewhere) = (bound(), bound());
        Remote {
            at: socket.local_addr().unwrap(),
            ours: elsewhere.local_addr().unwrap(),
            socket,
            elsewhere,
            id: None,
        }
    }

    /// Gives the reactor a socket with this peer, and returns the socket's address.
    fn meet<P: Protocol>(&mut self, reactor: &mut Reactor<P>) -> SocketAddr {
        self.id = reactor.connect(&Address::Udp(self.at.into()), TAG).ok();
        reactor.call(|_, out| out.send_to(TAG, self.at, b"it is me"));
        reactor.turn().unwrap();
        let (_, ours) = self.socket.recv_from(&mut [0; 8]).unwrap();
        self.ours = ours;
        ours
    }

    fn vanish(&self) {
        let other = self.elsewhere.local_addr().unwrap();
        self.socket.connect(other).unwrap();
    }

    fn come_back(&self) {
        self.socket.connect(self.ours).unwrap();
    }
}

fn listen<P: Protocol>(reactor: &mut Reactor<P>) -> SocketAddr {
    let bound = reactor.listen_on("udp://127.0.0.1:0", TAG).unwrap();
    bound[0].socket_addr().unwrap()
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
