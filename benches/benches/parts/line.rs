//! Lines out of a stream of bytes, as the chat and the sink have them.

use criterion::{BenchmarkId, Criterion, Throughput};
use edgeloop::line::LineAssembler;

use super::group;

/// The length of a line, its newline included.
const LINE_BYTES: usize = 40;
const LINES: usize = 1_600;
/// The longest line that a chat allows by default.
const MAX: usize = 4096;

pub(crate) fn bench(criterion: &mut Criterion) {
    let line = [&[b'x'; LINE_BYTES - 1][..], b"\n"].concat();
    let stream = line.repeat(LINES);
    let mut group = group(criterion, "line assembly");
    group.throughput(Throughput::Bytes(stream.len() as u64));
    for chunk_bytes in [1, 1024, stream.len()] {
        group.bench_function(BenchmarkId::new("chunks of", chunk_bytes), |bencher| {
            let mut assembler = LineAssembler::default();
            bencher.iter(|| {
                let mut lines = 0;
                for chunk in stream.chunks(chunk_bytes) {
                    assembler.feed(chunk, MAX, |line| {
                        lines += usize::from(line.text.len() == LINE_BYTES - 1);
                    });
                }
                assert_eq!(lines, LINES);
            });
        });
    }
    group.finish();
}
