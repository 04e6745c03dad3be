//! The turns of listeners and UDP sockets: within a budget, and never stuck.
//!
//! Accepting goes on until there is nothing left, or there would be no further edge. A listener that
//! stops before puts itself on the ready list, if its budget is spent, or on the starved list, if a
//! descriptor is missing: after accept4(2) has failed, neither a free descriptor nor the waiting
//! clients raise an edge, only yet another client would.

use std::fmt;
use std::mem;
use std::os::fd::OwnedFd;

use nix::errno::Errno;

use super::{Reactor, Source};
use crate::core::admission::Refusal;
use crate::core::conn::{State, Stream};
use crate::poll::{Interest, Ready};
use crate::protocol::{Opened, Protocol};
use crate::reason::reason;
use crate::sources::address::Peer;
use crate::sources::fd::{Direction, Fd};
use crate::sources::listener::Accept;

/// Bytes of input of a refused peer that are discarded.
const DISCARDED_MAX: usize = 4096;

impl<P: Protocol> Reactor<P> {
    /// Takes in an event of a listener: its turn, or a place at the end of the ready list.
    pub(super) fn deliver_clients(&mut self, index: usize, waits: bool) {
        match waits {
            true => self.list_waiting(Source::Listener(index)),
            false => self.accept(index),
        }
    }

    /// Takes in an event of a UDP socket: its turn, or a place at the end of the ready list.
    pub(super) fn deliver_datagrams(&mut self, index: usize, ready: Ready, waits: bool) {
        let Some(udp) = self.udp.get_mut(index) else {
            return;
        };
        udp.note(ready);
        match waits {
            true => self.list_waiting(Source::Udp(index)),
            false => self.visit_udp(index),
        }
    }

    /// Accepts until there is nothing left or the budget of this turn is spent.
    fn accept(&mut self, index: usize) {
        let mut failed = None;
        for _ in 0..self.core.limits.accept_budget {
            // The last client's `on_open` may have closed the listeners.
            let Some(listener) = self
                .listeners
                .get(index)
                .filter(|listener| !listener.listed)
            else {
                return;
            };
            self.core.shared.stats.accepts += 1;
            failed = None;
            match listener.accept() {
                Accept::Connection(fd, peer) => {
                    let (local, tag) = (listener.local, listener.tag);
                    if !self.admit(fd, Opened { peer, local, tag }) {
                        return self.list(Source::Listener(index));
                    }
                }
                Accept::Drained => return,
                Accept::Vanished(errno) => failed = Some(errno),
                Accept::NoDescriptor(errno) => match self.refuse_with_spare(index, errno) {
                    Some(true) => {}
                    Some(false) => return,
                    None => return self.put_off(index, errno),
                },
                Accept::Failed(errno) => return self.put_off(index, errno),
            }
            if self.core.voice.outbox.has_commands() {
                self.run_commands();
            }
            if self.core.work().is_spent() {
                break;
            }
        }
        match failed {
            // An error that does not go away, as a security policy may cause, is no reason to spin.
            Some(errno) => self.put_off(index, errno),
            None => self.list(Source::Listener(index)),
        }
    }

    /// A listener or a UDP socket from one of the lists goes on.
    pub(super) fn resume(&mut self, source: Source) {
        match source {
            Source::Listener(index) => {
                if let Some(listener) = self.listeners.get_mut(index) {
                    listener.listed = false;
                    self.spare.hold();
                    self.accept(index);
                }
            }
            Source::Udp(index) => {
                if let Some(udp) = self.udp.get_mut(index) {
                    udp.resume();
                    self.visit_udp(index);
                }
            }
            Source::Conn(id) => self.core.resume(id),
            Source::Signals | Source::Waker | Source::Nested => {}
        }
    }

    /// Puts a listener or a UDP socket on the ready list.
    fn list(&mut self, source: Source) {
        if self.mark_listed(source) {
            self.core.lists.add_ready(source.token());
        }
    }

    /// Puts a listener or a UDP socket on the ready list that has had no turn yet.
    fn list_waiting(&mut self, source: Source) {
        if self.mark_listed(source) {
            self.core.lists.add_waiting(source.token());
        }
    }

    /// Puts a listener or a UDP socket on the starved list.
    fn starve(&mut self, source: Source) {
        if self.mark_listed(source) {
            self.core.starve(source.token());
        }
    }

    /// Notes that a source is on a list, and returns whether that is news.
    fn mark_listed(&mut self, source: Source) -> bool {
        let listed = match source {
            Source::Listener(index) => self.listeners.get_mut(index).map(|it| &mut it.listed),
            Source::Udp(index) => self.udp.get_mut(index).map(|it| &mut it.listed),
            Source::Conn(_) | Source::Signals | Source::Waker | Source::Nested => None,
        };
        listed.is_some_and(|listed| !mem::replace(listed, true))
    }

    /// Makes a connection of what was accepted, or closes it. Returns whether there may be room for
    /// more in this turn: a connection that was displaced has its place until the end of the turn.
    fn admit(&mut self, fd: OwnedFd, opened: Opened) -> bool {
        let mut stream = Fd::socket(fd);
        let place = match self.core.place(&opened.peer) {
            Ok(place) => place,
            Err(refusal) => {
                self.refuse(refusal, &opened, &mut stream);
                return true;
            }
        };
        let state = match opened.peer {
            Peer::Inet(_) => State::empty(),
            // `Fd::first_state` would find this out by asking the kernel.
            _ => State::UNSURE,
        };
        match self.watch_new(stream, Direction::Both, state) {
            Ok(id) => {
                self.core.shared.stats.accepted += 1;
                self.core.take_place(place, id);
                self.core.opened(id, opened);
            }
            Err(error) => {
                self.core.give_back(place);
                self.core.shared.stats.refused_setup += 1;
                let why = reason(&error);
                self.refused(format_args!("cannot watch a connection: {why}"));
            }
        }
        !place.displaces
    }

    /// Counts and logs a connection over a limit, whose stream is closed by its owner.
    fn refuse(&mut self, refusal: Refusal, opened: &Opened, stream: &mut Fd) {
        let (peer, tag) = (opened.peer, opened.tag);
        match refusal {
            Refusal::Full(limit) => {
                self.core.shared.stats.refused_limit += 1;
                self.refused(format_args!("the limit is {limit} connections"));
            }
            Refusal::Address(limit) => {
                self.core.shared.stats.refused_address += 1;
                let farewells = &self.core.limits.refusals;
                if let Some((_, farewell)) = farewells.iter().find(|(other, _)| *other == tag) {
                    // The socket's buffer is empty, so there is room for a line.
                    let sent = stream.send_one(farewell.as_bytes());
                    self.core.shared.stats.count_write(sent);
                    // Input that is left unread makes close(2) send a reset, which may destroy the
                    // line before the peer has read it. To linger for input that comes later would
                    // give the address a descriptor beyond its limit.
                    let discarded = stream.recv(&mut [0; DISCARDED_MAX]).unwrap_or(0);
                    self.core.shared.stats.reads += 1;
                    self.core.shared.stats.bytes_in += discarded as u64;
                }
                self.refused(format_args!(
                    "{peer}: the limit is {limit} connections from one address"
                ));
            }
        }
    }

    /// Gives up the spare descriptor to accept a client and close it at once. Returns whether there
    /// was a client, since the kernel complains of missing descriptors before it looks; `None` if
    /// there is no spare.
    fn refuse_with_spare(&mut self, index: usize, errno: Errno) -> Option<bool> {
        if !self.spare.release() {
            return None;
        }
        self.core.shared.stats.accepts += 1;
        let accepted = self.listeners[index].accept();
        if let Accept::Connection(_, peer) = &accepted {
            self.core.shared.stats.refused_descriptors += 1;
            let limits = "RLIMIT_NOFILE, fs.file-max";
            self.refused(format_args!("{peer}: {} ({limits})", errno.desc()));
        }
        let outcome = match &accepted {
            Accept::Connection(..) => Some(true),
            Accept::Drained => Some(false),
            _ => None,
        };
        // The client's descriptor is the one that the spare takes back.
        drop(accepted);
        self.spare.hold();
        outcome
    }

    fn refused(&mut self, why: fmt::Arguments) {
        self.core.shared.stats.refused += 1;
        self.refusals.log(
            self.core.shared.now,
            format_args!("connection refused: {why}"),
        );
    }

    /// There is more to accept, but something is missing, and no edge tells when it is there again.
    fn put_off(&mut self, index: usize, errno: Errno) {
        self.core.shared.stats.accept_paused += 1;
        self.shortages.log(
            self.core.shared.now,
            format_args!("accepting is put off: {}", errno.desc()),
        );
        self.starve(Source::Listener(index));
    }

    /// A UDP socket's turn.
    fn visit_udp(&mut self, index: usize) {
        let source = Source::Udp(index);
        let Some(udp) = self.udp.get_mut(index) else {
            return;
        };
        if udp.listed {
            return;
        }
        udp.visit(&mut self.core);
        let (is_starved, has_work) = (udp.is_starved(), udp.has_work());
        let blocked = udp.is_blocked();
        if mem::replace(&mut udp.watches_room, blocked) != blocked {
            let mut interest = Interest::IN;
            interest.set(Interest::OUT, blocked);
            if let Err(error) = self.poll.modify(&*udp, source.token(), interest) {
                self.shortages.log(
                    self.core.shared.now,
                    format_args!("cannot watch a UDP socket: {}", reason(&error)),
                );
            }
        }
        if is_starved {
            self.starve(source);
        } else if has_work {
            self.list(source);
        }
        self.run_commands();
    }
}
