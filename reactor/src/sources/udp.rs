//! A UDP socket: datagrams fetched by the batch, answered from where they lie.
//!
//! The edge rules are those of streams with one difference: what is not sent is never queued. While
//! answers wait for room in the send buffer nothing more is fetched, and the kernel's receive
//! buffer is the queue, as bounded as the administrator made it.
//!
//! Two servers that answer each other's answers would never stop, and one datagram with a forged
//! sender starts them. The content does not tell, since the answer of an echo server looks like a
//! question. So an answer leaves with the time to live (hop limit) that its question arrived with,
//! less one, as if the server were a router; at 1 there is none. A client's question has its 64 or
//! more, which no honest answer misses.

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
use crate::id::Data;
use crate::letters::Letters;
use crate::poll::Ready;
use crate::protocol::{Datagram, Protocol};
use crate::reason::SystemError;
use crate::sources::address::is_wildcard;
use crate::sources::bound::{bind_source, inet_socket, local_address};
use crate::sys;
use crate::sys::mmsg::{BATCH, Batch};

/// Batches fetched before others have their turn.
const BATCH_BUDGET: usize = 4;

/// A bound UDP socket.
pub(crate) struct Udp {
    fd: OwnedFd,
    pub(crate) tag: u64,
    bound: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    batch: Batch,
    /// Slots of the batch whose answers the kernel has not taken yet, in order.
    answers: Vec<u8>,
    readable: bool,
    writable: bool,
    /// An error is waiting in the socket: only `EAGAIN` ends the reading.
    failed: bool,
    /// Every attempt to receive failed.
    starved: bool,
    /// On the ready list or the starved list.
    pub(crate) listed: bool,
    /// Room to send is asked for only while answers wait for it: each answer would be followed by
    /// an edge.
    pub(crate) watches_room: bool,
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Udp {
    /// A socket that is bound already.
    pub(crate) fn new(fd: OwnedFd, tag: u64) -> Udp {
        Udp {
            bound: local_address(fd.as_fd()),
            fd,
            tag,
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

    /// A socket with one peer: it hears of nobody else, and of errors (udp(7)).
    ///
    /// If the peer is a broadcast address or a multicast group, the answers come from the members,
    /// each with an address of its own: the socket takes datagrams from any sender.
    pub(crate) fn connect(peer: SocketAddr, source: Option<IpAddr>, tag: u64) -> Result<Udp> {
        let fd = inet_socket(&peer, SockType::Datagram)?;
        bind_source(&fd, source)?;
        if !peer.ip().is_multicast() {
            match introduce(&fd, peer) {
                // Which addresses are for broadcast, the routing table knows (socket(7),
                // SO_BROADCAST).
                Err(Errno::EACCES) => setsockopt(&fd, sockopt::Broadcast, &true)?,
                connected => connected?,
            }
        }
        Ok(Udp {
            peer: Some(peer),
            ..Udp::new(fd, tag)
        })
    }

    /// Datagrams that came while the receive buffer was full.
    pub(crate) fn missed(&self) -> u32 {
        sys::dropped_datagrams(self.fd.as_fd()).unwrap_or(0)
    }

    pub(crate) fn note(&mut self, ready: Ready) {
        self.readable |= ready.intersects(Ready::IN | Ready::ERR);
        self.writable |= ready.intersects(Ready::OUT | Ready::ERR);
        self.failed |= ready.contains(Ready::ERR);
    }

    /// Whether there is more to do without a new edge.
    pub(crate) fn has_work(&self) -> bool {
        self.writable && (self.readable || !self.answers.is_empty())
    }

    /// Whether answers wait for room to send.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.writable
    }

    /// Whether to try again after a while.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved
    }

    /// A list has brought the socket its turn: it tries again to receive, if that had failed.
    pub(crate) fn resume(&mut self) {
        self.readable |= self.starved;
        (self.starved, self.listed) = (false, false);
    }

    /// Fetches, hands over, answers, until there is nothing more or the budget is spent.
    pub(crate) fn visit<S: Stream, P: Protocol>(&mut self, core: &mut Core<S, P>) {
        let mut failures = 0;
        for _ in 0..BATCH_BUDGET {
            self.answer(core);
            if !self.answers.is_empty() || !self.readable {
                return;
            }
            failures += usize::from(!self.fetch(core));
        }
        self.answer(core);
        // An error that does not go away is no reason to spin.
        self.starved = failures == BATCH_BUDGET;
        self.readable &= !self.starved;
    }

    /// One recvmmsg(2), and the protocol's word on each datagram; false if it failed.
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
            // What an ICMP message said about an earlier answer of ours; fetching it has cleared
            // it.
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

    fn queue_answer(&mut self, slot: usize, to: SocketAddr, stats: &mut Stats) {
        if self.batch.is_expired(slot) {
            log::debug!("no answer to {to}: the time to live of its datagram is used up");
            stats.datagrams_expired += 1;
        } else {
            self.answers.push(slot as u8);
        }
    }

    /// Tells the protocol that its datagrams do not reach their one destination, if that is what
    /// an error means.
    fn tell_error<S: Stream, P: Protocol>(&self, errno: Errno, core: &mut Core<S, P>) {
        if self.peer.is_some() && is_about_the_peer(errno) {
            core.connect_failed(self.tag, SystemError::of(errno).into());
        }
    }

    /// Whether a send that failed is worth another try. What became of an earlier datagram is told
    /// in place of sending this one, and once (udp(7)).
    fn is_worth_another_try(&self, errno: Errno) -> bool {
        self.peer.is_some() && errno != Errno::EAGAIN
    }

    /// Sends the answers, as far as the kernel takes them.
    fn answer<S: Stream, P: Protocol>(&mut self, core: &mut Core<S, P>) {
        let mut tried_again = false;
        while self.writable && !self.answers.is_empty() {
            core.shared.stats.writes += 1;
            match self.batch.send_back(self.fd.as_fd(), &self.answers) {
                Ok(count) => {
                    tried_again = false;
                    let stats = &mut core.shared.stats;
                    stats.datagrams_out += count as u64;
                    for slot in self.answers.drain(..count) {
                        stats.bytes_out += self.batch.data_mut(slot.into()).len() as u64;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    core.shared.stats.again += 1;
                    self.writable = false;
                }
                Err(errno) if !tried_again && self.is_worth_another_try(errno) => {
                    tried_again = true;
                    self.tell_error(errno, core);
                }
                // No edge would follow upon these, and the next datagram may fare better: this one
                // is lost.
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

    /// Whether this socket can send to such an address at all.
    pub(crate) fn reaches(&self, to: &SocketAddr) -> bool {
        match (self.peer, self.bound) {
            (Some(peer), _) => peer == *to,
            (None, Some(bound)) => {
                bound.is_ipv4() == to.is_ipv4() || bound.is_ipv6() && is_wildcard(&bound)
            }
            (None, None) => false,
        }
    }

    /// Answers that wait for room in the send buffer.
    pub(crate) fn unanswered(&self) -> usize {
        self.answers.len()
    }
}

/// Gives a socket its one peer.
fn introduce(fd: &OwnedFd, peer: SocketAddr) -> Result<()> {
    connect(fd.as_raw_fd(), &SockaddrStorage::from(peer))?;
    // From the choice of the port until here, anybody could send to it.
    while recv(fd.as_raw_fd(), &mut [], MsgFlags::MSG_DONTWAIT).is_ok() {}
    Ok(())
}

/// Whether an error is the network's word on the one destination. The others speak of a single
/// datagram or of our own buffers, and the next datagram may fare better.
fn is_about_the_peer(errno: Errno) -> bool {
    use Errno::{EAGAIN, EINTR, EMSGSIZE, ENOBUFS, ENOMEM};
    !matches!(errno, EAGAIN | EINTR | EMSGSIZE | ENOBUFS | ENOMEM)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::core::limits::Limits;
    use crate::id::ConnId;
    use crate::outbox::Outbox;
    use crate::protocol::Closed;
    use crate::sources::fd::Fd;

    fn bound() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let at = socket.local_addr().unwrap();
        (socket, at)
    }

    /// Sends back what it gets, after the peer has gone, missed something and come back.
    struct Meanwhile {
        peer: UdpSocket,
        elsewhere: SocketAddr,
        ours: UdpSocket,
        errors: Vec<Closed>,
    }

    impl Protocol for Meanwhile {
        fn on_data(&mut self, _: ConnId, _: Data<'_>, _: &mut Outbox) {}

        fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox) {
            self.peer.connect(self.elsewhere).unwrap();
            self.ours.send(b"missed").unwrap();
            self.peer.connect(self.ours.local_addr().unwrap()).unwrap();
            out.send_back(datagram.data);
        }

        fn on_connect_error(&mut self, _: u64, why: Closed, _: &mut Outbox) {
            self.errors.push(why);
        }
    }

    #[test]
    fn an_answer_is_sent_though_an_earlier_datagram_was_refused() {
        let ((peer, at), (_somebody, elsewhere)) = (bound(), bound());
        let mut udp = Udp::connect(at, None, 0).unwrap();
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
        assert_eq!(core.shared.stats.datagrams_lost, 0);
    }

    #[test]
    fn what_strangers_sent_before_there_was_a_peer_is_not_heard() {
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
