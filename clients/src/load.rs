//! `edgecall load`: many clients at once, to measure a server.
//!
//! It is a program on the reactor like the servers are: each kind of load is a
//! [`Protocol`](edgeloop_reactor::Protocol), and a test plays the server with a
//! [`Script`](edgeloop_reactor::Script). The report is no better than what is checked: every answer
//! is compared with what was asked, and a server that swaps, drops or repeats a byte is found out.
//!
//! | file | subject |
//! |---|---|
//! | `options.rs`, `plan.rs` | what the user wants; what is to be done, and by which worker |
//! | `conductor.rs` | one run, phase by phase |
//! | `crew.rs`, `threads.rs`, `worker.rs` | threads with a reactor each, and what they share |
//! | `phase.rs` | the phases, and what a load does in each |
//! | `tally.rs`, `window.rs` | what is counted, and when |
//! | `opening.rs` | opening connections |
//! | `pace.rs`, `turns.rs`, `flow.rs`, `times.rs` | when to send: closed and open loops |
//! | `content.rs`, `clock.rs` | what to send; what time it is |
//! | `echo.rs`, `datagrams.rs`, `chat.rs`, `sink.rs`, `connect.rs` | the kinds of load |
//! | `server.rs` | what `/proc` says of the server |
//! | `report.rs`, `progress.rs` | what is shown |

mod chat;
mod clock;
mod conductor;
mod connect;
mod connections;
mod content;
mod crew;
mod datagrams;
mod echo;
mod flow;
pub(crate) mod options;
mod pace;
mod plan;
mod progress;
mod report;
#[cfg(test)]
mod rig;
mod run;
mod server;
mod sink;
mod tally;
mod worker;

use std::time::Duration;

use edgeloop::print::print_text;
use edgeloop::{ending, stderr};
use nix::sys::signal::{SigSet, Signal};

use self::options::LoadOptions;
use self::plan::Plan;
use self::report::{Report, percentiles};
use self::run::{Outcome, run};
use crate::logging;

/// Puts a load on a server, and reports: as JSON also if there was no run, or none to its end.
/// Errors: why there was none, or what was wrong with the answers.
pub(crate) fn load(options: &LoadOptions) -> Result<(), String> {
    logging::start(options.verbose)?;
    let plan = Plan::new(options);
    let sources = plan.as_ref().map_or(0, |plan| plan.ways.len());
    let outcome = plan.and_then(|plan| run(plan, options));
    let outcome = outcome.unwrap_or_else(Outcome::failed);
    ending::begin(Duration::MAX);
    // From here on a stop signal ends the program, whatever standard output waits for.
    let stop: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    let _ = stop.thread_unblock();
    let report = Report::new(options, sources, &outcome);
    let text = match (options.json, options.hgrm) {
        (true, _) => report.json(),
        _ if outcome.failure.is_some() => String::new(),
        (false, false) => report.to_string(),
        (false, true) => {
            stderr::say(report.to_string().trim_end());
            percentiles(&outcome.tally.latency)
        }
    };
    print_text(text.as_bytes())?;
    report.verdict()
}
