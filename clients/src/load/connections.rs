//! A worker's connections: opened some at a time, or at a rate, and known by their places.

use std::time::Duration;

use edgeloop_reactor::{ConnId, ConnMap, Outbox};

use super::clock::{Nanos, nanos};
use super::plan::Plan;

/// Connects under way at a time. More would only wait in the server's queue, or be dropped there
/// and tried again a second later (listen(2)).
const UNDER_WAY: u32 = 64;
/// Time between two looks for connects that have fallen due.
const INTERVAL: Duration = Duration::from_millis(1);

/// The open connections of one worker. A connection's place is its number within the worker.
#[derive(Debug)]
pub(super) struct Connections {
    places: ConnMap<u32>,
    ids: Vec<Option<ConnId>>,
}

impl Connections {
    /// A table for up to `count` connections, none of which is open yet.
    pub(super) fn new(count: u32) -> Connections {
        Connections {
            places: ConnMap::new(),
            ids: vec![None; count as usize],
        }
    }

    pub(super) fn insert(&mut self, id: ConnId, place: u32) {
        self.places.insert(id, place);
        self.ids[place as usize] = Some(id);
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<u32> {
        let place = self.places.remove(id)?;
        self.ids[place as usize] = None;
        Some(place)
    }

    pub(super) fn place(&self, id: ConnId) -> Option<u32> {
        self.places.get(id).copied()
    }

    /// The connection at this place, if it is open.
    pub(super) fn at(&self, place: u32) -> Option<ConnId> {
        self.ids[place as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, u32)> {
        self.places.iter().map(|(id, place)| (id, *place))
    }

    pub(super) fn count(&self) -> u64 {
        self.places.len() as u64
    }
}

/// The connections of one worker that are yet to be opened. The tag of each is its place.
#[derive(Debug)]
pub(super) struct Opening {
    worker: u32,
    count: u32,
    /// Nanoseconds from one connect to the next, if a rate was asked for.
    interval: Option<f64>,
    began: Nanos,
    begun: u32,
    under_way: u32,
    /// Places whose connects are to be tried again.
    again: Vec<u32>,
    /// The last time at which the server's queue had room.
    opened: Nanos,
}

impl Opening {
    pub(super) fn new(plan: &Plan, worker: u32) -> Opening {
        let share = f64::from(plan.share(worker)) / f64::from(plan.connections);
        Opening {
            worker,
            count: plan.share(worker),
            interval: plan.connect_rate.map(|rate| 1e9 / (rate * share)),
            began: 0,
            begun: 0,
            under_way: 0,
            again: Vec::new(),
            opened: 0,
        }
    }

    /// Begins to open connections.
    pub(super) fn start(&mut self, plan: &Plan, now: Nanos, out: &mut Outbox) {
        self.began = now;
        self.opened = now;
        self.go_on(plan, now, out);
    }

    /// A connection is open, or has failed.
    pub(super) fn ended(&mut self, now: Nanos) {
        self.under_way -= 1;
        self.opened = now;
    }

    /// The queue of a Unix socket is full, for which connect(2) does not wait: another try follows.
    /// False if the queue has had no room for the whole timeout.
    pub(super) fn try_again(
        &mut self,
        place: u32,
        plan: &Plan,
        now: Nanos,
        out: &mut Outbox,
    ) -> bool {
        if now.saturating_sub(self.opened) > nanos(plan.timeout) {
            return false;
        }
        self.again.push(place);
        out.set_service_timer(INTERVAL);
        true
    }

    /// Begins the connects that have fallen due, as long as not too many are under way.
    pub(super) fn go_on(&mut self, plan: &Plan, now: Nanos, out: &mut Outbox) {
        let until = self.interval.map_or(self.count, |interval| {
            let passed = now.saturating_sub(self.began) as f64 / interval;
            self.count.min((passed as u32).saturating_add(1))
        });
        for place in std::mem::take(&mut self.again) {
            self.connect(place, plan, out);
        }
        while self.begun < until && self.under_way < UNDER_WAY {
            self.connect(self.begun, plan, out);
            self.begun += 1;
            self.under_way += 1;
        }
        if self.interval.is_some() && self.begun < self.count {
            out.set_service_timer(INTERVAL);
        }
    }

    fn connect(&self, place: u32, plan: &Plan, out: &mut Outbox) {
        let number = plan.number(self.worker, place);
        out.connect(plan.way(number).clone(), place.into());
    }

    /// Whether each connection is open, or has failed.
    pub(super) fn is_over(&self) -> bool {
        self.begun == self.count && self.under_way == 0
    }
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::{ConnId, Data, Protocol, Script};

    use super::*;
    use crate::load::options::Kind;

    /// A protocol that only opens connections.
    struct Opener {
        plan: Plan,
        opening: Opening,
    }

    impl Protocol for Opener {
        fn on_data(&mut self, _: ConnId, _: Data<'_>, _: &mut Outbox) {}

        fn on_service_timer(&mut self, out: &mut Outbox) {
            let now = out.now().as_nanos() as Nanos;
            self.opening.go_on(&self.plan, now, out);
        }
    }

    fn script(plan: Plan) -> Script<Opener> {
        let opening = Opening::new(&plan, 0);
        let mut script = Script::new(Opener { plan, opening });
        script.call(|opener, out| opener.opening.start(&opener.plan, 0, out));
        script
    }

    #[test]
    fn only_so_many_are_under_way() {
        let mut script = script(Plan::of(Kind::Echo, UNDER_WAY + 1, 64, 1));
        assert_eq!(script.take_connects().len() as u32, UNDER_WAY);
        script.call(|opener, out| {
            opener.opening.ended(0);
            opener.opening.go_on(&opener.plan, 0, out);
        });
        assert_eq!(script.take_connects().len(), 1);
        script.call(|opener, _| (0..UNDER_WAY).for_each(|_| opener.opening.ended(0)));
        assert!(script.protocol().opening.is_over());
    }

    #[test]
    fn whoever_finds_the_queue_full_tries_again_until_patience_ends() {
        let mut script = script(Plan::of(Kind::Echo, 1, 64, 1));
        for attempt in 0..1000 {
            assert_eq!(script.take_connects().len(), 1, "attempt {attempt}");
            let full = |opener: &mut Opener, out: &mut Outbox| {
                let now = out.now().as_nanos() as Nanos;
                assert!(opener.opening.try_again(0, &opener.plan, now, out));
            };
            script.call(full);
            assert_eq!(script.take_connects().len(), 0);
            script.advance(Duration::from_millis(1));
        }
        script.advance(Duration::from_millis(1));
        script.call(|opener, out| {
            let now = out.now().as_nanos() as Nanos;
            assert!(!opener.opening.try_again(0, &opener.plan, now, out));
        });
    }

    #[test]
    fn so_many_a_second() {
        let plan = Plan {
            connect_rate: Some(100.0),
            ..Plan::of(Kind::Echo, 20, 64, 1)
        };
        let mut script = script(plan);
        assert_eq!(script.take_connects().len(), 1);
        script.advance(Duration::from_millis(99));
        assert_eq!(script.take_connects().len(), 9);
        assert!(!script.protocol().opening.is_over());
        script.advance(Duration::from_secs(1));
        assert_eq!(script.take_connects().len(), 10);
    }
}
