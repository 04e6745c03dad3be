//! The loop of both models: it waits for clients, signals and deadlines, and hands each client over
//! as soon as it is accepted.

use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use edgeloop_reactor::process::reason;
use edgeloop_reactor::{RateLimitedLog, Signals};
use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::signal::Signal;

use super::client::Client;
use super::crowd::{Crowd, Place, Refusal};
use super::doors::{self, Doors};
use super::workers::Workers;
use crate::metrics::Clients;
use crate::options::Options;
use crate::stderr::say;
use crate::{ending, logging};

/// Clients accepted from one listener before the loop goes on to signals and deadlines.
const ACCEPT_BUDGET: usize = 64;
/// Longest pause after accept(2) has failed for lack of a resource, or a client was displaced.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Time for processes or threads that were cut off to end. They need next to none, unless they wait
/// for a standard output that is not read.
const CUT_OFF_PATIENCE: Duration = Duration::from_secs(1);

/// Accepts clients for workers.
pub(super) struct Acceptor<'a, W: Workers> {
    doors: Doors,
    workers: W,
    options: &'a Options,
    crowd: Crowd<W::Name>,
    counters: Counters,
    phase: Phase,
    /// End of the pause after accept(2) has failed, or a client was displaced and has not ended.
    paused_until: Option<Instant>,
    next_report: Option<Instant>,
    started: Instant,
    shortages: RateLimitedLog,
    refusals: RateLimitedLog,
}

/// Counters for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    peak: usize,
    accepted: u64,
    refused: u64,
    refused_limit: u64,
    refused_address: u64,
    displaced: u64,
}

/// Progress of the end. Each phase but the first has a deadline, `None` for one beyond the range of
/// the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Clients receive pending output until this time.
    Stopping(Option<Instant>),
    /// Processes or threads that were cut off have until this time to end.
    CutOff(Option<Instant>),
}

impl<'a, W: Workers> Acceptor<'a, W> {
    pub(super) fn new(
        doors: Doors,
        workers: W,
        options: &'a Options,
        max_connections: usize,
    ) -> Self {
        Acceptor {
            doors,
            workers,
            options,
            crowd: Crowd::new(options.max_per_ip, max_connections),
            counters: Counters::default(),
            phase: Phase::Running,
            paused_until: None,
            next_report: next_report(options),
            started: Instant::now(),
            shortages: RateLimitedLog::default(),
            refusals: RateLimitedLog::default(),
        }
    }

    /// Serves until there are neither listeners nor clients.
    pub(super) fn run(mut self) -> Result<(), String> {
        while !self.is_done() {
            let ready = self.doors.wait(self.paused_until.is_some(), self.timeout());
            let ready = ready.map_err(Errno::desc)?;
            if ready.signals {
                self.take_signals()?;
            }
            if ready.clients {
                (0..self.doors.listeners.len()).for_each(|index| self.accept(index));
            }
            self.look_at_deadlines();
            let is_stopping = self.phase != Phase::Running;
            self.doors.serve_scrapers(is_stopping, || self.clients());
        }
        ending::begin(self.grace_left());
        Ok(())
    }

    /// The rest of the grace period: all of it if it has not begun.
    fn grace_left(&self) -> Duration {
        match self.phase {
            Phase::Running => self.options.grace,
            Phase::Stopping(until) => until.map_or(Duration::MAX, |until| {
                until.saturating_duration_since(Instant::now())
            }),
            Phase::CutOff(_) => Duration::ZERO,
        }
    }

    fn is_done(&self) -> bool {
        let nobody = self.doors.listeners.is_empty() && self.workers.open() == 0;
        nobody || matches!(self.phase, Phase::CutOff(until) if is_over(until))
    }

    /// Time until the next deadline.
    fn timeout(&self) -> PollTimeout {
        let end = match self.phase {
            Phase::Running => None,
            Phase::Stopping(until) | Phase::CutOff(until) => until,
        };
        let scrapers = self.doors.scrapers_timeout();
        let scrapers = scrapers.and_then(|after| Instant::now().checked_add(after));
        let deadlines = [end, self.paused_until, self.next_report, scrapers];
        let Some(next) = deadlines.into_iter().flatten().min() else {
            return PollTimeout::NONE;
        };
        // Rounded up: after a wait that ended a moment too early there would be many short ones.
        let left = next.saturating_duration_since(Instant::now());
        let left_ms = left.as_nanos().div_ceil(1_000_000);
        PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX)
    }

    fn look_at_deadlines(&mut self) {
        if is_over(self.paused_until) {
            self.paused_until = None;
        }
        if is_over(self.next_report) {
            self.report();
            self.next_report = next_report(self.options);
        }
        if let Phase::Stopping(until) = self.phase
            && is_over(until)
        {
            self.cut_off("the grace period is over");
        }
    }

    fn take_signals(&mut self) -> Result<(), String> {
        for _ in 0..Signals::AT_ONCE {
            let Ok(Some(info)) = self.doors.signals.read_signal() else {
                break;
            };
            match Signal::try_from(info.ssi_signo.cast_signed()) {
                Ok(Signal::SIGTERM | Signal::SIGINT) => self.stop(),
                Ok(Signal::SIGUSR1) => self.report(),
                Ok(Signal::SIGCHLD) => self.reap()?,
                _ => logging::reload(false),
            }
        }
        Ok(())
    }

    fn reap(&mut self) -> Result<(), String> {
        // The resource that accept(2) lacked may be there now, or the client that was displaced has
        // ended.
        self.paused_until = None;
        let reaped = self.workers.reap();
        reaped.map_err(|error| format!("cannot write to standard output: {}", reason(&error)))
    }

    /// Accepts until the queue is empty or the budget is spent.
    fn accept(&mut self, index: usize) {
        let mut failed = None;
        for _ in 0..ACCEPT_BUDGET {
            if self.paused_until.is_some() {
                return;
            }
            // With `--once`, the first client closes the listeners.
            let Some(listener) = self.doors.listeners.get(index) else {
                return;
            };
            let error = match listener.accept() {
                Ok((socket, peer)) => {
                    failed = None;
                    self.admit(socket, peer);
                    continue;
                }
                Err(error) => Errno::from_raw(error.raw_os_error().unwrap_or(0)),
            };
            match error {
                Errno::EAGAIN => return,
                Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => {
                    return self.pause_for(error);
                }
                // An error of this one connection (accept(2), "Error handling"): the next may be
                // fine.
                _ => failed = Some(error),
            }
        }
        // A permanent error must not make the loop spin.
        if let Some(errno) = failed {
            self.pause_for(errno);
        }
    }

    fn pause_for(&mut self, errno: Errno) {
        let why = format_args!("accepting is put off: {}", errno.desc());
        self.shortages.log(self.now_ms(), why);
        self.pause();
    }

    fn pause(&mut self) {
        self.paused_until = Instant::now().checked_add(RETRY_INTERVAL);
    }

    /// Serves a client or closes its connection.
    fn admit(&mut self, socket: TcpStream, peer: SocketAddr) {
        let (number, peer) = (self.counters.accepted, without_mapping(peer));
        let Some(Place { ticket, displaced }) = self.place(peer) else {
            return;
        };
        if let Some(name) = displaced {
            self.workers.displace(name);
            self.counters.displaced += 1;
            // The newcomer is one too many until the other has ended.
            self.pause();
        }
        log::debug!("connection {number} from {peer}");
        let client = Client {
            number,
            peer,
            ticket,
            socket,
            silence: doors::silence(self.options),
        };
        let started = self.workers.start(client, &self.doors);
        match (started, ticket) {
            (Ok(name), Some(ticket)) => self.crowd.is_served(ticket, name),
            (Ok(_), None) => {}
            (Err(errno), ticket) => {
                ticket.into_iter().for_each(|it| self.crowd.release(it));
                return self.refused(format_args!("no {} for it: {}", W::KIND, errno.desc()));
            }
        }
        self.counters.accepted += 1;
        self.counters.peak = self.counters.peak.max(self.workers.open());
        if self.options.once {
            self.stop_listening();
        }
    }

    /// Counts a client that the limits allow, and refuses any other.
    fn place(&mut self, peer: SocketAddr) -> Option<Place<W::Name>> {
        for ticket in self.workers.take_gone() {
            self.crowd.release(ticket);
        }
        let open = self.workers.open();
        match self.crowd.place(peer.ip(), open, Instant::now()) {
            Ok(place) => return Some(place),
            Err(Refusal::Full(limit)) => {
                self.counters.refused_limit += 1;
                self.refused(format_args!("the limit is {limit} connections"));
            }
            Err(Refusal::Address(most)) => {
                self.counters.refused_address += 1;
                self.refused(format_args!(
                    "{peer}: the limit is {most} connections from one address"
                ));
            }
            Err(Refusal::Memory(errno)) => self.refused(format_args!("{}", errno.desc())),
        }
        None
    }

    fn refused(&mut self, why: fmt::Arguments) {
        self.counters.refused += 1;
        let why = format_args!("connection refused: {why}");
        self.refusals.log(self.now_ms(), why);
    }

    /// Milliseconds since the start.
    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Closes the listeners. From here on, the server ends with its last client.
    fn stop_listening(&mut self) {
        self.doors.listeners.clear();
        self.workers.report_ends();
    }

    /// A stop signal: the first one stops in good order, the second one at once.
    fn stop(&mut self) {
        match self.phase {
            Phase::Running => {
                log::info!("stopping; connections open: {}", self.workers.open());
                self.stop_listening();
                self.workers.stop();
                self.phase = Phase::Stopping(Instant::now().checked_add(self.options.grace));
            }
            Phase::Stopping(_) => self.cut_off("stopping at once"),
            Phase::CutOff(_) => {}
        }
    }

    fn cut_off(&mut self, why: &str) {
        match self.workers.open() {
            0 => {}
            count => log::warn!("{why}; connections cut off: {count}"),
        }
        self.workers.cut_off();
        self.phase = Phase::CutOff(Instant::now().checked_add(CUT_OFF_PATIENCE));
    }

    /// The counters for scrapers.
    fn clients(&self) -> Clients {
        Clients {
            open: self.workers.open() as u64,
            peak: self.counters.peak as u64,
            accepted: self.counters.accepted,
            refused: self.counters.refused,
            refused_limit: self.counters.refused_limit,
            refused_address: self.counters.refused_address,
        }
    }

    fn report(&self) {
        let open = self.workers.open();
        let Counters {
            peak,
            accepted,
            refused,
            refused_limit,
            refused_address,
            displaced,
        } = self.counters;
        let closed = accepted - open as u64;
        say(&format!(
            "stats: connections={open} peak={peak} accepted={accepted} refused={refused} \
             refused_limit={refused_limit} refused_address={refused_address} closed={closed} \
             closed_displaced={displaced}"
        ));
    }
}

fn next_report(options: &Options) -> Option<Instant> {
    let every = options.stats.filter(|every| !every.is_zero())?;
    Instant::now().checked_add(every)
}

fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// The address of an IPv4 client of a dual-stack listener, as an IPv4 address.
fn without_mapping(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        IpAddr::V4(ip) => (ip, peer.port()).into(),
        IpAddr::V6(_) => peer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_clients_show_as_such() {
        for (peer, shown) in [
            ("[::ffff:192.0.2.1]:5000", "192.0.2.1:5000"),
            ("192.0.2.1:5000", "192.0.2.1:5000"),
            ("[fe80::1%3]:5000", "[fe80::1%3]:5000"),
        ] {
            let peer = without_mapping(peer.parse().unwrap());
            assert_eq!(peer.to_string(), shown);
        }
    }
}
