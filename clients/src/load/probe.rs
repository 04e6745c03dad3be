//! Finds out whether the server holds the talkers back though it has time for other members.
//!
//! A chat may limit how much each member says, as `edgeloop chat --rate` does, by leaving its input
//! unread for a while. A closed loop then measures that limit, although nothing was busy. A machine,
//! a network or a server that is slow has a similar effect, but delays the lines of all members
//! alike. So a member that has been silent says a line now and then, the *probe*: if it is heard
//! before lines that talkers had sent earlier, these were held back.
//!
//! Each worker has a probe of its own: its last member says it, if that one does not talk, and the
//! member before notes the order. It hears one stream, in order, so no clock is needed. A member that
//! says less than talkers do never reaches the limit itself.

use std::time::Duration;

use super::plan::Plan;
use super::tally::Order;

/// The shortest time between two probes. No multiple of a round number: a server may let talkers go
/// on every 50 ms, and all probes would be said at one moment of these.
pub(super) const INTERVAL: Duration = Duration::from_millis(187);
/// Lines that each talker says between two probes, in the mean.
const LINES: u64 = 4;

/// One worker's probe.
#[derive(Debug)]
pub(super) struct Probe {
    /// The place of the member that says it; `None` if this worker has no two members for it.
    author: Option<u32>,
    /// Number of probes said.
    count: u32,
    is_under_way: bool,
    /// For each of this worker's talkers, the number of lines it had said before the last probe; `None`
    /// once the noting member has heard a line of it since.
    said: Vec<Option<u64>>,
    /// The sum of these numbers, when the probe was said.
    said_by_all: u64,
    depth: u64,
}

impl Probe {
    pub(super) fn new(plan: &Plan, worker: u32) -> Probe {
        let (talkers, members) = (plan.talking_share(worker), plan.share(worker));
        let last = (members > talkers && members > 1).then(|| members - 1);
        Probe {
            author: last,
            count: 0,
            is_under_way: false,
            said: vec![None; talkers as usize],
            said_by_all: 0,
            depth: plan.depth.into(),
        }
    }

    /// The place of the member that says the probe.
    pub(super) fn author(&self) -> Option<u32> {
        self.author
    }

    /// Begins the next probe, if its time has come: its number. `said` is the number of lines that
    /// each talker has said by now.
    pub(super) fn begin(&mut self, said: impl Iterator<Item = u64> + Clone) -> Option<u32> {
        let by_all: u64 = said.clone().sum();
        let lines = by_all - self.said_by_all;
        let is_due = lines > 0 && lines >= LINES * self.said.len() as u64;
        if !is_due || self.is_under_way {
            return None;
        }
        self.said.clear();
        self.said.extend(said.map(Some));
        self.said_by_all = by_all;
        self.is_under_way = true;
        self.count = self.count.wrapping_add(1);
        Some(self.count)
    }

    /// The member at this place hears the probe with this number, if it is this worker's own.
    pub(super) fn hear(&mut self, place: u32, author: Option<u32>, number: u32) {
        if self.notes(place) && author == self.author && number == self.count {
            self.is_under_way = false;
        }
    }

    /// The member at this place hears a line of a talker. Only the talker's first one since the probe
    /// was said is compared: a server that serves its members in turn may read the others later.
    pub(super) fn hear_talker(&mut self, place: u32, talker: u32, number: u32, order: &mut Order) {
        if !self.notes(place) {
            return;
        }
        let Some(said) = self.said.get_mut(talker as usize).and_then(Option::take) else {
            return;
        };
        // Up to `depth` of the lines said before the probe were under way.
        let since = (said as u32).wrapping_sub(number);
        if (1..=self.depth).contains(&since.into()) {
            match self.is_under_way {
                true => order.kept += 1,
                false => order.overtaken += 1,
            }
        }
    }

    fn notes(&self, place: u32) -> bool {
        self.author == Some(place + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::options::Kind;

    fn probe(members: u32, talkers: u32, workers: u32) -> Vec<Option<u32>> {
        let plan = Plan {
            workers,
            talkers,
            ..Plan::of(Kind::Chat, members, 64, 1)
        };
        (0..workers)
            .map(|worker| Probe::new(&plan, worker).author)
            .collect()
    }

    #[test]
    fn the_last_member_of_a_worker_says_it_unless_it_talks() {
        assert_eq!(probe(5, 4, 1), [Some(4)]);
        assert_eq!(probe(5, 5, 1), [None]);
        // Members 0, 2, 4 and 1, 3; 3 and 4 are silent.
        assert_eq!(probe(5, 3, 2), [Some(2), Some(1)]);
        assert_eq!(probe(5, 4, 2), [Some(2), None]);
        // There is no other member to hear it.
        assert_eq!(probe(3, 1, 3), [None, None, None]);
    }
}
