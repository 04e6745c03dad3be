//! One stream, and the rules of edge-triggered I/O: here and nowhere else.
//!
//! An edge says that something is new since the last edge, never what is left over. So a connection
//! remembers what it was told, and forgets it only when the kernel says that there is no more:
//!
//! 1. `READABLE` is set by an event and cleared when a read shows that the stream is drained: by
//!    `EAGAIN`, or by a *short read*, which saves the read that would say `EAGAIN` (epoll(7),
//!    "Questions and answers").
//! 2. A short read proves nothing once the peer has hung up or sent urgent data: data and FIN may
//!    come as one edge, and a reader that stops at the data never hears of the end. Nor does it
//!    prove anything of a terminal, which gives a line at a time, or of a Unix socket, where a read
//!    ends at passed descriptors. `HANGUP` is sticky, and makes us read on.
//! 3. `HUP` and `ERR` are hints, never a reason to close: data that came before is still there to
//!    be read.
//! 4. What the kernel will not take is queued, and goes out before anything newer. A write is tried
//!    until `EAGAIN`, since only that promises an edge.
//! 5. Backpressure is *not calling read*. `READABLE` stays set, and reading goes on when the pause
//!    is over; epoll has nothing to do with it.
//! 6. The end is: flush, `shutdown(2)`, discard what the peer still sends, close. A `close` while
//!    there is unread input makes the kernel send a reset, which destroys what the peer has not
//!    fetched yet.
//!
//! The file knows no descriptor: [`Stream`] is what it asks of one, so that the tests can play a
//! kernel that is as nasty as a kernel may be.

use std::io::IoSlice;
use std::time::Duration;

use bitflags::bitflags;
use nix::Result;
use nix::errno::Errno;

use crate::buffer::{Buffer, BufferPool};
use crate::limits::Limits;
use crate::poll::Ready;
use crate::protocol::Closed;
use crate::stats::Stats;
use crate::timers::{Millis, millis};

/// What a connection asks of the thing it reads and writes, none of which may wait.
pub(crate) trait Stream {
    /// Reads what is there; 0 is the end. `EAGAIN` if nothing is.
    fn recv(&mut self, buffer: &mut [u8]) -> Result<usize>;
    /// Writes what there is room for. `EAGAIN` if there is none.
    fn send(&mut self, slices: &[IoSlice<'_>]) -> Result<usize>;
    /// Tells the peer that nothing more will come; an error if that cannot be told without closing.
    fn shutdown_write(&mut self) -> Result<()>;
    /// How a connect ended.
    fn connect_result(&mut self) -> Result<()>;
    /// Whether there is a peer at the other end, whom a timeout may end: not the user's own input
    /// or output, which may rest for as long as the user likes.
    fn is_peer(&self) -> bool;
    /// Whether a close now would lose nothing: all sent bytes are with the peer, and none of the
    /// peer's is unread.
    fn is_settled(&mut self) -> bool;
}

bitflags! {
    /// What is known of a connection between events.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct State: u16 {
        /// There may be something to read.
        const READABLE = 1;
        /// There may be room to write, for what is queued.
        const WRITABLE = 1 << 1;
        /// The peer hung up, failed or sent urgent data, or the stream is no TCP: only `EAGAIN`,
        /// the end or an error end the reading.
        const HANGUP = 1 << 2;
        /// Nothing more can be read: the end was reached, or the stream is for writing only.
        const EOF = 1 << 3;
        /// The protocol has ended the connection; what is queued is still to be sent.
        const FINISHED = 1 << 4;
        /// We have told the peer so, and discard what it still sends.
        const LINGERING = 1 << 5;
        /// The protocol does not want to be given more for now.
        const PAUSED = 1 << 6;
        /// More was queued than the high-water mark, and the protocol was told.
        const HIGH_WATER = 1 << 7;
        /// A connect is under way.
        const CONNECTING = 1 << 8;
        /// On the ready list: there is more to do than its budget allowed.
        const LISTED = 1 << 9;
        /// To be closed at the end of the turn. Nothing is done with it any more.
        const DOOMED = 1 << 10;
        /// The kernel had no memory for us, for which there is no edge: a timer tries again.
        const STARVED = 1 << 11;
        /// The peer is gone in both directions: once it is read to its end, nothing can come of it
        /// any more.
        const GONE = 1 << 12;
        /// The protocol has ended our side only; what is queued is still to be sent.
        const HALF_CLOSED = 1 << 13;
        /// The peer was told that nothing more will come.
        const SHUT = 1 << 14;
        /// There is no peer that could end: `EOF` was set from the start.
        const WRITE_ONLY = 1 << 15;
    }
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes.
    Data(usize),
    /// The peer's end of the stream; told once.
    Eof,
    /// Nothing for now.
    Drained,
}

/// A connection. Sixteen thousand of them fit in half a megabyte, so every byte counts: a test
/// watches the size.
#[derive(Debug)]
pub(crate) struct Conn<S> {
    pub(crate) stream: S,
    pub(crate) generation: u32,
    pub(crate) state: State,
    /// What the kernel refused; absent as long as it takes everything.
    unsent: Option<Box<Buffer>>,
    /// When a byte last went either way: milliseconds, the lower half.
    active_ms: u32,
    /// When the present trouble began or was last seen to ease: stalled, lingering, connecting,
    /// starved.
    since_ms: u32,
}

/// What connections share while one of them is at work.
pub(crate) struct Shared<'a> {
    pub(crate) pool: &'a mut BufferPool,
    pub(crate) stats: &'a mut Stats,
    pub(crate) now: Millis,
}

/// How long a stream that was refused memory waits before it tries again.
const STARVED_MS: u32 = 100;
/// While lingering, so much silence of the peer is taken for its end.
const QUIET_MS: u32 = 5_000;
/// The longest timeout that the 32-bit clocks of a connection can measure: 24.8 days.
const TIMEOUT_MAX_MS: u32 = i32::MAX as u32;

impl<S: Stream> Conn<S> {
    pub(crate) fn new(stream: S, generation: u32, state: State, now: Millis) -> Self {
        Conn {
            stream,
            generation,
            state,
            unsent: None,
            active_ms: now as u32,
            since_ms: now as u32,
        }
    }

    /// Rules 1 to 3: takes in what an event says.
    pub(crate) fn note(&mut self, ready: Ready) {
        if ready.intersects(Ready::RDHUP | Ready::HUP | Ready::ERR | Ready::PRI) {
            self.state |= State::HANGUP | State::READABLE;
        }
        if ready.intersects(Ready::HUP | Ready::ERR) {
            self.state |= State::GONE;
        }
        if ready.contains(Ready::IN) {
            self.state |= State::READABLE;
        }
        if ready.intersects(Ready::OUT | Ready::ERR | Ready::HUP) {
            self.state |= State::WRITABLE;
        }
    }

    /// Bytes that wait for the peer.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.unsent.as_ref().map_or(0, |unsent| unsent.len())
    }

    /// Rule 5: whether to read for the protocol.
    pub(crate) fn wants_read(&self) -> bool {
        let never =
            State::EOF | State::FINISHED | State::PAUSED | State::DOOMED | State::CONNECTING;
        self.state.contains(State::READABLE) && !self.state.intersects(never)
    }

    /// Whether to read in order to discard (rule 6).
    pub(crate) fn wants_discard(&self) -> bool {
        self.state.contains(State::READABLE | State::LINGERING)
            && !self.state.intersects(State::EOF | State::DOOMED)
    }

    /// Whether nothing is left to be done about it at the end of its turn: it is neither on its way
    /// to the end nor short of memory.
    pub(crate) fn is_steady(&self) -> bool {
        let not = State::STARVED | State::FINISHED | State::HALF_CLOSED | State::EOF;
        !self.state.intersects(not)
    }

    /// Reads once into `buffer`. Errors are fatal to the connection.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        stats: &mut Stats,
        now: Millis,
    ) -> Result<Read> {
        loop {
            let result = self.stream.recv(buffer);
            stats.count_read(result);
            match result {
                Ok(0) => {
                    self.state |= State::EOF;
                    return Ok(Read::Eof);
                }
                Ok(count) => {
                    self.active_ms = now as u32;
                    if count < buffer.len() && !self.state.contains(State::HANGUP) {
                        self.state -= State::READABLE;
                    }
                    return Ok(Read::Data(count));
                }
                Err(Errno::EAGAIN) => {
                    self.state -= State::READABLE;
                    return Ok(Read::Drained);
                }
                Err(Errno::EINTR) => {}
                Err(errno) if is_starvation(errno) => {
                    self.state -= State::READABLE;
                    self.starve(now);
                    return Ok(Read::Drained);
                }
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Rule 4: writes the slices, or queues what the kernel will not take. Errors are fatal to the
    /// connection.
    #[inline]
    pub(crate) fn write(
        &mut self,
        mut slices: &mut [IoSlice<'_>],
        shared: &mut Shared,
    ) -> Result<()> {
        while self.unsent.is_none() && !slices.is_empty() {
            if let Some(count) = self.send(slices, shared)? {
                IoSlice::advance_slices(&mut slices, count);
            } else {
                self.since_ms = shared.now as u32;
                self.unsent = Some(shared.pool.take());
            }
        }
        if let Some(unsent) = &mut self.unsent {
            slices.iter().for_each(|slice| unsent.push(slice));
        }
        Ok(())
    }

    /// Sends from the queue while there is room. Errors are fatal to the connection.
    pub(crate) fn flush(&mut self, shared: &mut Shared) -> Result<()> {
        while let Some(mut unsent) = self
            .unsent
            .take_if(|_| self.state.contains(State::WRITABLE))
        {
            let sent = self.send(&[IoSlice::new(unsent.as_slice())], shared);
            if let Ok(Some(count)) = sent {
                self.since_ms = shared.now as u32;
                unsent.consume(count);
            }
            if unsent.is_empty() {
                shared.pool.give(unsent);
            } else {
                self.unsent = Some(unsent);
            }
            sent?;
        }
        Ok(())
    }

    /// One call: how many bytes went out, `None` if the kernel takes no more for now.
    fn send(&mut self, slices: &[IoSlice<'_>], shared: &mut Shared) -> Result<Option<usize>> {
        loop {
            let result = self.stream.send(slices);
            shared.stats.count_write(result);
            match result {
                // Nothing was taken, nothing was said: it is tried again later, like a lack of
                // memory.
                Ok(0) => {
                    self.state -= State::WRITABLE;
                    self.starve(shared.now);
                    return Ok(None);
                }
                Ok(count) => {
                    self.active_ms = shared.now as u32;
                    return Ok(Some(count));
                }
                Err(Errno::EINTR) => {}
                Err(errno) if errno == Errno::EAGAIN || is_starvation(errno) => {
                    self.state -= State::WRITABLE;
                    if errno != Errno::EAGAIN {
                        self.starve(shared.now);
                    }
                    return Ok(None);
                }
                Err(errno) => return Err(errno),
            }
        }
    }

    fn starve(&mut self, now: Millis) {
        self.state |= State::STARVED;
        self.since_ms = now as u32;
    }

    /// Rule 6, as far as it can go now: `Some` when the connection is to be closed.
    pub(crate) fn end(&mut self, now: Millis) -> Option<Closed> {
        if self.unsent.is_some() {
            return None;
        }
        let (finished, eof) = (
            self.state.contains(State::FINISHED),
            self.state.contains(State::EOF),
        );
        if finished && eof {
            let ours = State::LINGERING | State::WRITE_ONLY;
            return Some(if self.state.intersects(ours) {
                Closed::Finished
            } else {
                Closed::Eof
            });
        }
        if self.state.intersects(State::FINISHED | State::HALF_CLOSED)
            && !self.state.contains(State::SHUT)
        {
            self.state |= State::SHUT;
            if self.stream.shutdown_write().is_err() {
                return Some(Closed::Finished);
            }
        }
        if finished && !self.state.contains(State::LINGERING) {
            self.state |= State::LINGERING;
            (self.since_ms, self.active_ms) = (now as u32, now as u32);
        }
        if !eof {
            return None;
        }
        // A protocol may keep a half-closed connection; nobody keeps one whose other half has ended
        // too.
        match self.state {
            state if state.contains(State::SHUT) => Some(Closed::Eof),
            state if state.contains(State::GONE) => Some(Closed::Reset),
            _ => None,
        }
    }

    /// What time will do to this connection if nothing else happens, and in how many milliseconds.
    pub(crate) fn deadline(&self, limits: &Limits, now: Millis) -> Option<(u32, Deadline)> {
        // Wrapping, so that the clocks' running over after 49 days does no harm.
        let since = (now as u32).wrapping_sub(self.since_ms);
        let active = (now as u32).wrapping_sub(self.active_ms);
        let left = |elapsed: u32, timeout_ms: u32| timeout_ms.saturating_sub(elapsed);
        let limit = |elapsed, timeout, why| match timeout_ms(timeout) {
            0 => None,
            _ if !self.stream.is_peer() => None,
            timeout_ms => Some((left(elapsed, timeout_ms), Deadline::Close(why))),
        };
        if self.state.contains(State::CONNECTING) {
            return limit(since, limits.connect_timeout, Closed::TimedOut);
        }
        let idle = limit(active, limits.idle_timeout, Closed::Idle);
        let stalled = limit(since, limits.stall_timeout, Closed::Stalled);
        let stalled = stalled.filter(|_| self.unsent.is_some());
        let lingered = self.state.contains(State::LINGERING).then(|| {
            let total = left(since, timeout_ms(limits.linger_timeout));
            let quiet = left(active, QUIET_MS);
            (total.min(quiet), Deadline::Close(Closed::Finished))
        });
        let starved = self.state.contains(State::STARVED);
        let starved = starved.then(|| (left(since, STARVED_MS), Deadline::Retry));
        let deadlines = [idle, stalled, lingered, starved];
        deadlines
            .into_iter()
            .flatten()
            .min_by_key(|(left, _)| *left)
    }
}

/// What happens when a connection's deadline is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    Close(Closed),
    /// The kernel may have memory again.
    Retry,
}

fn timeout_ms(timeout: Duration) -> u32 {
    millis(timeout).min(TIMEOUT_MAX_MS.into()) as u32
}

/// Errors of the system, not of the connection, that pass without an edge.
pub(crate) fn is_starvation(errno: Errno) -> bool {
    matches!(errno, Errno::ENOBUFS | Errno::ENOMEM)
}

/// Why a connection ended on which a call failed.
pub(crate) fn closed_by(errno: Errno) -> Closed {
    match errno {
        Errno::ECONNRESET | Errno::EPIPE => Closed::Reset,
        errno => Closed::Error(errno),
    }
}
