//! The requests of protocols, collected for the length of a turn.
//!
//! Nothing said here happens at once. An [`Outbox`] collects what the callbacks of one turn want;
//! the reactor carries it out when they have returned. So a callback cannot be re-entered,
//! everything for one peer leaves in one system call however many callbacks had a part in it, and a
//! protocol can be tested without a socket in sight.
//!
//! The bytes of a turn lie one after another in one vector. What each peer is to get is a chain of
//! *pieces*, ranges of that vector. A broadcast stores its bytes once and adds a piece for each
//! recipient, and where the piece continues the recipient's last one, as successive lines of a chat
//! do, that one is made longer instead.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::time::Duration;

use crate::address::Address;
use crate::core::timers::{Millis, millis};
use crate::id::{ConnId, Data};

/// Where the bytes of a piece are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the outbox.
    Outbox,
    /// In the buffer just read into: they go back where they came from, without being copied.
    Received,
}

/// A range of bytes on its way to one peer.
#[derive(Clone, Copy, Debug)]
struct Piece {
    place: Place,
    start: u32,
    end: u32,
    /// The piece that follows, or NONE.
    next: u32,
}

impl Piece {
    const EMPTY: Piece = Piece {
        place: Place::Outbox,
        start: 0,
        end: 0,
        next: NONE,
    };

    fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// Output of this turn for one peer: a chain of pieces, in most cases of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parcel {
    pub(crate) id: ConnId,
    first: Piece,
    /// The last of the others, or NONE.
    last: u32,
    /// The callback that is running has ended its side of this connection.
    ended: bool,
}

impl Parcel {
    fn new(id: ConnId, first: Piece) -> Parcel {
        Parcel {
            id,
            first,
            last: NONE,
            ended: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }
}

/// Neither a piece nor a parcel.
const NONE: u32 = u32::MAX;

/// A request about one connection, other than to send; timers in milliseconds from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Finish(ConnId),
    HalfClose(ConnId),
    Abort(ConnId),
    Pause(ConnId),
    Resume(ConnId),
    Timer(ConnId, Option<Millis>),
    ServiceTimer(Option<Millis>),
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
    /// So many of the bytes it was given go back as they lie, and there is nothing else.
    Back(usize),
    /// It asks for more than that, or has filled the outbox.
    More,
}

/// Where a protocol says what is to be done, after the callback, in the order it was said.
#[derive(Debug)]
pub struct Outbox {
    now: Millis,
    current: Current,
    /// So many bytes of what the callback was given go back, and nothing else goes there.
    back: Option<usize>,
    /// A part of that was queued instead: it lies in the read buffer.
    received: bool,
    /// Something cannot wait for the end of the turn.
    pressing: bool,
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    parcels: Vec<Parcel>,
    /// For each slot the number of its parcel, or NONE.
    parcel_of: Vec<u32>,
    requests: Vec<Request>,
    commands: Vec<Command>,
}

impl Outbox {
    pub(crate) fn new() -> Outbox {
        Outbox {
            now: 0,
            current: Current::Nobody,
            back: None,
            received: false,
            pressing: false,
            bytes: Vec::new(),
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
    /// the reactor.
    ///
    /// Ignored if the connection is gone or finished.
    pub fn send(&mut self, to: ConnId, bytes: &[u8]) {
        self.broadcast([to], bytes);
    }

    /// Sends the same bytes to many connections, storing them once.
    pub fn broadcast(&mut self, to: impl IntoIterator<Item = ConnId>, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.queue_back();
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        let end = self.bytes.len() as u32;
        for id in to {
            self.add_piece(id, Place::Outbox, start, end);
        }
        self.pressing |= self.is_full();
    }

    /// Sends what was just received, changed or not, back to where it came from, without copying
    /// it.
    ///
    /// Taking the [`Data`] by value is what makes that safe: nobody can change it any more.
    ///
    /// A datagram goes back with the time to live that it arrived with, less one, and not at all if
    /// that leaves none: two servers that answer each other come to an end.
    #[allow(clippy::needless_pass_by_value, reason = "to consume it is the point")]
    pub fn send_back(&mut self, data: Data<'_>) {
        if self.current != Current::Nobody {
            self.back = Some(data.len());
        }
        if let Current::Conn(id) = self.current
            && self.has_parcel(id)
        {
            self.queue_back();
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
    /// of the stream. Nothing more is heard of it but `on_close`, and later sends are ignored.
    pub fn finish(&mut self, id: ConnId) {
        self.end(Request::Finish(id), id);
    }

    /// Ends our side of a connection: what was sent so far reaches the peer, then it sees the end
    /// of the stream. What the peer still sends is heard of as before; later sends are ignored.
    pub fn half_close(&mut self, id: ConnId) {
        self.end(Request::HalfClose(id), id);
    }

    /// Ends a connection at once. What was said before is offered to the kernel; what the kernel does
    /// not take is lost, and so is what the peer has not fetched if anything of the peer is unread.
    pub fn abort(&mut self, id: ConnId) {
        self.ask(Request::Abort(id));
    }

    /// Stops reading from a connection: its peer is slowed down by TCP itself. Nothing is lost.
    pub fn pause(&mut self, id: ConnId) {
        self.ask(Request::Pause(id));
    }

    /// Reads from a paused connection again.
    pub fn resume(&mut self, id: ConnId) {
        self.ask(Request::Resume(id));
    }

    /// Sets the connection's timer, replacing what was set before: `on_timer` follows once, `after`
    /// at the earliest.
    pub fn set_timer(&mut self, id: ConnId, after: Duration) {
        self.ask(Request::Timer(id, Some(millis(after))));
    }

    /// Forgets the connection's timer.
    pub fn clear_timer(&mut self, id: ConnId) {
        self.ask(Request::Timer(id, None));
    }

    /// Sets the protocol's own timer, replacing what was set before: `on_service_timer` follows
    /// once.
    pub fn set_service_timer(&mut self, after: Duration) {
        self.ask(Request::ServiceTimer(Some(millis(after))));
    }

    /// Forgets the protocol's own timer.
    pub fn clear_service_timer(&mut self) {
        self.ask(Request::ServiceTimer(None));
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

    /// The parcel of a connection, a new one if it has none in this turn.
    fn parcel(&mut self, id: ConnId) -> usize {
        if self.parcel_of.len() <= id.slot() {
            self.parcel_of.resize(id.slot() + 1, NONE);
        }
        let known = self.parcel_of[id.slot()] as usize;
        if self
            .parcels
            .get(known)
            .is_some_and(|parcel| parcel.id == id)
        {
            return known;
        }
        self.add_parcel(Parcel::new(id, Piece::EMPTY));
        self.parcels.len() - 1
    }

    fn add_parcel(&mut self, parcel: Parcel) {
        self.parcel_of[parcel.id.slot()] = self.parcels.len() as u32;
        self.parcels.push(parcel);
    }

    fn ask(&mut self, request: Request) {
        self.requests.push(request);
        self.pressing = true;
    }

    /// Asks for an end. What the same callback sends to this connection later is ignored; what later
    /// ones send, the connection itself ignores.
    fn end(&mut self, request: Request, id: ConnId) {
        self.queue_back();
        let parcel = self.parcel(id);
        self.parcels[parcel].ended = true;
        self.ask(request);
    }

    /// Gives the reply its place among the other sends. It lies in the read buffer, and must
    /// leave before the next read.
    fn queue_back(&mut self) {
        if let Current::Conn(id) = self.current
            && let Some(len) = self.back.take()
        {
            self.add_piece(id, Place::Received, 0, len as u32);
            (self.received, self.pressing) = (true, true);
        }
    }

    fn add_piece(&mut self, id: ConnId, place: Place, start: u32, end: u32) {
        let piece = Piece {
            place,
            start,
            end,
            next: NONE,
        };
        if self.parcel_of.len() <= id.slot() {
            self.parcel_of.resize(id.slot() + 1, NONE);
        }
        let known = self.parcel_of[id.slot()] as usize;
        let Some(parcel) = self.parcels.get_mut(known).filter(|known| known.id == id) else {
            return self.add_parcel(Parcel::new(id, piece));
        };
        let next = self.pieces.len() as u32;
        let last = self.pieces.get_mut(parcel.last as usize);
        let last = last.unwrap_or(&mut parcel.first);
        if parcel.ended {
            // Ignored.
        } else if last.is_empty() {
            *last = piece;
        } else if last.place == place && last.end == start {
            last.end = end;
        } else {
            last.next = next;
            parcel.last = next;
            self.pieces.push(piece);
        }
    }
}

/// A turn's worth of bytes after which the outbox is emptied before the turn ends, so that it stays
/// bounded.
const FULL_BYTES: usize = 256 * 1024;
/// Flush early at this many pieces: a chatty turn makes many small ones.
const FULL_PIECES: usize = 64 * 1024;
/// The memory an empty outbox may keep.
const KEEP_BYTES: usize = 2 * FULL_BYTES;
/// Pieces handed to one system call; more take another one.
const SLICES: usize = 64;

/// The reactor's side.
impl Outbox {
    pub(crate) fn set_now(&mut self, now: Millis) {
        self.now = now;
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

    /// Takes what goes back and was not queued, if the callback asked for more than that.
    pub(crate) fn take_back(&mut self) -> Option<usize> {
        self.back.take()
    }

    /// Whether a piece of what the callback was given lies in its connection's parcel, and is to
    /// leave now.
    pub(crate) fn take_received(&mut self) -> bool {
        std::mem::take(&mut self.received)
    }

    /// The connection whose callback has returned, if there is one: its bytes are in the read buffer.
    pub(crate) fn current_conn(&self) -> Option<ConnId> {
        match self.current {
            Current::Conn(id) => Some(id),
            Current::Nobody | Current::Datagram => None,
        }
    }

    /// Lends the requests out; [`Outbox::return_requests`] gives their memory back.
    pub(crate) fn take_requests(&mut self) -> Vec<Request> {
        self.pressing = false;
        std::mem::take(&mut self.requests)
    }

    pub(crate) fn return_requests(&mut self, mut requests: Vec<Request>) {
        requests.clear();
        if self.requests.is_empty() {
            self.requests = requests;
        }
    }

    pub(crate) fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    pub(crate) fn take_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }

    /// Whether there is anything that the end of a turn would carry out.
    pub(crate) fn is_busy(&self) -> bool {
        !self.parcels.is_empty() || !self.commands.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL_BYTES || self.parcels.len() + self.pieces.len() >= FULL_PIECES
    }

    pub(crate) fn parcel_count(&self) -> usize {
        self.parcels.len()
    }

    /// Takes what parcel number `index` holds so far; pieces added later make a new chain.
    pub(crate) fn take_parcel(&mut self, index: usize) -> Parcel {
        let parcel = &mut self.parcels[index];
        let taken = *parcel;
        *parcel = Parcel::new(parcel.id, Piece::EMPTY);
        taken
    }

    /// Takes what the parcel of this connection holds so far.
    pub(crate) fn take_parcel_of(&mut self, id: ConnId) -> Option<Parcel> {
        let index = *self.parcel_of.get(id.slot())? as usize;
        if self.parcels.get(index)?.id != id {
            return None;
        }
        Some(self.take_parcel(index))
    }

    /// The bytes of a parcel, if they lie in one piece.
    #[inline]
    pub(crate) fn only_slice<'a>(&'a self, parcel: Parcel, received: &'a [u8]) -> Option<&'a [u8]> {
        (parcel.last == NONE).then(|| self.slice(parcel.first, received))
    }

    /// Calls `write` with the slices of a parcel, in order, as often as it takes.
    pub(crate) fn try_for_each_slices<E>(
        &self,
        parcel: Parcel,
        received: &[u8],
        mut write: impl FnMut(&mut [IoSlice<'_>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut next = Some(parcel.first);
        while next.is_some() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            while let Some(piece) = next
                && count < SLICES
            {
                slices[count] = IoSlice::new(self.slice(piece, received));
                next = self.pieces.get(piece.next as usize).copied();
                count += 1;
            }
            write(&mut slices[..count])?;
        }
        Ok(())
    }

    fn slice<'a>(&'a self, piece: Piece, received: &'a [u8]) -> &'a [u8] {
        let bytes = match piece.place {
            Place::Outbox => &self.bytes,
            Place::Received => received,
        };
        &bytes[piece.start as usize..piece.end as usize]
    }

    /// Whether anything was said to this connection in this turn.
    fn has_parcel(&self, id: ConnId) -> bool {
        self.existing_parcel(id).is_some()
    }

    fn existing_parcel(&self, id: ConnId) -> Option<&Parcel> {
        let index = *self.parcel_of.get(id.slot())?;
        self.parcels
            .get(index as usize)
            .filter(|parcel| parcel.id == id)
    }

    /// Forgets bytes, pieces and parcels: all are delivered.
    pub(crate) fn clear(&mut self) {
        for parcel in self.parcels.drain(..) {
            self.parcel_of[parcel.id.slot()] = NONE;
        }
        self.pieces.clear();
        self.bytes.clear();
        if self.bytes.capacity() > KEEP_BYTES {
            self.bytes.shrink_to(KEEP_BYTES);
        }
        if self.pieces.capacity() > 2 * FULL_PIECES {
            self.pieces.shrink_to(2 * FULL_PIECES);
        }
    }
}
