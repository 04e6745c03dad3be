//! The simulated world: a kernel, its clock, and the clients, in safe code.
//!
//! The server runs unchanged; the system calls that it makes come here (`calls.rs`). Everything else
//! happens while it waits: in [`World::wait`] the clock moves, clients act, signals arrive, and then
//! the events are handed out as epoll(7) promises. With [`Fault::MidTurn`] a client also acts between
//! two calls of one turn.
//!
//! A call that no server should make, such as one on a descriptor that was closed, is a failure of
//! the run ([`World::fail`]), and so is a wait that nothing can end.
//!
//! | file | subject |
//! |---|---|
//! | `world.rs` | descriptors, faults, failures |
//! | `world/waiting.rs` | epoll: the interest list and the wait |
//! | `world/sockets.rs` | the calls on sockets |
//! | `world/conn.rs`, `world/objects.rs` | one stream socket; all kinds of open files |
//! | `world/words.rs` | bits, times, stages |
//! | `world/calling.rs` | connects, and their answers |
//! | `world/client.rs`, `world/acting.rs` | the clients, and what they do |
//! | `world/stages.rs` | the course of a run, to its end |

mod acting;
mod calling;
pub(crate) mod client;
pub(crate) mod conn;
pub(crate) mod objects;
mod sockets;
mod stages;
mod waiting;
pub(crate) mod words;

use std::collections::{BTreeMap, VecDeque};

use tests::random::Random;

pub(crate) use self::calling::CALLED_PORT;
use self::client::Client;
use self::objects::Object;
use self::words::{Errno, MS, Moment, Stage, Watch};
use crate::plan::{Fault, Kind, Knobs, Plan};

/// The first number of a simulated descriptor: real ones are lower.
pub(crate) const BASE: i32 = 1 << 20;

/// System calls of one turn at the most.
const CALLS_MAX: u64 = 100_000;
/// Bytes of the reactor's read buffer, and of its budget for one connection in one turn.
const READ_BUFFER: usize = 64 * 1024;

/// The counters of a world, which are compared with the server's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) turns: u64,
    pub(crate) events: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) accepts: u64,
    pub(crate) adds: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) datagrams_in: u64,
    pub(crate) datagrams_out: u64,
    pub(crate) datagrams_dropped: u64,
    pub(crate) datagrams_lost: u64,
    /// By the kind's place in [`Fault::ALL`].
    pub(crate) faults: Vec<u64>,
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The name of the check.
    pub(crate) check: &'static str,
    pub(crate) text: String,
}

/// The world of one run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) knobs: Knobs,
    /// Nanoseconds since the start of the machine.
    pub(crate) now: u64,
    wall_ns: i128,
    random: Random,
    /// The object of each descriptor, from [`BASE`] on.
    table: Vec<Option<usize>>,
    /// Numbers that were closed.
    was_closed: Vec<bool>,
    pub(crate) objects: Vec<Object>,
    watches: BTreeMap<usize, Watch>,
    /// Objects with a pending event, in order.
    pending: VecDeque<usize>,
    pub(crate) clients: Vec<Client>,
    /// Signals to come: time in nanoseconds, and number.
    signals: VecDeque<(u64, i32)>,
    /// The object that signals come to.
    signal_object: Option<usize>,
    pub(crate) stage: Stage,
    /// When the server was told to stop.
    pub(crate) stopped_at: Option<u64>,
    /// The server was told to stop before all clients had done what they had planned.
    pub(crate) stopped_early: bool,
    /// Grace of the server's stop, in nanoseconds.
    pub(crate) grace_ns: u64,
    pub(crate) tally: Tally,
    pub(crate) failure: Option<Failure>,
    /// Bytes that the server may have read from a client and not sent back to it yet.
    queued_max: Option<u64>,
    /// Lines of the trace, if there is one.
    trace: Option<Vec<String>>,
    /// Keepalive of accepted connections: idle time and interval in seconds, and count.
    keepalive: (u64, u64, u64),
    /// Vanished clients: the time when the kernel gives one up, and its connection.
    vanished: Vec<(u64, usize)>,
    /// Descriptors are out of stock until this time.
    shortage_ns: u64,
    /// System calls of this turn, and turns without any.
    calls: u64,
    empty_turns: u64,
    /// The server runs: only now are there faults.
    pub(crate) is_running: bool,
}

impl World {
    pub(crate) fn new(plan: &Plan, trace: bool) -> World {
        let clients: Vec<Client> = plan.clients.iter().cloned().map(Client::new).collect();
        let signals = plan.signals.iter().map(|(ms, signal)| (ms * MS, *signal));
        World {
            kind: plan.kind,
            knobs: plan.knobs.clone(),
            now: 1_000 * MS,
            wall_ns: 1_700_000_000 * 1_000_000_000,
            random: Random::new(plan.seed),
            table: Vec::new(),
            was_closed: Vec::new(),
            objects: Vec::new(),
            watches: BTreeMap::new(),
            pending: VecDeque::new(),
            clients,
            signals: signals
                .map(|(ns, signal)| (ns + 1_000 * MS, signal))
                .collect(),
            signal_object: None,
            stage: Stage::Scripts,
            stopped_at: None,
            stopped_early: false,
            grace_ns: plan.millis("grace").unwrap_or(5_000) * MS,
            tally: Tally {
                faults: vec![0; Fault::ALL.len()],
                ..Tally::default()
            },
            failure: None,
            queued_max: queued_max(plan),
            trace: trace.then(Vec::new),
            keepalive: (0, 0, 0),
            vanished: Vec::new(),
            shortage_ns: 0,
            calls: 0,
            empty_turns: 0,
            is_running: false,
        }
    }

    /// Notes a failure of the run; the first one counts.
    pub(crate) fn fail(&mut self, check: &'static str, text: impl Into<String>) {
        let text = text.into();
        self.note(|| format!("FAILURE: {check}: {text}"));
        self.failure.get_or_insert(Failure { check, text });
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let ms = self.now as f64 / MS as f64;
            trace.push(format!("{:>6} {ms:>11.3} ms  {}", self.tally.turns, line()));
        }
    }

    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    /// Counts a fault that was not drawn.
    pub(crate) fn count(&mut self, fault: Fault) {
        self.tally.faults[fault as usize] += 1;
    }

    /// Whether a fault happens now.
    pub(crate) fn draw(&mut self, fault: Fault) -> bool {
        let rate = self.knobs.rates.get(fault as usize).copied().unwrap_or(0);
        let happens = self.is_running && rate > 0 && self.random.below(1000) < rate.into();
        if happens {
            self.count(fault);
        }
        happens
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.random.below(limit.max(1))
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment {
            turn: self.tally.turns,
            ns: self.now,
        }
    }

    // Descriptors.

    pub(crate) fn is_ours(fd: i32) -> bool {
        fd >= BASE
    }

    /// Gives an object the lowest free number.
    fn install(&mut self, object: usize) -> Result<i32, Errno> {
        let open = self.open_descriptors();
        if open >= self.knobs.descriptors {
            self.count(Fault::Exhausted);
            return Err(libc::EMFILE);
        }
        let free = self.table.iter().position(Option::is_none);
        let index = free.unwrap_or(self.table.len());
        if index == self.table.len() {
            self.table.push(None);
            self.was_closed.push(false);
        }
        if std::mem::take(&mut self.was_closed[index]) {
            self.count(Fault::Reused);
        }
        self.table[index] = Some(object);
        Ok(BASE + index as i32)
    }

    /// Opens an object.
    pub(crate) fn open(&mut self, object: Object) -> Result<i32, Errno> {
        let fd = self.install(self.objects.len())?;
        self.objects.push(object);
        Ok(fd)
    }

    pub(crate) fn open_descriptors(&self) -> usize {
        self.table.iter().flatten().count()
    }

    /// The object of a descriptor. A number that is not open is a failure of the run.
    pub(crate) fn object(&mut self, fd: i32, call: &'static str) -> Result<usize, Errno> {
        self.calls += 1;
        if self.calls > CALLS_MAX {
            self.fail(
                "spinning",
                format!("more than {CALLS_MAX} calls in one turn"),
            );
        }
        if self.failure.is_some() && self.is_running {
            return Err(libc::EIO);
        }
        let known = self.table.get((fd - BASE) as usize).copied().flatten();
        if known.is_none() {
            let index = fd - BASE;
            self.fail(
                "descriptors",
                format!("{call} on descriptor {index}, which is not open"),
            );
        }
        known.ok_or(libc::EBADF)
    }

    /// Another descriptor of the same object.
    pub(crate) fn duplicate(&mut self, fd: i32) -> Result<i32, Errno> {
        let object = self.object(fd, "dup")?;
        self.install(object)
    }

    /// close(2).
    pub(crate) fn close(&mut self, fd: i32) -> Result<i32, Errno> {
        let object = self.object(fd, "close")?;
        let index = (fd - BASE) as usize;
        self.table[index] = None;
        self.was_closed[index] = true;
        if !self.table.contains(&Some(object)) {
            self.forget(object);
            self.last_close(object);
        }
        Ok(0)
    }

    /// A call that the world does not know, on a descriptor of its own or by a server.
    pub(crate) fn unknown(&mut self, call: &str) -> Errno {
        self.fail("calls", format!("{call} is not simulated"));
        libc::ENOSYS
    }

    /// The clock of this number, in seconds and nanoseconds.
    pub(crate) fn clock(&self, clock: i32) -> (i64, i64) {
        let ns = match clock {
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => {
                self.wall_ns + i128::from(self.now)
            }
            _ => self.now.into(),
        };
        ((ns / 1_000_000_000) as i64, (ns % 1_000_000_000) as i64)
    }
}

/// Output that waits for a peer stays below the high-water mark, what is read in one turn, and what lies
/// in the read buffer.
fn queued_max(plan: &Plan) -> Option<u64> {
    let answers = matches!(plan.kind, Kind::Echo | Kind::Upper);
    let high_water = plan.bytes("high-water").unwrap_or(256 * 1024);
    answers.then_some((high_water + 2 * READ_BUFFER) as u64)
}
