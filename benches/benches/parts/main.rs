//! The parts that are ours, one at a time. Most are measured without a socket; where the kernel
//! takes part, the same system calls without our part are measured beside it.

mod buffer;
mod dispatch;
mod harmless;
mod line;
mod outbox;
mod table;
mod telnet;
mod timers;
mod upper;

use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1));
    group
}

/// How long `work` takes.
fn time(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

/// Numbers from 0 below `count`, in an order that jumps about: items are made in order, and used in
/// any order.
fn shuffled(count: usize) -> impl Iterator<Item = usize> {
    // A prime that divides no count used here, so that steps of it lead to each number once.
    const STRIDE: usize = 389;
    (0..count).map(move |step| step * STRIDE % count)
}

criterion_group!(
    parts,
    dispatch::bench,
    buffer::bench,
    outbox::bench,
    table::bench,
    timers::bench,
    line::bench,
    telnet::bench,
    harmless::bench,
    upper::bench
);
criterion_main!(parts);
