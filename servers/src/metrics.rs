//! `--metrics`: numbers for Prometheus, and a sign of health, over HTTP.
//!
//! Scrapers have a small reactor of their own, which the server's loop turns as part of its turns: it needs
//! no thread, and the numbers are those of that moment. Its connections are none of the server's
//! clients: they count in no counter and no limit, a server that is full answers them, and they are answered
//! until the server has ended.
//!
//! | file | subject |
//! |---|---|
//! | `metrics.rs` | the listener, and its place in other loops |
//! | `metrics/scrapes.rs` | HTTP for scrapers |
//! | `metrics/families.rs` | what is measured, under which names |
//! | `metrics/text.rs` | the format |
//! | `metrics/process.rs` | figures of the process |

mod families;
mod process;
mod scrapes;
#[cfg(test)]
mod tests;
mod text;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime};

use edgeloop_reactor::process::reason;
use edgeloop_reactor::{Address, Limits, Reactor, Stats, TurnTimes, Waker};

pub(crate) use self::families::Clients;
use self::process::Process;
use self::scrapes::Scrapes;
use self::text::Text;
use crate::figures::Figure;
use crate::limits::SCRAPERS;
use crate::options::Options;
use crate::stderr::say;

/// Scrapers from one address.
const SCRAPERS_OF_AN_ADDRESS: usize = SCRAPERS / 2;
/// Bytes of the buffer for requests, whose heads are no longer.
const READ_BUFFER: usize = 8 * 1024;
/// Work that scrapers may cause in one turn of the server (see [`Limits::turn_budget`]).
const TURN_BUDGET: usize = 256 * 1024;

/// The numbers of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Numbers<'a> {
    /// Those of one reactor or several.
    Reactors {
        stats: &'a Stats,
        turns: &'a TurnTimes,
        count: usize,
        own: &'a [Figure],
    },
    /// Those of a server with a process or a thread for each client.
    Clients(Clients),
}

/// The listener for scrapers, and their connections.
#[derive(Debug)]
pub(crate) struct Metrics {
    reactor: Reactor<Scrapes>,
    started: SystemTime,
}

impl Metrics {
    /// Listens where `--metrics` says, and says so; `None` without that option.
    pub(crate) fn open(options: &Options) -> Result<Option<Metrics>, String> {
        let Some(address) = &options.metrics else {
            return Ok(None);
        };
        let limits = Limits {
            max_connections: SCRAPERS,
            max_per_address: Some(SCRAPERS_OF_AN_ADDRESS),
            read_budget: READ_BUFFER,
            turn_budget: TURN_BUDGET,
            stall_timeout: Duration::from_secs(10),
            linger_timeout: Duration::from_secs(2),
            linger_bytes: 64 * 1024,
            backlog: SCRAPERS,
            ..Limits::default()
        };
        let mut reactor = Reactor::new(Scrapes::default(), limits)
            .map_err(|error| format!("cannot start the loop of --metrics: {}", reason(&error)))?;
        let bound = reactor
            .listen(address, 0)
            .map_err(|error| format!("cannot listen on {address}: {}", reason(&error)))?;
        for address in bound.iter().take(1) {
            say(&format!("metrics on {}", url(address)));
        }
        let started = SystemTime::now();
        Ok(Some(Metrics { reactor, started }))
    }

    /// Sees to the scrapers, without waiting for them. Returns whether one of them waits for
    /// [`Metrics::answer`].
    pub(crate) fn turn(&mut self, is_stopping: bool) -> bool {
        self.reactor
            .call(|scrapes, _| scrapes.is_stopping = is_stopping);
        // None of its errors can come about in a running loop.
        if let Err(error) = self.reactor.turn_for(Some(Duration::ZERO)) {
            log::debug!("the metrics cannot be served: {}", reason(&error));
        }
        self.reactor.protocol().has_waiting()
    }

    /// Answers the scrapers that wait for these numbers. The answers leave in the next turn, which
    /// [`Metrics::timeout`] asks for at once: a turn made here could read a further request, whose edge
    /// would be used up without an answer.
    pub(crate) fn answer(&mut self, numbers: Numbers<'_>) {
        let page = page(numbers, &Process::now(self.started));
        self.reactor.call(|scrapes, out| scrapes.answer(&page, out));
    }

    /// The time after which it needs a turn, whatever happens.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.reactor.timeout()
    }

    /// A handle that makes its descriptor readable.
    pub(crate) fn waker(&mut self) -> Result<Waker, String> {
        let waker = self.reactor.waker();
        waker.map_err(|error| format!("cannot start the loop of --metrics: {}", reason(&error)))
    }
}

/// Readable when it needs a turn.
impl AsFd for Metrics {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reactor.as_fd()
    }
}

/// The page of metrics.
fn page(numbers: Numbers<'_>, process: &Process) -> String {
    let mut text = Text::default();
    match numbers {
        Numbers::Reactors {
            stats,
            turns,
            count,
            own,
        } => {
            families::reactors(&mut text, stats, turns, count);
            families::figures(&mut text, own);
        }
        Numbers::Clients(clients) => families::clients(&mut text, &clients),
    }
    families::process(&mut text, process);
    text.into_string()
}

/// The URL of the metrics, as the user is told it.
fn url(address: &Address) -> String {
    match address {
        Address::Tcp(at) => format!("http://{at}/metrics"),
        other => other.to_string(),
    }
}
