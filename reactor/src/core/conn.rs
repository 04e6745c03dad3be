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
//!    ends at passed descriptors. `STICKY` is sticky, and makes us read on.
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
use std::mem;
use std::time::Duration;

use bitflags::bitflags;
use nix::Result;
use nix::errno::Errno;

use super::buffer::{Buffer, BufferPool, Drain};
use super::limits::Limits;
use super::stats::Stats;
use super::timers::{Millis, millis};
use crate::poll::Ready;
use crate::protocol::Closed;

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
    /// Tells the peer that nothing more will come; an error if that cannot be told without closing.
    fn shutdown_write(&mut self) -> Result<()>;
    /// How a connect ended.
    fn connect_result(&mut self) -> Result<()>;
    /// Whether there is a peer at the other end, whom a timeout may end: not the user's own input
    /// or output, which may rest for as long as the user likes.
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
    pub(crate) struct State: u32 {
        /// There may be something to read. This bit and the next are epoll's own, so that the usual
        /// event is taken in by one operation.
        const READABLE = Ready::IN.bits();
        /// There may be room to write, for what is queued.
        const WRITABLE = Ready::OUT.bits();
        /// The peer hung up, failed or sent urgent data, or the stream is no TCP: only `EAGAIN`,
        /// the end or an error end the reading.
        const STICKY = 1 << 1;
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
        /// The peer has ended its side or is gone: `RDHUP`, `HUP` or `ERR`.
        const HUNG_UP = 1 << 16;
        /// The connection failed: `ERR`.
        const FAILED = 1 << 17;
        /// Sent bytes were under way when the reactor looked for vanished peers.
        const UNACKNOWLEDGED = 1 << 18;

        /// Our side has ended: later sends are ignored.
        const ENDED = Self::FINISHED.bits() | Self::HALF_CLOSED.bits();
    }
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
    /// Pending output; absent while the kernel takes everything.
    unsent: Option<Box<Buffer>>,
    /// When a byte last went either way: milliseconds, the lower half.
    active_ms: u32,
    /// When the present trouble began or was last seen to ease: stalled, lingering, connecting,
    /// starved.
    since_ms: u32,
}

/// Parts of the core that a connection uses while it reads or writes.
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

    /// The wait that is measured began then, before this connection did.
    pub(crate) fn wait_since(&mut self, began: Millis) {
        self.since_ms = began as u32;
    }

    /// Rules 1 to 3: takes in what an event says.
    #[inline]
    pub(crate) fn note(&mut self, ready: Ready) {
        self.state |= State::from_bits_retain((ready & (Ready::IN | Ready::OUT)).bits());
        if ready.intersects(Ready::RDHUP | Ready::HUP | Ready::ERR | Ready::PRI) {
            self.note_trouble(ready);
        }
    }

    fn note_trouble(&mut self, ready: Ready) {
        self.state |= State::STICKY | State::READABLE;
        if ready.intersects(Ready::RDHUP | Ready::HUP | Ready::ERR) {
            self.state |= State::HUNG_UP;
        }
        if ready.intersects(Ready::HUP | Ready::ERR) {
            self.state |= State::GONE | State::WRITABLE;
        }
        if ready.contains(Ready::ERR) {
            self.state |= State::FAILED;
        }
    }

    /// Whether bytes wait for the peer.
    pub(crate) fn is_waiting(&self) -> bool {
        self.unsent.is_some()
    }

    /// Bytes that wait for the peer.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.unsent.as_ref().map_or(0, |unsent| unsent.len())
    }

    /// Rule 5: whether to read for the protocol.
    #[inline]
    pub(crate) fn wants_read(&self) -> bool {
        let never =
            State::EOF | State::FINISHED | State::PAUSED | State::DOOMED | State::CONNECTING;
        self.state & (State::READABLE | never) == State::READABLE
    }

    /// Rule 6: whether a paused connection is over, and what is known of that.
    ///
    /// Unread bytes keep it: a Unix peer's close and a TCP peer's FIN are regular with thousands of
    /// them. After an error, they do so only if they are promised to the peer.
    pub(crate) fn hidden_end(&mut self, keeps_unread: bool) -> Option<HiddenEnd> {
        let never = State::EOF | State::FINISHED | State::DOOMED | State::CONNECTING;
        if !self.state.contains(State::PAUSED | State::HUNG_UP)
            || self.state.intersects(never)
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
            errno => errno.into(),
        }
    }

    /// Whether to read in order to discard (rule 7).
    pub(crate) fn wants_discard(&self) -> bool {
        // Also while replies wait: a peer that sends all it has before it reads would wait for us as
        // we wait for it.
        self.state.contains(State::READABLE)
            && self.state.intersects(State::FINISHED | State::LINGERING)
            && !self.state.intersects(State::EOF | State::DOOMED)
    }

    /// Whether nothing is left to be done about it at the end of its turn: it is neither on its way
    /// to the end nor short of memory.
    pub(crate) fn is_steady(&self) -> bool {
        let not = State::STARVED | State::ENDED | State::EOF | State::PAUSED;
        !self.state.intersects(not)
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
                    shared.stats.count_received(count);
                    self.active_ms = shared.now as u32;
                    if count < buffer.len() && !self.state.contains(State::STICKY) {
                        self.state -= State::READABLE;
                    }
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
            Err(errno) if is_starvation(errno) => self.starve(shared.now),
            Err(errno) => return Err(errno),
        }
        self.state -= State::READABLE;
        Ok(Read::Drained)
    }

    /// Rule 4: writes the bytes, or queues what the kernel will not take. Errors are fatal to the
    /// connection.
    #[expect(
        clippy::inline_always,
        reason = "its one hot call is the path of every message"
    )]
    #[inline(always)]
    pub(crate) fn write(&mut self, bytes: &[u8], shared: &mut Shared) -> Result<()> {
        if self.unsent.is_some() {
            self.queue(bytes);
            return Ok(());
        }
        let result = self.stream.send_one(bytes);
        if let Ok(count) = result
            && count == bytes.len()
        {
            shared.stats.count_sent(count);
            self.active_ms = shared.now as u32;
            return Ok(());
        }
        if let Some(count) = self.took(result, shared)? {
            return self.write_slices(&mut [IoSlice::new(&bytes[count..])], shared);
        }
        self.queue(bytes);
        Ok(())
    }

    /// Writes a reply from where it was read to, unless our side has ended.
    #[expect(
        clippy::inline_always,
        reason = "its one hot call is the path of every message"
    )]
    #[inline(always)]
    pub(crate) fn send_back(&mut self, bytes: &[u8], shared: &mut Shared) -> Result<()> {
        match self.state.intersects(State::ENDED) {
            true => Ok(()),
            false => self.write(bytes, shared),
        }
    }

    /// Like [`Conn::write`], for bytes that lie in several places.
    pub(crate) fn write_slices(
        &mut self,
        mut slices: &mut [IoSlice<'_>],
        shared: &mut Shared,
    ) -> Result<()> {
        while self.unsent.is_none() && !slices.is_empty() {
            let result = self.stream.send(slices);
            if let Some(count) = self.took(result, shared)? {
                IoSlice::advance_slices(&mut slices, count);
            }
        }
        slices.iter().for_each(|slice| self.queue(slice));
        Ok(())
    }

    fn queue(&mut self, bytes: &[u8]) {
        if let Some(unsent) = &mut self.unsent {
            unsent.push(bytes);
        }
    }

    /// Sends from the queue while there is room. Errors are fatal to the connection.
    pub(crate) fn flush(&mut self, shared: &mut Shared) -> Result<()> {
        while self.state.contains(State::WRITABLE)
            && let Some(unsent) = &self.unsent
        {
            let result = self.stream.send_one(unsent.as_slice());
            let count = self.took(result, shared)?.unwrap_or(0);
            self.since_ms = if count > 0 {
                shared.now as u32
            } else {
                self.since_ms
            };
            if let Some(unsent) = &mut self.unsent {
                unsent.drain.taken += count;
                unsent.consume(count);
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
            Ok(0) => self.starve(shared.now),
            Ok(count) => {
                self.active_ms = shared.now as u32;
                return Ok(Some(count));
            }
            Err(Errno::EINTR) => return Ok(Some(0)),
            Err(Errno::EAGAIN) => {}
            Err(errno) if is_starvation(errno) => self.starve(shared.now),
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

    fn starve(&mut self, now: Millis) {
        self.state |= State::STARVED;
        self.since_ms = now as u32;
    }

    /// Rule 7, as far as it can go now: `Some` when the connection is to be closed.
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

    /// The next deadline of this connection, and the milliseconds left until then.
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
        let drains = self.unsent.as_ref().filter(|_| self.stream.is_peer());
        let stalled = drains.and_then(|unsent| {
            let interval = look_interval_ms(limits)?;
            let looked = (now as u32).wrapping_sub(unsent.drain.looked_ms);
            let end = left(since, timeout_ms(limits.stall_timeout));
            Some((left(looked, interval).min(end), Deadline::Look))
        });
        let judged = drains.filter(|_| self.is_judged(limits)).map(|unsent| {
            let elapsed = (now as u32).wrapping_sub(unsent.drain.window_ms);
            (left(elapsed, RATE_WINDOW_MS), Deadline::Judge)
        });
        let lingered = self.state.contains(State::LINGERING).then(|| {
            let total = left(since, timeout_ms(limits.linger_timeout));
            let quiet = left(active, QUIET_MS);
            (total.min(quiet), Deadline::Close(Closed::Finished))
        });
        let starved = self.state.contains(State::STARVED);
        let starved = starved.then(|| (left(since, STARVED_MS), Deadline::Retry));
        let deadlines = [idle, stalled, judged, lingered, starved];
        deadlines
            .into_iter()
            .flatten()
            .min_by_key(|(left, _)| *left)
    }

    /// Looks whether the peer has taken anything since the last look, and returns whether it has
    /// taken nothing for the stall timeout.
    ///
    /// Progress of the peer counts, not ours alone: the kernel's send queue drains for a while
    /// before there is room for more, and a slow peer takes long for that.
    pub(crate) fn look(&mut self, limits: &Limits, now: Millis) -> bool {
        let Some(unsent) = &mut self.unsent else {
            return false;
        };
        let unacknowledged = self.stream.unacknowledged().ok();
        let before = mem::replace(&mut unsent.drain.unacknowledged, unacknowledged);
        unsent.drain.looked_ms = now as u32;
        if let Some(unacknowledged) = unacknowledged {
            // The first look has nothing to compare with: what came before cannot be held against
            // the peer.
            if before.is_none_or(|before| unacknowledged < before) {
                self.since_ms = now as u32;
            }
            if before.is_some_and(|before| unacknowledged < before) {
                self.active_ms = now as u32;
            }
        }
        (now as u32).wrapping_sub(self.since_ms) >= timeout_ms(limits.stall_timeout)
    }

    /// Whether the peer must keep to the minimum rate.
    fn is_judged(&self, limits: &Limits) -> bool {
        limits.min_rate > 0 && self.state.contains(State::HIGH_WATER)
    }

    /// More waits than the high-water mark: from now on the minimum rate counts.
    pub(crate) fn begin_window(&mut self, now: Millis) {
        if let Some(unsent) = &mut self.unsent {
            (unsent.drain.window_ms, unsent.drain.taken) = (now as u32, 0);
        }
    }

    /// The end of a window: whether the peer took less in it than the minimum rate, and still too
    /// much waits for it.
    pub(crate) fn fell_short(&mut self, limits: &Limits, now: Millis) -> bool {
        let taken = self.unsent.as_ref().map_or(0, |unsent| unsent.drain.taken);
        let least = limits
            .min_rate
            .saturating_mul(RATE_WINDOW_MS as usize / 1000);
        let fell_short = taken < least && self.unsent_bytes() > limits.high_water;
        self.begin_window(now);
        fell_short
    }

    /// Charges what a lingering peer still sent: its bytes use up the time that it has, in
    /// proportion to those that it may send. Returns whether nothing is left.
    pub(crate) fn charge_linger(&mut self, count: usize, limits: &Limits, now: Millis) -> bool {
        let total = u64::from(timeout_ms(limits.linger_timeout));
        let cost = total.saturating_mul(count as u64) / limits.linger_bytes.max(1) as u64;
        let elapsed = u64::from((now as u32).wrapping_sub(self.since_ms));
        if elapsed + cost >= total {
            return true;
        }
        self.since_ms = self.since_ms.wrapping_sub(cost as u32);
        false
    }

    /// Looks for a peer that vanished while sent bytes were under way to it: they were so at the
    /// last look, and nothing was acknowledged since. Looks are a stall timeout apart.
    ///
    /// `TCP_USER_TIMEOUT` would be the kernel's way, but it also ends a live peer whose window is
    /// small or closed, and replaces the keepalive's own patience with an idle one (tcp(7)).
    pub(crate) fn has_vanished(&mut self, limits: &Limits, now: Millis) -> bool {
        let stall_ms = timeout_ms(limits.stall_timeout);
        let silent = (now as u32).wrapping_sub(self.active_ms);
        let was_under_way = self.state.contains(State::UNACKNOWLEDGED);
        if !self.stream.is_peer() || silent / 2 > stall_ms && !was_under_way {
            return false;
        }
        let under_way = self.stream.unacknowledged().is_ok_and(|bytes| bytes > 0);
        self.state.set(State::UNACKNOWLEDGED, under_way);
        let unheard = |ms: u32| ms >= stall_ms;
        under_way && was_under_way && self.stream.unheard_ms().is_some_and(unheard)
    }
}

/// The action that a connection's deadline calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    Close(Closed),
    /// The kernel may have memory again.
    Retry,
    /// Bytes wait for the peer: has it taken any?
    Look,
    /// Too much waits for the peer: does it keep to the minimum rate?
    Judge,
}

/// The time over which the minimum rate is averaged.
const RATE_WINDOW_MS: u32 = 30_000;

/// How often to look whether a peer for which bytes wait takes any of them. The stall timeout counts
/// from the first look, which has nothing to compare with, so that comes early. `None` without a
/// stall timeout.
fn look_interval_ms(limits: &Limits) -> Option<u32> {
    match timeout_ms(limits.stall_timeout) {
        0 => None,
        stall_ms => Some(stall_ms.div_ceil(4)),
    }
}

fn timeout_ms(timeout: Duration) -> u32 {
    millis(timeout).min(TIMEOUT_MAX_MS.into()) as u32
}

/// Errors of the system, not of the connection, that pass without an edge.
pub(crate) fn is_starvation(errno: Errno) -> bool {
    matches!(errno, Errno::ENOBUFS | Errno::ENOMEM)
}
