//! Tools that the tests of the reactor share: a protocol that records its callbacks, and bounds for
//! tests that wait.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use edgeloop_reactor::process::open_descriptors;
use edgeloop_reactor::{
    Closed, ConnId, Data, Datagram, Direction, Limits, Opened, Outbox, Protocol, Reactor,
};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{setsockopt, sockopt};

/// The longest time that a test may take. All tests are much shorter, so one that takes this long
/// hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a test with the process to itself and for at most [`PATIENCE`], and checks that it leaves
/// no descriptor open.
pub(crate) fn alone(test: impl FnOnce() + Send + 'static) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = open_descriptors().unwrap();
    let (running, over) = mpsc::channel::<()>();
    let body = thread::spawn(move || {
        let _running = running;
        test();
    });
    let waited = over.recv_timeout(PATIENCE);
    assert_ne!(waited, Err(RecvTimeoutError::Timeout), "waits for ever");
    if let Err(panic) = body.join() {
        resume_unwind(panic);
    }
    let after = open_descriptors().unwrap();
    assert_eq!(after, before, "descriptors are left open");
}

/// One callback of a [`Protocol`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Open(ConnId, Opened),
    Data(ConnId, Vec<u8>),
    Eof(ConnId),
    Close(ConnId, Closed),
    Timer(ConnId),
    ServiceTimer,
    HighWater(ConnId),
    LowWater(ConnId),
    ConnectError(u64, Closed),
    Datagram(SocketAddr, u64, Vec<u8>),
    Unsent(u64, Vec<u8>),
    Wake,
    Reload,
    Stop,
}

/// A protocol that records each callback, and lets a closure of the test answer it.
pub(crate) struct Notes<F> {
    /// The callbacks so far, in order.
    pub(crate) heard: Vec<Heard>,
    /// The ids of the connects that have failed, in order.
    pub(crate) failed: Vec<ConnId>,
    answer: F,
}

impl<F: FnMut(&Heard, &mut Outbox)> Notes<F> {
    pub(crate) fn new(answer: F) -> Self {
        Notes {
            heard: Vec::new(),
            failed: Vec::new(),
            answer,
        }
    }

    fn note(&mut self, heard: Heard, out: &mut Outbox) {
        (self.answer)(&heard, out);
        self.heard.push(heard);
    }

    /// The number of callbacks equal to `heard`.
    pub(crate) fn count(&self, heard: &Heard) -> usize {
        self.heard.iter().filter(|other| *other == heard).count()
    }

    /// All bytes that one connection has received.
    pub(crate) fn received(&self, from: ConnId) -> Vec<u8> {
        let data = self.heard.iter().filter_map(|heard| match heard {
            Heard::Data(id, bytes) if *id == from => Some(bytes.as_slice()),
            _ => None,
        });
        data.collect::<Vec<_>>().concat()
    }

    /// The causes of the closes so far, in order.
    pub(crate) fn closed(&self) -> Vec<Closed> {
        let closed = self.heard.iter().filter_map(|heard| match heard {
            Heard::Close(_, why) => Some(*why),
            _ => None,
        });
        closed.collect()
    }
}

impl<F: FnMut(&Heard, &mut Outbox)> Protocol for Notes<F> {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        self.note(Heard::Open(id, opened), out);
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        self.note(Heard::Data(id, data.to_vec()), out);
    }

    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        self.note(Heard::Eof(id), out);
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        self.note(Heard::Close(id, why), out);
    }

    fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
        self.note(Heard::Timer(id), out);
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.note(Heard::ServiceTimer, out);
    }

    fn on_high_water(&mut self, id: ConnId, out: &mut Outbox) {
        self.note(Heard::HighWater(id), out);
    }

    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        self.note(Heard::LowWater(id), out);
    }

    fn on_connect_error(&mut self, id: ConnId, tag: u64, why: Closed, out: &mut Outbox) {
        self.failed.push(id);
        self.note(Heard::ConnectError(tag, why), out);
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox) {
        let Datagram { from, tag, data } = datagram;
        self.note(Heard::Datagram(from, tag, data.to_vec()), out);
    }

    fn on_unsent(&mut self, tag: u64, datagram: Vec<u8>, out: &mut Outbox) {
        self.note(Heard::Unsent(tag, datagram), out);
    }

    fn on_wake(&mut self, out: &mut Outbox) {
        self.note(Heard::Wake, out);
    }

    fn on_reload(&mut self, out: &mut Outbox) {
        self.note(Heard::Reload, out);
    }

    fn on_stop(&mut self, out: &mut Outbox) {
        self.note(Heard::Stop, out);
    }
}

/// A reactor whose callbacks `answer` answers, with the default limits.
pub(crate) fn reactor<F: FnMut(&Heard, &mut Outbox)>(answer: F) -> Reactor<Notes<F>> {
    reactor_with(Limits::default(), answer)
}

pub(crate) fn reactor_with<F>(limits: Limits, answer: F) -> Reactor<Notes<F>>
where
    F: FnMut(&Heard, &mut Outbox),
{
    Reactor::new(Notes::new(answer), limits).unwrap()
}

/// The answers of an echo server.
pub(crate) fn echo(heard: &Heard, out: &mut Outbox) {
    match heard {
        Heard::Data(id, bytes) => out.send(*id, bytes),
        Heard::Eof(id) => out.finish(*id),
        Heard::HighWater(id) => out.pause(*id),
        Heard::LowWater(id) => out.resume(*id),
        _ => {}
    }
}

/// The answers of a protocol that sends nothing.
pub(crate) fn sink(heard: &Heard, out: &mut Outbox) {
    if let Heard::Eof(id) = heard {
        out.finish(*id);
    }
}

/// Runs turns, waiting for events, until `done`.
pub(crate) fn turn_until<P: Protocol>(reactor: &mut Reactor<P>, mut done: impl FnMut(&P) -> bool) {
    while !done(reactor.protocol()) {
        reactor.turn().unwrap();
    }
}

/// Runs one turn that does not wait.
pub(crate) fn turn_at_once<P: Protocol>(reactor: &mut Reactor<P>) {
    reactor.waker().unwrap().wake().unwrap();
    reactor.turn().unwrap();
}

/// `SO_SNDBUF` of the sockets of a test. The kernel doubles it (socket(7)), which is the default on
/// most machines.
const SEND_BUFFER: usize = 106_496;

/// A pair of Unix sockets with buffers of the same size on every machine.
pub(crate) fn socket_pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    for socket in [&ours, &theirs] {
        setsockopt(socket, sockopt::SndBuf, &SEND_BUFFER).unwrap();
    }
    (ours, theirs)
}

/// Adopts one end of a socketpair, and returns the other one.
pub(crate) fn adopt_socket<P: Protocol>(
    reactor: &mut Reactor<P>,
    tag: u64,
) -> (ConnId, UnixStream) {
    let (ours, theirs) = socket_pair();
    let id = reactor.adopt(ours.into(), Direction::Both, tag).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (id, theirs)
}

/// Limits a pipe to 64 KiB, whatever the machine's page size.
pub(crate) fn narrow(pipe: impl AsFd) {
    // This fails only if the pipe is smaller and must not grow.
    let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(64 * 1024));
}

/// Writes until there is no room, and returns the bytes written.
pub(crate) fn write_some(mut to: impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match to.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    written
}

/// Reads until there is nothing more for now, or the end.
pub(crate) fn read_some(mut from: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    match from.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
        _ => bytes,
    }
}

/// Whether `O_NONBLOCK` is set on the open file description.
pub(crate) fn is_nonblocking(fd: &OwnedFd) -> bool {
    let flags = fcntl(fd.as_fd(), FcntlArg::F_GETFL).unwrap();
    OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK)
}

/// Pseudo-random bytes (xorshift), in which a lost, repeated or moved byte shows.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut x = 0x9E37_79B9_7F4A_7C15_u64;
    let words = std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()
    });
    let mut bytes: Vec<u8> = words.take(len.div_ceil(8)).flatten().collect();
    bytes.truncate(len);
    bytes
}
