//! Deadlines: ten thousand timers set, moved, cancelled and expired, through [`Script`], which has
//! the reactor's own heap of them.

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use edgeloop_reactor::{ConnId, Data, Outbox, Protocol, Script};

use super::{group, shuffled, time};

const TIMERS: usize = 10_000;

pub(crate) fn bench(criterion: &mut Criterion) {
    set(criterion);
    change(criterion);
    end(criterion);
}

/// From no timer to all timers.
fn set(criterion: &mut Criterion) {
    let mut group = group(criterion, "timers set");
    group.throughput(Throughput::Elements(TIMERS as u64));
    let in_order = || 0..TIMERS;
    let orders: [(&str, Vec<usize>); 2] = [
        ("each the last", in_order().collect()),
        ("in any order", shuffled(TIMERS).collect()),
    ];
    for (name, order) in orders {
        let mut clocks = Clocks::new();
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_custom(|iterations| {
                let set = |_| {
                    clocks.clear();
                    time(|| clocks.set(order.iter().copied()))
                };
                (0..iterations).map(set).sum()
            });
        });
    }
    group.finish();
}

/// All timers are set, and each is set to another time.
fn change(criterion: &mut Criterion) {
    let mut group = group(criterion, "timers move");
    group.throughput(Throughput::Elements(TIMERS as u64));
    let mut clocks = Clocks::new();
    clocks.set(shuffled(TIMERS));
    let mut reversed = false;
    group.bench_function(BenchmarkId::from_parameter("in any order"), |bencher| {
        bencher.iter(|| {
            reversed = !reversed;
            let last = if reversed { TIMERS - 1 } else { 0 };
            clocks.set(shuffled(TIMERS).map(|after| after.abs_diff(last)));
        });
    });
    group.finish();
}

/// From all timers to none.
fn end(criterion: &mut Criterion) {
    let mut group = group(criterion, "timers end");
    group.throughput(Throughput::Elements(TIMERS as u64));
    end_by(&mut group, "cancel", Clocks::clear);
    end_by(&mut group, "expire", Clocks::expire);
    group.finish();
}

fn end_by(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, end: impl Fn(&mut Clocks)) {
    let mut clocks = Clocks::new();
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
        bencher.iter_custom(|iterations| {
            let end = |_| {
                clocks.set(shuffled(TIMERS));
                time(|| end(&mut clocks))
            };
            (0..iterations).map(end).sum()
        });
    });
}

/// A protocol that counts the timers that have come due.
#[derive(Default)]
struct Bell {
    rung: usize,
}

impl Protocol for Bell {
    fn on_data(&mut self, _: ConnId, _: Data<'_>, _: &mut Outbox) {}

    fn on_timer(&mut self, _: ConnId, _: &mut Outbox) {
        self.rung += 1;
    }
}

/// Connections with a timer each.
struct Clocks {
    script: Script<Bell>,
    ids: Vec<ConnId>,
}

impl Clocks {
    fn new() -> Clocks {
        let mut script = Script::new(Bell::default());
        let ids = (0..TIMERS).map(|_| script.open()).collect();
        Clocks { script, ids }
    }

    /// Sets each timer to so many milliseconds from now, and one millisecond.
    fn set(&mut self, after: impl Iterator<Item = usize>) {
        let timers = self.ids.iter().zip(after);
        self.script.call(|_, out| {
            for (&id, after) in timers {
                out.set_timer(id, Duration::from_millis(1 + after as u64));
            }
        });
    }

    fn clear(&mut self) {
        let ids = &self.ids;
        self.script
            .call(|_, out| ids.iter().for_each(|&id| out.clear_timer(id)));
    }

    fn expire(&mut self) {
        let before = self.script.protocol().rung;
        self.script.advance(Duration::from_millis(TIMERS as u64));
        assert_eq!(self.script.protocol().rung, before + TIMERS);
    }
}
