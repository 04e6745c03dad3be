//! Bytes that the kernel does not take at once, and that wait in the reactor.
//!
//! The buffer is the reactor's own, so it is measured from outside: the same bytes go to a reader
//! that takes each chunk at once, and to a reader that takes none before all are sent. For the
//! second reader most of them are copied into the buffer, and sent from it later, in larger pieces.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;

use benches::or_end;
use criterion::{BenchmarkId, Criterion, Throughput};
use edgeloop_reactor::{ConnId, Data, Direction, Limits, Outbox, Protocol, Reactor};

use super::group;

/// The size of a chunk. The kernel takes three or so before a reader has to.
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNKS: usize = 16;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = group(criterion, "buffer");
    group.throughput(Throughput::Bytes((CHUNKS * CHUNK_BYTES) as u64));
    for (name, chunks_at_once) in [("taken at once", 1), ("kept", CHUNKS)] {
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            let mut stream = or_end(Stream::new());
            bencher.iter(|| {
                for _ in 0..CHUNKS / chunks_at_once {
                    or_end(stream.send_and_receive(chunks_at_once));
                }
            });
        });
    }
    group.finish();
}

/// A protocol that sends only when it is called.
struct Speaker;

impl Protocol for Speaker {
    fn on_data(&mut self, _: ConnId, _: Data<'_>, _: &mut Outbox) {}
}

/// A connection, and its reader in the same thread.
struct Stream {
    reactor: Reactor<Speaker>,
    id: ConnId,
    reader: UnixStream,
    chunk: Vec<u8>,
    received: Vec<u8>,
}

impl Stream {
    fn new() -> io::Result<Stream> {
        let (near, reader) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        let mut reactor = Reactor::new(Speaker, Limits::default())?;
        let id = reactor.adopt(near.into(), Direction::Both, 0)?;
        Ok(Stream {
            reactor,
            id,
            reader,
            chunk: vec![b'x'; CHUNK_BYTES],
            received: vec![0; CHUNK_BYTES],
        })
    }

    /// Sends chunks, a turn for each, and only then receives them.
    fn send_and_receive(&mut self, chunks: usize) -> io::Result<()> {
        for _ in 0..chunks {
            self.reactor.call(|_, out| out.send(self.id, &self.chunk));
            self.reactor.turn()?;
        }
        let mut missing = chunks * CHUNK_BYTES;
        while missing > 0 {
            match self.reader.read(&mut self.received) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => missing -= count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.reactor.turn()?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
