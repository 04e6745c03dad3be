//! `edgecall`: clients on the reactor.
//!
//! [`cli`] is the command line, and [`mod@call`] runs a client on the reactor. There are three
//! protocols: [`stream`] joins standard input, a server and standard output; [`datagram::ask`] and
//! [`datagram::post`] send a datagram for each line, with and without a reply. The parts that they
//! share have a file each: [`client`] has the words, [`dial`] reaches the server, [`output`] prints,
//! [`progress`] draws a bar, on a [`canvas`]. [`mod@talk`] runs the protocol of `edgeloop talk`.
//! [`mod@load`] is a program of its own: many connections at once, to measure a server.

mod call;
mod canvas;
mod cli;
mod client;
mod datagram;
mod dial;
mod load;
mod logging;
mod output;
mod progress;
mod stream;
mod talk;

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

fn main() -> ExitCode {
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
