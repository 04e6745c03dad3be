//! The supervisor: a protocol whose only connection is the signals.
//!
//! A signalfd(2) can be adopted like a pipe, and its bytes are records of a fixed size. The
//! workers' letters come by a [`Waker`]. [`Reactor::handle_signals`] does not do: upon the first
//! SIGTERM it stops this reactor, which would not wait for the workers, and the protocol is not told
//! of the second.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use edgeloop_reactor::process::reason;
use edgeloop_reactor::terminal::REDRAW_SIGNALS;
use edgeloop_reactor::{
    ConnId, Data, Direction, Limits, Opened, Outbox, Protocol, Reactor, Signals, Stats, TurnClock,
    TurnTimes, Waker,
};
use nix::libc::signalfd_siginfo;
use nix::sys::signal::Signal;

use super::mail::{Letter, News, Started};
use crate::figures::{Counters, Pairs};
use crate::logging;
use crate::metrics::{Metrics, Numbers};
use crate::orders::{Order, Orders};
use crate::stderr::say;

/// The tag of the signals.
const SIGNALS: u64 = 0;

/// Longest time that a report waits for a busy worker.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Supervisor {
    letters: Receiver<Letter>,
    signals: Option<ConnId>,
    wakers: Vec<Waker>,
    /// Orders for the workers' servers.
    orders: Orders,
    /// Some of these servers reload files.
    reloads: bool,
    /// Workers that have not ended.
    working: BTreeSet<usize>,
    /// Number of stop signals so far; the failure of a worker counts as one.
    stops: usize,
    grace: Duration,
    /// The end of the grace period; `None` before it has begun, and if it has no end.
    grace_end: Option<Instant>,
    /// The last known counters of each worker.
    counters: Vec<Counters>,
    /// The times of the workers' turns, if they are measured.
    clocks: Vec<TurnClock>,
    /// The report that is under way.
    report: Option<Report>,
    /// Wakes the loop of the scrapers.
    scrapers: Option<Waker>,
    /// The sum of the counters, for scrapers that wait for it.
    sum: Option<Counters>,
    /// The first error with which a worker ended.
    result: Result<(), String>,
}

/// A report that waits for the workers' counters.
struct Report {
    /// Workers whose counters are not here yet.
    missing: BTreeSet<usize>,
    /// It is printed; all are for scrapers that wait.
    is_printed: bool,
    /// Another one to be printed was asked for meanwhile.
    again: bool,
}

impl Supervisor {
    /// Supervises workers with the numbers below `count`, which obey these orders and write these letters,
    /// and wakes the scrapers when there are counters for them.
    pub(super) fn new(
        count: usize,
        orders: Orders,
        letters: Receiver<Letter>,
        grace: Duration,
        scrapers: Option<Waker>,
    ) -> Supervisor {
        Supervisor {
            letters,
            signals: None,
            wakers: Vec::new(),
            orders,
            reloads: false,
            working: (0..count).collect(),
            stops: 0,
            grace,
            grace_end: None,
            counters: vec![Counters::default(); count],
            clocks: Vec::new(),
            report: None,
            scrapers,
            sum: None,
            result: Ok(()),
        }
    }

    /// A reactor that serves the supervisor, with the signals as its only connection.
    pub(super) fn on_reactor(self, signals: &Signals) -> io::Result<Reactor<Supervisor>> {
        let mut reactor = Reactor::new(self, Limits::default())?;
        let signals = signals.as_fd().try_clone_to_owned()?;
        reactor.adopt(signals, Direction::Input, SIGNALS)?;
        Ok(reactor)
    }

    /// The first error with which a worker ended.
    pub(super) fn result(&self) -> Result<(), String> {
        self.result.clone()
    }

    /// The rest of the grace period: all of it if it has not begun.
    pub(super) fn grace_left(&self) -> Duration {
        match self.grace_end {
            Some(_) if self.stops > 1 => Duration::ZERO,
            Some(end) => end.saturating_duration_since(Instant::now()),
            None => self.grace,
        }
    }

    fn obey(&mut self, signal: Signal, out: &mut Outbox) {
        match signal {
            Signal::SIGTERM | Signal::SIGINT => {
                let end = Instant::now().checked_add(self.grace);
                self.grace_end = self.grace_end.or(end);
                self.stop();
            }
            Signal::SIGUSR1 => self.report(true, out),
            Signal::SIGHUP => {
                logging::reload(self.reloads);
                self.order(Order::Reload);
            }
            signal if REDRAW_SIGNALS.contains(&(signal as i32)) => self.order(Order::Redraw),
            _ => {}
        }
    }

    fn order(&self, order: Order) {
        self.orders.give(order);
        self.wakers.iter().for_each(|waker| tell(waker.wake()));
    }

    fn read(&mut self, Letter { from, news }: Letter, out: &mut Outbox) {
        match news {
            News::Started(Started {
                waker,
                clock,
                reloads,
            }) => {
                if self.orders.are_given() {
                    tell(waker.wake());
                }
                self.reloads |= reloads;
                (0..self.stops).for_each(|_| tell(waker.stop()));
                if self.report.is_some() {
                    tell(waker.report());
                }
                self.wakers.push(waker);
                self.clocks.extend(clock);
            }
            News::Counted(counters) => {
                self.counters[from] = *counters;
                self.misses_no_more(from, out);
            }
            News::Ended(result) => {
                self.working.remove(&from);
                let last = &mut self.counters[from].stats;
                // If it has failed, its connections went with it.
                (last.connections, last.bytes_pending) = (0, 0);
                if result.is_err() && self.result.is_ok() {
                    self.result = result;
                    self.stop();
                }
                self.misses_no_more(from, out);
                self.end_after_the_last(out);
            }
            News::ReportIsDue => self.report(true, out),
        }
    }

    fn misses_no_more(&mut self, worker: usize, out: &mut Outbox) {
        if let Some(report) = &mut self.report {
            report.missing.remove(&worker);
            if report.missing.is_empty() {
                self.end_report(out);
            }
        }
    }

    fn stop(&mut self) {
        self.stops += 1;
        self.wakers.iter().for_each(|waker| tell(waker.stop()));
    }

    /// With the last worker, the supervisor ends. Signals that arrive from here on are left to
    /// [`ending`](crate::ending).
    fn end_after_the_last(&mut self, out: &mut Outbox) {
        if self.working.is_empty() {
            self.signals.into_iter().for_each(|id| out.abort(id));
            out.stop();
        }
    }

    /// Asks every worker for its counters, to be printed or for scrapers only.
    fn report(&mut self, is_printed: bool, out: &mut Outbox) {
        if let Some(report) = &mut self.report {
            report.again |= is_printed;
            return;
        }
        self.wakers.iter().for_each(|waker| tell(waker.report()));
        self.report = Some(Report {
            missing: self.working.clone(),
            is_printed,
            again: false,
        });
        out.set_service_timer(REPORT_PATIENCE);
    }

    /// Tells the sum of the counters, in which those of busy workers may be old.
    fn end_report(&mut self, out: &mut Outbox) {
        let Some(report) = self.report.take() else {
            return;
        };
        out.clear_service_timer();
        // Scrapers, who may be strangers, cause no line of the log.
        if report.is_printed && !report.missing.is_empty() {
            let missing = report.missing.len();
            log::warn!("workers too busy to be counted, and counted as before: {missing}");
        }
        let mut sum = Counters::default();
        self.counters
            .iter()
            .for_each(|counters| sum.merge(counters));
        if report.is_printed {
            say(&format!("stats: {}{}", sum.stats, Pairs(&sum.own)));
        }
        if let Some(scrapers) = &self.scrapers {
            self.sum = Some(sum);
            tell(scrapers.wake());
        }
        if report.again {
            self.report(true, out);
        }
    }

    fn turn_times(&self) -> TurnTimes {
        let mut sum = TurnTimes::default();
        self.clocks
            .iter()
            .for_each(|clock| sum.merge(&clock.read()));
        sum
    }
}

/// A turn of the scrapers' loop: they are answered when the workers' counters are here.
pub(super) fn scrape(
    metrics: &mut Metrics,
    supervisor: &mut Supervisor,
    _: &Stats,
    out: &mut Outbox,
) -> Option<Duration> {
    let waits = metrics.turn(supervisor.stops > 0);
    match (waits, supervisor.sum.take()) {
        (true, Some(sum)) => metrics.answer(Numbers::Reactors {
            stats: &sum.stats,
            own: &sum.own,
            turns: &supervisor.turn_times(),
            count: supervisor.counters.len(),
        }),
        (true, None) => supervisor.report(false, out),
        (false, _) => {}
    }
    metrics.timeout()
}

impl Protocol for Supervisor {
    fn on_open(&mut self, id: ConnId, _: Opened, _: &mut Outbox) {
        self.signals = Some(id);
    }

    /// Signals arrived. The kernel gives whole records only, which begin with the signal's number
    /// (signalfd(2)).
    fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
        let (records, _) = data.as_chunks::<{ size_of::<signalfd_siginfo>() }>();
        for &[a, b, c, d, ..] in records {
            let number = i32::from_ne_bytes([a, b, c, d]);
            if let Ok(signal) = Signal::try_from(number) {
                self.obey(signal, out);
            }
        }
    }

    fn on_wake(&mut self, out: &mut Outbox) {
        while let Ok(letter) = self.letters.try_recv() {
            self.read(letter, out);
        }
    }

    /// The workers have had the time to tell their counters.
    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.end_report(out);
    }
}

/// A worker that cannot be reached has ended, and its letter says so.
fn tell(told: io::Result<()>) {
    if let Err(error) = told {
        log::debug!("a worker cannot be reached: {}", reason(&error));
    }
}
