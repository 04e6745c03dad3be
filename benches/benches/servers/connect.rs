//! Short connections, one after another.

use benches::echo::visit;
use benches::server::{Model, Service};
use benches::setup::Setup;
use benches::{message, or_end};
use criterion::{BenchmarkId, Criterion, Throughput};

use super::{group, program};

pub(crate) fn bench(criterion: &mut Criterion) {
    let (message, mut answer) = (message(64), [0; 64]);
    let mut group = group(criterion, "connect, exchange, close");
    group.throughput(Throughput::Elements(1));
    for model in Model::ALL {
        let mut setup = None;
        group.bench_function(BenchmarkId::from_parameter(model), |bencher| {
            // There are no clients yet, only the address to which they will connect.
            let setup = setup
                .get_or_insert_with(|| or_end(Setup::new(program(), Service::Echo, model, Ok)));
            bencher.iter(|| or_end(setup.run(|&mut to| visit(to, &message, &mut answer))));
        });
    }
    group.finish();
}
