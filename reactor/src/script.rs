//! Testing a protocol without sockets.
//!
//! A test over real sockets is slow, and it cannot choose what the kernel does: which bytes arrive
//! together, whether a timer fires before an answer, how a connection ends. A protocol does no I/O,
//! so a test can call it directly; but then the test decides what `finish` or `pause` mean, and
//! passes while the real reactor does something else.
//!
//! A [`Script`] is the third way. It takes the place of [`Reactor`](crate::Reactor) and drives the
//! *same core*: the interpreter of an [`Outbox`], the edge rules, timers and limits are those that
//! serve real clients. Only the two ends are played. A connection is a [`Memory`] instead of a
//! descriptor: a list of chunks that its far end has sent, and the bytes that it has received. The
//! clock stands still unless the test moves it ([`Script::advance`]), so a test of an hour's
//! timeout takes microseconds and gives the same result each time.
//!
//! Each method of a script is one event. It runs turns of the loop until nothing is left to do, so
//! that a test can look at the output right after it.
//!
//! # What it does not show
//!
//! The far end takes every byte at once, or none ([`Script::set_reading`]); [`Script::high_water`]
//! tells the protocol of backpressure without any output. The far end's own end follows as soon as
//! the script's side has ended. Short writes, resets with bytes under way and errors of system calls
//! are the subject of `core/simulation.rs`, which plays a kernel instead.
//!
//! # Every split
//!
//! TCP is a stream: two lines may arrive in one read, and one line in two. A protocol that takes a
//! read for a message works on the developer's machine and fails on the network. [`every_split`]
//! finds that: it cuts the input at each place in turn, and the output must be the same each time.

mod memory;
mod splits;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use self::memory::{Gone, Memory};
pub use self::splits::every_split;
use crate::core::Core;
use crate::core::conn::State;
use crate::core::limits::Limits;
#[cfg(test)]
use crate::core::stats::Stats;
use crate::core::timers::millis;
use crate::id::{ConnId, Data};
use crate::outbox::{Asked, Outbox};
use crate::poll::Ready;
use crate::protocol::{Closed, Datagram, Opened, Protocol};
use crate::sources::address::{Address, Peer};

/// A protocol, and connections in memory that it serves.
///
/// All connections share one protocol and one clock, which starts at zero. Limits are the defaults,
/// and a script may have any number of connections. Methods with a [`ConnId`] do nothing for a
/// connection that is closed; its output and the cause of its close can still be read.
///
/// ```
/// use edgeloop_reactor::{ConnId, Data, Outbox, Protocol, Script};
///
/// struct Echo;
/// impl Protocol for Echo {
///     fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
///         out.send_back(data);
///     }
/// }
///
/// let mut script = Script::new(Echo);
/// let client = script.open();
/// script.data(client, b"hello");
/// assert_eq!(script.take_output(client), b"hello");
/// script.eof(client);
/// assert!(script.closed(client).is_some());
/// ```
pub struct Script<P> {
    core: Core<Memory, P>,
    /// Connections that were opened, which gives each peer a port of its own.
    opened: u16,
    /// The connections that are closed, for [`Script::closed`] and [`Script::take_output`].
    gone: HashMap<ConnId, Gone>,
    /// Datagrams that the protocol has sent, for [`Script::take_datagrams`].
    datagrams: Vec<(SocketAddr, Vec<u8>)>,
    /// Connects that the protocol has asked for: id, address and tag.
    connects: Vec<(ConnId, Address, u64)>,
    /// UDP sockets that the protocol has connected: tag and id.
    udp: Vec<(u64, ConnId)>,
    /// The protocol has not asked to stop listening.
    listening: bool,
    /// Tags to which the protocol listens no more.
    unheard: Vec<u64>,
    /// The stop has begun.
    stopped: bool,
}

impl<P: Protocol> Script<P> {
    /// A script without connections, at time zero.
    pub fn new(protocol: P) -> Self {
        Script::with_limits(protocol, Limits::default())
    }

    /// A script with limits of its own. They hold as in a reactor, but for those of accepting.
    pub fn with_limits(protocol: P, mut limits: Limits) -> Self {
        // The core prepares its tables for this many connections. It is no limit here: only
        // `accept` has one.
        limits.max_connections = 64;
        Script {
            core: Core::new(protocol, limits),
            opened: 0,
            gone: HashMap::new(),
            datagrams: Vec::new(),
            connects: Vec::new(),
            udp: Vec::new(),
            listening: true,
            unheard: Vec::new(),
            stopped: false,
        }
    }

    /// A client connects over TCP, with tag 0. Returns its connection; output of `on_open` can be
    /// taken already.
    pub fn open(&mut self) -> ConnId {
        self.open_tagged(0)
    }

    /// A client connects over TCP to the listener with this tag.
    pub fn open_tagged(&mut self, tag: u64) -> ConnId {
        let peer = self.next_peer();
        self.open_as(Opened::new(peer, tag))
    }

    /// A connection opens with any peer and any tag: accepted or adopted. For a connect that succeeds
    /// there is [`Script::connected`].
    pub fn open_as(&mut self, opened: Opened) -> ConnId {
        let id = self.core.ids().take();
        self.insert(id, opened.peer != Peer::Stream);
        self.core.opened(id, opened);
        self.settle();
        id
    }

    /// The connect that was given this id succeeds. Nothing happens if it is not under way.
    pub fn connected(&mut self, id: ConnId) {
        if let Some(tag) = self.core.promised_tag(id) {
            let opened = Opened::new(self.next_peer(), tag);
            self.insert(id, !self.core.limits.own_tags.contains(&tag));
            self.core.connected(id, opened, id);
            self.settle();
        }
    }

    fn next_peer(&mut self) -> Peer {
        self.opened = self.opened.wrapping_add(1);
        Peer::Inet((Ipv4Addr::LOCALHOST, 40_000 + self.opened % 20_000).into())
    }

    fn insert(&mut self, id: ConnId, is_peer: bool) {
        let memory = Memory {
            is_peer,
            ..Memory::default()
        };
        // UNSURE: a read returns one chunk, so a short read does not show that the stream is
        // drained.
        self.core.insert(id, memory, State::UNSURE);
    }

    /// Bytes arrive from a client. The protocol hears of them in one `on_data`, unless they exceed
    /// the read buffer of 64 KiB, or the connection is paused.
    pub fn data(&mut self, id: ConnId, bytes: &[u8]) {
        if let Some(memory) = self.core.stream_mut(id)
            && !bytes.is_empty()
        {
            memory.inbound.push_back(bytes.to_vec());
            self.event(id, Ready::IN);
        }
    }

    /// Bytes arrive from a client, as in [`Script::data`], but no turn of the loop follows: they are a
    /// part of the next one. So many clients' bytes can arrive together.
    pub fn arrive(&mut self, id: ConnId, bytes: &[u8]) {
        if let Some(memory) = self.core.stream_mut(id)
            && !bytes.is_empty()
        {
            memory.inbound.push_back(bytes.to_vec());
            self.core.note_only(id, Ready::IN);
        }
    }

    /// The client ends its side of the stream (half-close) and goes on reading.
    pub fn eof(&mut self, id: ConnId) {
        if let Some(memory) = self.core.stream_mut(id) {
            memory.ended = true;
            self.event(id, Ready::IN | Ready::RDHUP);
        }
    }

    /// The connect that was given this id fails. Nothing happens if it is not under way.
    pub fn connect_error(&mut self, id: ConnId, why: Closed) {
        self.core.end_race(id, why);
        self.settle();
    }

    /// The network reports that the UDP socket with one peer and this tag has sent a datagram that was
    /// not taken. The id is that of the protocol's connect, or a new one if the socket is the program's.
    pub fn udp_error(&mut self, tag: u64, why: Closed) {
        let its = self.udp.iter().find(|(its, _)| *its == tag);
        let made = its.map(|(_, id)| *id);
        let id = made.unwrap_or_else(|| self.core.ids().take());
        self.core.connect_failed(id, tag, why);
        if made.is_none() {
            self.core.ids().give_back(id);
        }
        self.settle();
    }

    /// Calls the protocol outside of an event, as [`Reactor::call`](crate::Reactor::call) does.
    pub fn call<R>(&mut self, callback: impl FnOnce(&mut P, &mut Outbox) -> R) -> R {
        let result = self.core.call(callback);
        self.settle();
        result
    }

    /// A [`Waker`](crate::Waker) wakes the reactor.
    pub fn wake(&mut self) {
        self.call(Protocol::on_wake);
    }

    /// SIGHUP arrives.
    pub fn reload(&mut self) {
        self.call(Protocol::on_reload);
    }

    /// The reactor begins to stop: the protocol hears `on_stop`, and all connections end. A second
    /// call has no effect.
    pub fn stop(&mut self) {
        self.begin_stop();
        self.settle();
    }

    fn begin_stop(&mut self) {
        if !std::mem::replace(&mut self.stopped, true) {
            self.core.tell(Protocol::on_stop);
            self.core.stop();
        }
    }

    /// The connection closes at once for the given cause, such as a reset or a timeout.
    pub fn close(&mut self, id: ConnId, why: Closed) {
        self.core.doom(id, why);
        self.settle();
    }

    /// Tells the protocol that the pending output of a connection has risen above the high-water
    /// mark (true), or has sunk below half of it (false). The far end of a script takes everything,
    /// so this does not happen by itself.
    pub fn high_water(&mut self, id: ConnId, high: bool) {
        self.call(|protocol, out| match high {
            true => protocol.on_high_water(id, out),
            false => protocol.on_low_water(id, out),
        });
    }

    /// A datagram arrives at the UDP socket with tag 0. An answer by `send_back` is among
    /// [`Script::take_datagrams`].
    pub fn datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.datagram_tagged(0, from, bytes);
    }

    /// A datagram arrives at the UDP socket with this tag.
    pub fn datagram_tagged(&mut self, tag: u64, from: SocketAddr, bytes: &[u8]) {
        let mut received = bytes.to_vec();
        let datagram = Datagram {
            from,
            tag,
            data: Data(&mut received),
        };
        if self.core.tell_datagram(datagram) {
            self.datagrams.push((from, received));
        }
        self.settle();
    }

    /// A client stops reading (false), so that output for it is pending, or reads on.
    pub fn set_reading(&mut self, id: ConnId, reads: bool) {
        if let Some(memory) = self.core.stream_mut(id) {
            memory.is_full = !reads;
            if reads {
                self.event(id, Ready::OUT);
            }
        }
    }

    /// The kernel refuses a datagram, which the protocol gets back with `on_unsent`.
    pub fn unsent(&mut self, tag: u64, datagram: &[u8]) {
        self.call(|protocol, out| protocol.on_unsent(tag, datagram.to_vec(), out));
    }

    /// Moves the clock on. Timers that come due fire in the order of their deadlines, each at its
    /// own time.
    pub fn advance(&mut self, time: Duration) {
        let end = self.core.shared.now.saturating_add(millis(time));
        while let Some(at) = self.core.timers.next().filter(|&at| at <= end) {
            self.core.set_now(at);
            self.settle();
        }
        self.core.set_now(end);
    }

    /// Takes the bytes that were sent to a client since the last call, also after its connection
    /// has closed.
    pub fn take_output(&mut self, id: ConnId) -> Vec<u8> {
        let output = match self.gone.get_mut(&id) {
            Some(gone) => Some(&mut gone.memory.output),
            None => self.core.stream_mut(id).map(|memory| &mut memory.output),
        };
        output.map(std::mem::take).unwrap_or_default()
    }

    /// The cause of a connection's close, `None` while it is open.
    #[must_use]
    pub fn closed(&self, id: ConnId) -> Option<Closed> {
        self.gone.get(&id).map(|gone| gone.why)
    }

    /// Whether an open connection's input is paused.
    #[must_use]
    pub fn is_paused(&self, id: ConnId) -> bool {
        self.core
            .is(id, |conn| conn.asked.intersects(Asked::PAUSED))
    }

    /// Whether the protocol has half-closed an open connection: its own side has ended, and it
    /// still hears the client's.
    #[must_use]
    pub fn is_half_closed(&self, id: ConnId) -> bool {
        self.core
            .is(id, |conn| conn.state.contains(State::HALF_CLOSED))
    }

    /// Whether a connection was closed by a reset, so that its peer knows that output may be missing.
    #[must_use]
    pub fn was_reset(&self, id: ConnId) -> bool {
        self.gone.get(&id).is_some_and(|gone| gone.memory.was_reset)
    }

    /// Takes the datagrams that were sent since the last call: receiver and bytes.
    pub fn take_datagrams(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.datagrams)
    }

    /// The connect under way with this tag; of several, the one that was asked for first.
    #[must_use]
    pub fn connecting(&self, tag: u64) -> Option<ConnId> {
        self.core.promised_to(tag)
    }

    /// Takes the connects that were asked for since the last call and are under way: id, address and
    /// tag. They stay so until [`Script::connected`] or [`Script::connect_error`] says how they end.
    /// UDP sockets are among them, which are there at once.
    pub fn take_connects(&mut self) -> Vec<(ConnId, String, u64)> {
        let connects = std::mem::take(&mut self.connects).into_iter();
        let is_under_way = |id, to: &Address| {
            matches!(to, Address::Udp(_)) || self.core.promised_tag(id).is_some()
        };
        connects
            .filter(|(id, to, _)| is_under_way(*id, to))
            .map(|(id, to, tag)| (id, to.to_string(), tag))
            .collect()
    }

    /// Whether new clients would be accepted: the protocol has not asked to stop listening, nor has
    /// the stop begun.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.listening && !self.stopped
    }

    /// Whether the protocol still wants to listen with this tag.
    #[must_use]
    pub fn is_listening_to(&self, tag: u64) -> bool {
        self.is_listening() && !self.unheard.contains(&tag)
    }

    /// Whether the stop has begun, by [`Script::stop`] or because the protocol asked for it.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The protocol, to be looked at.
    pub fn protocol(&self) -> &P {
        &self.core.voice.protocol
    }

    /// Pending output of all peers, in bytes.
    #[cfg(test)]
    pub(crate) fn pending(&self) -> usize {
        self.core.shared.pending
    }

    /// The counters so far.
    #[cfg(test)]
    pub(crate) fn stats(&self) -> Stats {
        self.core.shared.stats
    }

    fn event(&mut self, id: ConnId, ready: Ready) {
        self.core.deliver(id, ready);
        self.settle();
    }
}

impl<P: fmt::Debug> fmt::Debug for Script<P> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Script")
            .field("protocol", &self.core.voice.protocol)
            .finish_non_exhaustive()
    }
}
