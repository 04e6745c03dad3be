//! The workers' threads, each with a reactor.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use edgeloop_reactor::{Direction, Limits, Reactor, Waker, reason};

use super::chat::Chat;
use super::connect::Connect;
use super::crew::Crew;
use super::datagrams::Datagrams;
use super::echo::Echo;
use super::options::Kind;
use super::pace::{TICKS, Ticks};
use super::phase::Load;
use super::sink::Sink;
use super::tally::Tally;
use super::worker::Worker;

/// Bytes that may wait for a chat server besides lines under way: names, probes.
const CHAT_SPARE: usize = 64 * 1024;

/// A worker's thread, which ends with its counts.
type Thread = JoinHandle<Result<Tally, String>>;

/// The threads of a crew.
#[derive(Debug)]
pub(super) struct Threads(Vec<Thread>);

impl Threads {
    /// Starts all workers. Errors: threads or reactors cannot be had.
    pub(super) fn start(crew: &Arc<Crew>) -> Result<Threads, String> {
        let mut threads = Vec::new();
        let (started, starts) = channel();
        for worker in 0..crew.plan.workers {
            let (crew, started) = (Arc::clone(crew), started.clone());
            let thread = thread::Builder::new()
                .name(format!("worker {worker}"))
                .spawn(move || {
                    let worked = work(Worker::new(Arc::clone(&crew), worker), &started);
                    // Without one of them it is not the load that was asked for.
                    worked.inspect_err(|_| crew.give_up())
                })
                .map_err(|error| format!("cannot start a worker: {}", reason(&error)))?;
            threads.push(thread);
        }
        let mut wakers = Vec::new();
        for _ in 0..crew.plan.workers {
            match starts.recv() {
                Ok(Ok(start)) => wakers.push(start),
                Ok(Err(failure)) => return Err(failure),
                Err(_) => return Err("a worker did not start".into()),
            }
        }
        wakers.sort_by_key(|(worker, _)| *worker);
        crew.set_wakers(wakers.into_iter().map(|(_, waker)| waker).collect());
        Ok(Threads(threads))
    }

    /// Waits for the end of all, and adds up what they counted.
    pub(super) fn join(self) -> Result<Tally, String> {
        let mut sum = Tally::new();
        for thread in self.0 {
            let tally = thread.join().map_err(|_| "a worker has panicked")??;
            sum.merge(&tally);
        }
        Ok(sum)
    }
}

/// A worker's number and the way to it, or why it cannot work.
type Start = Result<(u32, Waker), String>;

/// All that a worker's thread does.
fn work(worker: Worker, started: &Sender<Start>) -> Result<Tally, String> {
    let plan = worker.plan();
    let ticks = plan
        .rate_of(worker.index())
        .map(|rate| Ticks::open(worker.crew.clock, rate));
    let ticks = match ticks.transpose() {
        Ok(ticks) => ticks,
        Err(errno) => {
            let failure = format!("cannot start a worker: {}", errno.desc());
            let _ = started.send(Err(failure.clone()));
            return Err(failure);
        }
    };
    let pace = ticks.as_ref().map(Ticks::pace);
    let timeout = plan.timeout;
    let limits = Limits {
        // What waits is bounded by what the protocols send, and the server may take its time.
        high_water: usize::MAX,
        queue_limit: Some(usize::MAX),
        stall_timeout: std::time::Duration::ZERO,
        connect_timeout: timeout,
        // A load ends by itself, and its connections are made with as few calls as possible.
        keepalive: std::time::Duration::ZERO,
        grace: std::time::Duration::ZERO,
        ..Limits::default()
    };
    match plan.kind {
        Kind::Echo | Kind::Upper if plan.is_udp() => {
            run(Datagrams::new(worker, pace), limits, ticks, started)
        }
        Kind::Echo | Kind::Upper => run(Echo::new(worker, pace), limits, ticks, started),
        Kind::Chat => {
            // A talker that the server garbles talks on, though the server may not read it.
            let under_way = plan.size * plan.depth as usize;
            let limits = Limits {
                queue_limit: Some(2 * under_way + CHAT_SPARE),
                ..limits
            };
            run(Chat::new(worker, pace), limits, ticks, started)
        }
        Kind::Sink => {
            // So it hears whenever the kernel takes no more, and when it does again.
            let limits = Limits {
                high_water: 0,
                ..limits
            };
            run(Sink::new(worker, pace), limits, ticks, started)
        }
        Kind::Connect => run(Connect::new(worker, pace), limits, ticks, started),
    }
}

/// Runs a load to its end.
fn run<L: Load>(
    load: L,
    limits: Limits,
    ticks: Option<Ticks>,
    started: &Sender<Start>,
) -> Result<Tally, String> {
    let (mut reactor, waker) = match reactor(load, limits, ticks) {
        Ok(ready) => ready,
        Err(failure) => {
            // The conductor does not go on without this worker, and says why.
            let _ = started.send(Err(failure.clone()));
            return Err(failure);
        }
    };
    let _ = started.send(Ok((reactor.protocol().worker().index(), waker)));
    reactor.call(L::start);
    reactor.run().map_err(|error| reason(&error))?;
    Ok(reactor.protocol().worker().tally.clone())
}

fn reactor<L: Load>(
    load: L,
    limits: Limits,
    ticks: Option<Ticks>,
) -> Result<(Reactor<L>, Waker), String> {
    let cannot = |error| format!("cannot start a worker: {}", reason(&error));
    let mut reactor = Reactor::new(load, limits).map_err(cannot)?;
    let waker = reactor.waker().map_err(cannot)?;
    if let Some(ticks) = ticks {
        let adopted = reactor.adopt(ticks.into_descriptor(), Direction::Input, TICKS);
        adopted.map_err(cannot)?;
    }
    Ok((reactor, waker))
}
