//! What a message costs before any system call: protocols driven through [`Script`], and the table
//! that they keep their connections in.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use edgeloop_reactor::{ConnId, ConnMap, Data, Opened, Outbox, Protocol, Script};

const MESSAGE: [u8; 64] = [b'x'; 64];

/// Messages in an iteration: what was sent is taken from the script once for all of them, so that
/// this matters little.
const MESSAGES: u64 = 64;

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(50)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2));
    group
}

/// The shortest way back.
struct SendBack;

impl Protocol for SendBack {
    fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
        out.send_back(data);
    }
}

/// The way of an answer that is not the question.
struct Send;

impl Protocol for Send {
    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        out.send(id, &data);
    }
}

/// Everything to everybody.
#[derive(Default)]
struct Broadcast {
    members: Vec<ConnId>,
}

impl Protocol for Broadcast {
    fn on_open(&mut self, id: ConnId, _: Opened, _: &mut Outbox) {
        self.members.push(id);
    }

    fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
        out.broadcast(self.members.iter().copied(), &data);
    }
}

fn answers(criterion: &mut Criterion) {
    let mut group = group(criterion, "script answer");
    let [send_back, send] = ["send_back", "send"].map(BenchmarkId::from_parameter);
    conversation(&mut group, send_back, SendBack, 1);
    conversation(&mut group, send, Send, 1);
    group.finish();
}

fn broadcasts(criterion: &mut Criterion) {
    let mut group = group(criterion, "script broadcast");
    for members in [10, 100, 1_000] {
        let id = BenchmarkId::from_parameter(members);
        conversation(&mut group, id, Broadcast::default(), members);
    }
    group.finish();
}

/// The first of `clients` speaks, and every client hears it. What is counted is messages heard.
fn conversation<P: Protocol>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    protocol: P,
    clients: u64,
) {
    let mut script = Script::new(protocol);
    let clients: Vec<ConnId> = (0..clients).map(|_| script.open()).collect();
    group.throughput(Throughput::Elements(MESSAGES * clients.len() as u64));
    group.bench_function(id, |bencher| {
        bencher.iter(|| {
            for _ in 0..MESSAGES {
                script.data(clients[0], &MESSAGE);
            }
            for &client in &clients {
                let heard = script.take_output(client);
                assert_eq!(heard.len() as u64, MESSAGES * MESSAGE.len() as u64);
            }
        });
    });
}

/// What [`ConnMap`] and [`HashMap`] have in common.
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
/// Has no divisor in common with [`ENTRIES`], so that steps of it lead to each entry once.
const STRIDE: usize = 389;

fn tables(criterion: &mut Criterion) {
    let mut script = Script::new(SendBack);
    let in_order: Vec<ConnId> = (0..ENTRIES).map(|_| script.open()).collect();
    // Connections are opened in the order of their slots; they speak and leave in any order.
    let shuffled: Vec<ConnId> = (0..ENTRIES)
        .map(|step| in_order[step * STRIDE % ENTRIES])
        .collect();
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

criterion_group!(protocol, answers, broadcasts, tables);
criterion_main!(protocol);
