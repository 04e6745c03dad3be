//! The order of the rooms in `/rooms`: the largest first, and equal ones by name.
//!
//! The order is kept up to date with each step of a member, so that a list of the first rooms costs the
//! same among ten rooms as among ten thousand.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

/// Number of rooms that are listed; the others are counted.
pub(super) const LISTED_MAX: usize = 100;

/// The rooms that have members, and the lobby once it has had one.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    rooms: BTreeSet<(Reverse<usize>, Arc<str>)>,
}

impl Ranking {
    /// A room has another number of members: `before` if it was there before, `after` if it stays.
    pub(super) fn change(&mut self, name: &Arc<str>, before: Option<usize>, after: Option<usize>) {
        if let Some(before) = before {
            self.rooms.remove(&(Reverse(before), name.clone()));
        }
        if let Some(after) = after {
            self.rooms.insert((Reverse(after), name.clone()));
        }
    }

    /// Appends the first rooms, with their numbers of members.
    pub(super) fn list(&self, page: &mut Vec<u8>) {
        let first = self.rooms.iter().take(LISTED_MAX);
        for (index, (Reverse(members), name)) in first.enumerate() {
            let before = if index == 0 { "* rooms:" } else { "," };
            let _ = write!(page, "{before} {name} ({members})");
        }
        if let Some(more @ 1..) = self.rooms.len().checked_sub(LISTED_MAX) {
            let _ = write!(page, ", and {more} more");
        }
        page.push(b'\n');
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &str)> {
        self.rooms
            .iter()
            .map(|(Reverse(members), name)| (*members, &**name))
    }
}
