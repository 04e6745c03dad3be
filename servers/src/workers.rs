//! `--workers`: several reactors, a thread for each, that share the address and the limits of
//! connections.
//!
//! The kernel deals the clients out (socket(7), `SO_REUSEPORT`). The main thread has no clients:
//! its reactor serves a [`Supervisor`], which passes signals on to the workers and adds their
//! counters up. A server that reads standard input is the first worker's, and that worker has the
//! standard streams. If the server only prints, each worker has a pipe to a [`Printer`].

mod mail;
mod printer;
mod supervisor;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use edgeloop_reactor::process::reason;
use edgeloop_reactor::terminal::REDRAW_SIGNALS;
use edgeloop_reactor::{Limits, Reactor, Signals};

use crate::figures::Counters;
use crate::front::Front;
use crate::limits::limits;
use crate::listen::{Share, listen, resolve};
use crate::metrics::Metrics;
use crate::on_reactor::{adopt_stdin, adopt_stdout, reactor, run, serve_share};
use crate::options::Options;
use crate::orders::Orders;
use crate::server::{Server, StandardStreams};
use crate::{ending, logging};
use mail::{Mail, News, Started};
use printer::Printer;
use supervisor::{Supervisor, scrape};

/// Serves with as many reactors as the options say until a signal, or until one of them fails.
/// `prepare` prepares a server by the number of its worker, and returns the function that makes it in
/// the worker's thread. `streams`: the standard streams of the first server.
pub(crate) fn serve<S: Server, M: FnOnce() -> S + Send + 'static>(
    streams: StandardStreams,
    prepare: impl FnMut(usize) -> Result<M, String>,
    options: &Options,
    default_port: u16,
) -> Result<(), String> {
    let count = options.workers;
    let makers = (0..count).map(prepare).collect::<Result<Vec<M>, _>>()?;
    logging::start(options.log_level(), options.log_file.as_deref())?;
    let limits = share_of(limits(options)?, count);
    let addresses = resolve(options, default_port)?;
    let mut metrics = Metrics::open(options)?;
    let signals =
        signals(streams).map_err(|error| format!("cannot handle signals: {}", reason(&error)))?;
    let failed = |error: io::Error| format!("cannot start the workers: {}", reason(&error));
    let (sender, letters) = channel();
    let scrapers = metrics.as_mut().map(Metrics::waker).transpose()?;
    let orders = Orders::default();
    let supervisor = Supervisor::new(count, orders.clone(), letters, options.grace, scrapers);
    let mut reactor = supervisor.on_reactor(&signals).map_err(failed)?;
    let bell = reactor.waker().map_err(failed)?;
    let (printer, stdouts) = stdouts(streams, count).map_err(failed)?;
    let mut stdouts = stdouts.into_iter();
    let shares = listen(&addresses, options, count, |_| Ok(()))?;
    let ending = Arc::new(Mutex::new(()));
    let not_yet = ending.lock().unwrap_or_else(PoisonError::into_inner);
    let mut threads = Vec::with_capacity(count);
    for (index, (share, make)) in shares.into_iter().zip(makers).enumerate() {
        let worker = Worker {
            share,
            limits: limits.clone(),
            stdout: stdouts.next(),
            mail: Mail::new(index, &sender, &bell),
            orders: orders.clone(),
            is_timed: metrics.is_some(),
            ending: Arc::clone(&ending),
        };
        threads.push(worker.start(index, make).map_err(failed)?);
    }
    if let Some(metrics) = metrics {
        reactor.nest(metrics, scrape).map_err(failed)?;
    }
    let own = Mail::new(count, &sender, &bell);
    reactor.report(options.stats, move |_, _, _| own.send(News::ReportIsDue));
    let served = reactor.run().map_err(|error| reason(&error));
    let supervisor = reactor.protocol();
    ending::begin(supervisor.grace_left());
    drop(not_yet);
    // The printer's failure comes first: it is the cause of a worker's "Broken pipe".
    let all_printed = printer.finish();
    // A worker that has panicked has said so.
    threads.into_iter().for_each(|thread| drop(thread.join()));
    all_printed.and(served).and(supervisor.result())
}

/// The limits of each worker. Those of connections hold for all together, by the table of their places;
/// pending output is divided.
fn share_of(mut limits: Limits, count: usize) -> Limits {
    limits.max_pending /= count;
    limits
}

/// The signals that the supervisor takes. Threads inherit that they are blocked, so that none of them is
/// interrupted.
fn signals(streams: StandardStreams) -> io::Result<Signals> {
    let mut signals = Signals::new()?;
    if streams.stdin.is_some() {
        signals.add(&REDRAW_SIGNALS)?;
    }
    Ok(signals)
}

/// The standard outputs of the first workers, or of all, and the printer behind them.
fn stdouts(streams: StandardStreams, count: usize) -> io::Result<(Printer, Vec<OwnedFd>)> {
    if streams.stdin.is_none() {
        return Printer::start(streams.stdout.map_or(0, |_| count));
    }
    let (printer, _) = Printer::start(0)?;
    Ok((printer, vec![io::stdout().as_fd().try_clone_to_owned()?]))
}

struct Worker {
    share: Share,
    limits: Limits,
    /// Standard output, or the pipe to the printer, for a server that prints.
    stdout: Option<OwnedFd>,
    mail: Mail,
    orders: Orders,
    /// It measures its turns, for scrapers.
    is_timed: bool,
    /// Locked until the [`ending`] has begun, within which a server's files are written to their end.
    ending: Arc<Mutex<()>>,
}

impl Worker {
    /// Serves in a thread of its own.
    fn start<S: Server>(
        self,
        index: usize,
        make: impl FnOnce() -> S + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let thread = thread::Builder::new().name(format!("worker {index}"));
        thread.spawn(move || self.work(make()))
    }

    fn work<S: Server>(self, server: S) {
        let (mail, ending) = (self.mail.clone(), Arc::clone(&self.ending));
        let mut reactor = self.reactor(server);
        let result = match &mut reactor {
            Ok(reactor) => run(reactor),
            Err(why) => Err(why.clone()),
        };
        // The last counters stay in the sum; its figures end with the server.
        let stats = reactor.as_ref().map(Reactor::stats).unwrap_or_default();
        let own = Vec::new();
        mail.send(News::Counted(Box::new(Counters { stats, own })));
        mail.send(News::Ended(result));
        drop(ending.lock());
    }

    /// A reactor that serves, with everything but its turns.
    fn reactor<S: Server>(self, server: S) -> Result<Reactor<Front<S>>, String> {
        let mut reactor = reactor(server, false, self.limits)?;
        let waker = reactor
            .waker()
            .map_err(|error| format!("cannot start a worker: {}", reason(&error)))?;
        reactor.call(|front, out| {
            front.obey(self.orders);
            front.protocol_mut().on_start(waker.clone(), out);
        });
        self.mail.send(News::Started(Started {
            waker,
            clock: self.is_timed.then(|| reactor.time_turns()),
            reloads: reactor.protocol().protocol().reloads(),
        }));
        let mail = self.mail;
        reactor.report(None, move |front, stats, now| {
            let own = front.protocol().figures(now);
            let stats = *stats;
            mail.send(News::Counted(Box::new(Counters { stats, own })));
        });
        if let Some(stdout) = self.stdout {
            adopt_stdout(&mut reactor, Ok(stdout))?;
        }
        adopt_stdin(&mut reactor)?;
        serve_share(&mut reactor, self.share)?;
        Ok(reactor)
    }
}
