//! The servers whose members the members here know of.

use std::collections::BTreeSet;

use crate::backplane::entry::{Body, Entry, Origin};
use crate::backplane::membership::Effect;

/// Most servers that are remembered.
const MAX: usize = 1000;

/// A server that announces its members again is back, and members here are told so. After the state was
/// lost each server announces its members: those of a server that is met already have never left.
#[derive(Debug, Default)]
pub(super) struct Met {
    servers: BTreeSet<Origin>,
    /// The server whose announcement is being read, which may have several entries.
    returning: Option<Origin>,
}

impl Met {
    /// Takes note of an entry and its effect.
    pub(super) fn note(&mut self, entry: &Entry<'_>, effect: &Effect) {
        let origin = entry.stamp.origin;
        if !matches!(entry.body, Body::Announce { .. }) {
            self.returning.take_if(|returning| *returning == origin);
        }
        let gone = match (&entry.body, effect) {
            (Body::Join(_), Effect::Joined(_)) => return self.meet(origin),
            (Body::Start { .. }, Effect::Left(_)) => {
                return self.servers.retain(|known| known.server != origin.server);
            }
            (Body::Stop, Effect::Left(_)) => origin,
            (Body::Gone { origin, .. }, Effect::Left(_)) => *origin,
            _ => return,
        };
        self.servers.remove(&gone);
    }

    /// Notes that members of a server are known.
    pub(super) fn meet(&mut self, server: Origin) {
        if self.servers.len() == MAX {
            self.servers.pop_first();
        }
        self.servers.insert(server);
    }

    /// Whether a server that announces its members is back.
    pub(super) fn returns(&mut self, server: Origin) -> bool {
        if !self.servers.contains(&server) {
            self.meet(server);
            self.returning = Some(server);
        }
        self.returning == Some(server)
    }
}
