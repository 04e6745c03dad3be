//! The turns of listeners and UDP sockets: within a budget, and never stuck.
//!
//! Accepting goes on until there is nothing left, or there would be no further edge. Where it has
//! to stop before, for a budget that is spent or a descriptor that is missing, the listener
//! remembers it: after accept4(2) has failed, neither a free descriptor nor those who wait are an
//! edge, only yet another client would be.

use std::fmt;
use std::mem;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;

use super::{Reactor, Source};
use crate::address::Peer;
use crate::core::conn::State;
use crate::core::timers::{TimerKey, millis};
use crate::listener::{Accept, Pending};
use crate::poll::{Interest, Ready};
use crate::protocol::{Opened, Protocol};
use crate::reason;
use crate::stream::{Direction, Fd};
use crate::udp::Udp;

/// How soon a source that ran out of something tries again; listeners also when a connection
/// closes.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// What became of one accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepted {
    /// A client, who is served or was refused.
    Somebody,
    /// A client who was gone already, or an error: the next may fare better.
    Nobody(Errno),
    /// There is nothing more to accept.
    Drained,
    /// There may be more, and something is missing to accept it.
    Lacking(Errno),
}

impl<P: Protocol> Reactor<P> {
    /// Accepts until there is nothing left or the budget of this turn is spent.
    pub(super) fn accept(&mut self, index: usize) {
        let turn = self.core.stats.turns;
        let Some(listener) = self.listeners.get_mut(index) else {
            return;
        };
        listener.pending = Pending::Budget;
        if mem::replace(&mut listener.last_turn, turn) == turn {
            return;
        }
        let mut failed = None;
        for _ in 0..self.core.limits.accept_budget {
            match self.accept_one(index) {
                Accepted::Somebody => failed = None,
                Accepted::Nobody(errno) => failed = Some(errno),
                Accepted::Drained => return self.set_pending(index, Pending::No),
                Accepted::Lacking(errno) => return self.put_off(index, errno),
            }
        }
        // An error that does not go away, as a security policy may cause, is no reason to spin.
        if let Some(errno) = failed {
            self.put_off(index, errno);
        }
    }

    fn accept_one(&mut self, index: usize) -> Accepted {
        // The last one's `on_open` may have closed the listeners.
        self.run_commands();
        let Some(listener) = self.listeners.get(index) else {
            return Accepted::Drained;
        };
        self.core.stats.accepts += 1;
        match listener.accept() {
            Accept::Connection(fd, peer) => {
                let tag = listener.tag;
                self.admit(fd, Opened { peer, tag });
                Accepted::Somebody
            }
            Accept::Vanished(errno) => Accepted::Nobody(errno),
            Accept::Drained => Accepted::Drained,
            Accept::NoDescriptor(errno) => self.refuse_with_spare(index, errno),
            Accept::Failed(errno) => Accepted::Lacking(errno),
        }
    }

    fn set_pending(&mut self, index: usize, pending: Pending) {
        if let Some(listener) = self.listeners.get_mut(index) {
            listener.pending = pending;
        }
    }

    /// Makes a connection of what was accepted, or closes it.
    fn admit(&mut self, fd: OwnedFd, opened: Opened) {
        let limit = self.core.limits.max_connections;
        if self.core.stats.connections >= limit as u64 {
            self.core.stats.refused_limit += 1;
            return self.refused(format_args!("the limit is {limit} connections"));
        }
        let stream = Fd::socket(fd);
        let state = match opened.peer {
            Peer::Inet(_) => State::empty(),
            // What `Fd::first_state` would find out by asking the kernel.
            _ => State::STICKY,
        };
        let id = self.core.insert(stream, state);
        match self.watch(id, Direction::Both) {
            Ok(()) => {
                self.core.stats.accepted += 1;
                self.core.opened(id, opened);
            }
            Err(error) => {
                self.core.stats.refused_setup += 1;
                self.refused(format_args!(
                    "cannot watch a connection: {}",
                    reason(&error)
                ));
            }
        }
    }

    /// Gives up the spare descriptor to accept a client and close it at once, if there is a spare,
    /// and a client: the kernel complains of missing descriptors before it looks.
    fn refuse_with_spare(&mut self, index: usize, errno: Errno) -> Accepted {
        if !self.spare.release() {
            return Accepted::Lacking(errno);
        }
        self.core.stats.accepts += 1;
        let refused = match self.listeners[index].accept() {
            Accept::Connection(_, peer) => Some(peer),
            Accept::Drained => None,
            _ => {
                self.spare.hold();
                return Accepted::Lacking(errno);
            }
        };
        self.spare.hold();
        let Some(peer) = refused else {
            return Accepted::Drained;
        };
        self.core.stats.refused_descriptors += 1;
        let limits = "RLIMIT_NOFILE, fs.file-max";
        self.refused(format_args!("{peer}: {} ({limits})", errno.desc()));
        Accepted::Somebody
    }

    fn refused(&mut self, why: fmt::Arguments) {
        self.core.stats.refused += 1;
        self.refusals
            .log(self.core.now, format_args!("connection refused: {why}"));
    }

    /// There is more to accept, but something is missing, and no edge tells when it is there again:
    /// the listener tries when a connection closes, and after a while.
    fn put_off(&mut self, index: usize, errno: Errno) {
        self.set_pending(index, Pending::Resources);
        self.core.stats.accept_paused += 1;
        self.shortages.log(
            self.core.now,
            format_args!("accepting is put off: {}", errno.desc()),
        );
        self.core
            .timers
            .arm(TimerKey::Retry, self.core.now + millis(RETRY_INTERVAL));
    }

    /// Listeners whose budget was spent go on.
    pub(super) fn go_on_listening(&mut self) {
        for index in 0..self.listeners.len() {
            if self
                .listeners
                .get(index)
                .is_some_and(|listener| listener.pending == Pending::Budget)
            {
                self.accept(index);
            }
        }
        for index in 0..self.udp.len() {
            if self.udp.get(index).is_some_and(Udp::has_work) {
                self.visit_udp(index, Ready::empty());
            }
        }
    }

    /// Listeners that ran out of something try again.
    pub(super) fn retry_listeners(&mut self) {
        self.spare.hold();
        for index in 0..self.listeners.len() {
            let listener = self.listeners.get(index);
            if listener.is_some_and(|listener| listener.pending == Pending::Resources) {
                self.accept(index);
            }
        }
    }

    /// Everything that ran out of something tries again.
    pub(super) fn retry_starved(&mut self) {
        self.retry_listeners();
        for index in 0..self.udp.len() {
            if let Some(udp) = self.udp.get_mut(index).filter(|udp| udp.starved) {
                udp.retry();
                self.visit_udp(index, Ready::empty());
            }
        }
    }

    pub(super) fn visit_udp(&mut self, index: usize, ready: Ready) {
        let turn = self.core.stats.turns;
        let Some(udp) = self.udp.get_mut(index) else {
            return;
        };
        udp.note(ready);
        if mem::replace(&mut udp.last_turn, turn) == turn {
            return;
        }
        udp.visit(&mut self.core);
        if udp.starved {
            let at = self.core.now + millis(RETRY_INTERVAL);
            self.core.timers.arm(TimerKey::Retry, at);
        }
        let blocked = udp.is_blocked();
        if mem::replace(&mut udp.watches_room, blocked) != blocked {
            let mut interest = Interest::IN;
            interest.set(Interest::OUT, blocked);
            if let Err(errno) = self
                .poll
                .modify(&*udp, Source::Udp(index).token(), interest)
            {
                log::error!("cannot watch a UDP socket: {}", errno.desc());
            }
        }
        self.run_commands();
    }
}
