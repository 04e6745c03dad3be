//! Testing a protocol without sockets.
//!
//! A [`Script`] takes the reactor's place: it tells a [`Protocol`] what happens, keeps what the
//! protocol sends, and moves the clock by hand. [`every_split`] is the test that each protocol over
//! TCP deserves: wherever the input is cut, the output must be the same.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::address::Peer;
use crate::conn_map::ConnMap;
use crate::outbox::{Command, Current, Outbox, Request, SendBack};
use crate::protocol::{Closed, ConnId, Data, Datagram, Opened, Protocol};
use crate::timers::{Millis, TimerKey, Timers, millis};

/// A protocol, and the imagined connections that it serves.
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
#[derive(Debug)]
pub struct Script<P> {
    protocol: P,
    outbox: Outbox,
    timers: Timers,
    now: Millis,
    peers: ConnMap<Imagined>,
    opened: u32,
    datagrams: Vec<(SocketAddr, Vec<u8>)>,
    connects: Vec<(String, u32)>,
    listening: bool,
    stopped: bool,
}

/// The far end of a connection.
#[derive(Debug, Default)]
struct Imagined {
    output: Vec<u8>,
    paused: bool,
    ended: bool,
    half_closed: bool,
    eof: bool,
    closed: Option<Closed>,
}

impl<P: Protocol> Script<P> {
    /// A script in which nothing has happened yet, at time zero.
    pub fn new(protocol: P) -> Self {
        Script {
            protocol,
            outbox: Outbox::new(),
            timers: Timers::default(),
            now: 0,
            peers: ConnMap::new(),
            opened: 0,
            datagrams: Vec::new(),
            connects: Vec::new(),
            listening: true,
            stopped: false,
        }
    }

    /// A client connects, with tag 0.
    pub fn open(&mut self) -> ConnId {
        let peer = Peer::Inet((Ipv4Addr::LOCALHOST, 40_000 + self.opened as u16).into());
        self.open_as(Opened { peer, tag: 0 })
    }

    /// A connection of any origin opens.
    pub fn open_as(&mut self, opened: Opened) -> ConnId {
        let id = ConnId {
            slot: self.opened,
            generation: self.opened + 1,
        };
        self.opened += 1;
        self.peers.insert(id, Imagined::default());
        self.tell(Current::Nobody, |protocol, out| {
            protocol.on_open(id, opened, out);
        });
        id
    }

    /// Bytes arrive from a client, in one piece. Nothing arrives from one that is gone.
    pub fn data(&mut self, id: ConnId, bytes: &[u8]) {
        if bytes.is_empty() || self.is_deaf(id) {
            return;
        }
        let mut received = bytes.to_vec();
        self.outbox.set_current(Current::Conn(id));
        self.protocol
            .on_data(id, Data(&mut received), &mut self.outbox);
        if let SendBack::Alone(len) = self.outbox.take_send_back()
            && let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.half_closed)
        {
            peer.output.extend(&received[..len]);
        }
        self.carry_out(&received);
    }

    /// The client ends its side of the stream.
    pub fn eof(&mut self, id: ConnId) {
        if self.is_deaf(id) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(id) {
            peer.eof = true;
        }
        self.tell(Current::Conn(id), |protocol, out| protocol.on_eof(id, out));
    }

    /// A connect fails.
    pub fn connect_error(&mut self, tag: u32, why: Closed) {
        self.tell(Current::Nobody, |protocol, out| {
            protocol.on_connect_error(tag, why, out)
        });
    }

    /// Lets the protocol speak from outside of a callback, as
    /// [`Reactor::call`](crate::Reactor::call) does.
    pub fn call(&mut self, callback: impl FnOnce(&mut P, &mut Outbox)) {
        self.tell(Current::Nobody, callback);
    }

    /// Somebody used a [`Waker`](crate::Waker).
    pub fn wake(&mut self) {
        self.tell(Current::Nobody, Protocol::on_wake);
    }

    /// The process goes on after a stop, or its terminal has another size.
    pub fn redraw(&mut self) {
        self.tell(Current::Nobody, Protocol::on_redraw);
    }

    /// SIGHUP arrives.
    pub fn reload(&mut self) {
        self.tell(Current::Nobody, Protocol::on_reload);
    }

    /// The reactor is told to stop, if it was not before: the protocol may say its last words.
    pub fn stop(&mut self) {
        if !std::mem::replace(&mut self.stopped, true) {
            self.tell(Current::Nobody, Protocol::on_stop);
        }
    }

    /// The connection is lost.
    pub fn close(&mut self, id: ConnId, why: Closed) {
        if let Some(peer) = self.peers.get_mut(id).filter(|peer| peer.closed.is_none()) {
            peer.closed = Some(why);
            self.timers.cancel(TimerKey::Protocol(id.slot));
            self.tell(Current::Nobody, |protocol, out| {
                protocol.on_close(id, why, out);
            });
        }
    }

    /// The client is slow: more waits for it than the high-water mark, or (false) it has caught up.
    pub fn high_water(&mut self, id: ConnId, high: bool) {
        self.tell(Current::Nobody, |protocol, out| match high {
            true => protocol.on_high_water(id, out),
            false => protocol.on_low_water(id, out),
        });
    }

    /// A datagram arrives, for the socket with tag 0.
    pub fn datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        let mut received = bytes.to_vec();
        self.outbox.set_current(Current::Datagram);
        let datagram = Datagram {
            from,
            tag: 0,
            data: Data(&mut received),
        };
        self.protocol.on_datagram(datagram, &mut self.outbox);
        if self.outbox.take_send_back() != SendBack::No {
            self.datagrams.push((from, received));
        }
        self.carry_out(&[]);
    }

    /// The kernel has no room for a datagram, and gives it back.
    pub fn unsent(&mut self, tag: u32, datagram: &[u8]) {
        self.tell(Current::Nobody, |protocol, out| {
            protocol.on_unsent(tag, datagram.to_vec(), out);
        });
    }

    /// Time passes, and the timers that come due meanwhile fire in their order.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now.saturating_add(millis(time));
        while let Some(at) = self.timers.next().filter(|&at| at <= end) {
            self.set_now(at);
            match self.timers.expire(at) {
                Some(TimerKey::Service) => self.tell(Current::Nobody, |protocol, out| {
                    protocol.on_service_timer(out);
                }),
                Some(TimerKey::Protocol(slot)) => {
                    let id = ConnId {
                        slot,
                        generation: slot + 1,
                    };
                    self.tell(Current::Nobody, |protocol, out| protocol.on_timer(id, out));
                }
                _ => {}
            }
        }
        self.set_now(end);
    }

    /// Takes what was sent to a client since the last call.
    pub fn take_output(&mut self, id: ConnId) -> Vec<u8> {
        self.peers
            .get_mut(id)
            .map(|peer| std::mem::take(&mut peer.output))
            .unwrap_or_default()
    }

    /// Why a connection was closed, `None` while it is open.
    #[must_use]
    pub fn closed(&self, id: ConnId) -> Option<Closed> {
        self.peers.get(id).and_then(|peer| peer.closed)
    }

    /// Whether the protocol has paused the input of a connection.
    #[must_use]
    pub fn is_paused(&self, id: ConnId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.paused)
    }

    /// Whether the protocol has ended its side of a connection, and hears on.
    #[must_use]
    pub fn is_half_closed(&self, id: ConnId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.half_closed)
    }

    /// Takes the datagrams that were sent.
    pub fn take_datagrams(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.datagrams)
    }

    /// Takes the connects that were asked for: address and tag.
    pub fn take_connects(&mut self) -> Vec<(String, u32)> {
        std::mem::take(&mut self.connects)
    }

    /// Whether the protocol still wants to listen.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.listening && !self.stopped
    }

    /// Whether the protocol has asked the reactor to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The protocol.
    pub fn protocol(&self) -> &P {
        &self.protocol
    }

    fn set_now(&mut self, now: Millis) {
        self.now = now;
        self.outbox.set_now(now);
    }

    /// Whether nothing more is heard of a connection: it is closed, or the protocol has finished
    /// it.
    fn is_deaf(&self, id: ConnId) -> bool {
        self.peers
            .get(id)
            .is_none_or(|peer| peer.ended || peer.closed.is_some())
    }

    fn tell(&mut self, current: Current, callback: impl FnOnce(&mut P, &mut Outbox)) {
        self.outbox.set_current(current);
        callback(&mut self.protocol, &mut self.outbox);
        self.carry_out(&[]);
    }

    /// What the reactor does after a callback and at the end of a turn.
    fn carry_out(&mut self, received: &[u8]) {
        for index in 0..self.outbox.parcel_count() {
            let parcel = self.outbox.take_parcel(index);
            let open = |peer: &&mut Imagined| peer.closed.is_none() && !peer.half_closed;
            if let Some(peer) = self.peers.get_mut(parcel.id).filter(open) {
                let keep = |slices: &mut [IoSlice<'_>]| {
                    slices.iter().for_each(|slice| peer.output.extend(&**slice));
                };
                self.outbox.for_each_slices(parcel, received, keep);
            }
        }
        self.outbox.clear();
        for command in self.outbox.take_commands() {
            match command {
                Command::Connect { to, tag } => self.connects.push((to.to_string(), tag)),
                Command::SendTo { to, bytes, .. } => self.datagrams.push((to, bytes)),
                Command::StopListening => self.listening = false,
                Command::Stop => self.stop(),
            }
        }
        for request in self.outbox.take_requests() {
            self.carry_out_request(request);
        }
    }

    fn carry_out_request(&mut self, request: Request) {
        match request {
            Request::Finish(id) => {
                let eof = self.peers.get_mut(id).is_some_and(|peer| {
                    peer.ended = true;
                    peer.eof
                });
                self.close(id, if eof { Closed::Eof } else { Closed::Finished });
            }
            Request::HalfClose(id) => {
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.half_closed = true;
                }
            }
            Request::Abort(id) => self.close(id, Closed::Aborted),
            Request::Pause(id) | Request::Resume(id) => {
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.paused = matches!(request, Request::Pause(_));
                }
            }
            Request::Timer(id, Some(after)) => {
                self.timers
                    .arm(TimerKey::Protocol(id.slot), self.now.saturating_add(after));
            }
            Request::Timer(id, None) => self.timers.cancel(TimerKey::Protocol(id.slot)),
            Request::ServiceTimer(Some(after)) => {
                self.timers
                    .arm(TimerKey::Service, self.now.saturating_add(after));
            }
            Request::ServiceTimer(None) => self.timers.cancel(TimerKey::Service),
        }
    }
}

/// Feeds `input` to one client of a fresh protocol, whole, then cut in two at every place, then
/// byte by byte, each time followed by the end of the stream, and checks that the client is always
/// sent the same.
///
/// # Panics
///
/// If the output depends on where the input was cut.
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

    /// Greets, answers each byte with a count, relays to the first client, says farewell after a
    /// second.
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
    fn a_script_plays_the_reactor() {
        let mut script = Script::new(Talkative::default());
        let (one, two) = (script.open(), script.open());
        script.data(two, b"ab");
        assert_eq!(script.take_output(one), b"hello\nab");
        assert_eq!(
            script.take_output(two),
            b"hello\n<ab>",
            "what is sent before and after stays in order"
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

    #[test]
    #[should_panic(expected = "depends on a cut")]
    fn a_protocol_that_takes_chunks_for_messages_is_found_out() {
        every_split(Talkative::default, b"ab");
    }
}
