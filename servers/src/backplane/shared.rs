//! The log that the reactors of one process share.
//!
//! It begins with the entry that the state is empty ([`Body::Reset`]), and all its readers read it from
//! there: they are made together, before the first of them appends.
//!
//! An entry is encoded once and stored once; each reactor reads it from the same bytes. A reactor that
//! appends takes the lock once a turn, in [`Log::go_on`], and wakes each other reactor at most once
//! until that one has read. A reader takes the lock once for all that is new.
//!
//! Entries that all readers have passed are freed. While a reader is behind by more than 16 MiB,
//! nothing more is taken: entries wait with their author, whose chat pauses its members
//! ([`Health::is_full`]), and it is woken when there is room.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edgeloop_reactor::{Outbox, Waker};

use super::entry::{Body, Entry, Origin, Position, Stamp};
use super::log::{Health, Log, Read, Record};

/// Most bytes of entries that the slowest reader has not read.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that an entry counts besides its own: its place in the tables.
const OVERHEAD: usize = 64;

/// The log of one reactor.
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
    incoming: VecDeque<Written>,
    /// Number of own entries that were appended and not read.
    pending: usize,
    has_caught_up: bool,
}

/// The end of the log, from the first entry that some reader has not read.
#[derive(Debug)]
struct Tail {
    entries: VecDeque<Written>,
    /// Bytes of `entries`.
    bytes: usize,
    /// Number of entries that were freed.
    freed: usize,
    last: Position,
    readers: Vec<Reader>,
}

/// An entry of the log.
#[derive(Clone, Debug)]
struct Written {
    /// The index of its author among the readers; `None`: the first entry, which has no author.
    author: Option<usize>,
    record: Record,
}

#[derive(Debug)]
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
    /// The logs of several reactors, which have these origins.
    pub fn among(origins: impl IntoIterator<Item = Origin>) -> Vec<Shared> {
        let origins: Vec<Origin> = origins.into_iter().collect();
        let tail = Arc::new(Mutex::new(Tail::new(origins.len())));
        let log = |(index, origin)| Shared {
            tail: Arc::clone(&tail),
            index,
            origin,
            seq: 0,
            outgoing: VecDeque::new(),
            is_full: false,
            incoming: VecDeque::new(),
            pending: 0,
            has_caught_up: false,
        };
        origins.into_iter().enumerate().map(log).collect()
    }

    /// Publishes what was appended since the last call, and wakes the other readers.
    fn flush(&mut self) {
        if self.outgoing.is_empty() {
            return;
        }
        let mut outgoing = mem::take(&mut self.outgoing);
        let mut tail = self.tail();
        let before = tail.end();
        tail.take(self.index, &mut outgoing);
        let (is_new, own) = (tail.end() > before, self.index);
        tail.readers[own].is_waiting = !outgoing.is_empty();
        let others = tail.readers.iter_mut().enumerate();
        let others = others.filter(|(index, _)| is_new && *index != own);
        others.for_each(|(_, reader)| reader.wake());
        drop(tail);
        self.is_full = !outgoing.is_empty();
        self.outgoing = outgoing;
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
            incoming.extend(tail.entries.range(next - freed..).cloned());
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
        if body == Body::Stop {
            // The reactors of a process stop together, so none is left that its members could be told.
            return None;
        }
        self.seq += 1;
        let stamp = Stamp {
            origin: self.origin,
            seq: self.seq,
        };
        let bytes = Entry::encode(stamp, &body).into();
        self.outgoing.push_back((now, bytes));
        self.pending += 1;
        None
    }

    fn next(&mut self) -> Option<Read> {
        if self.incoming.is_empty() {
            self.fetch();
        }
        let Some(Written { author, record }) = self.incoming.pop_front() else {
            return (!mem::replace(&mut self.has_caught_up, true)).then_some(Read::CaughtUp);
        };
        self.pending -= usize::from(author == Some(self.index));
        Some(Read::Record(record))
    }

    /// Own entries can be read at once. When others have something to read, or there is room again after
    /// the log was full, this reactor is woken; so there is no deadline.
    fn go_on(&mut self, _: &mut Outbox) -> Option<Duration> {
        self.flush();
        None
    }

    fn wake_with(&mut self, waker: Waker) {
        let mut tail = self.tail();
        let end = tail.end();
        let reader = &mut tail.readers[self.index];
        reader.waker = Some(waker);
        // Entries that were appended before are not missed.
        if reader.next.is_some_and(|next| next < end) {
            reader.wake();
        }
    }

    /// The log is full from the first entry that finds no room until there is room for all. It is never
    /// out of reach.
    fn health(&self) -> Health {
        Health {
            is_full: self.is_full,
            pending: self.pending,
            ..Health::default()
        }
    }
}

/// The other readers must not wait for one that has ended.
impl Drop for Shared {
    fn drop(&mut self) {
        self.flush();
        let mut tail = self.tail();
        tail.readers[self.index] = Reader {
            next: None,
            ..Reader::default()
        };
        tail.free();
    }
}

impl Tail {
    /// A log with its first entry, and so many readers.
    fn new(readers: usize) -> Tail {
        let stamp = Stamp {
            origin: Origin::default(),
            seq: 0,
        };
        let at = Position::GENESIS;
        let bytes: Arc<[u8]> = Entry::encode(stamp, &Body::Reset).into();
        let mut tail = Tail {
            entries: VecDeque::new(),
            bytes: 0,
            freed: 0,
            last: at,
            readers: (0..readers).map(|_| Reader::default()).collect(),
        };
        tail.push(None, Record { at, bytes });
        tail
    }

    fn push(&mut self, author: Option<usize>, record: Record) {
        self.bytes += record.bytes.len() + OVERHEAD;
        self.entries.push_back(Written { author, record });
    }

    /// Number of entries so far.
    fn end(&self) -> usize {
        self.freed + self.entries.len()
    }

    /// Takes as many entries as there is room for.
    fn take(&mut self, author: usize, outgoing: &mut VecDeque<(Duration, Arc<[u8]>)>) {
        while self.bytes < BYTES_MAX
            && let Some((now, bytes)) = outgoing.pop_front()
        {
            self.last = self.last.next(now);
            let at = self.last;
            self.push(Some(author), Record { at, bytes });
        }
    }

    /// Frees what all readers have passed, and wakes those that wait for room.
    fn free(&mut self) {
        let next = self.readers.iter().filter_map(|reader| reader.next).min();
        let passed = next.unwrap_or(self.end()) - self.freed;
        let freed = self.entries.drain(..passed);
        self.bytes -= freed
            .map(|entry| entry.record.bytes.len() + OVERHEAD)
            .sum::<usize>();
        self.freed += passed;
        if self.bytes < BYTES_MAX {
            let waiting = self.readers.iter_mut().filter(|reader| reader.is_waiting);
            waiting.for_each(Reader::wake);
        }
    }
}

impl Default for Reader {
    fn default() -> Reader {
        Reader {
            next: Some(0),
            waker: None,
            is_woken: false,
            is_waiting: false,
        }
    }
}

impl Reader {
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

    use edgeloop_reactor::{Limits, Protocol, Reactor};

    use super::*;
    use crate::backplane::entry::{Name, Present};
    use crate::backplane::random::Random;
    use crate::backplane::replica::{Counters, Replica, Told};

    fn origin(server: u64) -> Origin {
        Origin { server, boot: 1 }
    }

    fn say(log: &mut Shared, text: &[u8]) {
        let body = Body::Notice { room: None, text };
        assert_eq!(log.append(body, Duration::from_millis(5)), None);
    }

    /// Logs whose beginning was read.
    fn logs<const N: usize>() -> [Shared; N] {
        let origins = (0..N as u64).map(origin);
        let mut logs = Shared::among(origins).try_into().expect("so many");
        for log in &mut logs {
            begin(log);
        }
        logs
    }

    fn begin(log: &mut Shared) {
        let Some(Read::Record(first)) = log.next() else {
            panic!("no first entry");
        };
        assert_eq!(first.entry().map(|entry| entry.body), Ok(Body::Reset));
        assert_eq!(first.at, Position::GENESIS);
        assert_eq!(log.next(), Some(Read::CaughtUp));
        assert_eq!(log.next(), None);
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
        let [mut one, mut two, late] = logs();
        say(&mut one, b"a");
        say(&mut two, b"b");
        assert!(records(&mut one).is_empty(), "nothing is published yet");
        assert_eq!(one.health().pending, 1);
        two.flush();
        one.flush();
        let (ones, twos) = (records(&mut one), records(&mut two));
        assert_eq!(ones, twos);
        assert_eq!(ones.len(), 2);
        assert!(Arc::ptr_eq(&ones[0].bytes, &twos[0].bytes));
        assert_eq!(one.health().pending, 0);
        assert_eq!(one.tail().entries.len(), 2, "the third has not read them");
        drop(late);
        assert_eq!(one.tail().entries.len(), 0);
        assert_eq!(one.tail().bytes, 0);
    }

    #[test]
    fn entries_wait_for_a_reader_that_is_behind() {
        let [mut one, mut two] = logs();
        let text = vec![b'x'; 128 * 1024];
        let count = 2 * BYTES_MAX / text.len();
        for _ in 0..count {
            say(&mut one, &text);
            one.flush();
            records(&mut one);
        }
        assert!(one.health().is_full && one.tail().bytes <= BYTES_MAX + 2 * text.len());
        assert!(one.tail().readers[0].is_waiting);
        let mut read = records(&mut two).len();
        one.flush();
        read += records(&mut two).len();
        assert_eq!(read, count);
        assert!(!one.health().is_full);
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
            assert_eq!(self.log.go_on(out), None);
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
        let logs: [Shared; 3] = logs();
        let total = EACH * logs.len();
        let threads: Vec<_> = logs
            .into_iter()
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

    /// The chat of one reactor without its members' connections: random members join, leave and change
    /// their names. Its last entry is a notice.
    struct Chat {
        log: Shared,
        replica: Replica,
        random: Random,
        left: usize,
        /// Notices that were read.
        ended: usize,
    }

    impl Chat {
        fn act(&mut self) {
            const NAMES: [&str; 5] = ["ada", "bob", "cyd", "dee", "eve"];
            let shown = NAMES[self.random.below(5) as usize];
            let name = Name {
                shown,
                fold: shown,
                look: "",
            };
            let member = self.random.below(4);
            let body = match self.random.below(3) {
                0 => Body::Leave {
                    members: vec![member].into(),
                    farewell: b"",
                },
                1 => Body::Rename { member, name },
                _ => Body::Join(Present {
                    number: member,
                    name,
                    room: Name {
                        shown: "lobby",
                        fold: "lobby",
                        look: "",
                    },
                    address: None,
                    token: None,
                }),
            };
            self.log.append(body, Duration::ZERO);
        }

        fn turn(&mut self, out: &mut Outbox) {
            if self.replica.is_synced() && self.left > 0 {
                for _ in 0..10 {
                    self.act();
                }
                self.left -= 1;
                if self.left == 0 {
                    say(&mut self.log, b"the end");
                }
            }
            self.log.go_on(out);
            while let Some(read) = self.log.next() {
                self.replica.read(read);
                self.replica.perform(&mut self.log, Duration::ZERO);
                while let Some(told) = self.replica.tell_next() {
                    self.hear(&told);
                }
            }
            match self.ended {
                3 => out.stop(),
                _ if self.left > 0 => out.set_service_timer(Duration::ZERO),
                _ => {}
            }
        }

        fn hear(&mut self, told: &Told) {
            match told {
                Told::Entry { record, .. } => {
                    let entry = record.entry().expect("an entry");
                    self.ended += usize::from(matches!(entry.body, Body::Notice { .. }));
                }
                Told::Synced => {}
                Told::Gap => panic!("a gap"),
            }
        }
    }

    impl Protocol for Chat {
        fn on_service_timer(&mut self, out: &mut Outbox) {
            self.turn(out);
        }

        fn on_wake(&mut self, out: &mut Outbox) {
            self.turn(out);
        }
    }

    #[test]
    fn replicas_are_in_sync_from_the_start_and_get_the_same_state() {
        let threads: Vec<_> = (0..3u64)
            .zip(Shared::among((0..3).map(origin)))
            .map(|(server, log)| {
                thread::spawn(move || {
                    let chat = Chat {
                        log,
                        replica: Replica::new(origin(server), "a worker"),
                        random: Random::new(server),
                        left: 500,
                        ended: 0,
                    };
                    let mut reactor = Reactor::new(chat, Limits::default()).expect("a reactor");
                    let waker = reactor.waker().expect("a waker");
                    reactor.call(|chat, out| {
                        chat.log.wake_with(waker);
                        chat.turn(out);
                        assert!(chat.replica.is_synced(), "after its first turn");
                    });
                    reactor.run().expect("a run");
                    let replica = reactor.into_protocol().replica;
                    assert_eq!(replica.counters(), Counters::default());
                    replica
                })
            })
            .collect();
        let replicas = threads.into_iter().map(|thread| thread.join());
        let replicas: Vec<_> = replicas.map(|it| it.expect("no panic")).collect();
        let states: Vec<_> = replicas
            .iter()
            .map(|replica| replica.membership().snapshot(Position::START))
            .collect();
        assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
        assert!(states[0].iter().any(|part| !part.members.is_empty()));
    }
}
