//! The pages that come from other servers, and how far each has come: state for `taking_over.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeloop_reactor::ConnId;

use super::seat::Seat;
use crate::backplane::entry::{MemberId, Position};

/// Most bytes of whispers that wait for a page meanwhile.
const WHISPERS_MAX: usize = 64 * 1024;

/// The pages that come from other servers.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// By the connection, which may be lost.
    pub(super) all: BTreeMap<ConnId, Arrival>,
    /// By the number of a member whose `Resume` is yet to come: the member that it is by now.
    pub(super) passed_on: BTreeMap<u64, PassedOn>,
}

/// A page that comes from another server.
#[derive(Debug)]
pub(super) struct Arrival {
    /// Number of messages that it has received.
    pub(super) seen: u64,
    /// Time from which the state here, which may be behind, is sure to know its member, if there is one.
    pub(super) sure_at: Duration,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// It is not known whether a member has its token.
    Undecided(Box<Seat>),
    /// A takeover was appended, and is not read.
    Asked(Box<Seat>),
    /// Its member is at this server; its seat is where those of other members are.
    Landed(Landing),
}

#[derive(Debug)]
pub(super) struct Landing {
    /// The takeover; `None` if its place is not known.
    pub(super) at: Option<Position>,
    /// The room, and the number of lines that it had been told then.
    pub(super) room: u32,
    pub(super) told: u64,
    /// Time at which the page goes on in any case.
    pub(super) until: Duration,
    /// Whispers to it, and whether some had no room.
    pub(super) whispers: Vec<u8>,
    pub(super) is_full: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct PassedOn {
    pub(super) to: MemberId,
    pub(super) until: Duration,
}

impl Arrivals {
    pub(super) fn has(&self, id: ConnId) -> bool {
        self.all.contains_key(&id)
    }

    pub(super) fn has_asked(&self, id: ConnId) -> bool {
        let arrival = self.all.get(&id);
        arrival.is_some_and(|arrival| matches!(arrival.stage, Stage::Asked(_)))
    }

    pub(super) fn has_landed(&self, id: ConnId) -> bool {
        self.all.get(&id).is_some_and(Arrival::has_landed)
    }

    /// The seat of a page that has no member yet.
    pub(super) fn seat_mut(&mut self, id: ConnId) -> Option<&mut Seat> {
        match &mut self.all.get_mut(&id)?.stage {
            Stage::Undecided(seat) | Stage::Asked(seat) => Some(seat),
            Stage::Landed(_) => None,
        }
    }

    /// Forgets a page, and returns its seat if it has no member yet.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Box<Seat>> {
        match self.all.remove(&id)?.stage {
            Stage::Undecided(seat) | Stage::Asked(seat) => Some(seat),
            Stage::Landed(_) => None,
        }
    }

    /// The takeover of a page has no effect, or has it no more.
    pub(super) fn withdraw(&mut self, id: ConnId) {
        if let Some(Arrival { seen, stage, .. }) = self.all.remove(&id) {
            let stage = match stage {
                Stage::Asked(seat) => Stage::Undecided(seat),
                stage => stage,
            };
            // The log has decided by now.
            let sure_at = Duration::ZERO;
            self.all.insert(
                id,
                Arrival {
                    seen,
                    sure_at,
                    stage,
                },
            );
        }
    }

    /// Keeps a whisper if its hearer may not be told it yet.
    pub(super) fn keep(&mut self, id: ConnId, line: &[u8]) -> bool {
        let Some(Stage::Landed(landing)) = self.all.get_mut(&id).map(|arrival| &mut arrival.stage)
        else {
            return false;
        };
        landing.is_full |= landing.whispers.len() + line.len() > WHISPERS_MAX;
        if !landing.is_full {
            landing.whispers.extend_from_slice(line);
        }
        true
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.passed_on.is_empty()
    }
}

impl Arrival {
    pub(super) fn has_landed(&self) -> bool {
        matches!(self.stage, Stage::Landed(_))
    }

    /// Time at which it has to be seen to, if that has not passed.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        match &self.stage {
            Stage::Undecided(_) => Some(self.sure_at).filter(|at| *at > now),
            _ => self.until(),
        }
    }

    pub(super) fn until(&self) -> Option<Duration> {
        match &self.stage {
            Stage::Landed(landing) => Some(landing.until),
            _ => None,
        }
    }
}
