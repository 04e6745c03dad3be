//! Messages to an echo server and back, on connections that stay open.

use benches::echo::Echo;
use benches::or_end;
use benches::server::{Model, Service};
use benches::setup::Setup;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};

use super::{group, program};

/// From this number on, processes and threads may be more than the machine allows.
const MANY: usize = 1_000;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut small = group(criterion, "echo 64 bytes");
    for connections in [1, 64, MANY] {
        all_models(&mut small, connections, 64);
    }
    small.finish();
    let mut large = group(criterion, "echo 16 KiB");
    for connections in [1, 64] {
        all_models(&mut large, connections, 16 * 1024);
    }
    large.finish();
}

fn all_models(group: &mut BenchmarkGroup<'_, WallTime>, connections: usize, message_bytes: usize) {
    group.throughput(Throughput::Elements(connections as u64));
    for model in Model::ALL {
        let id = BenchmarkId::new(model.to_string(), connections);
        let set_up = || {
            let connect = |address| Echo::connect(address, connections, message_bytes);
            let mut setup = Setup::new(program(), Service::Echo, model, connect)?;
            setup.run(Echo::round_trip)?;
            Ok(setup)
        };
        // The clients connect once, for all samples, and only if the benchmark is not filtered out.
        let mut setup = None;
        if connections >= MANY && matches!(model, Model::Fork | Model::Thread) {
            match set_up() {
                Ok(ready) => setup = Some(ready),
                Err(error) => {
                    eprintln!("left out: {connections} connections on {error}");
                    continue;
                }
            }
        }
        round_trips(group, id, setup, set_up);
    }
}

/// Every connection has one message on its way in each iteration.
fn round_trips(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    mut setup: Option<Setup<Echo>>,
    set_up: impl Fn() -> Result<Setup<Echo>, String>,
) {
    group.bench_function(id, |bencher| {
        let setup = setup.get_or_insert_with(|| or_end(set_up()));
        bencher.iter(|| or_end(setup.run(Echo::round_trip)));
    });
}
