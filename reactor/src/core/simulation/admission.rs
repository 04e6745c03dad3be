//! A full server: which newcomers are refused, and which connections make room.

use std::net::IpAddr;

use super::kernel::{Fake, Wire};
use crate::core::Core;
use crate::core::admission::Refusal;
use crate::core::conn::State;
use crate::core::limits::Limits;
use crate::id::{ConnId, Data};
use crate::outbox::Outbox;
use crate::per_address::LOOKS;
use crate::poll::Ready;
use crate::protocol::{Closed, Opened, Protocol};
use crate::sources::address::Peer;

/// A greeting, as the chat has one: what is sent to a peer does not count as its own.
pub(super) struct Greeter;

impl Protocol for Greeter {
    fn on_open(&mut self, id: ConnId, _: Opened, out: &mut Outbox) {
        out.send(id, b"hello\n");
    }

    fn on_data(&mut self, _: ConnId, _: Data<'_>, _: &mut Outbox) {}
}

pub(super) struct Server {
    core: Core<Fake, Greeter>,
    pub(super) closed: Vec<(ConnId, Closed)>,
}

impl Server {
    fn new(max_connections: usize, max_per_address: Option<usize>) -> Server {
        Server::with_limits(Limits {
            max_connections,
            max_per_address,
            ..Limits::default()
        })
    }

    pub(super) fn with_limits(limits: Limits) -> Server {
        Server {
            core: Core::new(Greeter, limits),
            closed: Vec::new(),
        }
    }

    /// A client connects, and the turn ends.
    pub(super) fn connect(&mut self, from: &str) -> Result<ConnId, Refusal> {
        let opened = Opened::new(peer(from), 0);
        let place = self.core.place(&opened.peer)?;
        let id = self.core.ids().take();
        self.core.insert(id, Fake(Wire::new()), State::empty());
        self.core.take_place(place, id);
        self.core.opened(id, opened);
        self.end_turn();
        Ok(id)
    }

    /// A client connects, but its connection does not come about.
    pub(super) fn connect_in_vain(&mut self, from: &str) -> Result<(), Refusal> {
        let place = self.core.place(&peer(from))?;
        self.core.give_back(place);
        Ok(())
    }

    pub(super) fn close(&mut self, id: ConnId) {
        self.core.doom(id, Closed::Aborted);
        self.end_turn();
    }

    fn end_turn(&mut self) {
        let closed = &mut self.closed;
        self.core.settle(|id, why, _| closed.push((id, why)));
    }

    /// As many clients as are let in.
    fn fill(&mut self, from: &str) -> usize {
        std::iter::from_fn(|| self.connect(from).ok()).count()
    }

    pub(super) fn says_a_byte(&mut self, id: ConnId) {
        let Fake(wire) = self.core.stream_mut(id).unwrap();
        wire.borrow_mut().inbound.push_back(b'x');
        self.core.deliver(id, Ready::IN);
    }

    pub(super) fn seconds_pass(&mut self, seconds: u64) {
        let now = self.core.shared.now;
        self.core.begin_turn(now + seconds * 1000);
    }
}

fn peer(from: &str) -> Peer {
    Peer::Inet((from.parse::<IpAddr>().unwrap(), 5000).into())
}

#[test]
fn two_silent_addresses_do_not_keep_a_server_full() {
    let mut server = Server::new(100, None);
    assert_eq!(server.fill("192.0.2.1"), 50);
    assert_eq!(server.connect("192.0.2.1"), Err(Refusal::Address(50)));
    assert_eq!(server.fill("192.0.2.2"), 50);
    assert_eq!(server.connect("192.0.2.3"), Err(Refusal::Full(100)));
    server.seconds_pass(11);
    assert_eq!(server.connect("192.0.2.2"), Err(Refusal::Address(50)));
    // They make room for others, until others have as many connections as each of them.
    for _ in 0..33 {
        server.connect("192.0.2.3").expect("a place");
    }
    assert_eq!(server.closed.len(), 33);
    assert!(server.closed.iter().all(|it| it.1 == Closed::Displaced));
    assert_eq!(server.core.shared.stats.closed_displaced, 33);
    assert_eq!(server.core.shared.stats.connections, 100);
}

#[test]
fn a_peer_that_has_sent_a_byte_or_is_young_or_of_a_smaller_crowd_stays() {
    let mut server = Server::new(4, None);
    let [one, two] = [(); 2].map(|()| server.connect("192.0.2.1").unwrap());
    let alone = server.connect("192.0.2.2").unwrap();
    let local = server.connect("127.0.0.1").unwrap();
    server.seconds_pass(9);
    assert_eq!(server.connect("192.0.2.3"), Err(Refusal::Full(4)), "young");
    server.says_a_byte(one);
    server.seconds_pass(1);
    server.connect("192.0.2.3").expect("the place of `two`");
    assert_eq!(server.closed, [(two, Closed::Displaced)]);
    // Now each address has one connection, but only two of them are old and silent.
    server.connect("192.0.2.4").expect("the place of `alone`");
    assert_eq!(server.closed.last(), Some(&(alone, Closed::Displaced)));
    assert_eq!(server.connect("192.0.2.5"), Err(Refusal::Full(4)));
    assert!(server.core.is(local, |_| true) && server.core.is(one, |_| true));
}

#[test]
fn a_newcomer_costs_64_looks_and_the_next_one_goes_on_from_there() {
    let mut server = Server::new(1000, None);
    for host in 0..500 {
        let [high, low] = [host / 250, host % 250];
        for _ in 0..2 {
            let id = server.connect(&format!("198.51.{high}.{low}")).unwrap();
            server.says_a_byte(id);
        }
    }
    server.seconds_pass(20);
    // The only silent connection lies behind 999 others.
    let last = server.closed.len();
    assert_eq!(server.core.len(), 1000);
    let victim = 999;
    let (id, _) = server.core.admitted.counted.at(victim).unwrap();
    server.core.live(id).unwrap().state |= State::SILENT;
    let refused = std::iter::from_fn(|| server.connect("203.0.113.1").err()).count();
    assert_eq!(refused, victim / LOOKS);
    assert_eq!(server.closed.len(), last + 1);
}

#[test]
fn without_a_limit_no_peer_is_counted_or_displaced() {
    let mut server = Server::new(10, Some(0));
    assert_eq!(server.fill("192.0.2.1"), 10);
    server.seconds_pass(60);
    assert_eq!(server.connect("192.0.2.2"), Err(Refusal::Full(10)));
}

#[test]
fn a_limit_that_is_given_counts_loopback_too_and_a_place_that_is_not_taken_is_given_back() {
    let mut server = Server::new(10, Some(3));
    assert_eq!(server.fill("127.0.0.1"), 3);
    let peer = Peer::Inet("192.0.2.1:1".parse().unwrap());
    for _ in 0..10 {
        let place = server.core.place(&peer).expect("a place");
        server.core.give_back(place);
    }
    assert_eq!(server.fill("192.0.2.1"), 3);
    assert_eq!(server.fill("2001:db8::1"), 3);
    assert_eq!(server.fill("2001:db8::2"), 0);
    for _ in 0..100 {
        assert!(server.core.place(&Peer::Unix).is_ok(), "not counted");
    }
}
