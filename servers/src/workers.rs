//! `--workers`: several reactors, a thread for each, that share nothing but the address.
//!
//! The kernel deals the clients out (socket(7), `SO_REUSEPORT`). This thread serves nobody: it
//! waits for signals, passes them on, and adds the workers' counters up.

mod printer;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use edgeloop_reactor::{Bound, Limits, SignalAction, Signals, Stats, Waker, reason};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::limits::limits;
use crate::listen::{listen, resolve};
use crate::on_reactor::{adopt_stdout, reactor, run, serve_share};
use crate::options::Options;
use crate::server::Server;
use crate::stderr::say;
use crate::{ending, logging};
use printer::Printer;

/// How long a report waits for a worker that is busy.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);

/// What one worker tells.
struct Letter {
    from: usize,
    news: News,
}

enum News {
    /// Where it can be reached.
    Started(Waker),
    /// What it was asked for.
    Counted(Box<Stats>),
    Ended(Result<(), String>),
}

/// The way to the supervisor.
#[derive(Clone)]
struct Mail {
    worker: usize,
    letters: Sender<Letter>,
    /// Rung for each letter, since a channel has no descriptor to wait for.
    bell: Arc<EventFd>,
}

impl Mail {
    fn send(&self, news: News) {
        let from = self.worker;
        // Nobody is left to read it only when the program ends.
        let _ = self.letters.send(Letter { from, news });
        let _ = self.bell.write(1);
    }
}

/// Serves with `count` reactors until a signal, or until one of them fails.
pub(crate) fn serve<S: Server>(
    count: usize,
    protocol: impl Fn() -> S + Clone + Send + 'static,
    options: &Options,
    default_port: u16,
) -> Result<(), String> {
    logging::start(options.log_level(), options.log_file.as_deref())?;
    let limits = share_of(limits(options)?, count);
    let addresses = resolve(options, default_port)?;
    // Threads inherit that these signals are blocked, so that none of them is interrupted.
    let signals =
        Signals::new().map_err(|errno| format!("cannot handle signals: {}", errno.desc()))?;
    let failed = |error: io::Error| format!("cannot start the workers: {}", reason(&error));
    let (sender, letters) = channel();
    let bell = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC);
    let bell = Arc::new(bell.map_err(|errno| failed(errno.into()))?);
    let prints = protocol().streams().stdout.is_some();
    let (printer, pipes) = Printer::start(if prints { count } else { 0 }).map_err(failed)?;
    let mut pipes = pipes.into_iter();
    let shares = listen(&addresses, options, count, |_| Ok(()))?;
    for (index, share) in shares.into_iter().enumerate() {
        let worker = Worker {
            share,
            limits: limits.clone(),
            stdout: pipes.next(),
            mail: Mail {
                worker: index,
                letters: sender.clone(),
                bell: Arc::clone(&bell),
            },
        };
        let protocol = protocol.clone();
        thread::Builder::new()
            .name(format!("worker {index}"))
            .spawn(move || worker.work(protocol()))
            .map_err(failed)?;
    }
    let supervisor = Supervisor {
        signals,
        bell,
        letters,
        wakers: Vec::new(),
        working: (0..count).collect(),
        stops: 0,
        grace_end: None,
        counters: vec![Stats::default(); count],
        report: None,
        result: Ok(()),
    };
    let served = supervisor.supervise(options);
    // Why nothing could be printed is more than that the pipe to the printer broke.
    printer.finish().and(served)
}

/// Each worker may have its share of the connections: all together have what was asked for.
fn share_of(mut limits: Limits, count: usize) -> Limits {
    limits.max_connections = (limits.max_connections / count).max(1);
    limits
}

struct Worker {
    share: Vec<Bound>,
    limits: Limits,
    /// The way to standard output, for a server that prints.
    stdout: Option<OwnedFd>,
    mail: Mail,
}

impl Worker {
    fn work<S: Server>(self, protocol: S) {
        let mail = self.mail.clone();
        let result = self.serve(protocol);
        mail.send(News::Ended(result));
    }

    fn serve<S: Server>(self, protocol: S) -> Result<(), String> {
        let mut reactor = reactor(protocol, false, self.limits)?;
        let waker = reactor.waker().map_err(|error| reason(&error))?;
        self.mail.send(News::Started(waker));
        let mail = self.mail;
        reactor.report(None, move |stats| {
            mail.send(News::Counted(Box::new(*stats)))
        });
        if let Some(stdout) = self.stdout {
            adopt_stdout(&mut reactor, Ok(stdout))?;
        }
        serve_share(&mut reactor, self.share)?;
        run(&mut reactor)
    }
}

struct Supervisor {
    signals: Signals,
    bell: Arc<EventFd>,
    letters: Receiver<Letter>,
    wakers: Vec<Waker>,
    /// Workers that have not ended.
    working: BTreeSet<usize>,
    /// How often a stop was asked for.
    stops: usize,
    /// When the grace period ends, once it has begun.
    grace_end: Option<Instant>,
    /// What each worker has told of its counters last, until it ended.
    counters: Vec<Stats>,
    /// The report that is under way.
    report: Option<Report>,
    /// What ended the first worker that ended.
    result: Result<(), String>,
}

/// A report that waits for what the workers tell.
struct Report {
    /// Who has not told yet.
    missing: BTreeSet<usize>,
    until: Instant,
    /// Another was asked for meanwhile.
    again: bool,
}

impl Supervisor {
    fn supervise(mut self, options: &Options) -> Result<(), String> {
        let report_every = options.stats.filter(|every| !every.is_zero());
        let mut next_report = report_every.map(|every| Instant::now() + every);
        while !self.working.is_empty() {
            let deadlines = [next_report, self.report.as_ref().map(|report| report.until)];
            self.wait(deadlines.into_iter().flatten().min())?;
            self.take_signals(options.grace);
            while let Ok(letter) = self.letters.try_recv() {
                self.read(letter);
            }
            if next_report.is_some_and(|at| at <= Instant::now()) {
                self.report();
                next_report = report_every.map(|every| Instant::now() + every);
            }
            self.end_report();
        }
        ending::begin(self.grace_left(options.grace));
        self.result
    }

    /// What is left of the grace period: all of it if it has not begun.
    fn grace_left(&self, grace: Duration) -> Duration {
        match self.grace_end {
            Some(_) if self.stops > 1 => Duration::ZERO,
            Some(end) => end.saturating_duration_since(Instant::now()),
            None => grace,
        }
    }

    /// Waits for a signal, for a letter, or until then.
    fn wait(&self, until: Option<Instant>) -> Result<(), String> {
        let mut asked = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.bell.as_fd(), PollFlags::POLLIN),
        ];
        let left = until.map(|at| at.saturating_duration_since(Instant::now()));
        // Rounded up: to wake up too early is to wake up twice.
        let left = left.map(|left| i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX));
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut asked, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(format!("poll: {}", errno.desc())),
        }
        // EAGAIN says that it has not rung.
        let _ = self.bell.read();
        Ok(())
    }

    fn take_signals(&mut self, grace: Duration) {
        for _ in 0..Signals::AT_ONCE {
            let Some(action) = self.signals.next() else {
                return;
            };
            match action {
                SignalAction::Stop => {
                    self.grace_end = self.grace_end.or(Instant::now().checked_add(grace));
                    self.stop();
                }
                SignalAction::Report => self.report(),
                SignalAction::Redraw => {}
                SignalAction::Reload => logging::reload(false),
            }
        }
    }

    fn read(&mut self, Letter { from, news }: Letter) {
        match news {
            News::Started(waker) => {
                (0..self.stops).for_each(|_| tell(waker.stop()));
                if self.report.is_some() {
                    tell(waker.report());
                }
                self.wakers.push(waker);
            }
            News::Counted(stats) => {
                self.counters[from] = *stats;
                self.misses_no_more(from);
            }
            News::Ended(result) => {
                self.working.remove(&from);
                self.counters[from] = Stats::default();
                self.misses_no_more(from);
                if result.is_err() && self.result.is_ok() {
                    self.result = result;
                    self.stop();
                }
            }
        }
    }

    fn misses_no_more(&mut self, worker: usize) {
        if let Some(report) = &mut self.report {
            report.missing.remove(&worker);
        }
    }

    fn stop(&mut self) {
        self.stops += 1;
        self.wakers.iter().for_each(|waker| tell(waker.stop()));
    }

    /// Asks every worker for its counters.
    fn report(&mut self) {
        if let Some(report) = &mut self.report {
            report.again = true;
            return;
        }
        self.wakers.iter().for_each(|waker| tell(waker.report()));
        self.report = Some(Report {
            missing: self.working.clone(),
            until: Instant::now() + REPORT_PATIENCE,
            again: false,
        });
    }

    /// Prints the sum of the counters if all have told theirs, or had the time to.
    fn end_report(&mut self) {
        let is_over =
            |report: &mut Report| report.missing.is_empty() || report.until <= Instant::now();
        let Some(report) = self.report.take_if(is_over) else {
            return;
        };
        if !report.missing.is_empty() {
            let missing = report.missing.len();
            log::warn!("workers too busy to be counted, and counted as before: {missing}");
        }
        let mut sum = Stats::default();
        self.counters.iter().for_each(|stats| sum.merge(stats));
        say(&format!("stats: {sum}"));
        if report.again {
            self.report();
        }
    }
}

/// A worker that cannot be reached has ended, which is heard of in another way.
fn tell(told: nix::Result<()>) {
    if let Err(errno) = told {
        log::debug!("a worker cannot be reached: {}", errno.desc());
    }
}
