//! `--workers`: several reactors, a thread for each, that share nothing but the address.
//!
//! The kernel deals the clients out (socket(7), `SO_REUSEPORT`). The main thread has no clients:
//! its reactor serves a [`Supervisor`], which passes signals on to the workers and adds their
//! counters up.

mod mail;
mod printer;
mod supervisor;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;
use std::thread;

use edgeloop_reactor::process::reason;
use edgeloop_reactor::{Limits, Signals};

use crate::limits::limits;
use crate::listen::{Share, listen, resolve};
use crate::metrics::Metrics;
use crate::on_reactor::{adopt_stdout, reactor, run, serve_share};
use crate::options::Options;
use crate::server::Server;
use crate::{ending, logging};
use mail::{Mail, News};
use printer::Printer;
use supervisor::{Supervisor, scrape};

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
    let mut metrics = Metrics::open(options)?;
    // Threads inherit that these signals are blocked, so that none of them is interrupted.
    let signals =
        Signals::new().map_err(|error| format!("cannot handle signals: {}", reason(&error)))?;
    let failed = |error: io::Error| format!("cannot start the workers: {}", reason(&error));
    let (sender, letters) = channel();
    let scrapers = metrics.as_mut().map(Metrics::waker).transpose()?;
    let supervisor = Supervisor::new(count, letters, options.grace, scrapers);
    let mut reactor = supervisor.on_reactor(&signals).map_err(failed)?;
    let bell = reactor.waker().map_err(failed)?;
    let prints = protocol().streams().stdout.is_some();
    let (printer, pipes) = Printer::start(if prints { count } else { 0 }).map_err(failed)?;
    let mut pipes = pipes.into_iter();
    let shares = listen(&addresses, options, count, |_| Ok(()))?;
    for (index, share) in shares.into_iter().enumerate() {
        let worker = Worker {
            share,
            limits: limits.clone(),
            stdout: pipes.next(),
            mail: Mail::new(index, &sender, &bell),
            is_timed: metrics.is_some(),
        };
        worker.start(index, protocol.clone()).map_err(failed)?;
    }
    if let Some(metrics) = metrics {
        reactor.nest(metrics, scrape).map_err(failed)?;
    }
    let own = Mail::new(count, &sender, &bell);
    reactor.report(options.stats, move |_, _, _| own.send(News::ReportIsDue));
    let served = reactor.run().map_err(|error| reason(&error));
    let supervisor = reactor.protocol();
    ending::begin(supervisor.grace_left());
    // The printer's failure comes first: it is the cause of a worker's "Broken pipe".
    printer.finish().and(served).and(supervisor.result())
}

/// The limits of each worker: its share of the connections, so that the limit holds for all
/// together.
fn share_of(mut limits: Limits, count: usize) -> Limits {
    limits.max_connections = (limits.max_connections / count).max(1);
    limits.max_pending /= count;
    limits.max_per_address = limits.max_per_address.map(|most| most.div_ceil(count));
    limits
}

struct Worker {
    share: Share,
    limits: Limits,
    /// The pipe to the printer, for a server that prints.
    stdout: Option<OwnedFd>,
    mail: Mail,
    /// It measures its turns, for scrapers.
    is_timed: bool,
}

impl Worker {
    /// Serves in a thread of its own.
    fn start<S: Server>(
        self,
        index: usize,
        protocol: impl FnOnce() -> S + Send + 'static,
    ) -> io::Result<()> {
        let thread = thread::Builder::new().name(format!("worker {index}"));
        thread.spawn(move || self.work(protocol())).map(drop)
    }

    fn work<S: Server>(self, protocol: S) {
        let mail = self.mail.clone();
        let result = self.serve(protocol);
        mail.send(News::Ended(result));
    }

    fn serve<S: Server>(self, protocol: S) -> Result<(), String> {
        let mut reactor = reactor(protocol, false, self.limits)?;
        let waker = reactor
            .waker()
            .map_err(|error| format!("cannot start a worker: {}", reason(&error)))?;
        let clock = self.is_timed.then(|| reactor.time_turns());
        self.mail.send(News::Started(waker, clock));
        let mail = self.mail.clone();
        reactor.report(None, move |_, stats, _| {
            mail.send(News::Counted(Box::new(*stats)))
        });
        if let Some(stdout) = self.stdout {
            adopt_stdout(&mut reactor, Ok(stdout))?;
        }
        serve_share(&mut reactor, self.share)?;
        let served = run(&mut reactor);
        // Its last counters stay in the sum.
        self.mail.send(News::Counted(Box::new(reactor.stats())));
        served
    }
}
