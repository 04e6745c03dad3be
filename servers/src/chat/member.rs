//! What is known of one connection.
//!
//! There may be thousands that say nothing for hours: what not everybody needs is kept apart, and
//! given back as soon as it is empty.

use std::net::IpAddr;

use edgeloop_reactor::{ConnId, Peer};

use super::pace::Pace;
use crate::line::LineAssembler;
use crate::telnet::Telnet;

/// A connection, before and after it has a name.
#[derive(Debug)]
pub(super) struct Member {
    /// Empty as long as it has none.
    name: Box<str>,
    pub(super) pace: Pace,
    pub(super) room: u32,
    /// Where in the room's list of members.
    pub(super) place: u32,
    extra: Option<Box<Extra>>,
}

/// What a member needs for a while, or never.
#[derive(Debug, Default)]
pub(super) struct Extra {
    /// A line that is not complete yet.
    pub(super) lines: LineAssembler,
    pub(super) telnet: Telnet,
    /// Lines that came faster than they may be said, each with its end.
    pub(super) held: Vec<u8>,
    pub(super) ignored: Vec<ConnId>,
    /// Where it comes from, for the log, until it has a name.
    pub(super) peer: Option<Peer>,
    /// The same, as long as it is there, if connections per address are limited.
    pub(super) address: Option<IpAddr>,
}

impl Extra {
    fn is_empty(&self) -> bool {
        self.lines.is_empty()
            && self.telnet.is_idle()
            && self.held.is_empty()
            && self.ignored.is_empty()
            && self.peer.is_none()
            && self.address.is_none()
    }
}

impl Member {
    pub(super) fn new() -> Member {
        Member {
            name: Box::default(),
            pace: Pace::default(),
            room: 0,
            place: 0,
            extra: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn set_name(&mut self, name: &str) {
        self.name = name.into();
    }

    /// Whether it has a name, and so is in a room.
    pub(super) fn has_joined(&self) -> bool {
        !self.name.is_empty()
    }

    pub(super) fn extra(&self) -> Option<&Extra> {
        self.extra.as_deref()
    }

    pub(super) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Takes out what is needed to read, so that it can be used while the member is.
    pub(super) fn take_input(&mut self) -> (LineAssembler, Telnet) {
        match &mut self.extra {
            Some(extra) => (std::mem::take(&mut extra.lines), extra.telnet),
            None => Default::default(),
        }
    }

    /// Puts it back, if there is anything to remember.
    pub(super) fn put_input(&mut self, lines: LineAssembler, telnet: Telnet) {
        if self.extra.is_some() || !lines.is_empty() || !telnet.is_idle() {
            let extra = self.extra_mut();
            (extra.lines, extra.telnet) = (lines, telnet);
        }
        self.tidy();
    }

    /// Gives back what is empty.
    pub(super) fn tidy(&mut self) {
        self.extra.take_if(|extra| extra.is_empty());
    }

    /// Whether it does not want to hear somebody.
    pub(super) fn ignores(&self, id: ConnId) -> bool {
        self.extra
            .as_ref()
            .is_some_and(|extra| extra.ignored.contains(&id))
    }

    /// Whether it ignores anybody.
    pub(super) fn ignores_some(&self) -> bool {
        self.extra
            .as_ref()
            .is_some_and(|extra| !extra.ignored.is_empty())
    }
}

/// The address that counts for the limit of connections per address.
pub(super) fn address_of(peer: &Peer) -> Option<IpAddr> {
    match peer {
        Peer::Inet(at) => Some(at.ip()),
        Peer::Unix | Peer::Stream => None,
    }
}
