//! The filter between a client that may speak Telnet and the lines that it types.

use criterion::{BenchmarkId, Criterion, Throughput};
use edgeloop::telnet::{Part, Telnet};

use super::group;

const LINES: usize = 1_600;

/// A name, a line as it is sent, and the text in it.
const KINDS: [(&str, &[u8], &[u8]); 3] = [
    (
        "plain",
        b"a line of forty bytes, its end included\n",
        b"a line of forty bytes, its end included\n",
    ),
    (
        "a byte 255",
        b"a line that is no UTF-8: \xff\xff, with its end\n",
        b"a line that is no UTF-8: \xff, with its end\n",
    ),
    (
        "a command",
        b"\xff\xf1a line that has a command before it\n",
        b"a line that has a command before it\n",
    ),
];

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = group(criterion, "telnet filter");
    for (name, line, text) in KINDS {
        let stream = line.repeat(LINES);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| assert_eq!(text_in(&stream), LINES * text.len()));
        });
    }
    group.finish();
}

fn text_in(mut stream: &[u8]) -> usize {
    let mut telnet = Telnet::default();
    let mut bytes = 0;
    while let Some(part) = telnet.next(&mut stream) {
        if let Part::Text(text) = part {
            bytes += text.len();
        }
    }
    bytes
}
