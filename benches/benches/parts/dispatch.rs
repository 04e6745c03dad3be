//! From an event to `on_data`: epoll_wait(2), recv(2), and the reactor's work around them.
//!
//! Dispatch cannot be reached without descriptors, so these are TCP connections over loopback on
//! which a message has arrived. Only the receiving end is timed. The same system calls by
//! themselves are measured beside it: the difference is the reactor's cost.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use benches::or_end;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use edgeloop_reactor::{
    ConnId, Data, Direction, Events, Interest, Limits, Outbox, Poll, Protocol, Reactor, Token,
};

use super::group;

const MESSAGE: [u8; 64] = [b'x'; 64];
/// As in the reactor: events of one wait, and bytes of one read.
const EVENTS: usize = 512;
const BUFFER_BYTES: usize = 64 * 1024;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = group(criterion, "dispatch");
    for connections in [1, 64, EVENTS] {
        group.throughput(Throughput::Elements(connections as u64));
        measure(&mut group, "reactor", connections, Reacting::new);
        measure(&mut group, "calls alone", connections, Calling::new);
    }
    group.finish();
}

/// The receiving end of some connections.
trait Receiver {
    /// Receives until so many bytes have arrived.
    fn receive(&mut self, bytes: usize) -> io::Result<()>;
}

fn measure<R: Receiver>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    connections: usize,
    new: impl Fn(Vec<TcpStream>) -> io::Result<R>,
) {
    let set_up = || -> io::Result<_> {
        let (near, far) = pairs(connections)?;
        Ok((new(near)?, far))
    };
    let mut ends = None;
    group.bench_function(BenchmarkId::new(name, connections), |bencher| {
        let (receiver, far) = ends.get_or_insert_with(|| or_end(set_up()));
        bencher
            .iter_custom(|iterations| (0..iterations).map(|_| or_end(turn(receiver, far))).sum());
    });
}

/// Sends a message on every connection, and measures how long it takes to receive all of them.
fn turn(receiver: &mut impl Receiver, far: &mut [TcpStream]) -> io::Result<Duration> {
    for stream in &mut *far {
        stream.write_all(&MESSAGE)?;
    }
    let begin = Instant::now();
    receiver.receive(far.len() * MESSAGE.len())?;
    Ok(begin.elapsed())
}

fn pairs(count: usize) -> io::Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let pair = |_| {
        let far = TcpStream::connect(listener.local_addr()?)?;
        far.set_nodelay(true)?;
        Ok((listener.accept()?.0, far))
    };
    (0..count).map(pair).collect()
}

/// A protocol that counts the bytes it receives.
#[derive(Default)]
struct Counter {
    bytes: usize,
}

impl Protocol for Counter {
    fn on_data(&mut self, _: ConnId, data: Data<'_>, _: &mut Outbox) {
        self.bytes += data.len();
    }
}

/// The reactor, with the timeouts of a real server.
struct Reacting(Reactor<Counter>);

impl Reacting {
    fn new(streams: Vec<TcpStream>) -> io::Result<Reacting> {
        let limits = Limits {
            idle_timeout: Duration::from_secs(600),
            ..Limits::default()
        };
        let mut reactor = Reactor::new(Counter::default(), limits)?;
        for stream in streams {
            reactor.adopt(stream.into(), Direction::Both, 0)?;
        }
        Ok(Reacting(reactor))
    }
}

impl Receiver for Reacting {
    fn receive(&mut self, bytes: usize) -> io::Result<()> {
        let all = self.0.protocol().bytes + bytes;
        while self.0.protocol().bytes < all {
            self.0.turn()?;
        }
        Ok(())
    }
}

/// The system calls alone.
struct Calling {
    poll: Poll,
    events: Events,
    streams: Vec<TcpStream>,
    buffer: Vec<u8>,
}

impl Calling {
    fn new(streams: Vec<TcpStream>) -> io::Result<Calling> {
        let poll = Poll::new()?;
        for (token, stream) in (0..).map(Token).zip(&streams) {
            stream.set_nonblocking(true)?;
            poll.add(stream, token, Interest::all())?;
        }
        Ok(Calling {
            poll,
            events: Events::with_capacity(EVENTS),
            streams,
            buffer: vec![0; BUFFER_BYTES],
        })
    }
}

impl Receiver for Calling {
    fn receive(&mut self, mut bytes: usize) -> io::Result<()> {
        while bytes > 0 {
            self.poll.wait(&mut self.events, None)?;
            for event in self.events.iter() {
                bytes -= self.streams[event.token.0 as usize].read(&mut self.buffer)?;
            }
        }
        Ok(())
    }
}
