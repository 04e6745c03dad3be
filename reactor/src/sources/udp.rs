//! A UDP socket: datagrams are received by the batch and answered from where they lie.
//!
//! # Backpressure
//!
//! The edge rules are those of streams (`core/conn.rs`), with one difference: the socket has no
//! queue for output. When the kernel refuses an answer, the answers of this batch stay in their
//! slots and nothing more is received until an `OUT` edge. The kernel's receive buffer is then the
//! queue, and its size is the administrator's choice (`/proc/sys/net/core/rmem_max`); datagrams
//! that do not fit are dropped and counted. So one socket costs one [`Batch`] of memory, whatever
//! its peers do.
//!
//! # Errors
//!
//! An error of a UDP socket is often that of another datagram. An ICMP message that answers an
//! earlier datagram becomes the socket's pending error, and the next call on the socket returns it
//! *instead of doing its work*, once (udp(7)). A server that took it for the result of that call
//! would drop a datagram that was never sent, or close a socket that works. So a call that failed
//! is tried once more, an error never ends the socket, and a socket whose every receive failed goes
//! to the starved list rather than spinning. Only a socket with one peer hears of ICMP messages at
//! all; the protocol hears of them with `on_connect_error`.
//!
//! # Loops between servers
//!
//! Two servers that answer each other's answers would never stop, and one datagram with a forged
//! sender starts them. The content does not help, since the answer of an echo server looks like a
//! question. So an answer leaves with the time to live (hop limit) that its question arrived with,
//! less one, as if the server were a router, and a question that arrives with 1 gets no answer. A
//! client's question starts with 64 or more, and every hop takes one: an answer to an honest client
//! always has enough left.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::sys::socket::{
    MsgFlags, SockType, SockaddrStorage, connect, recv, sendto, setsockopt, sockopt,
};

use crate::core::Core;
use crate::core::conn::{Stream, is_starvation};
use crate::core::stats::Stats;
use crate::id::{ConnId, Data};
use crate::letters::Letters;
use crate::poll::Ready;
use crate::protocol::{Datagram, Protocol};
use crate::reason::SystemError;
use crate::sources::address::is_wildcard;
use crate::sources::bound::{bind_source, inet_socket, local_address};
use crate::sys;
use crate::sys::mmsg::{BATCH, Batch};

/// Batches that one visit receives at most, before other sources have their turn.
const BATCH_BUDGET: usize = 4;

/// A bound UDP socket, with one peer or with none in particular.
pub(crate) struct Udp {
    fd: OwnedFd,
    /// The tag of every datagram that arrives here.
    pub(crate) tag: u64,
    /// The id of the connect that made this socket.
    pub(crate) id: Option<ConnId>,
    /// The local address. `None` if the kernel did not tell it.
    bound: Option<SocketAddr>,
    /// The one peer of a socket that was made by [`Udp::connect`]: datagrams go nowhere else.
    peer: Option<SocketAddr>,
    /// The datagrams of the last receive; their slots are reused once `answers` is empty.
    batch: Batch,
    /// Slots of the batch whose answers the kernel has not taken yet, in order.
    answers: Vec<u8>,
    /// An edge, and no `EAGAIN` or short batch since: there may be datagrams.
    readable: bool,
    /// No `EAGAIN` of a send since the last edge: there may be room in the send buffer.
    writable: bool,
    /// An event reported `ERR`. The pending error may cut a batch short, so a short batch does not
    /// show that the socket is drained: only `EAGAIN` ends the reading.
    failed: bool,
    /// Every receive of the last visit failed, so that only a timer can bring the socket its next
    /// turn.
    starved: bool,
    /// The socket is on the ready list or the starved list.
    pub(crate) listed: bool,
    /// `OUT` is part of the socket's interest. This is so only while answers wait for room: the
    /// kernel raises an `OUT` edge for every datagram that has left, which would be one event for
    /// each answer.
    pub(crate) watches_room: bool,
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Udp {
    /// Takes over a socket that is bound already.
    pub(crate) fn new(fd: OwnedFd, tag: u64) -> Udp {
        Udp {
            bound: local_address(fd.as_fd()),
            fd,
            tag,
            id: None,
            peer: None,
            batch: Batch::new(),
            answers: Vec::with_capacity(BATCH),
            readable: false,
            writable: true,
            failed: false,
            starved: false,
            listed: false,
            watches_room: false,
        }
    }

    /// Makes a socket with one peer: it receives no other sender's datagrams, and hears of ICMP
    /// errors (udp(7)). `source` is its own address, if that was chosen. Errors: those of
    /// socket(2), bind(2) and connect(2).
    ///
    /// If the peer is a multicast group, answers come from its members, each with an address of its
    /// own: the socket is then not connected, and takes datagrams from any sender.
    pub(crate) fn connect(
        peer: SocketAddr,
        source: Option<IpAddr>,
        id: ConnId,
        tag: u64,
    ) -> Result<Udp> {
        let fd = inet_socket(&peer, SockType::Datagram)?;
        bind_source(&fd, source)?;
        if !peer.ip().is_multicast() {
            match introduce(&fd, peer) {
                // EACCES: the routing table has this as a broadcast address (ip(7); socket(7),
                // SO_BROADCAST).
                Err(Errno::EACCES) => setsockopt(&fd, sockopt::Broadcast, &true)?,
                connected => connected?,
            }
        }
        Ok(Udp {
            id: Some(id),
            peer: Some(peer),
            ..Udp::new(fd, tag)
        })
    }

    /// Datagrams that the kernel dropped because the receive buffer was full, since the socket was
    /// made.
    pub(crate) fn missed(&self) -> u32 {
        sys::dropped_datagrams(self.fd.as_fd()).unwrap_or(0)
    }

    /// Remembers the readiness that an event reports.
    pub(crate) fn note(&mut self, ready: Ready) {
        self.readable |= ready.intersects(Ready::IN | Ready::ERR);
        self.writable |= ready.intersects(Ready::OUT | Ready::ERR);
        self.failed |= ready.contains(Ready::ERR);
    }

    /// Whether a visit would do something without a new edge: the socket belongs on the ready list.
    pub(crate) fn has_work(&self) -> bool {
        self.writable && (self.readable || !self.answers.is_empty())
    }

    /// Whether answers wait for room to send.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.writable
    }

    /// Whether the socket belongs on the starved list.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved
    }

    /// The socket was taken from a list. A starved socket tries to receive again.
    pub(crate) fn resume(&mut self) {
        self.readable |= self.starved;
        (self.starved, self.listed) = (false, false);
    }

    /// The socket's turn: sends the answers that wait, receives a batch, hands it to the protocol,
    /// and so on until the socket is drained, the send buffer is full or the budget is spent.
    pub(crate) fn visit<S: Stream, P: Protocol>(&mut self, core: &mut Core<S, P>) {
        let mut failures = 0;
        for _ in 0..BATCH_BUDGET {
            self.answer(core);
            if !self.answers.is_empty() || !self.readable {
                return;
            }
            failures += usize::from(!self.fetch(core));
            if core.work().is_spent() {
                break;
            }
        }
        self.answer(core);
        // An error that does not go away must not make the loop spin.
        self.starved = failures == BATCH_BUDGET;
        self.readable &= !self.starved;
    }

    /// One recvmmsg(2); the protocol is told of each datagram. Returns false if the call failed
    /// with a real error.
    fn fetch<S: Stream, P: Protocol>(&mut self, core: &mut Core<S, P>) -> bool {
        core.shared.stats.reads += 1;
        let count = match self.batch.receive(self.fd.as_fd()) {
            Ok(count) => count,
            Err(Errno::EINTR) => return true,
            Err(Errno::EAGAIN) => {
                core.shared.stats.again += 1;
                (self.readable, self.failed) = (false, false);
                return true;
            }
            // The ICMP error of an earlier datagram. This call has cleared it.
            Err(errno) => {
                log::debug!("UDP receive: {}", errno.desc());
                self.tell_error(errno, core);
                return false;
            }
        };
        self.readable = count == BATCH || self.failed;
        for slot in 0..count {
            self.hand_over(slot, core);
        }
        true
    }

    /// Tells the protocol of the datagram in a slot, and queues the slot if the protocol sends it
    /// back.
    fn hand_over<S: Stream, P: Protocol>(&mut self, slot: usize, core: &mut Core<S, P>) {
        let Some(from) = self.batch.from(slot) else {
            return;
        };
        let data = self.batch.data_mut(slot);
        core.shared.stats.datagrams_in += 1;
        core.shared.stats.bytes_in += data.len() as u64;
        let datagram = Datagram {
            from,
            tag: self.tag,
            data: Data(data),
        };
        if core.tell_datagram(datagram) {
            self.queue_answer(slot, from, &mut core.shared.stats);
        }
    }

    /// Queues the slot's answer, unless its time to live is used up.
    fn queue_answer(&mut self, slot: usize, to: SocketAddr, stats: &mut Stats) {
        if self.batch.is_expired(slot) {
            log::debug!("no answer to {to}: the time to live of its datagram is used up");
            stats.datagrams_expired += 1;
        } else {
            self.answers.push(slot as u8);
        }
    }

    /// Tells the protocol of an error of a socket with one peer, if the error says that datagrams
    /// do not reach the peer.
    fn tell_error<S: Stream, P: Protocol>(&self, errno: Errno, core: &mut Core<S, P>) {
        if let Some(id) = self.id
            && is_about_the_peer(errno)
        {
            core.connect_failed(id, self.tag, SystemError::of(errno).into());
        }
    }

    /// Whether to retry a send that failed. `send` may report an *earlier* datagram's ICMP error
    /// and send nothing (udp(7)). Reporting clears it, so the callers retry once.
    fn is_worth_another_try(&self, errno: Errno) -> bool {
        self.peer.is_some() && errno != Errno::EAGAIN
    }

    /// Sends the answers until none is left or the kernel refuses one (`EAGAIN`).
    fn answer<S: Stream, P: Protocol>(&mut self, core: &mut Core<S, P>) {
        let mut tried_again = false;
        while self.writable && !self.answers.is_empty() {
            let (batch, answers) = (&mut self.batch, &self.answers);
            let sent = batch.send_back(self.fd.as_fd(), answers);
            let bytes = |count: usize| {
                let slots = answers[..count].iter();
                slots.map(|&slot| batch.data_mut(slot.into()).len()).sum()
            };
            core.shared.stats.count_write(sent.map(bytes));
            match sent {
                Ok(count) => {
                    tried_again = false;
                    core.shared.stats.datagrams_out += count as u64;
                    self.answers.drain(..count);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.writable = false,
                Err(errno) if !tried_again && self.is_worth_another_try(errno) => {
                    tried_again = true;
                    self.tell_error(errno, core);
                }
                // No edge follows an error other than EAGAIN, so waiting would not help: the first
                // answer is dropped, and the next one tried.
                Err(errno) => {
                    tried_again = false;
                    log::debug!("UDP send: {}", errno.desc());
                    self.answers.remove(0);
                    core.shared.stats.datagrams_lost += 1;
                }
            }
        }
    }

    /// Sends datagrams of the protocol's own. One that is not sent counts as lost, and the protocol gets
    /// it back if room was all that it lacked.
    pub(crate) fn send<S: Stream, P: Protocol>(
        &mut self,
        mut which: Range<usize>,
        letters: &Letters,
        core: &mut Core<S, P>,
    ) {
        let mut tried_again = false;
        while !which.is_empty() {
            match self.try_send(which.clone(), letters, &mut core.shared.stats) {
                Ok(count) => {
                    tried_again = false;
                    core.shared.stats.datagrams_out += count as u64;
                    which.start += count;
                }
                Err(errno) if !tried_again && self.is_worth_another_try(errno) => {
                    tried_again = true;
                    self.tell_error(errno, core);
                }
                Err(errno) => {
                    tried_again = false;
                    core.shared.stats.datagrams_lost += 1;
                    if errno == Errno::EAGAIN || is_starvation(errno) {
                        let (tag, bytes) = (self.tag, letters.bytes(which.start).to_vec());
                        core.tell(|protocol, out| protocol.on_unsent(tag, bytes, out));
                    }
                    which.start += 1;
                }
            }
        }
    }

    /// Sends the first of some datagrams, or as many as the kernel takes in one call: how many.
    ///
    /// A socket with one peer sends each by itself, since the error that ends sendmmsg(2) early is not
    /// told again, and would be missed.
    fn try_send(
        &mut self,
        which: Range<usize>,
        letters: &Letters,
        stats: &mut Stats,
    ) -> Result<usize> {
        let first = which.start;
        if self.peer.is_none() && which.len() > 1 {
            let datagrams = which.map(|at| (letters.to(at), letters.bytes(at)));
            let sent = self.batch.send(self.fd.as_fd(), datagrams);
            let bytes = |count| {
                (first..first + count)
                    .map(|at| letters.bytes(at).len())
                    .sum()
            };
            stats.count_write(sent.map(bytes));
            return sent;
        }
        let (to, flags) = (
            SockaddrStorage::from(letters.to(first)),
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        );
        let sent = sendto(self.fd.as_raw_fd(), letters.bytes(first), &to, flags);
        stats.count_write(sent);
        sent.map(|_| 1)
    }

    /// Whether this socket can send to an address: to its one peer, or to any address of its own
    /// family. A dual-stack socket reaches both families.
    pub(crate) fn reaches(&self, to: &SocketAddr) -> bool {
        match (self.peer, self.bound) {
            (Some(peer), _) => peer == *to,
            (None, Some(bound)) => {
                bound.is_ipv4() == to.is_ipv4() || bound.is_ipv6() && is_wildcard(&bound)
            }
            (None, None) => false,
        }
    }

    /// The number of answers that wait for room in the send buffer.
    pub(crate) fn unanswered(&self) -> usize {
        self.answers.len()
    }
}

/// Gives a socket its one peer (connect(2)), and discards datagrams of other
/// senders.
fn introduce(fd: &OwnedFd, peer: SocketAddr) -> Result<()> {
    connect(fd.as_raw_fd(), &SockaddrStorage::from(peer))?;
    // Between the choice of the port and connect(2) the socket took datagrams from any sender.
    while recv(fd.as_raw_fd(), &mut [], MsgFlags::MSG_DONTWAIT).is_ok() {}
    Ok(())
}

/// Whether an error says that the peer cannot be reached. The errors listed here are about one
/// datagram or about memory, and the next datagram may succeed.
fn is_about_the_peer(errno: Errno) -> bool {
    use Errno::{EAGAIN, EINTR, EMSGSIZE, ENOBUFS, ENOMEM};
    !matches!(errno, EAGAIN | EINTR | EMSGSIZE | ENOBUFS | ENOMEM)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use nix::sys::socket::{Shutdown, shutdown};

    use super::*;
    use crate::core::limits::Limits;
    use crate::outbox::Outbox;
    use crate::protocol::Closed;
    use crate::sources::fd::Fd;

    fn bound() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let at = socket.local_addr().unwrap();
        (socket, at)
    }

    /// Sends each datagram back. Before that, the peer refuses a datagram and returns, so that the
    /// answer's send finds a pending error.
    struct Meanwhile {
        peer: UdpSocket,
        elsewhere: SocketAddr,
        ours: UdpSocket,
        errors: Vec<Closed>,
    }

    impl Protocol for Meanwhile {
        fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox) {
            self.peer.connect(self.elsewhere).unwrap();
            self.ours.send(b"missed").unwrap();
            self.peer.connect(self.ours.local_addr().unwrap()).unwrap();
            out.send_back(datagram.data);
        }

        fn on_connect_error(&mut self, id: ConnId, _: u64, why: Closed, _: &mut Outbox) {
            assert_eq!(
                id,
                ConnId {
                    slot: 7,
                    generation: 7
                }
            );
            self.errors.push(why);
        }
    }

    #[test]
    fn an_answer_is_sent_though_an_earlier_datagram_was_refused() {
        let ((peer, at), (_other, elsewhere)) = (bound(), bound());
        let id = ConnId {
            slot: 7,
            generation: 7,
        };
        let mut udp = Udp::connect(at, None, id, 0).unwrap();
        let ours = UdpSocket::from(udp.as_fd().try_clone_to_owned().unwrap());
        peer.send_to(b"hello", ours.local_addr().unwrap()).unwrap();
        let protocol = Meanwhile {
            peer,
            elsewhere,
            ours,
            errors: Vec::new(),
        };
        let mut core: Core<Fd, _> = Core::new(protocol, Limits::default());
        udp.note(Ready::IN);
        udp.visit(&mut core);
        let Meanwhile { peer, errors, .. } = &core.voice.protocol;
        assert_eq!(
            errors,
            &[Closed::Error(SystemError::of(Errno::ECONNREFUSED))]
        );
        let mut answer = [0; 8];
        assert_eq!(peer.recv(&mut answer).unwrap(), 5);
        assert_eq!(&answer[..5], b"hello");
        let stats = core.shared.stats;
        assert_eq!((stats.writes, stats.bytes_out), (2, 5));
        assert_eq!(stats.datagrams_out, 1);
        assert_eq!(stats.datagrams_lost, 0);
    }

    struct Sink;

    impl Protocol for Sink {}

    #[test]
    fn a_visit_that_spends_its_budget_leaves_the_socket_ready_and_not_starved() {
        let ((ours, at), (peer, _)) = (bound(), bound());
        let count = BATCH * BATCH_BUDGET + 1;
        setsockopt(&ours, sockopt::RcvBuf, &(1024 * count)).unwrap();
        for _ in 0..count {
            peer.send_to(b"x", at).unwrap();
        }
        let mut udp = Udp::new(ours.into(), 0);
        let mut core: Core<Fd, _> = Core::new(Sink, Limits::default());
        udp.note(Ready::IN);
        udp.visit(&mut core);
        assert!(udp.has_work() && !udp.is_starved());
        udp.visit(&mut core);
        assert!(!udp.has_work() && !udp.is_starved());
        assert_eq!(core.shared.stats.datagrams_in, count as u64);
    }

    /// Counts the datagrams that it gets back.
    struct Returned(usize);

    impl Protocol for Returned {
        fn on_unsent(&mut self, _: u64, _: Vec<u8>, _: &mut Outbox) {
            self.0 += 1;
        }
    }

    #[test]
    fn each_datagram_of_the_protocol_counts_as_sent_or_lost() {
        let ((ours, _), (peer, at)) = (bound(), bound());
        let mut letters = Letters::default();
        let too_long = vec![0; 1 << 16];
        for bytes in [&b"one"[..], b"two", &too_long, b"three"] {
            letters.push(at, bytes);
        }
        let mut udp = Udp::new(ours.into(), 0);
        let mut core: Core<Fd, _> = Core::new(Returned(0), Limits::default());
        udp.send(0..4, &letters, &mut core);
        let stats = core.shared.stats;
        assert_eq!((stats.datagrams_out, stats.datagrams_lost), (3, 1));
        assert_eq!(stats.bytes_out, 11);
        assert_eq!(core.voice.protocol.0, 0, "it is too long at any time");
        let mut buffer = [0; 8];
        let arrived = [(); 3].map(|()| peer.recv(&mut buffer).unwrap());
        assert_eq!(arrived, [3, 3, 5]);
    }

    struct Echo;

    impl Protocol for Echo {
        fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox) {
            out.send_back(datagram.data);
        }
    }

    #[test]
    fn answers_that_can_never_be_sent_are_lost_and_hold_up_none() {
        let (peer, at) = bound();
        let id = ConnId {
            slot: 7,
            generation: 7,
        };
        let mut udp = Udp::connect(at, None, id, 0).unwrap();
        let ours = local_address(udp.as_fd()).unwrap();
        for bytes in [b"one", b"two"] {
            peer.send_to(bytes, ours).unwrap();
        }
        shutdown(udp.fd.as_raw_fd(), Shutdown::Write).unwrap();
        let mut core: Core<Fd, _> = Core::new(Echo, Limits::default());
        udp.note(Ready::IN);
        udp.visit(&mut core);
        let stats = core.shared.stats;
        assert_eq!((stats.datagrams_in, stats.datagrams_lost), (2, 2));
        assert_eq!((stats.datagrams_out, udp.unanswered()), (0, 0));
    }

    #[test]
    fn a_short_batch_shows_a_drained_socket_unless_an_error_was_reported() {
        for (ready, reads) in [(Ready::IN, 1), (Ready::IN | Ready::ERR, 2)] {
            let ((ours, at), (peer, _)) = (bound(), bound());
            peer.send_to(b"x", at).unwrap();
            let mut udp = Udp::new(ours.into(), 0);
            let mut core: Core<Fd, _> = Core::new(Sink, Limits::default());
            udp.note(ready);
            udp.visit(&mut core);
            let stats = core.shared.stats;
            assert_eq!((stats.reads, stats.again), (reads, reads - 1));
            assert!(!udp.has_work());
        }
    }

    #[test]
    fn a_socket_of_which_every_receive_fails_rests_until_it_is_taken_from_the_starved_list() {
        let no_socket = std::fs::File::open("/dev/null").unwrap();
        let mut udp = Udp::new(no_socket.into(), 0);
        let mut core: Core<Fd, _> = Core::new(Sink, Limits::default());
        udp.note(Ready::IN);
        for visits in 1..3 {
            udp.visit(&mut core);
            assert!(udp.is_starved() && !udp.has_work());
            assert_eq!(core.shared.stats.reads, visits * BATCH_BUDGET as u64);
            udp.resume();
            assert!(!udp.is_starved() && udp.has_work());
        }
    }

    #[test]
    fn datagrams_that_find_the_receive_buffer_full_are_counted() {
        let ((ours, at), (peer, _)) = (bound(), bound());
        setsockopt(&ours, sockopt::RcvBuf, &4096).unwrap();
        for _ in 0..100 {
            peer.send_to(&[0; 1000], at).unwrap();
        }
        let mut udp = Udp::new(ours.into(), 0);
        let mut core: Core<Fd, _> = Core::new(Sink, Limits::default());
        udp.note(Ready::IN);
        udp.visit(&mut core);
        let received = core.shared.stats.datagrams_in;
        assert!((1..100).contains(&received), "{received} were received");
        assert_eq!(u64::from(udp.missed()), 100 - received);
    }

    #[test]
    fn without_room_nothing_is_received_before_there_is_some() {
        let ((ours, at), (peer, _)) = (bound(), bound());
        let mut udp = Udp::new(ours.into(), 0);
        let mut core: Core<Fd, _> = Core::new(Sink, Limits::default());
        udp.writable = false;
        udp.answers.push(0);
        peer.send_to(b"x", at).unwrap();
        udp.note(Ready::IN);
        udp.visit(&mut core);
        assert!(udp.is_blocked() && !udp.has_work() && udp.unanswered() == 1);
        assert_eq!(core.shared.stats.reads, 0);
        udp.note(Ready::OUT);
        assert!(!udp.is_blocked() && udp.has_work());
    }

    #[test]
    fn a_socket_reaches_its_peer_or_the_addresses_of_its_family() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (v4, other, v6) = ("127.0.0.1:9", "127.0.0.1:10", "[::1]:9");
        let [v4, other, v6] = [v4, other, v6].map(address);
        let mut udp = Udp::new(bound().0.into(), 0);
        let mut reached = |local: Option<&str>, peer| {
            (udp.bound, udp.peer) = (local.map(address), peer);
            [v4, other, v6].map(|to| udp.reaches(&to))
        };
        assert_eq!(reached(Some("127.0.0.1:1"), None), [true, true, false]);
        assert_eq!(reached(Some("0.0.0.0:1"), None), [true, true, false]);
        assert_eq!(reached(Some("[::1]:1"), None), [false, false, true]);
        assert_eq!(reached(Some("[::]:1"), None), [true, true, true]);
        assert_eq!(reached(None, None), [false, false, false]);
        assert_eq!(reached(Some("[::]:1"), Some(v4)), [true, false, false]);
    }

    #[test]
    fn datagrams_from_before_the_connect_are_discarded() {
        let ((ours, at), (_peer, peer_at), (stranger, _)) = (bound(), bound(), bound());
        for words in ["hello", "", "hello"] {
            stranger.send_to(words.as_bytes(), at).unwrap();
        }
        let ours = OwnedFd::from(ours);
        introduce(&ours, peer_at).unwrap();
        let received = recv(ours.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT);
        assert_eq!(received, Err(Errno::EAGAIN));
    }
}
