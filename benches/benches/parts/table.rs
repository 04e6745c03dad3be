//! The table in which protocols keep their connections, beside the standard one.

use std::collections::HashMap;
use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use edgeloop_reactor::{ConnId, ConnMap, Data, Outbox, Protocol, Script};

use super::{group, shuffled};

/// A protocol without messages: it is there for the ids of its connections.
struct Deaf;

impl Protocol for Deaf {
    fn on_data(&mut self, _: ConnId, _: Data<'_>, _: &mut Outbox) {}
}

/// The common interface of [`ConnMap`] and [`HashMap`].
trait Table: Default {
    fn insert(&mut self, id: ConnId, value: u64);
    fn get(&self, id: ConnId) -> Option<u64>;
    fn remove(&mut self, id: ConnId) -> Option<u64>;
}

impl Table for ConnMap<u64> {
    fn insert(&mut self, id: ConnId, value: u64) {
        ConnMap::insert(self, id, value);
    }

    fn get(&self, id: ConnId) -> Option<u64> {
        ConnMap::get(self, id).copied()
    }

    fn remove(&mut self, id: ConnId) -> Option<u64> {
        ConnMap::remove(self, id)
    }
}

impl Table for HashMap<ConnId, u64> {
    fn insert(&mut self, id: ConnId, value: u64) {
        HashMap::insert(self, id, value);
    }

    fn get(&self, id: ConnId) -> Option<u64> {
        HashMap::get(self, &id).copied()
    }

    fn remove(&mut self, id: ConnId) -> Option<u64> {
        HashMap::remove(self, &id)
    }
}

const ENTRIES: usize = 1_000;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut script = Script::new(Deaf);
    let in_order: Vec<ConnId> = (0..ENTRIES).map(|_| script.open()).collect();
    // Connections are opened in the order of their slots; they speak and leave in any order.
    let shuffled: Vec<ConnId> = shuffled(ENTRIES).map(|index| in_order[index]).collect();
    let mut group = group(criterion, "table");
    group.throughput(Throughput::Elements(ENTRIES as u64));
    table::<ConnMap<u64>>(&mut group, "ConnMap", &in_order, &shuffled);
    table::<HashMap<ConnId, u64>>(&mut group, "HashMap", &in_order, &shuffled);
    group.finish();
}

fn table<T: Table>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    in_order: &[ConnId],
    shuffled: &[ConnId],
) {
    let fill = |table: &mut T| {
        for (value, &id) in (0..).zip(in_order) {
            table.insert(id, value);
        }
    };
    let filled = || {
        let mut table = T::default();
        fill(&mut table);
        table
    };
    group.bench_function(BenchmarkId::new("insert", name), |bencher| {
        bencher.iter_batched_ref(T::default, fill, BatchSize::SmallInput);
    });
    let entries = filled();
    group.bench_function(BenchmarkId::new("get", name), |bencher| {
        bencher.iter(|| {
            let found = shuffled.iter().filter_map(|&id| entries.get(black_box(id)));
            found.sum::<u64>()
        });
    });
    group.bench_function(BenchmarkId::new("remove", name), |bencher| {
        let empty = |table: &mut T| {
            let found = shuffled.iter().filter_map(|&id| table.remove(id));
            found.sum::<u64>()
        };
        bencher.iter_batched_ref(filled, empty, BatchSize::SmallInput);
    });
}
