//! The way of messages through the outbox, with protocols driven through [`Script`].

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use edgeloop_reactor::{ConnId, Data, Opened, Outbox, Protocol, Script};

use super::group;

const MESSAGE: [u8; 64] = [b'x'; 64];

/// Messages in an iteration: the script hands over the output once for all of them, so that this
/// matters little.
const MESSAGES: u64 = 64;

/// The shortest way back: the message itself.
struct SendBack;

impl Protocol for SendBack {
    fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
        out.send_back(data);
    }
}

/// The way of an answer with bytes of its own.
struct Send;

impl Protocol for Send {
    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        out.send(id, &data);
    }
}

/// Every message goes to every client.
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

pub(crate) fn bench(criterion: &mut Criterion) {
    answers(criterion);
    broadcasts(criterion);
    turns(criterion);
}

fn answers(criterion: &mut Criterion) {
    let mut group = group(criterion, "outbox answer");
    let [send_back, send] = ["send_back", "send"].map(BenchmarkId::from_parameter);
    conversation(&mut group, send_back, SendBack, 1);
    conversation(&mut group, send, Send, 1);
    group.finish();
}

fn broadcasts(criterion: &mut Criterion) {
    let mut group = group(criterion, "outbox broadcast");
    for members in [10, 100, 1_000] {
        let id = BenchmarkId::from_parameter(members);
        conversation(&mut group, id, Broadcast::default(), members);
    }
    group.finish();
}

/// Many messages in one turn: for every client, each lies behind the one before.
fn turns(criterion: &mut Criterion) {
    let mut group = group(criterion, "outbox turn");
    for members in [10, 100, 1_000] {
        let mut script = Script::new(Broadcast::default());
        let clients: Vec<ConnId> = (0..members).map(|_| script.open()).collect();
        group.throughput(Throughput::Elements(MESSAGES * members));
        group.bench_function(BenchmarkId::from_parameter(members), |bencher| {
            bencher.iter(|| {
                script.call(|broadcast, out| {
                    for _ in 0..MESSAGES {
                        out.broadcast(broadcast.members.iter().copied(), &MESSAGE);
                    }
                });
                take_all(&mut script, &clients);
            });
        });
    }
    group.finish();
}

/// The first of `clients` speaks, and every client hears it. The count is of messages heard.
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
            take_all(&mut script, &clients);
        });
    });
}

fn take_all<P: Protocol>(script: &mut Script<P>, clients: &[ConnId]) {
    for &client in clients {
        let heard = script.take_output(client);
        assert_eq!(heard.len() as u64, MESSAGES * MESSAGE.len() as u64);
    }
}
