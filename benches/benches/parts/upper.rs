//! The uppercase server beside the echo server, through [`Script`]: the cost of changing the bytes.
//! The script copies them twice for either.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use edgeloop::echo::Echo;
use edgeloop::upper::Upper;
use edgeloop_reactor::{Protocol, Script};

use super::group;

const ECHO: Echo = Echo {
    answers_low_ports: false,
};
const UPPER: Upper = Upper {
    answers_low_ports: false,
};

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = group(criterion, "upper");
    for bytes in [64, 16 * 1024] {
        group.throughput(Throughput::Bytes(bytes as u64));
        answers(
            &mut group,
            BenchmarkId::new("echo", bytes),
            ECHO,
            b'x',
            bytes,
        );
        answers(
            &mut group,
            BenchmarkId::new("upper", bytes),
            UPPER,
            b'X',
            bytes,
        );
    }
    group.finish();
}

fn answers<P: Protocol>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    protocol: P,
    answer: u8,
    bytes: usize,
) {
    let message = vec![b'x'; bytes];
    let mut script = Script::new(protocol);
    let client = script.open();
    group.bench_function(id, |bencher| {
        bencher.iter(|| {
            script.data(client, &message);
            let answered = script.take_output(client);
            assert_eq!((answered.len(), answered.last()), (bytes, Some(&answer)));
        });
    });
}
