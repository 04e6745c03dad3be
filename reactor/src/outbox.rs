//! The requests of protocols, collected for the length of a turn.
//!
//! Nothing said here happens at once. An [`Outbox`] collects what the callbacks of one turn want,
//! and the core carries it out when they have returned. So a callback cannot be re-entered, all
//! output for one peer leaves in one system call however many callbacks had a part in it, and a
//! protocol can be tested without a socket in sight.
//!
//! Its output lies in [`parcels`], its other requests in lists, in the order of their making.

mod parcels;

use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use bitflags::bitflags;

use crate::core::timers::{Millis, millis};
use crate::core::work::Work;
use crate::framing::Framing;
use crate::id::{ConnId, Data, Ids};
use crate::letters::Letters;
use crate::sources::address::Address;
pub(crate) use parcels::Parcel;
use parcels::Parcels;

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
    /// A connect with this tag was asked for, and has this id.
    Connect(ConnId, u64),
    /// How to end a connection, and the length of the outbox when that was asked for: bytes beyond it
    /// were said to a connection that had ended.
    End(ConnId, End, usize),
    Ask(ConnId, Asked),
    TakeBack(ConnId, Asked),
    Timer(ConnId, Timer),
    ServiceTimer(Timer),
    /// The connection was given a framing, which may have a heartbeat.
    Framed(ConnId),
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

/// The ways in which a callback ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Finish,
    HalfClose,
    Close,
    Abort,
    /// By more output than may wait for the peer.
    Overflow,
}

/// A request to the reactor as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Begins the connect with this id, unless it was cancelled.
    Connect(ConnId, Address),
    /// The connection has another token by now.
    WatchAnew(ConnId),
    /// The next so many of [`Letters`], from a socket with this tag.
    SendTo {
        tag: u64,
        count: usize,
    },
    /// Ends the listeners and UDP sockets with this tag, or all of them.
    StopListening(Option<u64>),
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
    pub(crate) output: Parcels,
    pub(crate) work: Work,
    requests: Vec<Request>,
    commands: Vec<Command>,
    letters: Letters,
    pub(crate) ids: Ids,
}

impl Outbox {
    /// An outbox that takes up to `limit` bytes for one peer, in turns of so many units of work.
    pub(crate) fn new(limit: usize, turn_budget: usize) -> Outbox {
        Outbox {
            now: 0,
            current: Current::Nobody,
            back: None,
            pressing: false,
            output: Parcels::new(limit),
            work: Work::new(turn_budget),
            requests: Vec::new(),
            commands: Vec::new(),
            letters: Letters::default(),
            ids: Ids::default(),
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
        let units = self.output.add(to, bytes);
        self.added(units);
    }

    /// Output was added, which makes so many units of work.
    fn added(&mut self, units: usize) {
        self.work.charge(units);
        while let Some(id) = self.output.next_overflow() {
            self.end(id, End::Overflow);
        }
        // A reply that lies in the read buffer leaves at once, and these bytes leave with it.
        self.pressing |= self.back.is_some() || self.output.is_full();
    }

    /// Sends bytes to a connection as they are, whatever its framing: those of a protocol that frames
    /// them itself.
    pub fn send_unframed(&mut self, to: ConnId, bytes: &[u8]) {
        if !bytes.is_empty() {
            let units = self.output.add_as_is([to], bytes);
            self.added(units);
        }
    }

    /// Encodes what is sent to a connection from here on, until it closes or is given another
    /// framing.
    pub fn set_framing(&mut self, id: ConnId, framing: &'static Framing) {
        self.output.set_framing(id, framing);
        self.ask(Request::Framed(id));
    }

    /// Whether this callback has asked for an end of this connection, so that a protocol around another
    /// knows that the other one must hear no more of it.
    #[must_use]
    pub fn has_ended(&self, id: ConnId) -> bool {
        let ends = |request: &Request| matches!(request, Request::End(ended, ..) if *ended == id);
        self.requests.iter().any(ends)
    }

    /// Bytes as [`Data`], for a protocol that hands another one what it has decoded. What the other one
    /// [sends back](Outbox::send_back) of them in this callback is copied.
    pub fn lend<'a>(&mut self, bytes: &'a mut [u8]) -> Data<'a> {
        // So `send_back` does not take them for bytes of the read buffer.
        self.pressing = true;
        Data(bytes)
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
            // Earlier output goes first, and the reply takes its place behind it; a framing makes other
            // bytes of it.
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
    pub fn send_to(&mut self, tag: u64, to: SocketAddr, bytes: &[u8]) {
        self.letters.push(to, bytes);
        match self.commands.last_mut() {
            Some(Command::SendTo { tag: last, count }) if *last == tag => *count += 1,
            _ => self.commands.push(Command::SendTo { tag, count: 1 }),
        }
    }

    /// Ends a connection in good order: what was sent so far reaches the peer, then it sees the end
    /// of the stream (a FIN). Nothing more is heard of it but `on_close`, and later sends are ignored.
    ///
    /// The peer's input is discarded, until it ends as well, is silent for 5 s, or the
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
        self.output.queued(id)
    }

    /// Asks for [`on_again`](crate::Protocol::on_again): in the next turn, or as soon as no more than
    /// half of the high-water mark is pending. With [`Outbox::queued`] a protocol that has much to say
    /// says as much as is enough, and goes on later.
    pub fn again(&mut self, id: ConnId) {
        self.ask(Request::Ask(id, Asked::AGAIN));
    }

    /// A reply to this connection is being computed, say in another thread. Until
    /// [`Outbox::release`] the connection is not idle, [`Outbox::finish`] waits, and so does a stop,
    /// within the grace period; after that the connection is cut off by a reset.
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

    /// Like [`Outbox::set_timer`], for a time on the clock of [`Outbox::now`]; one that is past is the
    /// next turn. A ticker that adds its interval to its last deadline does not drift.
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

    /// Begins to connect, and returns the id of the connection that there will be. For this id either
    /// [`on_open`](crate::Protocol::on_open) follows or
    /// [`on_connect_error`](crate::Protocol::on_connect_error), in both cases after this callback, and
    /// with this tag. When the reactor stops, all connects fail.
    ///
    /// Until then, [`Outbox::abort`], [`Outbox::close`] and [`Outbox::finish`] of the id cancel the
    /// connect, which is told as an error, and its timer can be set
    /// ([`Outbox::set_timer`]): a connect timeout of its own. All else that is said to it is ignored; in
    /// particular, nothing is sent that was said before `on_open`.
    ///
    /// Names are not resolved here, which would block the loop: one that [`Address::resolved`] has not
    /// looked up before fails with `EINVAL`.
    ///
    /// For UDP there is no connection: see [`Reactor::connect`](crate::Reactor::connect).
    pub fn connect(&mut self, to: Address, tag: u64) -> ConnId {
        let id = self.ids.take();
        self.ask(Request::Connect(id, tag));
        self.commands.push(Command::Connect(id, to));
        id
    }

    /// Closes the listeners and UDP sockets, now and for good; connections stay.
    pub fn stop_listening(&mut self) {
        self.commands.push(Command::StopListening(None));
    }

    /// Closes the listeners and UDP sockets that have this tag, now and for good; connections stay.
    pub fn stop_listening_to(&mut self, tag: u64) {
        self.commands.push(Command::StopListening(Some(tag)));
    }

    /// Stops the reactor in good order: no more connections, what is pending is sent within the
    /// grace period.
    pub fn stop(&mut self) {
        self.commands.push(Command::Stop);
    }

    /// Charges units of work to this turn of the loop, and to the visit of the connection whose callback
    /// it is, for what the protocol looks at or computes: see
    /// [`Limits::turn_budget`](crate::Limits::turn_budget), where a unit is the work on one byte. An entry
    /// of a large table is about 64. Bytes received, output and callbacks are charged already.
    ///
    /// It ends nothing in the callback; when the budget is spent, the callbacks that are left come in
    /// the next turn, and signals before them.
    pub fn charge(&mut self, units: usize) {
        self.work.charge(units);
    }

    /// Units of work that this callback has been charged so far, its output included: a protocol that
    /// has much to do for one event can stop there, and go on by [`Outbox::again`] or a timer.
    #[must_use]
    pub fn charged(&self) -> usize {
        self.work.of_callback()
    }

    fn end(&mut self, id: ConnId, end: End) {
        self.ask(Request::End(id, end, self.output.len()));
    }

    fn ask(&mut self, request: Request) {
        self.requests.push(request);
        self.pressing = true;
    }

    /// Whether this callback has asked for anything, or this turn has output for the connection.
    #[inline]
    fn is_said_before(&self, id: ConnId) -> bool {
        self.pressing
            || self.output.is_framed(id)
            || !self.output.is_empty() && self.output.is_for(id)
    }
}

/// The reactor's side.
impl Outbox {
    pub(crate) fn set_now(&mut self, now: Millis) {
        self.now = now;
    }

    /// A callback begins.
    pub(crate) fn begin(&mut self, current: Current, bytes: usize) {
        self.current = current;
        self.work.begin_callback(bytes);
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

    /// A connection has another id than the one that it was watched with.
    pub(crate) fn watch_anew(&mut self, id: ConnId) {
        self.commands.push(Command::WatchAnew(id));
    }

    pub(crate) fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Takes the commands, and the datagrams of those that send some.
    pub(crate) fn take_commands(&mut self) -> (Vec<Command>, Letters) {
        (mem::take(&mut self.commands), mem::take(&mut self.letters))
    }

    /// Takes back the memory of datagrams that are sent, unless there are others by now.
    pub(crate) fn reuse(&mut self, mut letters: Letters) {
        if self.letters.is_empty() {
            letters.clear();
            self.letters = letters;
        }
    }

    /// Whether there is anything that the end of a turn would carry out.
    pub(crate) fn is_busy(&self) -> bool {
        !self.output.is_empty() || !self.commands.is_empty()
    }

    /// Takes the output for the current connection that follows the reply in the read buffer, unless a
    /// request divides the two.
    pub(crate) fn take_parcel_behind_back(&mut self, id: ConnId) -> Option<Parcel> {
        match self.requests.is_empty() {
            true => self.output.take_until(id, usize::MAX),
            false => None,
        }
    }
}
