//! `--workers`: several reactors, a thread for each, that share nothing but the address.
//!
//! The kernel deals the clients out (socket(7), `SO_REUSEPORT`). This thread serves nobody: it
//! waits for signals, passes them on, and adds the workers' counters up.

mod printer;

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

use crate::cli::Options;
use crate::logging::{self, say};
use crate::serve::{
    Server, adopt_stdout, limits, listen, log_level, reactor, resolve, run, serve_share,
};
use printer::Printer;

/// How long the counters wait for a worker that is busy.
const REPORT_PATIENCE: Duration = Duration::from_secs(1);

/// What a worker tells.
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
    news: Sender<News>,
    /// Rung for each piece of news, since a channel has no descriptor to wait for.
    bell: Arc<EventFd>,
}

impl Mail {
    fn send(&self, news: News) {
        // Nobody is left to hear it only when the program ends.
        let _ = self.news.send(news);
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
    logging::start(log_level(options), options.log_file.as_deref())?;
    let limits = share_of(limits(options)?, count);
    let addresses = resolve(options, default_port)?;
    // Threads inherit that these signals are blocked, so that none of them is interrupted.
    let signals = Signals::new().map_err(|errno| format!("cannot handle signals: {errno}"))?;
    let failed = |error: io::Error| format!("cannot start the workers: {}", reason(&error));
    let (news, letters) = channel();
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
                news: news.clone(),
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
        working: count,
        stops: 0,
        result: Ok(()),
    };
    let served = supervisor.supervise(options.stats);
    // Why nothing could be printed is more than that the pipe to the printer broke.
    printer.finish(options.grace).and(served)
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
        run(reactor)
    }
}

struct Supervisor {
    signals: Signals,
    bell: Arc<EventFd>,
    letters: Receiver<News>,
    wakers: Vec<Waker>,
    /// Workers that have not ended.
    working: usize,
    /// How often a stop was asked for.
    stops: usize,
    /// What ended the first worker that ended.
    result: Result<(), String>,
}

impl Supervisor {
    fn supervise(mut self, report_every: Option<Duration>) -> Result<(), String> {
        let report_every = report_every.filter(|every| !every.is_zero());
        let mut next_report = report_every.map(|every| Instant::now() + every);
        while self.working > 0 {
            self.wait(next_report)?;
            self.take_signals();
            while let Ok(news) = self.letters.try_recv() {
                self.take(news);
            }
            if next_report.is_some_and(|at| at <= Instant::now()) {
                self.report();
                next_report = report_every.map(|every| Instant::now() + every);
            }
        }
        self.result
    }

    /// Waits for a signal, for news, or for the time of the next report.
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

    fn take_signals(&mut self) {
        while let Some(action) = self.signals.next() {
            match action {
                SignalAction::Stop => self.stop(),
                SignalAction::Report => self.report(),
                SignalAction::Redraw => {}
                SignalAction::Nothing => log::info!("SIGHUP ignored"),
            }
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Started(waker) => {
                (0..self.stops).for_each(|_| tell(waker.stop()));
                self.wakers.push(waker);
            }
            // It comes too late for the report that it was asked for.
            News::Counted(_) => {}
            News::Ended(result) => {
                self.working -= 1;
                if result.is_err() && self.result.is_ok() {
                    self.result = result;
                    self.stop();
                }
            }
        }
    }

    fn stop(&mut self) {
        self.stops += 1;
        self.wakers.iter().for_each(|waker| tell(waker.stop()));
    }

    /// Asks every worker for its counters, and prints their sum.
    fn report(&mut self) {
        self.wakers.iter().for_each(|waker| tell(waker.report()));
        let until = Instant::now() + REPORT_PATIENCE;
        let (mut sum, mut counted) = (Stats::default(), 0);
        while counted < self.working {
            let left = until.saturating_duration_since(Instant::now());
            match self.letters.recv_timeout(left) {
                Ok(News::Counted(stats)) => {
                    sum.merge(&stats);
                    counted += 1;
                }
                Ok(news) => self.take(news),
                Err(_) => {
                    log::warn!("workers too busy to be counted: {}", self.working - counted);
                    break;
                }
            }
        }
        say(&format!("stats: {sum}"));
    }
}

/// A worker that cannot be reached has ended, which is heard of in another way.
fn tell(told: nix::Result<()>) {
    if let Err(errno) = told {
        log::debug!("a worker cannot be reached: {}", errno.desc());
    }
}
