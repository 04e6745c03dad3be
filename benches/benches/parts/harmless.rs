//! Text of strangers, made harmless for a terminal.

use criterion::{BenchmarkId, Criterion, Throughput};
use edgeloop::harmless::Harmless;

use super::group;

const LINES: usize = 1_600;

/// A name, a line, and the harmless form of the line.
const KINDS: [(&str, &str, &str); 3] = [
    (
        "ASCII",
        "a line as most are, of ASCII and no more\n",
        "a line as most are, of ASCII and no more\n",
    ),
    (
        "UTF-8",
        "Zwölf Boxkämpfer jagen Viktor über den Deich\n",
        "Zwölf Boxkämpfer jagen Viktor über den Deich\n",
    ),
    (
        "escapes",
        "a line that would \x1b[31mcolour\x1b[0m a terminal\n",
        "a line that would \\x1b[31mcolour\\x1b[0m a terminal\n",
    ),
];

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = group(criterion, "harmless");
    for (name, line, shown) in KINDS {
        let stream = line.repeat(LINES);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            let (mut harmless, mut out) = (Harmless::default(), Vec::new());
            bencher.iter(|| {
                out.clear();
                harmless.feed(stream.as_bytes(), &mut out);
                assert_eq!(out.len(), LINES * shown.len());
            });
        });
    }
    group.finish();
}
