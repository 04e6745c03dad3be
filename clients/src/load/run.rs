//! One run: the workers' threads, each with a reactor, and the conductor's reactor in this thread.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use edgeloop_reactor::process::reason;
use edgeloop_reactor::{Direction, Limits, Reactor, Waker};

use super::chat::Chat;
use super::clock::Clock;
use super::conductor::{Conductor, Figures};
use super::connect::Connect;
use super::crew::{Crew, Phase};
use super::datagrams::Datagrams;
use super::echo::Echo;
use super::options::{Kind, LoadOptions};
use super::pace::{TICKS, Ticks};
use super::plan::Plan;
use super::sink::Sink;
use super::tally::Tally;
use super::web::Web;
use super::worker::{Driver, Load, Worker};
use crate::dial::cannot_reach;

/// The result of a run.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) tally: Tally,
    /// Messages answered at any time, also before they counted.
    pub(super) answered: u64,
    /// The measured time.
    pub(super) measured: Duration,
    pub(super) figures: Figures,
    /// A signal has ended the run.
    pub(super) interrupted: bool,
    /// Why the run did not take place, or did not come to its end.
    pub(super) failure: Option<String>,
}

impl Outcome {
    /// The outcome of a run that did not take place.
    pub(super) fn failed(why: String) -> Outcome {
        Outcome {
            failure: Some(why),
            ..Outcome::default()
        }
    }
}

/// The whole run. The outcome holds the counts, whether the run came to its end or not. Errors: the
/// run did not take place.
pub(super) fn run(plan: Plan, options: &LoadOptions) -> Result<Outcome, String> {
    let crew = Arc::new(Crew::new(plan, Clock::start()));
    let mut reactor = lead(&crew, options)?;
    let threads = start(&crew)?;
    let led = Conductor::conduct(&mut reactor);
    crew.tell(Phase::Over, crew.clock.elapsed());
    let (tally, broken) = match join(threads) {
        Ok(tally) => (tally, None),
        Err(failure) => (Tally::default(), Some(failure)),
    };
    let conductor = reactor.protocol();
    let (figures, stopped) = match led {
        Ok(()) => (conductor.figures(), None),
        Err(failure) => (Figures::default(), Some(failure)),
    };
    let interrupted = conductor.is_interrupted();
    let unreachable = || (!interrupted).then(|| unreachable(&crew.plan, &tally))?;
    Ok(Outcome {
        failure: broken.or(stopped).or_else(unreachable),
        answered: crew.count().answered,
        measured: Duration::from_nanos(crew.window.length()),
        figures,
        interrupted,
        tally,
    })
}

/// The conductor's reactor, before workers start: they inherit that signals are blocked, so none of
/// them is interrupted.
fn lead(crew: &Arc<Crew>, options: &LoadOptions) -> Result<Reactor<Conductor>, String> {
    let conductor = Conductor::new(Arc::clone(crew), options)?;
    let limits = Limits {
        grace: Duration::MAX,
        ..Limits::default()
    };
    let cannot = |error| format!("cannot start the workers: {}", reason(&error));
    let mut reactor = Reactor::new(conductor, limits).map_err(cannot)?;
    reactor
        .handle_signals()
        .map_err(|error| format!("cannot handle signals: {}", reason(&error)))?;
    crew.set_bell(reactor.waker().map_err(cannot)?);
    Ok(reactor)
}

/// Why there was no connection to measure, if there was none.
fn unreachable(plan: &Plan, tally: &Tally) -> Option<String> {
    if tally.connected > 0 {
        return None;
    }
    let why = tally.problems.keys().next();
    let why = why.map_or("no connection was opened", String::as_str);
    let why = why.strip_prefix("connect: ").unwrap_or(why);
    Some(cannot_reach(&plan.server, why))
}

/// A worker's thread, which ends with its counts.
type Thread = JoinHandle<Result<Tally, String>>;

/// Starts all workers. Errors: threads or reactors cannot be had.
fn start(crew: &Arc<Crew>) -> Result<Vec<Thread>, String> {
    let mut threads = Vec::new();
    let (started, starts) = channel();
    for worker in 0..crew.plan.workers {
        let (crew, started) = (Arc::clone(crew), started.clone());
        let thread = thread::Builder::new()
            .name(format!("worker {worker}"))
            .spawn(move || {
                // Without one of the workers it is not the load that was asked for.
                work(&crew, worker, &started).inspect_err(|_| crew.give_up())
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
    Ok(threads)
}

/// Waits for the end of all workers, and adds up their counts.
fn join(threads: Vec<Thread>) -> Result<Tally, String> {
    let mut sum = Tally::default();
    for thread in threads {
        let tally = thread.join().map_err(|_| "a worker has panicked")??;
        sum.merge(&tally);
    }
    Ok(sum)
}

/// A worker's number and waker, or why it cannot work.
type Start = Result<(u32, Waker), String>;

/// All that a worker's thread does.
fn work(crew: &Arc<Crew>, worker: u32, started: &Sender<Start>) -> Result<Tally, String> {
    match crew.plan.kind {
        Kind::Echo | Kind::Upper if crew.plan.is_udp() => drive::<Datagrams>(crew, worker, started),
        Kind::Echo if crew.plan.is_web() => drive::<Web<Echo>>(crew, worker, started),
        Kind::Echo | Kind::Upper => drive::<Echo>(crew, worker, started),
        Kind::Chat if crew.plan.is_web() => drive::<Web<Chat>>(crew, worker, started),
        Kind::Chat => drive::<Chat>(crew, worker, started),
        Kind::Sink => drive::<Sink>(crew, worker, started),
        Kind::Connect => drive::<Connect>(crew, worker, started),
    }
}

/// Runs a load to its end. Before it begins, or if it cannot, the main thread is told.
fn drive<L: Load>(crew: &Arc<Crew>, worker: u32, started: &Sender<Start>) -> Result<Tally, String> {
    let ready = reactor::<L>(crew, worker).map_err(|why| format!("cannot start a worker: {why}"));
    let start = ready.as_ref().map(|(_, waker)| (worker, waker.clone()));
    let _ = started.send(start.map_err(String::clone));
    let (mut reactor, _) = ready?;
    reactor.call(Driver::start);
    reactor.run().map_err(|error| reason(&error))?;
    Ok(reactor.protocol().worker.tally.clone())
}

/// A worker's reactor; with a timer for its ticks if there is a rate.
fn reactor<L: Load>(crew: &Arc<Crew>, worker: u32) -> Result<(Reactor<Driver<L>>, Waker), String> {
    let reason = |error| reason(&error);
    let rate = crew.plan.rate_of(worker);
    let ticks = rate.map(|rate| Ticks::open(crew.clock, rate)).transpose();
    let ticks = ticks.map_err(|errno| errno.desc())?;
    let pace = ticks.as_ref().map(Ticks::pace);
    let load = Driver::new(Worker::new(Arc::clone(crew), worker, pace));
    let limits = L::limits(&crew.plan, limits(&crew.plan));
    let mut reactor = Reactor::new(load, limits).map_err(reason)?;
    let waker = reactor.waker().map_err(reason)?;
    if let Some(ticks) = ticks {
        let descriptor = ticks.into_descriptor();
        let adopted = reactor.adopt(descriptor, Direction::Input, TICKS);
        adopted.map_err(reason)?;
    }
    Ok((reactor, waker))
}

/// The limits of workers' reactors.
fn limits(plan: &Plan) -> Limits {
    Limits {
        // The pending output is bounded by what the loads send, and the server may take its time.
        high_water: usize::MAX,
        queue_limit: Some(usize::MAX),
        stall_timeout: Duration::ZERO,
        connect_timeout: plan.timeout,
        // A load ends by itself, and its connections are made with as few calls as possible.
        keepalive: Duration::ZERO,
        grace: Duration::ZERO,
        ..Limits::default()
    }
}
