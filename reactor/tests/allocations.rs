//! A reactor that is warm does not allocate, and an idle connection costs 44 bytes.
//!
//! Every test runs the turns of a reactor and is its own client, on one thread. It counts the
//! allocations of [`Reactor::turn`] and no others. The counters belong to the thread, so the tests
//! may run in parallel.

#![allow(
    unsafe_code,
    reason = "to count allocations is to implement GlobalAlloc"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use edgeloop_reactor::process::raise_descriptor_limit;
use edgeloop_reactor::{
    Closed, ConnId, Data, Direction, Limits, Opened, Outbox, Protocol, Reactor, Stats, Waker,
};

const MESSAGE_BYTES: usize = 64;
const CLIENTS: usize = 10;
/// Rounds in which every client sends one message: 300 messages to get warm, and 10,000 that count.
const WARM_UP_ROUNDS: usize = 30;
const ROUNDS: usize = 1_000;

#[test]
fn sending_back_allocates_nothing() {
    let mut rig = Rig::new(Echo, Limits::default(), CLIENTS);
    assert_eq!(rig.allocations_of_messages(1), 0);
}

#[test]
fn sending_a_copy_allocates_nothing() {
    let mut rig = Rig::new(Copier, Limits::default(), CLIENTS);
    assert_eq!(rig.allocations_of_messages(1), 0);
}

#[test]
fn broadcasting_allocates_nothing() {
    let mut rig = Rig::new(Room::default(), Limits::default(), CLIENTS);
    assert_eq!(rig.allocations_of_messages(CLIENTS), 0);
}

/// A busy connection notes the time and leaves its timer alone, so timeouts allocate nothing.
#[test]
fn timeouts_allocate_nothing() {
    let limits = Limits {
        idle_timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    let mut rig = Rig::new(Echo, limits, CLIENTS);
    assert_eq!(rig.allocations_of_messages(1), 0);
}

/// Bytes that the kernel refuses are queued in a buffer from the pool, and the buffer goes back
/// there.
#[test]
fn a_slow_reader_of_its_own_echo_allocates_nothing() {
    let mut rig = Rig::new(Echo, Limits::default(), 1);
    let allocations = rig.allocations_of_backlogs(1, BACKLOG_BYTES);
    assert_eq!(allocations, 0);
}

#[test]
fn slow_readers_of_broadcasts_allocate_nothing() {
    let mut rig = Rig::new(Room::default(), Limits::default(), CLIENTS);
    let allocations = rig.allocations_of_backlogs(CLIENTS, BACKLOG_BYTES);
    assert_eq!(allocations, 0);
}

#[test]
fn a_reader_slow_enough_to_be_paused_allocates_nothing() {
    let limits = Limits::default();
    let backlog = limits.high_water;
    let mut rig = Rig::new(Echo, limits, 1);
    let allocations = rig.allocations_of_backlogs(1, backlog);
    assert_eq!(allocations, 0);
}

/// Accepting and closing connections allocates nothing either.
#[test]
fn connections_that_come_and_go_allocate_nothing() {
    let mut rig = Rig::new(Echo, Limits::default(), 0);
    let address = rig.listen();
    let visit = |rig: &mut Rig<Echo>| {
        let mut client = TcpStream::connect(&address).unwrap();
        client.set_nonblocking(true).unwrap();
        client.write_all(&[b'x'; MESSAGE_BYTES]).unwrap();
        rig.receive(&mut client, MESSAGE_BYTES);
        client.shutdown(Shutdown::Write).unwrap();
        rig.until("the end is answered", |_| {
            matches!(client.read(&mut [0]), Ok(0))
        });
    };
    (0..100).for_each(|_| visit(&mut rig));
    rig.allocations = 0;
    (0..1_000).for_each(|_| visit(&mut rig));
    rig.until("all are closed", |stats| stats.connections == 0);
    assert_eq!(rig.reactor.stats().closed_eof, 1_100);
    assert_eq!(rig.allocations, 0);
}

/// The tables have their full size from the start, and the kernel provides their memory page by
/// page as connections come. So the cost of a connection is its share of the tables.
#[test]
fn an_idle_connection_costs_44_bytes() {
    const CONNECTIONS: usize = 1_000;
    raise_descriptor_limit().unwrap();
    let limits = |max_connections| Limits {
        idle_timeout: Duration::from_secs(60),
        max_connections,
        ..Limits::default()
    };
    let reserved = |max_connections| {
        let before = LIVE_BYTES.get();
        let reactor = Reactor::new(Echo, limits(max_connections)).unwrap();
        let bytes = LIVE_BYTES.get() - before;
        drop(reactor);
        usize::try_from(bytes).unwrap()
    };
    let each = (reserved(20_000) - reserved(10_000)).div_ceil(10_000);
    assert_eq!(each, 44, "32 for the connection, 12 for its deadline");

    // No connection allocates memory of its own.
    let mut rig = Rig::new(Echo, limits(CONNECTIONS), 0);
    let address = rig.listen();
    let mut clients: Vec<TcpStream> = Vec::new();
    while clients.len() < CONNECTIONS {
        clients.push(TcpStream::connect(&address).unwrap());
        let accepted = clients.len() as u64;
        rig.until("it is accepted", |stats| stats.accepted == accepted);
    }
    for client in &mut clients {
        client.set_nonblocking(true).unwrap();
        client.write_all(&[b'x'; MESSAGE_BYTES]).unwrap();
        rig.receive(client, MESSAGE_BYTES);
    }
    assert_eq!(rig.reactor.stats().connections, CONNECTIONS as u64);
    assert!(rig.live_bytes < 1_000, "{} bytes", rig.live_bytes);
}

/// An echo by `send_back`.
struct Echo;

impl Protocol for Echo {
    fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
        out.send_back(data);
    }
}

/// An echo by `send`, which copies the bytes into the outbox.
struct Copier;

impl Protocol for Copier {
    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        out.send(id, &data);
    }
}

/// Sends all input to all connections.
#[derive(Default)]
struct Room {
    members: Vec<ConnId>,
}

impl Protocol for Room {
    fn on_open(&mut self, id: ConnId, _: Opened, _: &mut Outbox) {
        self.members.push(id);
    }

    fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
        out.broadcast(self.members.iter().copied(), &data);
    }

    fn on_close(&mut self, id: ConnId, _: Closed, _: &mut Outbox) {
        self.members.retain(|&member| member != id);
    }
}

/// Bytes of one message that fills buffers, and the number of times that they are filled: to get
/// warm, and to count.
const LARGE_BYTES: usize = 16 * 1024;
const WARM_UP_BACKLOGS: u64 = 5;
const BACKLOGS: u64 = 50;
/// Pending output that is far below the high-water mark.
const BACKLOG_BYTES: usize = 40 * 1024;
/// The most turns that a wait may take. All waits take fewer, so one that takes this many hangs.
const PATIENCE_TURNS: usize = 10_000;

/// A reactor whose turns the test runs, its clients, and the number of allocations of its turns.
struct Rig<P> {
    reactor: Reactor<P>,
    waker: Waker,
    clients: Vec<UnixStream>,
    allocations: u64,
    live_bytes: isize,
}

impl<P: Protocol> Rig<P> {
    fn new(protocol: P, limits: Limits, clients: usize) -> Self {
        let mut reactor = Reactor::new(protocol, limits).unwrap();
        let waker = reactor.waker().unwrap();
        let connect = |_| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            reactor.adopt(theirs.into(), Direction::Both, 0).unwrap();
            ours
        };
        let clients = (0..clients).map(connect).collect();
        Rig {
            reactor,
            waker,
            clients,
            allocations: 0,
            live_bytes: 0,
        }
    }

    /// Listens on a free port, and returns the address.
    fn listen(&mut self) -> String {
        let bound = self.reactor.listen_on("0", 0).unwrap();
        let url = bound[0].to_string();
        url.strip_prefix("tcp://").unwrap().to_owned()
    }

    /// Runs one turn, and adds its allocations.
    fn turn(&mut self) {
        // The wake keeps the turn from waiting if there is nothing to do.
        self.waker.wake().unwrap();
        let (allocations, live_bytes) = (ALLOCATIONS.get(), LIVE_BYTES.get());
        self.reactor.turn().unwrap();
        self.allocations += ALLOCATIONS.get() - allocations;
        self.live_bytes += LIVE_BYTES.get() - live_bytes;
    }

    fn until(&mut self, what: &str, mut condition: impl FnMut(&Stats) -> bool) {
        for _ in 0..PATIENCE_TURNS {
            if condition(&self.reactor.stats()) {
                return;
            }
            self.turn();
        }
        panic!("not after {PATIENCE_TURNS} turns: {what}");
    }

    /// Reads this many bytes, and runs turns while they have not arrived.
    fn receive(&mut self, client: &mut impl Read, bytes: usize) {
        let (mut missing, mut buffer) = (bytes, [0; LARGE_BYTES]);
        self.until("all bytes came", |_| {
            while missing > 0 {
                let length = missing.min(LARGE_BYTES);
                match client.read(&mut buffer[..length]) {
                    Ok(0) => panic!("the stream ended"),
                    Ok(count) => missing -= count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                    Err(error) => panic!("{error}"),
                }
            }
            true
        });
    }

    /// In every round each client sends a message, and then reads `hearers` of them: its own, or
    /// those of all clients. Returns the allocations.
    fn allocations_of_messages(&mut self, hearers: usize) -> u64 {
        let mut clients = std::mem::take(&mut self.clients);
        for round in 0..WARM_UP_ROUNDS + ROUNDS {
            if round == WARM_UP_ROUNDS {
                self.allocations = 0;
            }
            for client in &mut clients {
                client.write_all(&[b'x'; MESSAGE_BYTES]).unwrap();
            }
            for client in &mut clients {
                self.receive(client, hearers * MESSAGE_BYTES);
            }
        }
        let messages = (WARM_UP_ROUNDS + ROUNDS) * CLIENTS;
        let bytes_in = self.reactor.stats().bytes_in;
        assert_eq!(bytes_in, (messages * MESSAGE_BYTES) as u64);
        self.allocations
    }

    /// The first client sends and no client reads until `backlog` bytes are pending for each of the
    /// `hearers`; then all clients read everything. This is repeated. Returns the allocations.
    fn allocations_of_backlogs(&mut self, hearers: usize, backlog: usize) -> u64 {
        let mut clients = std::mem::take(&mut self.clients);
        for repetition in 0..WARM_UP_BACKLOGS + BACKLOGS {
            if repetition == WARM_UP_BACKLOGS {
                self.allocations = 0;
            }
            let mut said = 0;
            while self.unsent_bytes(hearers) < backlog * hearers {
                clients[0].write_all(&[b'x'; LARGE_BYTES]).unwrap();
                said += LARGE_BYTES;
                self.turn();
            }
            for client in &mut clients {
                self.receive(client, said);
            }
            assert_eq!(self.unsent_bytes(hearers), 0);
        }
        self.allocations
    }

    /// Pending output in bytes, if all input is sent to this many connections.
    fn unsent_bytes(&self, hearers: usize) -> usize {
        let stats = self.reactor.stats();
        usize::try_from(stats.bytes_in).unwrap() * hearers
            - usize::try_from(stats.bytes_out).unwrap()
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The system's allocator, with counters of the current thread's requests.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(allocations: u64, before: usize, after: usize) {
    ALLOCATIONS.set(ALLOCATIONS.get() + allocations);
    // No layout is larger than isize::MAX.
    LIVE_BYTES.set(LIVE_BYTES.get() + after.cast_signed() - before.cast_signed());
}

// SAFETY: every call is passed on to `System` unchanged, and its result is returned. Counting does
// not allocate: the cells are initialised at compile time and have no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, 0, layout.size());
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, 0, layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size(), 0);
        // SAFETY: as in `alloc`; the pointer came from `System`, as all pointers of this allocator
        // do.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, layout.size(), size);
        // SAFETY: as in `dealloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
