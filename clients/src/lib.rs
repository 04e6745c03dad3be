//! `edgecall`: clients on the reactor.
//!
//! `cli.rs` is the command line, and `call.rs` runs a client on the reactor. There are three
//! protocols: `stream.rs` joins standard input, a server and standard output; `datagram/ask.rs` and
//! `datagram/post.rs` send a datagram for each line, with and without a reply. The parts that they
//! share have a file each: `client.rs` has the words, `dial.rs` reaches the server, `output.rs`
//! prints, `progress.rs` draws a bar, on a canvas. `talk.rs` runs the protocol of `edgeloop talk`.
//! [`mod@load`] is a program of its own: many connections at once, to measure a server.

mod call;
mod canvas;
mod cli;
mod client;
mod datagram;
mod dial;
pub mod load;
mod logging;
mod output;
mod progress;
mod stream;
mod talk;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory;
use edgeloop::{ending, generate, stderr};
use edgeloop_reactor::process::ignore_write_signals;

use crate::call::call;
use crate::cli::{Cli, Client};
use crate::client::Service;
use crate::load::load;
use crate::talk::talk;

/// The program: reads the command line, calls, and tells how that ended.
#[must_use]
pub fn main() -> ExitCode {
    // This fails only for signals that cannot be ignored.
    let _ = ignore_write_signals();
    let done = run(Cli::read().client);
    // A client ends when its user has seen the outcome, or ends it by a signal.
    ending::begin(Duration::MAX);
    let status = match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            stderr::say(&format!("edgecall: {failure}"));
            ExitCode::FAILURE
        }
    };
    stderr::finish();
    status
}

/// Checks a command line of the program and the variables of an environment, without calling. The
/// first argument is the program's name. An error is a message for the user, or the help that was
/// asked for.
pub fn check_command_line(
    arguments: Vec<OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(), clap::Error> {
    Cli::understand(arguments, variable).map(drop)
}

/// Runs the client that was asked for.
fn run(client: Client) -> Result<(), String> {
    match client {
        Client::Echo(it) => call(Service::Echo, &it.address, None, &it.common),
        Client::Upper(it) => call(Service::Upper, &it.address, it.message(), &it.common),
        Client::Send(it) => call(Service::Sink, &it.address, None, &it.common),
        Client::Talk(it) => talk(&it),
        Client::Load(it) => load(&it),
        Client::Generate(what) => generate::run(Cli::command(), &what),
    }
}
