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

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use nix::Result;
use nix::errno::Errno;

use crate::core::Core;
use crate::core::conn::{State, Stream};
use crate::core::limits::Limits;
use crate::core::timers::millis;
use crate::core::work::Part;
use crate::id::{ConnId, Data};
use crate::outbox::{Asked, Command, Outbox};
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
    /// The protocol has not asked to stop listening.
    listening: bool,
    /// Tags to which the protocol listens no more.
    unheard: Vec<u64>,
    /// The stop has begun.
    stopped: bool,
}

/// Turns of the loop that one event can bring about.
const TURNS: usize = 1_000;

/// A connection in memory, in place of a descriptor. It takes every byte that is written, unless the
/// far end does not read.
#[derive(Debug, Default)]
struct Memory {
    /// Bytes that the far end has sent and the core has not read, in the chunks in which they were
    /// sent: a read returns bytes of one chunk only.
    inbound: VecDeque<Vec<u8>>,
    /// The far end sends no more; the end of the stream follows the last chunk.
    ended: bool,
    /// Bytes that the far end has received and the test has not taken.
    output: Vec<u8>,
    /// False for an adopted stream: timeouts and counters leave it alone.
    is_peer: bool,
    /// The far end takes no more bytes.
    is_full: bool,
    /// The connection was closed by a reset.
    was_reset: bool,
}

/// A closed connection: the cause of its close, and the output that the test has not taken.
#[derive(Debug)]
struct Gone {
    why: Closed,
    memory: Memory,
}

impl Stream for Memory {
    fn recv(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let Some(mut bytes) = self.inbound.pop_front() else {
            return match self.ended {
                true => Ok(0),
                false => Err(Errno::EAGAIN),
            };
        };
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        if count < bytes.len() {
            bytes.drain(..count);
            self.inbound.push_front(bytes);
        }
        Ok(count)
    }

    fn send(&mut self, slices: &[IoSlice<'_>]) -> Result<usize> {
        if self.is_full {
            return Err(Errno::EAGAIN);
        }
        slices.iter().for_each(|slice| self.output.extend(&**slice));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn reset(&mut self) {
        self.was_reset = true;
    }

    fn shutdown_write(&mut self) -> Result<()> {
        Ok(())
    }

    fn connect_result(&mut self) -> Result<()> {
        Ok(())
    }

    fn is_peer(&self) -> bool {
        self.is_peer
    }

    fn unread(&self) -> Result<usize> {
        Ok(self.inbound.iter().map(Vec::len).sum())
    }

    fn unacknowledged(&self) -> Result<usize> {
        Ok(0)
    }

    fn unheard_ms(&self) -> Option<u32> {
        None
    }
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
        self.insert(id, opened.peer);
        self.core.opened(id, opened);
        self.settle();
        id
    }

    /// The connect that was given this id succeeds. Nothing happens if it is not under way.
    pub fn connected(&mut self, id: ConnId) {
        if let Some(tag) = self.core.promised_tag(id) {
            let opened = Opened::new(self.next_peer(), tag);
            self.insert(id, opened.peer);
            self.core.connected(id, opened, id);
            self.settle();
        }
    }

    fn next_peer(&mut self) -> Peer {
        self.opened = self.opened.wrapping_add(1);
        Peer::Inet((Ipv4Addr::LOCALHOST, 40_000 + self.opened % 20_000).into())
    }

    fn insert(&mut self, id: ConnId, peer: Peer) {
        let memory = Memory {
            is_peer: peer != Peer::Stream,
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
    /// not taken.
    pub fn udp_error(&mut self, tag: u64, why: Closed) {
        let id = self.core.ids().take();
        self.core.connect_failed(id, tag, why);
        self.core.ids().give_back(id);
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

    fn event(&mut self, id: ConnId, ready: Ready) {
        self.core.deliver(id, ready);
        self.settle();
    }

    /// Runs turns of the loop until nothing is left to do, but no more than [`TURNS`], so that a
    /// protocol which always goes on comes back. A lingering connection is closed as if its far end
    /// had closed too.
    fn settle(&mut self) {
        for _ in 0..TURNS {
            self.turn();
            if !self.core.has_work() {
                return;
            }
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

    /// Runs one turn of the loop, and returns the units of work that it was charged: see
    /// [`Limits::turn_budget`].
    pub fn turn(&mut self) -> usize {
        self.core.begin_turn(self.core.shared.now);
        self.run_timers();
        self.core.work().begin(Part::ReadyList);
        while let Some(token) = self.core.next_ready() {
            self.core.resume(ConnId::from_token(token));
        }
        self.run_commands();
        let gone = &mut self.gone;
        self.core.settle(|id, why, memory| {
            gone.insert(id, Gone { why, memory });
        });
        self.core.close_settled();
        self.core.work().spent()
    }

    /// Whether the next turn has work to do already, as far as the clock does not move.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.core.has_work()
    }

    fn run_timers(&mut self) {
        self.core.work().begin(Part::Timers);
        while let Some(key) = self.core.next_timer() {
            self.core.run_timer(key);
        }
    }

    fn begin_connect(&mut self, id: ConnId, to: Address) {
        let Some(tag) = self.core.promised_tag(id) else {
            return;
        };
        if self.stopped {
            return self.core.end_race(id, Closed::Shutdown);
        }
        if let Address::Udp(_) = to {
            self.core.withdraw(id);
        }
        self.connects.push((id, to, tag));
    }

    /// Carries out the requests that a reactor would carry out with descriptors.
    fn run_commands(&mut self) {
        let (commands, letters) = self.core.voice.outbox.take_commands();
        let mut next = 0;
        for command in commands {
            match command {
                Command::Connect(id, to) => self.begin_connect(id, to),
                // There is one attempt for each connect, so no connection gets another token.
                Command::WatchAnew(_) => {}
                Command::SendTo { count, .. } => {
                    let sent = (next..next + count).map(|at| (letters.to(at), letters.bytes(at)));
                    let sent = sent.map(|(to, bytes)| (to, bytes.to_vec()));
                    self.datagrams.extend(sent);
                    next += count;
                }
                Command::StopListening(None) => self.listening = false,
                Command::StopListening(Some(tag)) => self.unheard.push(tag),
                Command::Stop => self.begin_stop(),
            }
        }
    }
}

impl<P: fmt::Debug> fmt::Debug for Script<P> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Script")
            .field("protocol", &self.core.voice.protocol)
            .finish_non_exhaustive()
    }
}

/// Checks that a protocol's output does not depend on how its input is cut, and returns that
/// output.
///
/// `input` is fed to one client of a fresh protocol: whole, then cut in two at each place, then
/// byte by byte. The end of the stream follows each time. The number of runs is the length of
/// `input` plus one, so a few hundred bytes that reach every state of the protocol are a good
/// input.
///
/// ```should_panic
/// use edgeloop_reactor::{ConnId, Data, Outbox, Protocol, every_split};
///
/// /// Takes each read for a line.
/// struct Lines;
/// impl Protocol for Lines {
///     fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
///         out.send_back(data);
///         out.send(id, b"\n");
///     }
/// }
///
/// every_split(|| Lines, b"hello");
/// ```
///
/// # Panics
///
/// If the output of two runs differs.
pub fn every_split<P: Protocol>(mut fresh: impl FnMut() -> P, input: &[u8]) -> Vec<u8> {
    let mut run = |chunks: &[&[u8]]| {
        let mut script = Script::new(fresh());
        let client = script.open();
        chunks.iter().for_each(|chunk| script.data(client, chunk));
        script.eof(client);
        script.take_output(client)
    };
    let whole = run(&[input]);
    for cut in 1..input.len() {
        let (first, second) = input.split_at(cut);
        assert_eq!(
            run(&[first, second]),
            whole,
            "the output depends on a cut after {cut} bytes"
        );
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(
        run(&bytes),
        whole,
        "the output depends on the input coming byte by byte"
    );
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Greets each client, returns its bytes in angle brackets and relays them to the first client,
    /// and says goodbye after a second.
    #[derive(Default)]
    struct Talkative {
        first: Option<ConnId>,
        count: usize,
    }

    impl Protocol for Talkative {
        fn on_open(&mut self, id: ConnId, _: Opened, out: &mut Outbox) {
            self.first.get_or_insert(id);
            out.send(id, b"hello\n");
            out.set_timer(id, Duration::from_secs(1));
        }

        fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
            self.count += data.len();
            out.broadcast(self.first.into_iter().filter(|&first| first != id), &data);
            out.send(id, b"<");
            out.send_back(data);
            out.send(id, b">");
        }

        fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
            out.send(id, format!("bye after {:?}\n", out.now()).as_bytes());
            out.finish(id);
            out.send(id, b"never seen");
        }
    }

    #[test]
    fn a_script_drives_a_protocol_as_the_reactor_does() {
        let mut script = Script::new(Talkative::default());
        let (one, two) = (script.open(), script.open());
        script.data(two, b"ab");
        assert_eq!(script.take_output(one), b"hello\nab");
        assert_eq!(
            script.take_output(two),
            b"hello\n<ab>",
            "bytes sent before and after a send_back stay in order"
        );
        script.advance(Duration::from_millis(999));
        assert_eq!(script.closed(one), None);
        script.advance(Duration::from_millis(1));
        assert_eq!(
            (script.closed(one), script.closed(two)),
            (Some(Closed::Finished), Some(Closed::Finished))
        );
        assert_eq!(script.take_output(one), b"bye after 1s\n");
        script.data(one, b"too late");
        assert_eq!(
            (script.protocol().count, script.take_output(one)),
            (2, Vec::new())
        );
    }

    struct Echo;

    impl Protocol for Echo {
        fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
            out.send_back(data);
        }

        fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox) {
            out.send_back(datagram.data);
        }
    }

    #[test]
    fn echo_does_not_depend_on_cuts_and_empty_datagrams_are_answered() {
        assert_eq!(every_split(|| Echo, b"0123456789"), b"0123456789");
        let mut script = Script::new(Echo);
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 5000));
        script.datagram(from, b"");
        script.datagram(from, b"x");
        assert_eq!(
            script.take_datagrams(),
            [(from, vec![]), (from, b"x".to_vec())]
        );
    }

    /// Connects twice for each client, and remembers what it is told.
    #[derive(Default)]
    struct Caller {
        ids: Vec<ConnId>,
        opened: Vec<ConnId>,
        failed: Vec<(ConnId, Closed)>,
    }

    const CALL: u64 = 7;

    impl Protocol for Caller {
        fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
            if opened.tag == CALL {
                self.opened.push(id);
                return out.send(id, b"hello");
            }
            for _ in 0..2 {
                let id = out.connect("127.0.0.1:9".parse().unwrap(), CALL);
                out.send(id, b"too early");
                out.set_timer(id, Duration::from_secs(1));
                self.ids.push(id);
            }
        }

        fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
            if !self.opened.contains(&id) {
                out.abort(id);
            }
        }

        fn on_connect_error(&mut self, id: ConnId, tag: u64, why: Closed, _: &mut Outbox) {
            assert_eq!(tag, CALL);
            self.failed.push((id, why));
        }
    }

    #[test]
    fn a_script_s_connects_have_ids() {
        let mut script = Script::new(Caller::default());
        script.open();
        let ids = script.protocol().ids.clone();
        let to = || "tcp://127.0.0.1:9".to_owned();
        let asked = [(ids[0], to(), CALL), (ids[1], to(), CALL)];
        assert_eq!(script.take_connects(), asked);
        script.connected(ids[1]);
        assert_eq!(script.connecting(CALL), Some(ids[0]));
        script.advance(Duration::from_secs(1));
        assert_eq!(script.take_output(ids[1]), b"hello");
        let aborted = (ids[0], Closed::Aborted);
        assert_eq!(script.protocol().failed, [aborted]);

        script.open();
        let ids = script.protocol().ids.clone();
        script.connect_error(ids[2], Closed::TimedOut);
        script.connected(ids[2]);
        script.stop();
        let (timed_out, shut_down) = (Closed::TimedOut, Closed::Shutdown);
        let failed = [aborted, (ids[2], timed_out), (ids[3], shut_down)];
        assert_eq!(script.protocol().failed, failed);
        assert_eq!(script.protocol().opened, [ids[1]]);
        assert_eq!(script.take_connects(), []);
    }

    #[test]
    fn one_tag_may_be_listened_to_no_more() {
        let mut script = Script::new(Echo);
        let tags = |script: &Script<Echo>| [0, 7].map(|tag| script.is_listening_to(tag));
        assert_eq!(tags(&script), [true, true]);
        script.call(|_, out| out.stop_listening_to(7));
        assert_eq!(tags(&script), [true, false]);
        assert!(script.is_listening());
        script.call(|_, out| out.stop_listening());
        assert_eq!(tags(&script), [false, false]);
    }

    #[test]
    #[should_panic(expected = "depends on a cut")]
    fn a_protocol_that_takes_reads_for_messages_is_found_out() {
        every_split(Talkative::default, b"ab");
    }
}
