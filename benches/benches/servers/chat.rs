//! Members of a chat who talk and hear each other.

use benches::or_end;
use benches::room::{Room, deliveries};
use benches::server::{Model, Service};
use benches::setup::Setup;
use criterion::{BenchmarkId, Criterion, Throughput};

use super::{group, program};

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = group(criterion, "chat fan-out");
    for members in [10, 100, 1_000] {
        group.throughput(Throughput::Elements(deliveries(members) as u64));
        for model in Model::ALL {
            // The members come once, for all samples, and only if the benchmark is not filtered
            // out.
            let mut setup = None;
            group.bench_function(BenchmarkId::new(model.to_string(), members), |bencher| {
                let setup = setup.get_or_insert_with(|| {
                    let enter = |address| Room::enter(address, members);
                    or_end(Setup::new(program(), Service::Chat, model, enter))
                });
                bencher.iter(|| or_end(setup.run(Room::round)));
            });
        }
    }
    group.finish();
}
