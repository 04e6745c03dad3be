//! The log that the reactors of one process share.
//!
//! An entry is encoded once and stored once; each reactor reads it from the same bytes. A reactor that
//! appends takes the lock once a turn, in [`Shared::flush`], and wakes each other reactor at most once
//! until that one has read. A reader takes the lock once for all that is new.
//!
//! Entries that all readers have passed are freed. While a reader is behind by more than 16 MiB,
//! nothing more is taken: entries wait with their author, whose chat pauses its members
//! ([`Shared::is_full`]), and it is woken when there is room.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edgeloop_reactor::Waker;

use super::entry::{Body, Entry, Origin, Position, Stamp};
use super::log::{Log, Read, Record};

/// Most bytes of entries that the slowest reader has not read.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that an entry counts besides its own: its place in the tables.
const OVERHEAD: usize = 64;

/// The log of one reactor. [`Shared::reader`] makes those of the others.
#[derive(Debug)]
pub struct Shared {
    tail: Arc<Mutex<Tail>>,
    /// Index among `Tail::readers`.
    index: usize,
    origin: Origin,
    seq: u64,
    /// Entries that are to be appended: time, bytes.
    outgoing: VecDeque<(Duration, Arc<[u8]>)>,
    /// The tail had no room for some of them.
    is_full: bool,
    /// Entries that were taken from the tail.
    incoming: VecDeque<Record>,
}

/// The end of the log, from the first entry that some reader has not read.
#[derive(Debug, Default)]
struct Tail {
    records: VecDeque<Record>,
    /// Bytes of `records`.
    bytes: usize,
    /// Number of entries that were freed.
    freed: usize,
    last: Position,
    readers: Vec<Reader>,
}

#[derive(Debug, Default)]
struct Reader {
    /// Number of the entry that it reads next; `None` once it has ended.
    next: Option<usize>,
    waker: Option<Waker>,
    /// It was woken since it has read.
    is_woken: bool,
    /// It has entries that found no room.
    is_waiting: bool,
}

impl Shared {
    /// A log with one reader.
    #[must_use]
    pub fn new(origin: Origin) -> Shared {
        let tail = Tail {
            readers: vec![Reader::at(0)],
            ..Tail::default()
        };
        Shared {
            tail: Arc::new(Mutex::new(tail)),
            index: 0,
            origin,
            seq: 0,
            outgoing: VecDeque::new(),
            is_full: false,
            incoming: VecDeque::new(),
        }
    }

    /// A further reader. Its first entry is the next one that is appended.
    #[must_use]
    pub fn reader(&self, origin: Origin) -> Shared {
        let mut tail = self.tail();
        let end = tail.end();
        tail.readers.push(Reader::at(end));
        let index = tail.readers.len() - 1;
        drop(tail);
        Shared {
            tail: Arc::clone(&self.tail),
            index,
            origin,
            seq: 0,
            outgoing: VecDeque::new(),
            is_full: false,
            incoming: VecDeque::new(),
        }
    }

    /// Wakes this reactor when there is something to read, or room again after the log was full: its
    /// protocol hears [`on_wake`](edgeloop_reactor::Protocol::on_wake). What was appended before is
    /// not missed.
    pub fn wake_with(&mut self, waker: Waker) {
        let mut tail = self.tail();
        let end = tail.end();
        let reader = &mut tail.readers[self.index];
        reader.waker = Some(waker);
        if reader.next.is_some_and(|next| next < end) {
            reader.wake();
        }
    }

    /// Publishes what was appended since the last call, once a turn, and wakes the other readers.
    pub fn flush(&mut self) {
        if self.outgoing.is_empty() {
            return;
        }
        let mut outgoing = mem::take(&mut self.outgoing);
        let mut tail = self.tail();
        let before = tail.end();
        tail.take(&mut outgoing);
        let (is_new, own) = (tail.end() > before, self.index);
        tail.readers[own].is_waiting = !outgoing.is_empty();
        let others = tail.readers.iter_mut().enumerate();
        let others = others.filter(|(index, _)| is_new && *index != own);
        others.for_each(|(_, reader)| reader.wake());
        drop(tail);
        self.is_full = !outgoing.is_empty();
        self.outgoing = outgoing;
    }

    /// Whether the last [flush](Shared::flush) left entries, since the log is full: the reactor should
    /// append no more. When there is room it is woken, and flushes again.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Takes all that is new from the tail, and frees what all readers have passed.
    fn fetch(&mut self) {
        let index = self.index;
        let incoming = &mut self.incoming;
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let (freed, end) = (tail.freed, tail.end());
        let reader = &mut tail.readers[index];
        reader.is_woken = false;
        if let Some(next) = reader.next.replace(end) {
            incoming.extend(tail.records.range(next - freed..).cloned());
        }
        tail.free();
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        // A thread that has panicked left the tail whole: each change of it is complete.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Shared {
    fn append<'a>(&mut self, body: Body<'a>, now: Duration) -> Option<Entry<'a>> {
        self.seq += 1;
        let stamp = Stamp {
            origin: self.origin,
            seq: self.seq,
        };
        let bytes = Entry::encode(stamp, &body).into();
        self.outgoing.push_back((now, bytes));
        None
    }

    fn next(&mut self) -> Option<Read> {
        if self.incoming.is_empty() {
            self.fetch();
        }
        self.incoming.pop_front().map(Read::Record)
    }
}

/// The other readers must not wait for one that has ended.
impl Drop for Shared {
    fn drop(&mut self) {
        self.flush();
        let mut tail = self.tail();
        tail.readers[self.index] = Reader::default();
        tail.free();
    }
}

impl Tail {
    /// Number of entries so far.
    fn end(&self) -> usize {
        self.freed + self.records.len()
    }

    /// Takes as many entries as there is room for.
    fn take(&mut self, outgoing: &mut VecDeque<(Duration, Arc<[u8]>)>) {
        while self.bytes < BYTES_MAX
            && let Some((now, bytes)) = outgoing.pop_front()
        {
            self.last = self.last.next(now);
            self.bytes += bytes.len() + OVERHEAD;
            let at = self.last;
            self.records.push_back(Record { at, bytes });
        }
    }

    /// Frees what all readers have passed, and wakes those that wait for room.
    fn free(&mut self) {
        let next = self.readers.iter().filter_map(|reader| reader.next).min();
        let passed = next.unwrap_or(self.end()) - self.freed;
        let freed = self.records.drain(..passed);
        self.bytes -= freed
            .map(|record| record.bytes.len() + OVERHEAD)
            .sum::<usize>();
        self.freed += passed;
        if self.bytes < BYTES_MAX {
            let waiting = self.readers.iter_mut().filter(|reader| reader.is_waiting);
            waiting.for_each(Reader::wake);
        }
    }
}

impl Reader {
    fn at(next: usize) -> Reader {
        Reader {
            next: Some(next),
            ..Reader::default()
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = &self.waker
            && !mem::replace(&mut self.is_woken, true)
        {
            // Its errors are those of an eventfd that is gone, and its reactor with it.
            let _ = waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use edgeloop_reactor::{Limits, Outbox, Protocol, Reactor};

    use super::*;

    fn origin(server: u64) -> Origin {
        Origin { server, boot: 1 }
    }

    fn say(log: &mut Shared, text: &[u8]) {
        let body = Body::Notice { room: None, text };
        assert_eq!(log.append(body, Duration::from_millis(5)), None);
    }

    fn records(log: &mut Shared) -> Vec<Record> {
        let reads = std::iter::from_fn(|| log.next());
        let record = |read| match read {
            Read::Record(record) => record,
            other => panic!("{other:?}"),
        };
        reads.map(record).collect()
    }

    #[test]
    fn readers_share_the_bytes_which_are_freed_behind_the_last() {
        let mut one = Shared::new(origin(1));
        let mut two = one.reader(origin(2));
        say(&mut one, b"a");
        say(&mut two, b"b");
        assert!(records(&mut one).is_empty(), "nothing is published yet");
        two.flush();
        one.flush();
        let (ones, twos) = (records(&mut one), records(&mut two));
        assert_eq!(ones, twos);
        assert_eq!(ones.len(), 2);
        assert!(Arc::ptr_eq(&ones[0].bytes, &twos[0].bytes));
        assert_eq!(one.tail().records.len(), 0);
        let late = one.reader(origin(3));
        say(&mut one, b"c");
        one.flush();
        records(&mut one);
        records(&mut two);
        assert_eq!(one.tail().records.len(), 1);
        drop(late);
        assert_eq!(one.tail().records.len(), 0);
        assert_eq!(one.tail().bytes, 0);
    }

    #[test]
    fn entries_wait_for_a_reader_that_is_behind() {
        let mut one = Shared::new(origin(1));
        let mut two = one.reader(origin(2));
        let text = vec![b'x'; 128 * 1024];
        let count = 2 * BYTES_MAX / text.len();
        for _ in 0..count {
            say(&mut one, &text);
            one.flush();
            records(&mut one);
        }
        assert!(one.is_full() && one.tail().bytes <= BYTES_MAX + 2 * text.len());
        assert!(one.tail().readers[0].is_waiting);
        let mut read = records(&mut two).len();
        one.flush();
        read += records(&mut two).len();
        assert_eq!(read, count);
        assert!(!one.is_full());
        records(&mut one);
        assert_eq!(one.tail().bytes, 0);
    }

    /// Appends so many entries, a few a turn, and reads until it has read those of all.
    struct Worker {
        log: Shared,
        left: usize,
        total: usize,
        read: Vec<Record>,
        wakes: usize,
    }

    impl Worker {
        fn turn(&mut self, out: &mut Outbox) {
            for _ in 0..self.left.min(10) {
                self.left -= 1;
                say(&mut self.log, b"hello");
            }
            self.log.flush();
            self.read.append(&mut records(&mut self.log));
            if self.left > 0 {
                out.set_service_timer(Duration::ZERO);
            } else if self.read.len() == self.total {
                out.stop();
            }
        }
    }

    impl Protocol for Worker {
        fn on_service_timer(&mut self, out: &mut Outbox) {
            self.turn(out);
        }

        fn on_wake(&mut self, out: &mut Outbox) {
            self.wakes += 1;
            self.turn(out);
        }
    }

    #[test]
    fn the_reactors_of_a_process_read_one_order() {
        const EACH: usize = 20_000;
        let first = Shared::new(origin(0));
        let others = [1, 2].map(|server| first.reader(origin(server)));
        let total = EACH * (1 + others.len());
        let logs = std::iter::once(first).chain(others);
        let threads: Vec<_> = logs
            .map(|log| {
                let worker = Worker {
                    log,
                    left: EACH,
                    total,
                    read: Vec::new(),
                    wakes: 0,
                };
                thread::spawn(move || {
                    let mut reactor = Reactor::new(worker, Limits::default()).expect("a reactor");
                    let waker = reactor.waker().expect("a waker");
                    reactor.call(|worker, out| {
                        worker.log.wake_with(waker);
                        worker.turn(out);
                    });
                    reactor.run().expect("a run");
                    let worker = reactor.into_protocol();
                    (worker.read, worker.wakes)
                })
            })
            .collect();
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        let results: Vec<_> = results
            .into_iter()
            .map(|result| result.expect("no panic"))
            .collect();
        for (read, wakes) in &results {
            assert_eq!(read.len(), total);
            assert!(read == &results[0].0, "another order");
            assert!(*wakes <= total / 10, "{wakes} wakes for {total} entries");
        }
        for server in 0..results.len() as u64 {
            let stamps = results[0]
                .0
                .iter()
                .map(|record| record.entry().expect("an entry").stamp);
            let seqs = stamps
                .filter(|stamp| stamp.origin.server == server)
                .map(|stamp| stamp.seq);
            assert!(seqs.eq(1..=EACH as u64), "of server {server}");
        }
    }
}
