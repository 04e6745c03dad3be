//! `edgecall load`: many clients at once, to measure a server.
//!
//! It is a program on the reactor like the servers are: each kind of load is a
//! [`Protocol`](edgeloop_reactor::Protocol), and a test plays the server with a
//! [`Script`](edgeloop_reactor::Script). The report is no better than the checks: every reply is
//! compared with its message, and a server that swaps, drops or repeats a byte is found out.
//!
//! A run is a crew of workers, threads with a reactor each, and a conductor, a reactor in the main
//! thread, which leads them from phase to phase. From the bottom up:
//!
//! | file | subject |
//! |---|---|
//! | `target.rs`, `options.rs`, `plan.rs` | the server; the command line; the plan, and the part of each worker |
//! | `clock.rs`, `content.rs` | the time, and when messages count; the content of messages |
//! | `tally.rs` | counts, mismatches and problems |
//! | `pace.rs`, `flow.rs` | when to send: closed and open loops; messages under way |
//! | `hearing.rs`, `probe.rs` | of chat: the lines that members have heard; whether talkers are held back |
//! | `crew.rs` | the phases, and the state that all workers share |
//! | `connections.rs`, `frames.rs` | opening connections; their places; frames of WebSockets |
//! | `worker.rs` | the state and the protocol that all kinds of load share |
//! | `echo.rs`, `datagrams.rs`, `chat.rs`, `sink.rs`, `connect.rs` | the kinds of load |
//! | `web.rs` | WebSocket between the connections and a kind of load |
//! | `server.rs`, `progress.rs` | the server as `/proc` shows it; the progress line |
//! | `conductor.rs`, `run.rs` | a run, step by step; its threads and reactors |
//! | `report.rs` | the report, as text and as JSON |
//! | `rig.rs`, `rehearsal.rs` | a load in memory, whose server the caller plays |

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
mod frames;
mod hearing;
pub(crate) mod options;
mod pace;
mod plan;
mod probe;
mod progress;
mod rehearsal;
mod report;
mod rig;
mod run;
mod server;
mod sink;
mod tally;
mod target;
mod web;
mod worker;

use std::time::Duration;

use edgeloop::print::print_text;
use edgeloop::{ending, stderr};
use nix::sys::signal::{SigSet, Signal};

use self::options::LoadOptions;
use self::plan::Plan;
pub use self::rehearsal::Rehearsal;
use self::report::{Report, percentiles};
use self::run::{Outcome, run};
use crate::logging;

/// Puts a load on a server, and prints the report; as JSON, also that of a run that failed. Errors:
/// why the run failed, or the number of mismatches and other errors.
pub(crate) fn load(options: &LoadOptions) -> Result<(), String> {
    logging::start(options.verbose)?;
    let plan = Plan::new(options);
    let sources = plan.as_ref().map_or(0, |plan| plan.ways.len());
    let outcome = plan.and_then(|plan| run(plan, options));
    let outcome = outcome.unwrap_or_else(Outcome::failed);
    ending::begin(Duration::MAX);
    // From here on a stop signal ends the program, even while standard output is full.
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
