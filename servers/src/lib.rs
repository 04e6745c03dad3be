//! `edgeloop`: servers on the reactor, and what they share with the clients.
//!
//! A newcomer starts at [`echo`], the smallest protocol. A new server is one file, with its
//! protocol and its command line, and one line in `cli.rs`. From the top down, each file importing
//! only from those below it:
//!
//! | file | subject |
//! |---|---|
//! | `cli.rs` | names the servers, and reads what was typed |
//! | `echo.rs`, `upper.rs`, `sink.rs`, `chat.rs`, `talk.rs` | the servers |
//! | `backplane.rs`, `backplane/` | the log with which a chat on several cores or machines will agree |
//! | `serve.rs` | serves in the way that the user has chosen |
//! | `workers.rs`, `models.rs` | several reactors; a process or a thread for each client |
//! | `on_reactor.rs`, `front.rs`, `orders.rs` | one reactor; the log and `--once` in front of a protocol; another thread's signals |
//! | `metrics.rs`, `metrics/` | numbers for Prometheus |
//! | `web.rs`, `web/` | HTTP and WebSocket in front of a protocol |
//! | `listen.rs`, `place.rs`, `limits.rs` | addresses, and what the process may use |
//! | `screen.rs`, `terminal.rs` | a person at a terminal |
//! | `server.rs`, `figures.rs`, `options.rs` | what servers have in common |
//! | `logging.rs`, `stderr.rs`, `recorder.rs`, `ending.rs` | output besides the connections |

pub mod backplane;
pub mod chat;
mod cli;
pub mod echo;
pub mod ending;
pub mod environment;
mod figures;
mod front;
pub mod generate;
pub mod harmless;
mod limits;
pub mod line;
mod listen;
mod logging;
mod metrics;
mod models;
mod on_reactor;
mod options;
mod orders;
mod place;
pub mod print;
mod recorder;
mod screen;
mod serve;
mod server;
pub mod sink;
pub mod stderr;
mod sys;
pub mod talk;
pub mod telnet;
pub mod terminal;
pub mod upper;
pub mod values;
pub mod web;
mod workers;

use std::ffi::OsString;
use std::iter;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use edgeloop_reactor::process::{ignore_write_signals, reap_orphans, reason};
use edgeloop_reactor::terminal::serve_in_background;

use crate::cli::{Cli, Command, Server};
pub use crate::server::Turns;

/// The program: reads the command line, serves, and tells how it ended.
#[must_use]
pub fn main() -> ExitCode {
    // It fails only for signals that cannot be ignored.
    let _ = ignore_write_signals();
    let done = match Cli::read().command {
        Command::Serve(server) => settle_in(&server).and_then(|()| server.run()),
        Command::Generate(options) => generate::run(Cli::command(), &options),
    };
    let status = match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            stderr::say(&format!("edgeloop: {failure}"));
            ExitCode::FAILURE
        }
    };
    logging::finish();
    status
}

/// A server with this command line, `["echo", "--high-water", "4096"]`, on one reactor in the caller's
/// hand: for a test that makes its turns one by one. It neither starts a log nor reads the
/// environment, and of the process it changes what `edgeloop` does as well: the limit of descriptors,
/// and how signals are handled. Errors: a message about the command line, or why it cannot serve.
pub fn start(arguments: &[&str]) -> Result<Box<dyn Turns>, String> {
    let typed = iter::once("edgeloop").chain(arguments.iter().copied());
    let cli = Cli::try_parse_from(typed).map_err(|error| error.to_string())?;
    match cli.command {
        Command::Serve(server) => {
            server.check()?;
            server.start()
        }
        Command::Generate(_) => Err("this is not a server".into()),
    }
}

/// Checks a command line of the program and the variables of an environment, without serving. The
/// first argument is the program's name. An error is a message for the user, or the help that was
/// asked for.
pub fn check_command_line(
    arguments: Vec<OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(), clap::Error> {
    Cli::understand(arguments, variable).map(drop)
}

/// Signals that concern the process, whatever it serves and how.
fn settle_in(server: &Server) -> Result<(), String> {
    let in_background = match server.stops_in_background() {
        true => Ok(()),
        false => serve_in_background(),
    };
    let settled = in_background.and_then(|()| reap_orphans());
    settled.map_err(|error| format!("cannot handle signals: {}", reason(&error)))
}

/// Compiles and runs the README's code.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
