//! Rooms: the members of each, and how many of their steps are announced.
//!
//! A *step* is the coming or going of a member. Announcing each step to each member of a large room
//! is quadratic: a thousand members that come at once would make a million lines. So a room counts
//! the announcements it has delivered in each [`WINDOW`]; steps above [`ANNOUNCED_MAX`], and all
//! steps while the room is behind, go into the [`Crowd`], and the room is told a summary of it at
//! the end of the window.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use edgeloop_reactor::ConnId;

use super::gate::Gate;
use super::history::History;
use super::text;

/// Number of names that are listed to a member that enters, or asks; the others are counted.
pub(super) const LISTED_MAX: usize = 100;
/// Most announcements in one room and [`WINDOW`], counted once for each member that is told.
pub(super) const ANNOUNCED_MAX: usize = 100_000;
/// Number of steps that a summary tells one by one; more steps are counted only.
const TOLD_BY_NAME: usize = 8;
/// Time over which announcements are counted.
pub(super) const WINDOW: Duration = Duration::from_secs(1);

/// A member's coming or going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    In,
    Out,
}

impl Step {
    /// The words after the name in its announcement.
    pub(super) fn told(self) -> &'static str {
        match self {
            Step::In => " has entered the room",
            Step::Out => " has left the room",
        }
    }
}

/// A room, which exists as long as it has members.
#[derive(Debug)]
pub(super) struct Room {
    /// The name as the first member spelt it.
    pub(super) name: Arc<str>,
    /// The members that this server serves, in no order; each of them knows its place here.
    members: Vec<ConnId>,
    /// Number of members that come from another server, and are told nothing yet.
    pub(super) arriving: usize,
    /// Number of members on all servers.
    pub(super) count: usize,
    /// Number of members with an ignore list. While it is 0, a broadcast looks at no list.
    pub(super) ignoring: usize,
    /// Number of lines that all members were told: of each one in the history it is the number.
    pub(super) told: u64,
    pub(super) history: History,
    /// Flow control: how much the room may be told now.
    pub(super) gate: Gate,
    /// Members, of this room or another, that have a line waiting to be said here. Only the first of
    /// them has a timer for that.
    pub(super) queue: VecDeque<ConnId>,
    /// Start of the current window of announcements.
    window: Duration,
    /// Announcements in the current window, counted once for each member.
    announced: usize,
    /// Steps that were not announced.
    crowd: Crowd,
}

impl Room {
    pub(super) fn new(name: &str) -> Room {
        Room {
            name: name.into(),
            members: Vec::new(),
            arriving: 0,
            count: 0,
            ignoring: 0,
            told: 0,
            history: History::default(),
            gate: Gate::default(),
            queue: VecDeque::new(),
            window: Duration::ZERO,
            announced: 0,
            crowd: Crowd::default(),
        }
    }

    pub(super) fn members(&self) -> &[ConnId] {
        &self.members
    }

    /// All members but one.
    pub(super) fn others(&self, id: ConnId) -> impl Iterator<Item = ConnId> + '_ {
        self.members
            .iter()
            .copied()
            .filter(move |&other| other != id)
    }

    /// Adds a member, and returns its place, which [`Room::leave`] needs.
    pub(super) fn enter(&mut self, id: ConnId) -> u32 {
        self.members.push(id);
        self.members.len() as u32 - 1
    }

    /// Puts a member, which has another connection now, in its old place.
    pub(super) fn replace(&mut self, old: ConnId, place: u32, id: ConnId) {
        self.members[place as usize] = id;
        if let Some(steps) = self.crowd.came.remove(&old) {
            self.crowd.came.insert(id, steps);
        }
    }

    /// Removes the member at a place, and returns the member that takes this place, if any.
    pub(super) fn leave(&mut self, place: u32) -> Option<ConnId> {
        self.members.swap_remove(place as usize);
        self.members.get(place as usize).copied()
    }

    /// Whether a step of a member may be announced now. If not, it joins the crowd. `id`: its connection,
    /// if this server serves it; `line`: the announcement, unless a summary must not contain it;
    /// `has_room`: the room's gate is open.
    pub(super) fn may_announce(
        &mut self,
        id: Option<ConnId>,
        step: Step,
        line: Option<&[u8]>,
        has_room: bool,
        now: Duration,
    ) -> bool {
        if now.saturating_sub(self.window) >= WINDOW {
            (self.window, self.announced) = (now, 0);
        }
        self.announced += self.members.len();
        // Steps that were held back are told before newer ones.
        let may = has_room && self.announced <= ANNOUNCED_MAX && self.crowd.is_empty();
        if !may {
            self.crowd.count(id, step, line);
        }
        may
    }

    /// Takes the steps that were not announced, and starts a new crowd.
    pub(super) fn take_crowd(&mut self) -> Crowd {
        std::mem::take(&mut self.crowd)
    }
}

/// Appends names, the first `most` of `count`, and returns how many. The others are counted only.
pub(super) fn list_names<'a>(
    names: impl Iterator<Item = &'a str>,
    count: usize,
    most: usize,
    page: &mut Vec<u8>,
) -> usize {
    for (index, name) in names.take(most).enumerate() {
        if index > 0 {
            page.extend_from_slice(b", ");
        }
        page.extend_from_slice(name.as_bytes());
    }
    if let Some(more @ 1..) = count.checked_sub(most) {
        page.extend_from_slice(format!(", and {more} more").as_bytes());
    }
    count.min(most)
}

/// Steps that were not announced.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Number of steps, by `Step`.
    steps: [usize; 2],
    /// The announcements, one for each step, while they are few and may be told.
    lines: Vec<Box<[u8]>>,
    /// The summary has numbers only.
    is_counted: bool,
    /// Members that came, and `steps` up to and with their coming. Such a member has seen the list of
    /// those before it, so its summary has the later steps only.
    came: HashMap<ConnId, [usize; 2]>,
}

impl Crowd {
    fn is_empty(&self) -> bool {
        self.steps == [0; 2]
    }

    fn count(&mut self, id: Option<ConnId>, step: Step, line: Option<&[u8]>) {
        self.steps[step as usize] += 1;
        if let Some(id) = id.filter(|_| step == Step::In) {
            self.came.insert(id, self.steps);
        }
        self.is_counted |= self.steps.iter().sum::<usize>() > TOLD_BY_NAME;
        match line {
            Some(line) if !self.is_counted => self.lines.push(line.into()),
            _ => {
                self.is_counted = true;
                self.lines.clear();
            }
        }
    }

    /// Whether a member was in the room before the first step.
    pub(super) fn hears_all(&self, id: ConnId) -> bool {
        !self.came.contains_key(&id)
    }

    /// The summary for one member: all steps, or those after its own coming.
    pub(super) fn summary_for(&self, id: ConnId) -> Vec<u8> {
        let [entered_before, left_before] = self.came.get(&id).copied().unwrap_or_default();
        if let Some(later @ [_, ..]) = self.lines.get(entered_before + left_before..) {
            return later.concat();
        }
        let [entered, left] = self.steps;
        text::steps(entered - entered_before, left - left_before).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::Script;

    use super::*;
    use crate::echo::Echo;

    /// Ids of new connections.
    fn ids() -> impl Iterator<Item = ConnId> {
        let mut script = Script::new(Echo {
            answers_low_ports: false,
        });
        std::iter::repeat_with(move || script.open())
    }

    #[test]
    fn announcements_are_counted_when_there_are_too_many() {
        let mut room = Room::new("lobby");
        let now = Duration::from_secs(10);
        let (mut told, mut announced) = (0, 0);
        for id in ids().take(2000) {
            room.enter(id);
            if room.may_announce(Some(id), Step::In, Some(b""), true, now) {
                announced += 1;
                told += room.members().len() - 1;
            }
        }
        assert!(told <= ANNOUNCED_MAX && told > ANNOUNCED_MAX * 9 / 10);
        let first = room.members()[0];
        assert!(!room.may_announce(Some(first), Step::Out, Some(b""), true, now));
        let later = now + 5 * WINDOW;
        assert!(
            !room.may_announce(Some(first), Step::Out, Some(b""), true, later),
            "the crowd is told first"
        );
        let crowd = room.take_crowd();
        assert_eq!(crowd.steps, [2000 - announced, 2]);
        assert!(room.take_crowd().is_empty());
        assert!(room.may_announce(Some(first), Step::In, Some(b""), true, later));
        assert!(!room.may_announce(Some(first), Step::Out, Some(b""), false, later));
    }

    #[test]
    fn eight_steps_are_told_one_by_one_and_nine_are_counted() {
        let ids: Vec<ConnId> = ids().take(10).collect();
        let mut crowd = Crowd::default();
        for id in &ids[..8] {
            crowd.count(Some(*id), Step::Out, Some(b"one\n"));
        }
        assert_eq!(crowd.summary_for(ids[9]), b"one\n".repeat(8));
        crowd.count(Some(ids[8]), Step::Out, Some(b"one\n"));
        assert_eq!(crowd.summary_for(ids[9]), b"* 9 people have left\n");
    }

    #[test]
    fn a_member_that_comes_in_a_crowd_is_told_of_later_steps() {
        let ids: Vec<ConnId> = ids().take(TOLD_BY_NAME + 1).collect();
        let mut crowd = Crowd::default();
        let step = |index: usize| if index == 1 { Step::Out } else { Step::In };
        for (index, &id) in ids.iter().enumerate().take(4) {
            crowd.count(
                Some(id),
                step(index),
                Some(format!("line {index}\n").as_bytes()),
            );
        }
        let told = |crowd: &Crowd, at: usize| {
            let summary = crowd.summary_for(ids[at]);
            String::from_utf8(summary).expect("UTF-8")
        };
        let hears_all = ids[..4].iter().map(|&id| crowd.hears_all(id));
        assert_eq!(hears_all.collect::<Vec<_>>(), [false, true, false, false]);
        assert_eq!(told(&crowd, 1), "line 0\nline 1\nline 2\nline 3\n");
        assert_eq!(told(&crowd, 0), "line 1\nline 2\nline 3\n");
        assert_eq!(
            (told(&crowd, 2), told(&crowd, 3)),
            ("line 3\n".into(), String::new())
        );
        for (index, &id) in ids.iter().enumerate().skip(4) {
            crowd.count(Some(id), step(index), Some(b"line\n"));
        }
        let summary = "* 8 people have entered\n* 1 person has left\n";
        assert_eq!(told(&crowd, 1), summary);
        assert_eq!(told(&crowd, 0), summary.replace('8', "7"));
        assert_eq!(told(&crowd, 7), "* 1 person has entered\n");
        assert_eq!(told(&crowd, 8), "");
    }

    #[test]
    fn a_member_with_another_connection_keeps_its_place_and_its_summary() {
        let ids: Vec<ConnId> = ids().take(3).collect();
        let mut room = Room::new("lobby");
        let now = Duration::from_secs(10);
        let place = room.enter(ids[0]);
        room.may_announce(Some(ids[0]), Step::In, Some(b"one\n"), false, now);
        room.may_announce(Some(ids[1]), Step::In, Some(b"two\n"), false, now);
        room.replace(ids[0], place, ids[2]);
        assert_eq!(room.members(), [ids[2]]);
        assert_eq!(room.take_crowd().summary_for(ids[2]), b"two\n");
    }
}
