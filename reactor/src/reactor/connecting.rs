//! Connects: sockets for the addresses that the core's races try, one after the other.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::{Phase, Reactor};
use crate::core::RaceId;
use crate::core::conn::State;
use crate::protocol::{Closed, Opened, Protocol};
use crate::reason::SystemError;
use crate::sources::address::Address;
use crate::sources::bound::local_address;
use crate::sources::fd::{Direction, Fd};
use crate::sources::udp::Udp;

impl<P: Protocol> Reactor<P> {
    /// Begins to connect: `on_open` with this tag follows, perhaps before this returns, or
    /// `on_connect_error`; neither does if this returns an error. Of the addresses that a name stands
    /// for, both families in turn, each is tried when the one before it has failed or has not answered
    /// for 250 ms (RFC 8305), and the first that answers is connected to. The connect timeout is for all
    /// together, and the last one's error is what is told. Resolving a name may take its time; within
    /// the loop use [`Outbox::connect`](crate::Outbox::connect).
    ///
    /// A UDP socket opens nothing, it is only bound to its one peer, the first address to which
    /// there is a way: use [`Outbox::send_to`](crate::Outbox::send_to) and `on_datagram` with this tag. `on_connect_error`
    /// follows whenever the network reports that datagrams are not taken (ICMP, udp(7)).
    pub fn connect(&mut self, to: &Address, tag: u64) -> io::Result<()> {
        self.core.set_now(self.clock());
        let to = to.resolved()?;
        if let Address::Udp(_) = to {
            return self.connect_udp(&to, tag);
        }
        let race = self.core.begin_race(to.interleaved(), tag);
        self.go_on_connecting(race)
    }

    /// Like [`Reactor::connect`], to an address as text. Errors: a text that is no address, too.
    pub fn connect_to(&mut self, to: &str, tag: u64) -> io::Result<()> {
        self.connect(&to.parse::<Address>()?, tag)
    }

    /// Begins to connect to the next address, to the one after it if that fails at once. An error
    /// says that none is left and no attempt is under way.
    fn go_on_connecting(&mut self, race: RaceId) -> io::Result<()> {
        let mut failed = Errno::EADDRNOTAVAIL.into();
        while let Some((to, tag)) = self.core.next_address(race) {
            match self.connect_stream(&to, tag, race) {
                Ok(()) => return Ok(()),
                Err(error) => failed = error,
            }
        }
        match self.core.give_up(race) {
            Some(_) => Err(failed),
            None => Ok(()),
        }
    }

    /// Begins to connect to the first number of an address.
    fn connect_stream(&mut self, to: &Address, tag: u64, race: RaceId) -> io::Result<()> {
        let keepalive = self.core.limits.keepalive;
        let (stream, peer, under_way) = Fd::connect(to, keepalive)?;
        let local = local_address(stream.as_fd());
        let state = match local {
            Some(_) => State::empty(),
            // Of a Unix socket, a short read says nothing: see `State::UNSURE`.
            None => State::UNSURE,
        };
        let id = self.watch(stream, Direction::Both, state)?;
        let opened = Opened { peer, local, tag };
        if under_way {
            self.core.connecting(id, opened, race);
        } else {
            self.core.connected(id, opened, Some(race));
        }
        Ok(())
    }

    /// Opens a UDP socket to the first number to which there is a way.
    fn connect_udp(&mut self, to: &Address, tag: u64) -> io::Result<()> {
        let mut failed = Errno::EADDRNOTAVAIL;
        for at in to.numbers() {
            match Udp::connect(*at, to.source(), tag) {
                Ok(udp) => return self.add_udp(udp),
                Err(errno) => failed = errno,
            }
        }
        Err(failed.into())
    }

    /// Each name whose last attempt has had its time tries its next address.
    pub(super) fn try_next_addresses(&mut self) {
        for (race, tag) in self.core.due_races() {
            if let Err(error) = self.go_on_connecting(race) {
                self.core.connect_failed(tag, closed_by_error(&error));
            }
        }
    }

    pub(super) fn connect_for_protocol(&mut self, to: &Address, tag: u64) {
        let why = match self.phase {
            // A client that connects again whenever it is closed would keep us from stopping.
            Phase::Stopping { .. } => Closed::Shutdown,
            Phase::Running if !to.is_resolved() => Closed::Error(SystemError::of(Errno::EINVAL)),
            Phase::Running => match self.connect(to, tag) {
                Ok(()) => return,
                Err(error) => closed_by_error(&error),
            },
        };
        self.core.connect_failed(tag, why);
    }
}

fn closed_by_error(error: &io::Error) -> Closed {
    SystemError::new(error.raw_os_error().unwrap_or(libc::EINVAL)).into()
}
