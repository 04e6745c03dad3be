//! `edgecall`: clients on the reactor.
//!
//! [`cli`] is what the user types, [`mod@call`] puts a client on the reactor. There are three
//! protocols: [`stream`] joins standard input, a server and standard output; [`datagram::ask`] and
//! [`datagram::post`] send a datagram for each line, with and without an answer. What they share
//! has a file each: [`dial`] reaches the server, [`output`] prints, [`progress`] shows how far
//! it is, on a [`canvas`]. [`mod@talk`] has its protocol in common with `edgeloop talk`. [`mod@load`] is a program of
//! its own: many connections at once, to measure a server.

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
use edgeloop_reactor::ignore_write_signals;

use crate::call::call;
use crate::cli::{Cli, Client};
use crate::client::Service;
use crate::load::load;
use crate::talk::talk;

fn main() -> ExitCode {
    // It fails only for signals that cannot be ignored.
    let _ = ignore_write_signals();
    let done = run(Cli::read().client);
    // A client ends when its user has seen how it went, or ends it by a signal.
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

/// One line for each client.
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
