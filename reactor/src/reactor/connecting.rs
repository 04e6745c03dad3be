//! Connects: sockets for the addresses that the core's races try, one after the other.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::{Phase, Reactor};
use crate::core::conn::State;
use crate::id::ConnId;
use crate::protocol::{Closed, Opened, Protocol};
use crate::reason::SystemError;
use crate::sources::address::Address;
use crate::sources::bound::local_address;
use crate::sources::fd::{Direction, Fd};
use crate::sources::udp::Udp;

impl<P: Protocol> Reactor<P> {
    /// Begins to connect, and returns the id of the connection: `on_open` with this id and tag follows,
    /// perhaps before this returns, or `on_connect_error`; neither does if this returns an error. Of the
    /// addresses that a name stands for, both families in turn, each is tried when the one before it
    /// has failed or has not answered for 250 ms (RFC 8305), and the first that answers is connected
    /// to. The connect timeout is for all together, and the protocol is told of the last one's error. Resolving
    /// a name may take its time; within the loop use [`Outbox::connect`](crate::Outbox::connect), which
    /// says what can be done with the id until the connection is open.
    ///
    /// A UDP socket opens nothing, it is only bound to its one peer, the first address to which
    /// there is a way: use [`Outbox::send_to`](crate::Outbox::send_to) and `on_datagram` with this tag.
    /// `on_connect_error` with its id follows whenever the network reports that datagrams are not taken
    /// (ICMP, udp(7)); nothing else is told of the id, and nothing can be said to it. The socket is
    /// closed by [`Outbox::stop_listening_to`](crate::Outbox::stop_listening_to) with its tag.
    pub fn connect(&mut self, to: &Address, tag: u64) -> io::Result<ConnId> {
        self.core.set_now(self.clock());
        let to = to.resolved()?;
        let id = self.core.ids().take();
        self.core.promise(id, tag);
        let began = self.begin_connect(id, &to, tag);
        if began.is_err() {
            self.core.withdraw(id);
            self.core.ids().give_back(id);
        }
        began.map(|()| id)
    }

    /// Like [`Reactor::connect`], to an address as text. Errors: a text that is no address, too.
    pub fn connect_to(&mut self, to: &str, tag: u64) -> io::Result<ConnId> {
        self.connect(&to.parse::<Address>()?, tag)
    }

    fn begin_connect(&mut self, id: ConnId, to: &Address, tag: u64) -> io::Result<()> {
        if let Address::Udp(_) = to {
            return self.connect_udp(id, to, tag);
        }
        self.core.begin_race(id, to.clone().interleaved());
        self.go_on_connecting(id)
    }

    /// Begins to connect to the next address, to the one after it if that fails at once. An error
    /// says that none is left and no attempt is under way.
    fn go_on_connecting(&mut self, race: ConnId) -> io::Result<()> {
        let mut failed = Errno::EADDRNOTAVAIL.into();
        while let Some((to, tag)) = self.core.next_address(race) {
            match self.connect_stream(&to, tag, race) {
                Ok(()) => return Ok(()),
                Err(error) => failed = error,
            }
        }
        match self.core.is_answered(race) {
            true => Ok(()),
            false => Err(failed),
        }
    }

    /// Begins to connect to the first number of an address.
    fn connect_stream(&mut self, to: &Address, tag: u64, race: ConnId) -> io::Result<()> {
        let keepalive = self.core.limits.keepalive;
        let (mut stream, peer, under_way) = Fd::connect(to, keepalive)?;
        if self.core.limits.own_tags.contains(&tag) {
            stream.set_own();
        }
        let local = local_address(stream.as_fd());
        let state = match local {
            Some(_) => State::empty(),
            // Of a Unix socket, a short read says nothing: see `State::UNSURE`.
            None => State::UNSURE,
        };
        let id = self.core.attempt_id(race);
        let watched = self.watch(id, stream, Direction::Both, state);
        if watched.is_err() && id != race {
            self.core.ids().give_back(id);
        }
        watched?;
        let opened = Opened { peer, local, tag };
        if under_way {
            self.core.connecting(id, opened, race);
        } else {
            self.core.connected(id, opened, race);
        }
        Ok(())
    }

    /// Opens a UDP socket to the first number to which there is a way.
    fn connect_udp(&mut self, id: ConnId, to: &Address, tag: u64) -> io::Result<()> {
        let mut failed = Errno::EADDRNOTAVAIL;
        for at in to.numbers() {
            match Udp::connect(*at, to.source(), id, tag) {
                Ok(udp) => {
                    self.add_udp(udp)?;
                    self.core.withdraw(id);
                    return Ok(());
                }
                Err(errno) => failed = errno,
            }
        }
        Err(failed.into())
    }

    /// Each name whose last attempt has had its time tries its next address.
    pub(super) fn try_next_addresses(&mut self) {
        for race in self.core.due_races() {
            if let Err(error) = self.go_on_connecting(race) {
                self.core.end_race(race, closed_by_error(&error));
            }
        }
    }

    /// Begins a connect that a protocol has asked for, unless it has cancelled it meanwhile.
    pub(super) fn connect_for_protocol(&mut self, id: ConnId, to: &Address) {
        let Some(tag) = self.core.promised_tag(id) else {
            return;
        };
        let began = match self.phase {
            // A client that connects again whenever it is closed would keep us from stopping.
            Phase::Stopping { .. } => Err(Closed::Shutdown),
            Phase::Running if !to.is_resolved() => {
                Err(Closed::Error(SystemError::of(Errno::EINVAL)))
            }
            Phase::Running => {
                let began = self.begin_connect(id, to, tag);
                began.map_err(|error| closed_by_error(&error))
            }
        };
        if let Err(why) = began {
            self.core.end_race(id, why);
        }
    }

    /// Gives a connection that was watched with the id of an attempt the token of its own id. If it is
    /// ready already, that is an event.
    pub(super) fn watch_anew(&mut self, id: ConnId) {
        let Some(stream) = self.core.stream_mut(id) else {
            return;
        };
        let interest = Direction::Both.interest();
        let changed = self.poll.modify(&*stream, id.token(), interest);
        self.core.shared.stats.controls += 1;
        if let Err(error) = changed {
            self.core.doom(id, closed_by_error(&error));
        }
    }
}

fn closed_by_error(error: &io::Error) -> Closed {
    SystemError::new(error.raw_os_error().unwrap_or(libc::EINVAL)).into()
}
