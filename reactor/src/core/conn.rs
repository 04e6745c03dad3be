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
//!    ends at passed descriptors. With any fact in `STICKY` the reading goes on.
//! 3. `HUP` and `ERR` are hints, never a reason to close: data that came before is still there to
//!    be read.
//! 4. What the kernel will not take is queued, and goes out before anything newer. A write is tried
//!    until `EAGAIN`, since only that promises an edge.
//! 5. Backpressure is *not calling read*. `READABLE` stays set, and reading goes on when the pause
//!    is over; epoll has nothing to do with it.
//! 6. A pause must not hide the end. A connection that is paused reads on once the peer has hung up
//!    and the kernel holds nothing more of it: the read brings the end or an error, and no data.
//! 7. The end is: flush, `shutdown(2)`, discard what the peer still sends, close. A `close` while
//!    there is unread input makes the kernel send a reset, which destroys what the peer has not
//!    fetched yet.
//!
//! The file knows no descriptor: [`Stream`] is what it asks of one, so that the tests can play a
//! kernel that is as nasty as a kernel may be.

use std::io::IoSlice;

use bitflags::bitflags;
use nix::Result;
use nix::errno::Errno;

use super::buffer::{Buffer, BufferPool, Drain};
use super::stats::Stats;
use super::timers::Millis;
use crate::outbox::Asked;
use crate::poll::Ready;
use crate::protocol::Closed;
use crate::rate_limited_log::RateLimitedLog;
use crate::reason::SystemError;

/// The calls of a connection on its descriptor, none of which may wait.
pub(crate) trait Stream {
    /// Reads what is there; 0 is the end. `EAGAIN` if nothing is.
    fn recv(&mut self, buffer: &mut [u8]) -> Result<usize>;
    /// Writes what there is room for. `EAGAIN` if there is none.
    fn send(&mut self, slices: &[IoSlice<'_>]) -> Result<usize>;
    /// `send` for bytes in one piece.
    fn send_one(&mut self, bytes: &[u8]) -> Result<usize> {
        self.send(&[IoSlice::new(bytes)])
    }
    /// Makes the close that follows a reset, if the kind of stream has one.
    fn reset(&mut self);
    /// Tells the peer that nothing more will come; an error if that cannot be told without closing.
    fn shutdown_write(&mut self) -> Result<()>;
    /// How a connect ended.
    fn connect_result(&mut self) -> Result<()>;
    /// Whether there is a peer at the other end, whom a timeout may end: not the user's own input
    /// or output, which may rest for as long as the user likes, nor a part of the program.
    fn is_peer(&self) -> bool;
    /// Bytes that arrived and were not read.
    fn unread(&self) -> Result<usize>;
    /// Bytes sent that the peer has not acknowledged (TCP) or not read (Unix sockets).
    fn unacknowledged(&self) -> Result<usize>;
    /// Milliseconds since the peer's last acknowledgement; `None` where there are none.
    fn unheard_ms(&self) -> Option<u32>;
}

bitflags! {
    /// Facts about a connection that hold between events.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct State: u16 {
        /// There may be something to read. These six bits are epoll's own, so that an event is taken
        /// in by one operation; only a read or a write that is refused takes the first two back.
        const READABLE = Ready::IN.bits() as u16;
        /// There may be room to write, for pending output.
        const WRITABLE = Ready::OUT.bits() as u16;
        /// Urgent data came, at which a read stops short.
        const URGENT = Ready::PRI.bits() as u16;
        /// The peer has ended its side.
        const HUNG_UP = Ready::RDHUP.bits() as u16;
        /// Both sides have ended: once the connection is read to its end, nothing can come of it.
        const GONE = Ready::HUP.bits() as u16;
        /// The connection failed.
        const FAILED = Ready::ERR.bits() as u16;

        /// The stream is not TCP, or has no edges: a short read proves nothing.
        const UNSURE = 1 << 5;
        /// Nothing more can be read: the end was reached, or the stream is for writing only.
        const EOF = 1 << 6;
        /// There is no peer that could end: `EOF` was set from the start.
        const WRITE_ONLY = 1 << 7;
        /// The protocol has ended our side only; pending output is still to be sent.
        const HALF_CLOSED = 1 << 8;
        /// The peer was told that nothing more will come.
        const SHUT = 1 << 9;
        /// More was pending than the high-water mark, and the protocol was told.
        const HIGH_WATER = 1 << 10;
        /// On the ready list: there is more to do than its budget allowed.
        const LISTED = 1 << 11;
        /// On the starved list: the kernel had no memory for the last call.
        const STARVED = 1 << 12;
        /// Sent bytes were under way when the reactor last looked for vanished peers.
        const UNACKNOWLEDGED = 1 << 14;
        /// The peer has not sent a byte. The bit goes where `READABLE` goes, in the same operation.
        const SILENT = 1 << 15;
    }
}

/// Each of these says that the peer has ended its side or is gone.
const OVER: State = State::HUNG_UP.union(State::GONE).union(State::FAILED);
/// With each of these a short read does not show that the stream is drained: rule 2.
const STICKY: State = OVER.union(State::URGENT).union(State::UNSURE);

/// How far a connection has come. It goes through the first three in order, and may skip some. In the
/// last two it is not *live*: no request of the protocol reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The protocol hears of it.
    Open,
    /// The protocol has finished it; pending output is still to be sent.
    Finishing,
    /// The peer was told so, and what it still sends is discarded.
    Lingering,
    /// Its connect is under way. It is Open next.
    Connecting,
    /// It is closed at the end of the turn. Nothing is done with it any more.
    Doomed,
}

/// How a paused connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HiddenEnd {
    /// A read brings the end of the stream or an error.
    Read,
    /// The connection failed, for this cause.
    Failed(Closed),
}

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// This number of bytes.
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
    pub(crate) phase: Phase,
    pub(crate) asked: Asked,
    /// Pending output; absent while the kernel takes everything.
    pub(super) unsent: Option<Box<Buffer>>,
    /// When a byte last went either way: milliseconds, the lower half.
    pub(super) active_ms: u32,
    /// Start of the current wait (connecting, stalled, lingering), or its last progress, in ms.
    pub(super) since_ms: u32,
}

/// The parts of the core that every connection uses while it reads and writes.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) pool: BufferPool,
    pub(crate) stats: Stats,
    shortages: RateLimitedLog,
    /// Pending output of all peers, in bytes.
    pub(crate) pending: usize,
    /// The time of this turn.
    pub(crate) now: Millis,
}

impl<S: Stream> Conn<S> {
    pub(crate) fn new(stream: S, generation: u32, state: State, now: Millis) -> Self {
        Conn {
            stream,
            generation,
            state: state | State::SILENT,
            phase: Phase::Open,
            asked: Asked::empty(),
            unsent: None,
            active_ms: now as u32,
            since_ms: now as u32,
        }
    }

    /// Rules 1 to 3: takes in what an event says.
    #[inline]
    pub(crate) fn note(&mut self, ready: Ready) {
        let said = State::from_bits_retain(ready.bits() as u16);
        self.state |= said;
        if said.intersects(OVER | State::URGENT) {
            self.note_trouble(said);
        }
    }

    /// A read brings the end, the error or what lies before the urgent data.
    fn note_trouble(&mut self, said: State) {
        self.state |= State::READABLE;
        if said.intersects(State::GONE | State::FAILED) {
            self.state |= State::WRITABLE;
        }
    }

    /// Whether nothing stands between an event and the protocol, and nothing is left to be done about
    /// the connection after its turn: the case of nearly every message.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        let not = State::EOF | State::HALF_CLOSED | State::LISTED | State::STARVED;
        self.phase == Phase::Open
            && self.unsent.is_none()
            && self.asked.is_empty()
            && !self.state.intersects(not)
    }

    /// Bytes that wait for the peer.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.unsent.as_ref().map_or(0, |unsent| unsent.len())
    }

    /// Rule 5: whether to read for the protocol.
    #[inline]
    pub(crate) fn wants_read(&self) -> bool {
        let facts = State::READABLE | State::EOF;
        self.phase == Phase::Open
            && self.state & facts == State::READABLE
            && !self.asked.intersects(Asked::PAUSED)
    }

    /// Rule 6: whether a paused connection is over, and what is known of that.
    ///
    /// Unread bytes keep it: a Unix peer's close and a TCP peer's FIN are regular with thousands of
    /// them. After an error, they do so only if they are promised to the peer.
    pub(crate) fn hidden_end(&mut self, keeps_unread: bool) -> Option<HiddenEnd> {
        if self.phase != Phase::Open
            || !self.asked.intersects(Asked::PAUSED)
            || self.state.contains(State::EOF)
            || !self.state.intersects(OVER)
            || !self.stream.is_peer()
        {
            return None;
        }
        if self.stream.unread() == Ok(0) {
            return Some(HiddenEnd::Read);
        }
        (self.state.contains(State::FAILED) && !keeps_unread).then(|| {
            let error = self.stream.connect_result().err();
            HiddenEnd::Failed(self.closed_by(error.unwrap_or(Errno::ECONNRESET)))
        })
    }

    /// Whether a close now would lose nothing: all sent bytes are with the peer, and none of the
    /// peer's is unread. The user's own input and output are not ended by a close.
    pub(crate) fn is_settled(&self) -> bool {
        !self.stream.is_peer()
            || self.stream.unacknowledged() == Ok(0) && self.stream.unread() == Ok(0)
    }

    /// Why a connection ended on which a call failed. A peer that vanished while bytes waited for it
    /// has accepted none of them for too long.
    pub(crate) fn closed_by(&self, errno: Errno) -> Closed {
        match errno {
            Errno::ETIMEDOUT if self.unsent.is_some() => Closed::Stalled,
            errno => SystemError::of(errno).into(),
        }
    }

    /// Whether to read in order to discard (rule 7).
    pub(crate) fn wants_discard(&self) -> bool {
        // Also while output is pending: a peer that sends all it has before it reads would wait for
        // us as we wait for it.
        matches!(self.phase, Phase::Finishing | Phase::Lingering)
            && self.state & (State::READABLE | State::EOF) == State::READABLE
    }

    /// Whether our side has ended: later sends are ignored.
    pub(crate) fn has_ended(&self) -> bool {
        self.phase >= Phase::Finishing || self.state.contains(State::HALF_CLOSED)
    }

    /// Reads once into `buffer`. Errors are fatal to the connection.
    #[expect(
        clippy::inline_always,
        reason = "its one hot call is the path of every message"
    )]
    #[inline(always)]
    pub(crate) fn read(&mut self, buffer: &mut [u8], shared: &mut Shared) -> Result<Read> {
        loop {
            let result = self.stream.recv(buffer);
            match result {
                Ok(count) if count > 0 => {
                    shared.stats.reads += 1;
                    shared.stats.bytes_in += count as u64;
                    self.active_ms = shared.now as u32;
                    self.state -= match count < buffer.len() && !self.state.intersects(STICKY) {
                        true => State::READABLE | State::SILENT,
                        false => State::SILENT,
                    };
                    return Ok(Read::Data(count));
                }
                Err(Errno::EINTR) => shared.stats.reads += 1,
                result => return self.read_no_data(result, shared),
            }
        }
    }

    /// Interprets a read that brought no data.
    fn read_no_data(&mut self, result: Result<usize>, shared: &mut Shared) -> Result<Read> {
        shared.stats.reads += 1;
        match result {
            Ok(_) => {
                self.state |= State::EOF;
                return Ok(Read::Eof);
            }
            Err(Errno::EAGAIN) => shared.stats.again += 1,
            Err(errno) if is_starvation(errno) => self.state |= State::STARVED,
            Err(errno) => return Err(errno),
        }
        self.state -= State::READABLE;
        Ok(Read::Drained)
    }

    /// Rule 4: writes the bytes, or queues what the kernel will not take; ignored once our side has
    /// ended. Errors are fatal to the connection.
    #[expect(
        clippy::inline_always,
        reason = "its one hot call is the path of every message"
    )]
    #[inline(always)]
    pub(crate) fn write(&mut self, bytes: &[u8], shared: &mut Shared) -> Result<()> {
        if self.unsent.is_some() || self.has_ended() {
            return self.write_slices(&mut [IoSlice::new(bytes)], shared);
        }
        let result = self.stream.send_one(bytes);
        if let Ok(count) = result
            && count == bytes.len()
        {
            shared.stats.writes += 1;
            shared.stats.bytes_out += count as u64;
            self.active_ms = shared.now as u32;
            return Ok(());
        }
        let count = self.took(result, shared)?.unwrap_or(0);
        self.write_slices(&mut [IoSlice::new(&bytes[count..])], shared)
    }

    /// Like [`Conn::write`], for bytes that lie in several places.
    pub(crate) fn write_slices(
        &mut self,
        mut slices: &mut [IoSlice<'_>],
        shared: &mut Shared,
    ) -> Result<()> {
        if self.has_ended() {
            return Ok(());
        }
        while self.unsent.is_none() && !slices.is_empty() {
            let result = self.stream.send(slices);
            if let Some(count) = self.took(result, shared)? {
                IoSlice::advance_slices(&mut slices, count);
            }
        }
        let queued = slices
            .iter()
            .try_for_each(|slice| self.queue(slice, shared));
        queued.inspect_err(|_| {
            let text = format_args!("a connection is closed: no memory for its pending output");
            shared.shortages.log(shared.now, text);
        })
    }

    fn queue(&mut self, bytes: &[u8], shared: &mut Shared) -> Result<()> {
        let Some(unsent) = &mut self.unsent else {
            return Ok(());
        };
        unsent.push(bytes)?;
        if self.stream.is_peer() {
            shared.pending += bytes.len();
        }
        Ok(())
    }

    /// Drops pending output, on the way to a close that loses it.
    pub(super) fn drop_unsent(&mut self, shared: &mut Shared) {
        if let Some(unsent) = self.unsent.take()
            && self.stream.is_peer()
        {
            shared.pending -= unsent.len();
        }
    }

    /// Sends from the queue while there is room. Errors are fatal to the connection.
    pub(crate) fn flush(&mut self, shared: &mut Shared) -> Result<()> {
        while self.state.contains(State::WRITABLE)
            && let Some(unsent) = &self.unsent
        {
            let result = self.stream.send_one(unsent.as_slice());
            let count = self.took(result, shared)?.unwrap_or(0);
            if let Some(unsent) = &mut self.unsent
                && count > 0
            {
                self.since_ms = shared.now as u32;
                unsent.drain.taken += count;
                unsent.consume(count);
                if self.stream.is_peer() {
                    shared.pending -= count;
                }
            }
            if let Some(empty) = self.unsent.take_if(|unsent| unsent.is_empty()) {
                shared.pool.give(empty);
            }
        }
        Ok(())
    }

    /// Interprets a write: so many bytes went out; or the kernel takes no more for now, and from
    /// here on bytes wait in the queue. Other errors are fatal to the connection.
    fn took(&mut self, result: Result<usize>, shared: &mut Shared) -> Result<Option<usize>> {
        shared.stats.count_write(result);
        match result {
            // Nothing was taken, nothing was said: it is tried again later, like a lack of memory.
            Ok(0) => self.state |= State::STARVED,
            Ok(count) => {
                self.active_ms = shared.now as u32;
                return Ok(Some(count));
            }
            Err(Errno::EINTR) => return Ok(Some(0)),
            Err(Errno::EAGAIN) => {}
            Err(errno) if is_starvation(errno) => self.state |= State::STARVED,
            Err(errno) => return Err(errno),
        }
        self.state -= State::WRITABLE;
        if self.unsent.is_none() {
            self.since_ms = shared.now as u32;
            let mut unsent = shared.pool.take();
            unsent.drain = Drain::since(shared.now as u32);
            self.unsent = Some(unsent);
        }
        Ok(None)
    }

    /// Whether the end is none that the peer should take for a regular one: it failed, output is lost,
    /// or a reply was still to come.
    pub(crate) fn is_cut_off(&self, why: Closed) -> bool {
        let is_failure = matches!(
            why,
            Closed::Aborted | Closed::SlowConsumer | Closed::Stalled | Closed::Error(_)
        );
        let is_held = why == Closed::Shutdown && self.asked.contains(Asked::HOLD);
        is_failure || is_held || self.unsent.is_some()
    }

    /// The protocol has done with it.
    pub(crate) fn finish(&mut self) {
        self.phase = self.phase.max(Phase::Finishing);
    }

    /// Rule 7, as far as it can go now: `Some` when the connection is to be closed.
    pub(crate) fn end(&mut self, now: Millis) -> Option<Closed> {
        if self.unsent.is_some() {
            return None;
        }
        let eof = self.state.contains(State::EOF);
        if eof && self.phase >= Phase::Finishing {
            let is_ours = self.phase == Phase::Lingering || self.state.contains(State::WRITE_ONLY);
            return Some(match is_ours {
                true => Closed::Finished,
                false => Closed::Eof,
            });
        }
        if self.has_ended() && !self.state.contains(State::SHUT) {
            self.state |= State::SHUT;
            if self.stream.shutdown_write().is_err() {
                return Some(Closed::Finished);
            }
        }
        if self.phase == Phase::Finishing {
            self.phase = Phase::Lingering;
            (self.since_ms, self.active_ms) = (now as u32, now as u32);
        }
        // A protocol may keep a half-closed connection, but not one whose other half has ended too.
        if eof && self.state.contains(State::SHUT) {
            Some(Closed::Eof)
        } else if eof && self.state.intersects(State::GONE | State::FAILED) {
            Some(Closed::Reset)
        } else {
            None
        }
    }
}

/// Errors of the system, not of the connection, that pass without an edge.
pub(crate) fn is_starvation(errno: Errno) -> bool {
    matches!(errno, Errno::ENOBUFS | Errno::ENOMEM)
}
