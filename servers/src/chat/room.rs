//! Rooms: who is in one, what was said there, and how much is announced.

use std::collections::VecDeque;
use std::time::Duration;

use edgeloop_reactor::{ConnId, ConnMap};

use super::member::Member;

/// Names that are listed to who enters; the others are counted.
const LISTED_MAX: usize = 1000;
/// How many times a second announcements may reach somebody in one room. What goes beyond is summed
/// up, so that a thousand people coming at once are no million lines.
const ANNOUNCED_MAX: usize = 100_000;
/// How long announcements are counted together.
pub(super) const WINDOW: Duration = Duration::from_secs(1);

/// Whether somebody comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    In,
    Out,
}

/// A room, as long as anybody is in it.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: Box<str>,
    members: Vec<ConnId>,
    /// How many of them ignore somebody, so that others need not be asked.
    pub(super) ignoring: usize,
    /// The last lines with their times, the oldest first.
    history: VecDeque<(Duration, Box<[u8]>)>,
    /// When the present window of announcements began, and what was announced in it.
    window: Duration,
    announced: usize,
    /// Who came and went without being announced.
    unannounced: [usize; 2],
}

impl Room {
    pub(super) fn new(name: &str) -> Room {
        Room {
            name: name.into(),
            members: Vec::new(),
            ignoring: 0,
            history: VecDeque::new(),
            window: Duration::ZERO,
            announced: 0,
            unannounced: [0; 2],
        }
    }

    pub(super) fn members(&self) -> &[ConnId] {
        &self.members
    }

    /// Everybody but one.
    pub(super) fn others(&self, id: ConnId) -> impl Iterator<Item = ConnId> + '_ {
        self.members
            .iter()
            .copied()
            .filter(move |&other| other != id)
    }

    /// Lets somebody in, and returns the place that is to be remembered.
    pub(super) fn enter(&mut self, id: ConnId) -> u32 {
        self.members.push(id);
        self.members.len() as u32 - 1
    }

    /// Lets somebody out. Whoever takes the place that became free is returned.
    pub(super) fn leave(&mut self, place: u32) -> Option<ConnId> {
        self.members.swap_remove(place as usize);
        self.members.get(place as usize).copied()
    }

    /// The names of those who are in the room, and the number of those beyond what can be listed.
    pub(super) fn list(&self, members: &ConnMap<Member>, all: bool, out: &mut Vec<u8>) {
        let listed = if all { usize::MAX } else { LISTED_MAX };
        let names = self.members.iter().filter_map(|&id| members.get(id));
        for (index, member) in names.take(listed).enumerate() {
            if index > 0 {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(member.name().as_bytes());
        }
        if let Some(more @ 1..) = self.members.len().checked_sub(listed) {
            out.extend_from_slice(format!(", and {more} more").as_bytes());
        }
    }

    /// Keeps a line for those who come later; of all such lines the last `limit`.
    pub(super) fn remember(&mut self, now: Duration, line: &[u8], limit: usize) {
        if limit == 0 {
            return;
        }
        if self.history.len() == limit {
            self.history.pop_front();
        }
        self.history.push_back((now, line.into()));
    }

    pub(super) fn history(&self) -> impl Iterator<Item = (Duration, &[u8])> {
        self.history.iter().map(|(at, line)| (*at, &**line))
    }

    /// Whether a step is to be announced by itself. Otherwise it is counted, to be summed up at the
    /// end of the window.
    pub(super) fn may_announce(&mut self, step: Step, now: Duration) -> bool {
        if now.saturating_sub(self.window) >= WINDOW {
            (self.window, self.announced) = (now, 0);
        }
        self.announced += self.members.len();
        // What was held back is to be told before anything newer.
        let may = self.announced <= ANNOUNCED_MAX && self.unannounced == [0; 2];
        if !may {
            self.unannounced[step as usize] += 1;
        }
        may
    }

    /// The numbers of those who came and went without being announced, once.
    pub(super) fn take_unannounced(&mut self) -> [usize; 2] {
        std::mem::take(&mut self.unannounced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_counted_when_there_are_too_many() {
        let mut room = Room::new("lobby");
        let mut script = edgeloop_reactor::Script::new(crate::echo::Echo {
            answers_low_ports: false,
        });
        let now = Duration::from_secs(10);
        let mut told = 0;
        for _ in 0..2000 {
            if room.may_announce(Step::In, now) {
                told += room.members().len();
            }
            room.enter(script.open());
        }
        assert!(told <= ANNOUNCED_MAX && told > ANNOUNCED_MAX / 2);
        assert!(!room.may_announce(Step::Out, now));
        let [entered, left] = room.take_unannounced();
        assert!(entered > 1000 && left == 1);
        assert_eq!(room.take_unannounced(), [0, 0]);
        assert!(room.may_announce(Step::In, now + WINDOW));
    }

    #[test]
    fn history_keeps_the_last_lines() {
        let mut room = Room::new("lobby");
        for line in [b"one", b"two", b"six"] {
            room.remember(Duration::ZERO, line, 2);
        }
        let kept: Vec<&[u8]> = room.history().map(|(_, line)| line).collect();
        assert_eq!(kept, [b"two", b"six"]);
        room.remember(Duration::ZERO, b"x", 0);
        assert_eq!(room.history().count(), 2);
    }
}
