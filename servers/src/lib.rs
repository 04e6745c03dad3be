//! `edgeloop`: servers on the reactor, and what they share with the clients.
//!
//! A newcomer starts at [`echo`], the smallest protocol. `cli.rs` is what the user types, `serve.rs`
//! puts a protocol on the reactor, `workers.rs` on several. A new server is one file with its
//! protocol and a line or two in `run`, below. What is written besides the connections, and must not
//! hold them, is the subject of `recorder.rs`.

pub mod chat;
mod cli;
pub mod echo;
pub mod ending;
pub mod environment;
mod front;
pub mod generate;
pub mod harmless;
pub mod line;
mod logging;
mod models;
pub mod print;
mod recorder;
mod serve;
pub mod sink;
pub mod stderr;
mod sys;
pub mod talk;
pub mod telnet;
pub mod terminal;
pub mod upper;
pub mod values;
mod workers;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use clap::CommandFactory;
use edgeloop_reactor::{ignore_write_signals, reap_orphans, serve_in_background};

use crate::cli::{Cli, Command, Server};
use crate::echo::{Echo, EchoConversation};
use crate::serve::{serve, serve_alone};
use crate::sink::{Sink, SinkConversation};
use crate::talk::{Screen, Talk};
use crate::upper::{Upper, UpperConversation};

/// The program: reads the command line, serves, and tells how it ended.
#[must_use]
pub fn main() -> ExitCode {
    // It fails only for signals that cannot be ignored.
    let _ = ignore_write_signals();
    let done = match Cli::read().command {
        Command::Serve(server) => settle_in(&server).and_then(|()| run(server)),
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

/// What every server is to the system, whatever it serves and how.
fn settle_in(server: &Server) -> Result<(), String> {
    // A person's conversation stops in the background, as editors do.
    let stays = match server {
        Server::Talk(_) => Ok(()),
        _ => serve_in_background(),
    };
    let settled = stays.and_then(|()| reap_orphans());
    settled.map_err(|errno| format!("cannot handle signals: {}", errno.desc()))
}

/// A line or two for each server.
fn run(server: Server) -> Result<(), String> {
    match server {
        Server::Echo(options) => {
            let answers_low_ports = options.answer_low_ports;
            let protocol = move || Echo { answers_low_ports };
            serve::<_, EchoConversation>(protocol, &options.common, 9876)
        }
        Server::Upper(options) => {
            let answers_low_ports = options.answer_low_ports;
            let protocol = move || Upper { answers_low_ports };
            serve::<_, UpperConversation>(protocol, &options.common, 6666)
        }
        Server::Sink(options) => {
            let next_number = Arc::new(AtomicU64::new(0));
            let protocol = move || Sink::new(Arc::clone(&next_number));
            serve::<_, SinkConversation>(protocol, &options, 8888)
        }
        Server::Talk(options) => {
            let screen = Screen::of_standard_streams();
            serve_alone(Talk::answering(screen), &options, 5678)
        }
        Server::Chat(options) => serve_alone(options.chat()?, &options.common, 7777),
    }
}
