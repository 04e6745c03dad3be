//! Messages to an echo server and back, over real TCP on the loopback device.

use std::net::SocketAddr;
use std::time::Duration;

use benches::{Clients, EchoServer, message, visit};
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use edgeloop_reactor::raise_descriptor_limit;

/// Both ends of a connection are in this process, and there are others: two for each client, and
/// some.
const DESCRIPTORS: u64 = 2_100;

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    group
}

fn servers() -> [(&'static str, EchoServer); 2] {
    [
        ("reactor", EchoServer::on_reactor().expect("a reactor")),
        ("threads", EchoServer::on_threads().expect("threads")),
    ]
}

fn small_messages(criterion: &mut Criterion) {
    let descriptors = raise_descriptor_limit().expect("the limit of descriptors");
    assert!(
        descriptors >= DESCRIPTORS,
        "{DESCRIPTORS} descriptors are needed, {descriptors} allowed (ulimit -Hn)"
    );
    let servers = servers();
    let mut group = group(criterion, "echo 64 bytes");
    for connections in [1, 64, 1_000] {
        for (name, server) in &servers {
            // A thousand threads are no fair opponent on a few cores.
            if *name == "reactor" || connections <= 64 {
                round_trips(&mut group, name, server.address(), connections, 64);
            }
        }
    }
    group.finish();
}

fn large_messages(criterion: &mut Criterion) {
    let mut group = group(criterion, "echo 16 KiB");
    for (name, server) in &servers() {
        round_trips(&mut group, name, server.address(), 64, 16 * 1024);
    }
    group.finish();
}

/// Every connection has one message on its way in each iteration.
fn round_trips(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    server: SocketAddr,
    connections: usize,
    message_bytes: usize,
) {
    // Connected once, for all samples, and only if the benchmark is not filtered out.
    let mut clients = None;
    group.throughput(Throughput::Elements(connections as u64));
    group.bench_function(BenchmarkId::new(name, connections), |bencher| {
        let clients = clients.get_or_insert_with(|| {
            Clients::connect(server, connections, message_bytes).expect("connections")
        });
        bencher.iter(|| clients.round_trip().expect("an echo"));
    });
}

fn visits(criterion: &mut Criterion) {
    let (message, mut answer) = (message(64), [0; 64]);
    let mut group = group(criterion, "connect, exchange, close");
    group.throughput(Throughput::Elements(1));
    for (name, server) in &servers() {
        group.bench_function(*name, |bencher| {
            bencher.iter(|| visit(server.address(), &message, &mut answer).expect("an echo"));
        });
    }
    group.finish();
}

criterion_group!(echo, small_messages, large_messages, visits);
criterion_main!(echo);
