//! `edgeloop`: servers on the reactor, and what they share with the clients.
//!
//! A newcomer starts at [`echo`], the smallest protocol. [`cli`] is what the user types,
//! [`mod@serve`] puts a protocol on the reactor. A new server is one file with its protocol and one
//! line in [`run`].

mod cli;
pub mod echo;
mod front;
mod logging;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Server};
use crate::echo::Echo;
use crate::serve::serve;

/// The program: reads the command line, serves, and tells how it ended.
#[must_use]
pub fn main() -> ExitCode {
    match run(Cli::parse().server) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            logging::say(&format!("edgeloop: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// One line for each server.
fn run(server: Server) -> Result<(), String> {
    match server {
        Server::Echo(options) => serve(
            Echo {
                answers_low_ports: options.answer_low_ports,
            },
            &options.common,
            9876,
        ),
    }
}
