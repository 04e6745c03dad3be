//! Output within a callback: how much may be said, and how a protocol says more than that.

use std::fmt::{self, Write as _};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use edgeloop_reactor::{
    Address, Closed, ConnId, Data, Limits, Outbox, Protocol, Reactor, Script, Stats,
};

const MIB: usize = 1024 * 1024;
/// The default of `Limits::queue_limit`.
const LIMIT: usize = 16 * MIB + 256 * 1024;

/// Answers each line with a mebibyte, whatever is pending.
struct Naive(Vec<u8>);

impl Protocol for Naive {
    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        let lines = data.iter().filter(|&&byte| byte == b'\n');
        lines.for_each(|_| out.send(id, &self.0));
    }
}

#[test]
fn output_beyond_the_limit_is_dropped_and_its_connection_is_reset() {
    let mut script = Script::new(Naive(vec![b'x'; MIB]));
    let [few, many, other] = [(); 3].map(|()| script.open());
    script.data(few, &b"\n".repeat(16));
    assert_eq!(script.take_output(few).len(), 16 * MIB);
    script.data(many, &b"\n".repeat(1_000));
    assert_eq!(script.closed(many), Some(Closed::SlowConsumer));
    assert!(script.was_reset(many), "the stream is not whole");
    assert!(script.take_output(many).len() <= LIMIT);
    script.data(other, b"\n");
    assert_eq!(script.take_output(other).len(), MIB);
    assert_eq!(script.closed(few), None);
}

/// Peak of the resident memory of this process, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib: usize = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib * 1024
}

/// Two kilobytes of input once took 1.4 GB.
#[test]
fn a_protocol_that_answers_without_end_takes_bounded_memory() {
    let before = peak();
    let mut reactor = Reactor::new(Naive(vec![b'x'; MIB]), Limits::default()).unwrap();
    let bound = reactor.listen(&"127.0.0.1:0".parse().unwrap(), 0).unwrap();
    let mut peer = TcpStream::connect(bound[0].resolve().unwrap()[0]).unwrap();
    peer.write_all(&b"\n".repeat(2_000)).unwrap();
    while reactor.stats().closed_slow_consumer == 0 {
        reactor.turn().unwrap();
    }
    assert!(peak() - before < 8 * LIMIT, "{} bytes", peak() - before);
}

/// Sends numbered pieces for as long as there is room, and goes on when there is room again.
struct Source {
    left: usize,
    most: usize,
}

const PIECE: usize = 64 * 1024;
const PIECES: usize = 1_024;

impl Source {
    fn fill(&mut self, id: ConnId, out: &mut Outbox) {
        while self.left > 0 && out.queued(id) < 4 * PIECE {
            out.send(id, &vec![self.left as u8; PIECE]);
            self.left -= 1;
            self.most = self.most.max(out.queued(id));
        }
        match self.left {
            0 => out.finish(id),
            _ => out.again(id),
        }
    }
}

impl Protocol for Source {
    fn on_data(&mut self, id: ConnId, _: Data<'_>, out: &mut Outbox) {
        self.left = PIECES;
        self.fill(id, out);
    }

    fn on_again(&mut self, id: ConnId, out: &mut Outbox) {
        self.fill(id, out);
    }
}

fn source() -> Source {
    Source { left: 0, most: 0 }
}

fn pieces() -> impl Iterator<Item = u8> {
    (1..=PIECES).rev().map(|number| number as u8)
}

#[test]
fn a_protocol_says_as_much_as_is_enough_and_goes_on_later() {
    let mut script = Script::new(source());
    let client = script.open();
    script.data(client, b"go");
    let output = script.take_output(client);
    assert_eq!(output.len(), PIECES * PIECE);
    let chunks = output.chunks(PIECE).map(|chunk| chunk[0]);
    assert!(chunks.eq(pieces()), "the pieces are in order");
    assert_eq!(script.closed(client), Some(Closed::Finished));
}

#[test]
fn a_slow_reader_gets_all_of_a_large_answer_and_little_of_it_waits() {
    let mut reactor = Reactor::new(source(), Limits::default()).unwrap();
    let bound = reactor.listen(&"127.0.0.1:0".parse().unwrap(), 0).unwrap();
    let at = bound[0].resolve().unwrap()[0];
    let reader = std::thread::spawn(move || {
        let mut peer = TcpStream::connect(at).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        peer.write_all(b"go").unwrap();
        let mut chunk = vec![0; PIECE];
        for number in pieces() {
            peer.read_exact(&mut chunk).unwrap();
            assert!(chunk.iter().all(|&byte| byte == number));
        }
        assert_eq!(peer.read(&mut chunk).unwrap(), 0);
    });
    while reactor.stats().closed == 0 {
        reactor.turn().unwrap();
    }
    reader.join().unwrap();
    let Source { left, most } = *reactor.protocol();
    assert_eq!(left, 0);
    assert!(most <= 5 * PIECE, "{most} bytes were pending");
    assert_eq!(
        reactor.stats().closed_finished + reactor.stats().closed_eof,
        1
    );
    let _: Option<Address> = bound.into_iter().next();
}

/// Answers each byte with a hundred, and notes what it hears of the high-water mark.
#[derive(Default)]
struct Noting {
    heard: usize,
    high: usize,
    low: usize,
}

impl Protocol for Noting {
    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        self.heard += data.len();
        out.send(id, &[b'x'; 100]);
    }

    fn on_high_water(&mut self, id: ConnId, out: &mut Outbox) {
        self.high += 1;
        out.throttle(id);
    }

    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        self.low += 1;
        out.unthrottle(id);
    }
}

#[test]
fn a_script_has_slow_clients_and_limits() {
    let limits = Limits {
        high_water: 250,
        queue_limit: Some(1_000),
        stall_timeout: Duration::from_secs(8),
        ..Limits::default()
    };
    let mut script = Script::with_limits(Noting::default(), limits);
    let [slow, stalled] = [(); 2].map(|()| script.open());
    script.set_reading(slow, false);
    (0..5).for_each(|_| script.data(slow, b"?"));
    let Noting { heard, high, low } = *script.protocol();
    assert_eq!(
        (heard, high, low),
        (3, 1, 0),
        "above the mark it is not read"
    );
    assert_eq!(script.take_output(slow), b"");
    script.set_reading(slow, true);
    let Noting { heard, high, low } = *script.protocol();
    assert_eq!((heard, high, low), (5, 1, 1));
    assert_eq!(script.take_output(slow).len(), 500);
    script.set_reading(stalled, false);
    script.data(stalled, b"?");
    script.advance(Duration::from_secs(9));
    assert_eq!(script.closed(stalled), None);
    script.advance(Duration::from_secs(1));
    assert_eq!(script.closed(stalled), Some(Closed::Stalled));
    script.set_reading(slow, false);
    script.call(|_, out| out.send(slow, &[b'x'; 1_001]));
    assert_eq!(script.closed(slow), Some(Closed::SlowConsumer));
}

/// Always has more to say.
struct Endless;

impl Protocol for Endless {
    fn on_data(&mut self, id: ConnId, _: Data<'_>, out: &mut Outbox) {
        out.again(id);
    }

    fn on_again(&mut self, id: ConnId, out: &mut Outbox) {
        out.send(id, b"more\n");
        out.again(id);
    }
}

#[test]
fn a_script_of_an_endless_protocol_comes_back() {
    let mut script = Script::new(Endless);
    let client = script.open();
    script.data(client, b"go");
    assert!(script.take_output(client).len() > 1_000);
    script.close(client, Closed::Reset);
    assert_eq!(script.closed(client), Some(Closed::Reset));
}

/// Counts the pieces in which it is written to.
#[derive(Default)]
struct Pieces(usize);

impl fmt::Write for Pieces {
    fn write_str(&mut self, _: &str) -> fmt::Result {
        self.0 += 1;
        Ok(())
    }
}

/// Printed to standard error, which has no buffer, they once took 80 write(2) calls.
#[test]
fn counters_are_printed_in_one_piece() {
    let mut pieces = Pieces::default();
    write!(pieces, "{}", Stats::default()).unwrap();
    assert_eq!(pieces.0, 1);
}
