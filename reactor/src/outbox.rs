//! The requests of protocols, collected for the length of a turn.
//!
//! Nothing said here happens at once. An [`Outbox`] collects what the callbacks of one turn want,
//! and the core carries it out when they have returned. So a callback cannot be re-entered, all
//! output for one peer leaves in one system call however many callbacks had a part in it, and a
//! protocol can be tested without a socket in sight.
//!
//! The bytes of a turn lie one after another in one vector. The output for one peer is a *parcel*: a
//! chain of *pieces*, which are ranges of that vector. A broadcast stores its bytes once and adds a
//! piece for each recipient. Where a piece continues the recipient's last one, as successive lines of
//! a chat do, the last one is made longer instead; it lies in the parcel itself, at hand for that.

use std::io::IoSlice;
use std::iter;
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use bitflags::bitflags;

use crate::conn_map::ConnMap;
use crate::core::timers::{Millis, millis};
use crate::id::{ConnId, Data};
use crate::sources::address::Address;

/// A range of the outbox's bytes on its way to one peer, and the piece that follows, or NONE.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: usize,
    end: usize,
    next: u32,
}

/// Output of this turn for one peer: a chain of pieces, in most cases of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parcel {
    pub(crate) id: ConnId,
    /// The last piece; both are 0 in an empty parcel.
    start: usize,
    end: usize,
    /// The chain of the pieces before it: its first and its last, or NONE.
    first: u32,
    tail: u32,
    /// Bytes that wait for the peer, those of this parcel included.
    queued: usize,
    /// Output was dropped for want of room, and what follows must not close the gap.
    is_cut: bool,
}

impl Parcel {
    fn new(id: ConnId) -> Parcel {
        Parcel {
            id,
            start: 0,
            end: 0,
            first: NONE,
            tail: NONE,
            queued: 0,
            is_cut: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end && self.first == NONE
    }
}

/// Neither a piece nor a parcel.
const NONE: u32 = u32::MAX;

bitflags! {
    /// Requests of the protocol that hold until it takes them back.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Asked: u8 {
        /// Nothing is read from the connection.
        const PAUSE = 1 << 0;
        /// Nothing is read from it because too much output is pending: a pause of its own, so that
        /// its end does not lift one that the protocol wants for another reason.
        const THROTTLE = 1 << 1;
        /// The protocol wants to go on when there is room for its output.
        const AGAIN = 1 << 2;
        /// A reply is being computed: no end before it is released.
        const HOLD = 1 << 3;
        /// It was finished while held.
        const FINISH = 1 << 4;

        /// Rule 5.
        const PAUSED = Self::PAUSE.bits() | Self::THROTTLE.bits();
    }
}

/// A request about one connection, other than to send; timers in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// How to end a connection, and the length of the outbox when that was asked for: bytes beyond it
    /// were said to a connection that had ended.
    End(ConnId, End, usize),
    Ask(ConnId, Asked),
    TakeBack(ConnId, Asked),
    /// More was said to the connection in one callback than may wait for it.
    Overflow(ConnId),
    Timer(ConnId, Timer),
    ServiceTimer(Timer),
}

/// How to set a timer, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    Never,
    /// From now; 0 is the next turn.
    After(Millis),
    /// On the clock of [`Outbox::now`].
    At(Millis),
}

/// The ways in which a protocol ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Finish,
    HalfClose,
    Close,
    Abort,
}

/// A request to the reactor as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Connect {
        to: Address,
        tag: u32,
    },
    SendTo {
        tag: u32,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    StopListening,
    Stop,
}

/// The origin of the callback that is running: where [`Outbox::send_back`] sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Current {
    Nobody,
    Conn(ConnId),
    Datagram,
}

/// The work that a callback leaves to be done before anything else happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing: what it sends leaves at the end of the turn.
    Nothing,
    /// It sends this number of the bytes it was given back as they lie, and asks for nothing else.
    Back(usize),
    /// It asks for more than that, or has filled the outbox.
    More,
}

/// The place where a protocol asks for actions. They are carried out after the callback, in the
/// order in which it asked.
#[derive(Debug)]
pub struct Outbox {
    now: Millis,
    current: Current,
    /// Number of bytes in the read buffer, or of the datagram, that go back to where they came from.
    back: Option<usize>,
    /// A request cannot wait for the end of the turn, or the outbox is full.
    pressing: bool,
    /// Bytes that may wait for one peer.
    limit: usize,
    /// Connections to which that does not apply: the user's own output.
    unlimited: Vec<ConnId>,
    /// Bytes that wait for peers since earlier turns.
    pending: ConnMap<usize>,
    bytes: Vec<u8>,
    /// The length of `bytes` in recent turns, which decays slowly.
    peak_bytes: usize,
    pieces: Vec<Piece>,
    parcels: Vec<Parcel>,
    /// For each slot the number of its last parcel, which may be an earlier turn's: then the parcel
    /// with that number is another connection's, or there is none.
    parcel_of: Vec<u32>,
    requests: Vec<Request>,
    commands: Vec<Command>,
}

impl Outbox {
    /// An outbox that takes up to `limit` bytes for one peer.
    pub(crate) fn new(limit: usize) -> Outbox {
        Outbox {
            now: 0,
            current: Current::Nobody,
            back: None,
            pressing: false,
            limit,
            unlimited: Vec::new(),
            pending: ConnMap::new(),
            bytes: Vec::new(),
            peak_bytes: 0,
            pieces: Vec::new(),
            parcels: Vec::new(),
            parcel_of: Vec::new(),
            requests: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// The time of this turn: how long the reactor has been there, in milliseconds, on a clock that
    /// never goes back.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_millis(self.now)
    }

    /// Sends bytes to a connection. They are copied; what the kernel does not take at once waits in
    /// the reactor, up to [`Limits::queue_limit`](crate::Limits::queue_limit). All that a turn sends to
    /// a peer leaves in one system call, so small pieces cost little.
    ///
    /// Ignored if the connection is gone, finished or half-closed.
    pub fn send(&mut self, to: ConnId, bytes: &[u8]) {
        self.broadcast([to], bytes);
    }

    /// Sends the same bytes to many connections, storing them once.
    pub fn broadcast(&mut self, to: impl IntoIterator<Item = ConnId>, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let end = self.bytes.len();
        for id in to {
            self.add_piece(id, start, end);
        }
        // A reply that lies in the read buffer leaves at once, and these bytes leave with it.
        self.pressing |= self.back.is_some() || self.is_full();
    }

    /// Sends what was just received, changed or not, back to where it came from, without copying
    /// it.
    ///
    /// Taking the [`Data`] by value is what makes that safe: the protocol cannot change it any more.
    ///
    /// A datagram goes back with the time to live that it arrived with, less one, and not at all if
    /// that leaves none: two servers that answer each other come to an end.
    #[allow(clippy::needless_pass_by_value, reason = "to consume it is the point")]
    #[inline]
    pub fn send_back(&mut self, data: Data<'_>) {
        match self.current {
            Current::Nobody => {}
            // Earlier output goes first, and the reply takes its place behind it.
            Current::Conn(id) if self.is_said_before(id) => self.send(id, &data),
            Current::Conn(_) | Current::Datagram => self.back = Some(data.len()),
        }
    }

    /// Sends a datagram from the UDP socket that was given `tag` when it began to listen, or was
    /// connected to this address. Datagrams can get lost; one that the kernel refuses is counted
    /// and dropped, but for want of room it comes back with
    /// [`on_unsent`](crate::Protocol::on_unsent).
    ///
    /// It leaves with the system's time to live. A server answers with [`Outbox::send_back`]: its
    /// answers to another server's answers would never end otherwise.
    pub fn send_to(&mut self, tag: u32, to: SocketAddr, bytes: &[u8]) {
        self.commands.push(Command::SendTo {
            tag,
            to,
            bytes: bytes.to_vec(),
        });
    }

    /// Ends a connection in good order: what was sent so far reaches the peer, then it sees the end
    /// of the stream (a FIN). Nothing more is heard of it but `on_close`, and later sends are ignored.
    ///
    /// What the peer still sends is discarded, until it ends as well, is silent for 5 s, or the
    /// [`Limits::linger_timeout`](crate::Limits::linger_timeout) is over: a close before would make the
    /// kernel send a reset, which destroys output that is under way. So `on_close` may come much later.
    pub fn finish(&mut self, id: ConnId) {
        self.end(id, End::Finish);
    }

    /// Ends our side of a connection: what was sent so far reaches the peer, then it sees the end
    /// of the stream (a FIN). What the peer still sends is heard of as before; later sends are ignored.
    /// Once both sides have ended and all is sent, the connection closes by itself
    /// ([`Closed::Eof`](crate::Closed)). If the peer never ends, it is kept: an idle timeout helps.
    pub fn half_close(&mut self, id: ConnId) {
        self.end(id, End::HalfClose);
    }

    /// Closes a connection at once, in good order as far as that goes: earlier output is offered to
    /// the kernel, and the peer sees the end of the stream. If the kernel does not take all of it, or
    /// input is unread, the peer sees a reset. The cause is [`Closed::Finished`](crate::Closed).
    pub fn close(&mut self, id: ConnId) {
        self.end(id, End::Close);
    }

    /// Breaks a connection off: earlier output is offered to the kernel, then the connection is reset,
    /// so that the peer cannot take a truncated stream for a whole one. Output that the peer has not
    /// received by then is lost.
    pub fn abort(&mut self, id: ConnId) {
        self.end(id, End::Abort);
    }

    /// Stops reading from a connection: its peer is slowed down by TCP itself. Nothing is lost. What
    /// was read before is told; `on_data` does not follow before [`Outbox::resume`], `on_eof` may, if
    /// the peer has ended and nothing is unread. To pause twice is to pause once.
    pub fn pause(&mut self, id: ConnId) {
        self.ask(Request::Ask(id, Asked::PAUSE));
    }

    /// Reads from a paused connection again, unless it is throttled.
    pub fn resume(&mut self, id: ConnId) {
        self.ask(Request::TakeBack(id, Asked::PAUSE));
    }

    /// Stops reading from a connection because too much output is pending. This pause is one of its
    /// own: [`Outbox::resume`] does not lift it. It is what
    /// [`on_high_water`](crate::Protocol::on_high_water) does unless overridden.
    pub fn throttle(&mut self, id: ConnId) {
        self.ask(Request::Ask(id, Asked::THROTTLE));
    }

    /// Reads from a throttled connection again, unless it is paused.
    pub fn unthrottle(&mut self, id: ConnId) {
        self.ask(Request::TakeBack(id, Asked::THROTTLE));
    }

    /// Bytes of output that are pending for a connection: those that the kernel has not taken, and those
    /// that this turn has sent so far, which the kernel is not offered before the callback has returned.
    /// Of adopted standard streams ([`Direction::Output`](crate::Direction)), which have no limit, only
    /// the latter.
    #[must_use]
    pub fn queued(&self, id: ConnId) -> usize {
        let parcel = self.index_of(id).map(|index| &self.parcels[index]);
        match parcel.filter(|parcel| !parcel.is_empty()) {
            Some(parcel) => parcel.queued,
            None => self.pending.get(id).copied().unwrap_or(0),
        }
    }

    /// Asks for [`on_again`](crate::Protocol::on_again): in the next turn, or as soon as no more than
    /// half of the high-water mark is pending. With [`Outbox::queued`] a protocol that has much to say
    /// says as much as is enough, and goes on later.
    pub fn again(&mut self, id: ConnId) {
        self.ask(Request::Ask(id, Asked::AGAIN));
    }

    /// A reply to this connection is being computed, say in another thread. Until
    /// [`Outbox::release`] the connection is not idle, [`Outbox::finish`] waits, and so does a stop,
    /// within the grace period; after that the peer sees the end of the stream without the reply.
    /// Holding twice is holding once, and one release ends it.
    pub fn hold(&mut self, id: ConnId) {
        self.ask(Request::Ask(id, Asked::HOLD));
    }

    /// Ends what [`Outbox::hold`] began: a finish or a stop that waited for it goes on. So the last part
    /// of a reply is sent before this, and a protocol that has another request to answer holds on.
    pub fn release(&mut self, id: ConnId) {
        self.ask(Request::TakeBack(id, Asked::HOLD));
    }

    /// Sets the connection's timer, replacing what was set before: `on_timer` follows once, `after`
    /// at the earliest. Zero is the next turn.
    pub fn set_timer(&mut self, id: ConnId, after: Duration) {
        self.ask(Request::Timer(id, Timer::After(millis(after))));
    }

    /// Like [`Outbox::set_timer`], for a time on the clock of [`Outbox::now`]. A ticker that adds its
    /// interval to its last deadline does not drift.
    pub fn set_timer_at(&mut self, id: ConnId, deadline: Duration) {
        self.ask(Request::Timer(id, Timer::At(millis(deadline))));
    }

    /// Forgets the connection's timer.
    pub fn clear_timer(&mut self, id: ConnId) {
        self.ask(Request::Timer(id, Timer::Never));
    }

    /// Sets the protocol's own timer, replacing what was set before: `on_service_timer` follows
    /// once. Zero is the next turn.
    pub fn set_service_timer(&mut self, after: Duration) {
        self.ask(Request::ServiceTimer(Timer::After(millis(after))));
    }

    /// Like [`Outbox::set_service_timer`], for a time on the clock of [`Outbox::now`].
    pub fn set_service_timer_at(&mut self, deadline: Duration) {
        self.ask(Request::ServiceTimer(Timer::At(millis(deadline))));
    }

    /// Forgets the protocol's own timer.
    pub fn clear_service_timer(&mut self) {
        self.ask(Request::ServiceTimer(Timer::Never));
    }

    /// Begins to connect: `on_open` with this tag follows, or `on_connect_error`. Names are not
    /// resolved here, which would block the loop: one that [`Address::resolved`] has not looked up
    /// before fails with `EINVAL`. When the reactor stops, all attempts fail.
    pub fn connect(&mut self, to: Address, tag: u32) {
        self.commands.push(Command::Connect { to, tag });
    }

    /// Closes the listeners and UDP sockets, now and for good; connections stay.
    pub fn stop_listening(&mut self) {
        self.commands.push(Command::StopListening);
    }

    /// Stops the reactor in good order: no more connections, what is pending is sent within the
    /// grace period.
    pub fn stop(&mut self) {
        self.commands.push(Command::Stop);
    }

    fn end(&mut self, id: ConnId, end: End) {
        self.ask(Request::End(id, end, self.bytes.len()));
    }

    fn ask(&mut self, request: Request) {
        self.requests.push(request);
        self.pressing = true;
    }

    /// Adds a piece to a connection's output of this turn.
    #[inline]
    fn add_piece(&mut self, id: ConnId, start: usize, end: usize) {
        if let Some(index) = self.index_of(id) {
            let parcel = &mut self.parcels[index];
            let queued = parcel.queued.saturating_add(end - start);
            if parcel.end == start && queued <= self.limit {
                (parcel.end, parcel.queued) = (end, queued);
            } else {
                self.chain_piece(index, start, end);
            }
        } else {
            let index = self.add_parcel(id);
            self.chain_piece(index, start, end);
        }
    }

    /// Adds a piece that does not continue the parcel's last one, or that has no room.
    fn chain_piece(&mut self, index: usize, start: usize, end: usize) {
        let added = self.pieces.len() as u32;
        let parcel = &mut self.parcels[index];
        if parcel.is_empty() {
            parcel.queued = self.pending.get(parcel.id).copied().unwrap_or(0);
        }
        parcel.queued = parcel.queued.saturating_add(end - start);
        let is_over = parcel.queued > self.limit && !self.unlimited.contains(&parcel.id);
        if parcel.is_cut || is_over {
            let (id, was_cut) = (parcel.id, mem::replace(&mut parcel.is_cut, true));
            parcel.queued = usize::MAX;
            if !was_cut {
                self.ask(Request::Overflow(id));
            }
            return;
        }
        if !parcel.is_empty() {
            match self.pieces.get_mut(parcel.tail as usize) {
                Some(tail) => tail.next = added,
                None => parcel.first = added,
            }
            parcel.tail = added;
            self.pieces.push(Piece {
                start: parcel.start,
                end: parcel.end,
                next: NONE,
            });
        }
        (parcel.start, parcel.end) = (start, end);
    }

    fn add_parcel(&mut self, id: ConnId) -> usize {
        if self.parcel_of.len() <= id.slot() {
            self.parcel_of.resize(id.slot() + 1, NONE);
        }
        let index = self.parcels.len();
        self.parcel_of[id.slot()] = index as u32;
        self.parcels.push(Parcel::new(id));
        index
    }

    /// The number of a connection's parcel in this turn.
    #[inline]
    fn index_of(&self, id: ConnId) -> Option<usize> {
        let index = *self.parcel_of.get(id.slot())? as usize;
        (self.parcels.get(index)?.id == id).then_some(index)
    }

    /// Whether this callback has asked for anything, or this turn has output for the connection.
    #[inline]
    fn is_said_before(&self, id: ConnId) -> bool {
        let has_output = |index: usize| !self.parcels[index].is_empty();
        self.pressing || !self.parcels.is_empty() && self.index_of(id).is_some_and(has_output)
    }
}

/// A turn's worth of bytes after which the outbox is emptied before the turn ends, so that it stays
/// bounded.
const FULL_BYTES: usize = 256 * 1024;
/// Flush early at this many pieces: a chatty turn makes many small ones.
const FULL_PIECES: usize = 64 * 1024;
/// The memory that an empty outbox keeps in any case.
const KEEP_BYTES: usize = 2 * FULL_BYTES;
/// About so many turns after a large one, its memory is given back.
const PEAK_TURNS: usize = 256;
/// Pieces handed to one system call; more take another one.
const SLICES: usize = 64;

/// The reactor's side.
impl Outbox {
    pub(crate) fn set_now(&mut self, now: Millis) {
        self.now = now;
    }

    /// The limit does not apply to this connection.
    pub(crate) fn set_unlimited(&mut self, id: ConnId) {
        self.unlimited.push(id);
    }

    /// A connection is gone.
    pub(crate) fn forget(&mut self, id: ConnId) {
        self.pending.remove(id);
        self.unlimited.retain(|unlimited| *unlimited != id);
    }

    /// Notes the bytes that wait for a peer now.
    pub(crate) fn set_pending(&mut self, id: ConnId, bytes: usize) {
        match bytes {
            0 => self.pending.remove(id),
            bytes => self.pending.insert(id, bytes),
        };
    }

    /// A callback begins.
    pub(crate) fn begin(&mut self, current: Current) {
        self.current = current;
    }

    /// A callback has returned.
    pub(crate) fn said(&mut self) -> Said {
        match self.back {
            _ if self.pressing => Said::More,
            Some(len) => {
                self.back = None;
                Said::Back(len)
            }
            None => Said::Nothing,
        }
    }

    /// Takes what goes back, if the callback asked for more than that.
    pub(crate) fn take_back(&mut self) -> Option<usize> {
        self.back.take()
    }

    /// The connection whose callback has returned, if there is one: its bytes are in the read buffer.
    pub(crate) fn current_conn(&self) -> Option<ConnId> {
        match self.current {
            Current::Conn(id) => Some(id),
            Current::Nobody | Current::Datagram => None,
        }
    }

    /// Request number `index` since the requests were last cleared.
    pub(crate) fn request(&self, index: usize) -> Option<Request> {
        self.requests.get(index).copied()
    }

    /// All requests are carried out.
    pub(crate) fn clear_requests(&mut self) {
        self.requests.clear();
        self.pressing = false;
    }

    pub(crate) fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    pub(crate) fn take_commands(&mut self) -> Vec<Command> {
        mem::take(&mut self.commands)
    }

    /// Whether there is anything that the end of a turn would carry out.
    pub(crate) fn is_busy(&self) -> bool {
        !self.parcels.is_empty() || !self.commands.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL_BYTES || self.parcels.len() + self.pieces.len() >= FULL_PIECES
    }

    /// Takes what parcel number `index` holds so far; pieces added later make a new chain.
    pub(crate) fn take_parcel(&mut self, index: usize) -> Option<Parcel> {
        let parcel = self.parcels.get_mut(index)?;
        Some(mem::replace(parcel, Parcel::new(parcel.id)))
    }

    /// Takes what was said to the current connection after what goes back to it, unless a request
    /// divides the two.
    pub(crate) fn take_parcel_behind_back(&mut self, id: ConnId) -> Option<Parcel> {
        match self.requests.is_empty() {
            true => self.take_parcel_until(id, usize::MAX),
            false => None,
        }
    }

    /// Takes what was said to this connection while the outbox was shorter than `until`, and forgets
    /// the rest.
    pub(crate) fn take_parcel_until(&mut self, id: ConnId, until: usize) -> Option<Parcel> {
        let index = self.index_of(id)?;
        let mut taken = mem::replace(&mut self.parcels[index], Parcel::new(id));
        let cut = |start: &mut usize, end: &mut usize| {
            (*start, *end) = ((*start).min(until), (*end).min(until));
            start < end
        };
        let mut is_left = cut(&mut taken.start, &mut taken.end);
        let mut next = taken.first;
        while let Some(piece) = self.pieces.get_mut(next as usize) {
            is_left |= cut(&mut piece.start, &mut piece.end);
            next = piece.next;
        }
        is_left.then_some(taken)
    }

    /// The bytes of a parcel, if they lie in one piece.
    #[inline]
    pub(crate) fn only_slice(&self, parcel: Parcel) -> Option<&[u8]> {
        (parcel.first == NONE).then(|| &self.bytes[parcel.start..parcel.end])
    }

    /// Calls `write` with other bytes and then the slices of a parcel, in order, as often as it takes.
    pub(crate) fn try_for_each_slices<E>(
        &self,
        before: &[u8],
        parcel: Parcel,
        mut write: impl FnMut(&mut [IoSlice<'_>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let last = Piece {
            start: parcel.start,
            end: parcel.end,
            next: NONE,
        };
        let piece = |index: u32| self.pieces.get(index as usize);
        let chain = iter::successors(piece(parcel.first), |before| piece(before.next));
        let pieces = chain.chain([&last]);
        let mut slices = iter::once(before)
            .chain(pieces.map(|piece| &self.bytes[piece.start..piece.end]))
            .filter(|slice| !slice.is_empty())
            .map(IoSlice::new)
            .peekable();
        while slices.peek().is_some() {
            let mut room = [IoSlice::new(&[]); SLICES];
            let taken = room.iter_mut().zip(&mut slices);
            let count = taken.map(|(place, slice)| *place = slice).count();
            write(&mut room[..count])?;
        }
        Ok(())
    }

    /// Forgets bytes, pieces and parcels: all are delivered.
    pub(crate) fn clear(&mut self) {
        self.parcels.clear();
        self.pieces.clear();
        self.peak_bytes -= self.peak_bytes / PEAK_TURNS;
        self.peak_bytes = self.peak_bytes.max(self.bytes.len());
        self.bytes.clear();
        // Memory that is given back in one turn and needed again in the next costs page faults.
        let keep = KEEP_BYTES.max(2 * self.peak_bytes);
        if self.bytes.capacity() > keep {
            self.bytes.shrink_to(keep);
        }
        if self.pieces.capacity() > 2 * FULL_PIECES {
            self.pieces.shrink_to(2 * FULL_PIECES);
        }
    }
}
