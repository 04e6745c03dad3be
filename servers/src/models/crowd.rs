//! The clients by address, and which of them have never sent a byte: a full server makes room as
//! the reactor does, by the rules of [`PerAddress`].
//!
//! The acceptor decides; a client's own process or thread knows whether it has read a byte. They
//! share a word for each client, in memory that a child inherits. Each of them changes it from
//! [`SILENT`] once, by one atomic operation, so that no client is displaced that was heard, and
//! none is taken for silent that speaks at the same moment.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use edgeloop_reactor::{AddressKey, Admission, DISPLACED_AFTER, PerAddress};
use nix::errno::Errno;

use super::sys;

/// The client has not sent a byte.
const SILENT: u64 = 0;
/// Its process or thread has read from it.
const HEARD: u64 = 1;
/// It is to end, for a newcomer.
const DISPLACED: u64 = 2;

/// The counted clients. `N` is the name of a process or thread.
pub(super) struct Crowd<N> {
    addresses: PerAddress,
    /// The seat at which the next search for a client to be displaced begins.
    cursor: usize,
    max_connections: usize,
    seats: Vec<Seat<N>>,
    /// Indices of seats without a client.
    free: Vec<usize>,
    /// Words that no seat has yet.
    words: &'static [AtomicU64],
}

/// The acceptor's record of a client. Seats are used again, and never given up.
struct Seat<N> {
    word: &'static AtomicU64,
    taken: Option<Taken<N>>,
}

struct Taken<N> {
    key: AddressKey,
    since: Instant,
    /// The process or thread that serves the client, as soon as there is one.
    name: Option<N>,
}

/// A seat, as the client's process or thread has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    seat: usize,
    word: &'static AtomicU64,
}

impl Ticket {
    /// The client has sent something.
    pub(super) fn is_heard(&self) {
        if self.word.load(Ordering::Relaxed) == SILENT {
            self.leaves_silence_as(HEARD);
        }
    }

    /// Whether the client is to end, for a newcomer.
    pub(super) fn is_displaced(&self) -> bool {
        self.word.load(Ordering::Acquire) == DISPLACED
    }

    fn leaves_silence_as(&self, state: u64) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        let changed = self.word.compare_exchange(SILENT, state, success, failure);
        changed.is_ok()
    }
}

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The limit of connections.
    Full(usize),
    /// The limit of connections from one address.
    Address(usize),
    /// No memory for a seat.
    Memory(Errno),
}

/// A place for a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<N> {
    /// Given back by [`Crowd::release`]; `None` for a client that is not counted.
    pub(super) ticket: Option<Ticket>,
    /// The process or thread whose client makes room.
    pub(super) displaced: Option<N>,
}

impl<N: Copy> Crowd<N> {
    pub(super) fn new(max_per_ip: Option<usize>, max_connections: usize) -> Self {
        Crowd {
            addresses: PerAddress::new(max_per_ip, max_connections),
            cursor: 0,
            max_connections,
            seats: Vec::new(),
            free: Vec::new(),
            words: &[],
        }
    }

    /// A place for a client, while this number of them is open.
    pub(super) fn place(
        &mut self,
        peer: IpAddr,
        open: usize,
        now: Instant,
    ) -> Result<Place<N>, Refusal> {
        let ticket = match self.addresses.admit(peer) {
            Admission::Refused(most) => return Err(Refusal::Address(most)),
            Admission::Uncounted => None,
            Admission::Counted(key) => Some(self.take_seat(key, now)?),
        };
        let mut displaced = None;
        if open >= self.max_connections {
            // One at a time: a client that was displaced is open until it has ended.
            let is_last = open == self.max_connections;
            displaced = is_last.then(|| self.displace(now)).flatten();
            if displaced.is_none() {
                ticket.into_iter().for_each(|ticket| self.release(ticket));
                return Err(Refusal::Full(self.max_connections));
            }
        }
        Ok(Place { ticket, displaced })
    }

    fn take_seat(&mut self, key: AddressKey, since: Instant) -> Result<Ticket, Refusal> {
        let seat = match self.free.pop() {
            Some(seat) => seat,
            None => self
                .add_seat()
                .inspect_err(|_| self.addresses.release(key))?,
        };
        let Seat { word, taken } = &mut self.seats[seat];
        word.store(SILENT, Ordering::Release);
        *taken = Some(Taken {
            key,
            since,
            name: None,
        });
        Ok(Ticket { seat, word })
    }

    fn add_seat(&mut self) -> Result<usize, Refusal> {
        if self.words.is_empty() {
            self.words = sys::shared_words().map_err(Refusal::Memory)?;
        }
        let (word, others) = self
            .words
            .split_first()
            .ok_or(Refusal::Memory(Errno::ENOMEM))?;
        self.words = others;
        self.seats.push(Seat { word, taken: None });
        Ok(self.seats.len() - 1)
    }

    /// A process or thread serves the client.
    pub(super) fn is_served(&mut self, ticket: Ticket, by: N) {
        if let Some(taken) = &mut self.seats[ticket.seat].taken {
            taken.name = Some(by);
        }
    }

    /// A client has gone, or was never served.
    pub(super) fn release(&mut self, ticket: Ticket) {
        if let Some(Taken { key, .. }) = self.seats[ticket.seat].taken.take() {
            self.addresses.release(key);
            self.free.push(ticket.seat);
        }
    }

    /// Makes room, if the search finds a client that is to end.
    fn displace(&mut self, now: Instant) -> Option<N> {
        let Crowd {
            addresses,
            cursor,
            seats,
            ..
        } = self;
        let (ticket, name) = addresses.find_displaced(cursor, seats.len(), |seat| {
            let Seat { word, taken } = &seats[seat];
            let Taken { key, since, name } = taken.as_ref()?;
            let is_old = now.saturating_duration_since(*since) >= DISPLACED_AFTER;
            let is_silent = is_old && word.load(Ordering::Relaxed) == SILENT;
            is_silent.then_some((*key, (Ticket { seat, word }, (*name)?)))
        })?;
        ticket.leaves_silence_as(DISPLACED).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crowd of four at most, which has this number of open clients, named by their order.
    struct Server {
        crowd: Crowd<usize>,
        now: Instant,
        tickets: Vec<Ticket>,
    }

    impl Server {
        fn new() -> Server {
            Server {
                crowd: Crowd::new(None, 4),
                now: Instant::now(),
                tickets: Vec::new(),
            }
        }

        /// The client that a newcomer displaces, if any, while so many are open.
        fn connect(&mut self, from: &str, open: usize) -> Result<Option<usize>, Refusal> {
            let place = self.crowd.place(from.parse().unwrap(), open, self.now)?;
            let ticket = place.ticket.expect("a counted client");
            self.crowd.is_served(ticket, self.tickets.len());
            self.tickets.push(ticket);
            Ok(place.displaced)
        }
    }

    #[test]
    fn clients_that_have_sent_a_byte_or_are_young_or_of_a_smaller_crowd_stay() {
        let mut server = Server::new();
        for (open, from) in ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]
            .into_iter()
            .enumerate()
        {
            assert_eq!(server.connect(from, open), Ok(None));
        }
        server.now += DISPLACED_AFTER / 2;
        assert_eq!(server.connect("192.0.2.4", 4), Err(Refusal::Full(4)));
        server.now += DISPLACED_AFTER / 2;
        server.tickets[0].is_heard();
        assert_eq!(server.connect("192.0.2.1", 4), Err(Refusal::Address(2)));
        assert_eq!(server.connect("192.0.2.4", 4), Ok(Some(1)));
        assert!(server.tickets[1].is_displaced());
        // It has not ended yet. After that, its seat is another's.
        assert_eq!(server.connect("192.0.2.5", 5), Err(Refusal::Full(4)));
        server.crowd.release(server.tickets[1]);
        assert_eq!(server.crowd.free.len(), 1 + 1, "and that of a refused one");
        server.now += DISPLACED_AFTER;
        server.tickets[2..4].iter().for_each(Ticket::is_heard);
        assert_eq!(server.connect("192.0.2.5", 4), Ok(Some(4)));
        assert_eq!(server.connect("192.0.2.6", 4), Err(Refusal::Full(4)));
    }

    #[test]
    fn a_client_is_heard_or_displaced_and_never_both() {
        let mut server = Server::new();
        assert_eq!(server.connect("192.0.2.1", 0), Ok(None));
        let ticket = server.tickets[0];
        assert!(ticket.leaves_silence_as(DISPLACED));
        ticket.is_heard();
        assert!(ticket.is_displaced());
        assert!(!ticket.leaves_silence_as(DISPLACED));
    }

    #[test]
    fn refused_clients_keep_no_seats() {
        let mut server = Server::new();
        for _ in 0..1000 {
            assert_eq!(server.connect("192.0.2.1", 4), Err(Refusal::Full(4)));
        }
        assert_eq!(server.crowd.seats.len(), 1);
        // More seats than words of one page.
        let mut crowd: Crowd<usize> = Crowd::new(Some(2000), 2000);
        for open in 0..2000 {
            let place = crowd.place([192, 0, 2, 1].into(), open, server.now);
            assert!(place.is_ok_and(|place| place.ticket.is_some()));
        }
    }
}
