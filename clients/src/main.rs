//! `edgecall`: clients on the reactor.
//!
//! [`stream`] is the protocol that joins standard input, a server and standard output; this file is
//! the command line.

mod stream;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use edgeloop_reactor::{Address, Direction, Limits, Reactor, reason};

use crate::stream::{SERVER, STDIN, STDOUT, StreamClient};

/// Clients for the servers of edgeloop, and for others of their kind
#[derive(Debug, Parser)]
#[command(name = "edgecall", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    client: Client,
}

#[derive(Debug, Subcommand)]
enum Client {
    /// Send standard input to an echo server and print what comes back
    #[command(after_help = "Example:\n  edgecall echo 127.0.0.1:9876 <photo.jpg | cmp - photo.jpg")]
    Echo(EchoOptions),
}

#[derive(Debug, Args)]
struct EchoOptions {
    /// The server: PORT, HOST:PORT or unix:PATH
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:9876")]
    address: Address,

    /// How long to wait for the connection, and for the next bytes of the answer once all is sent;
    /// 0 is for ever
    #[arg(long, value_name = "DURATION", env = "EDGECALL_TIMEOUT", default_value = "30s", value_parser = duration)]
    timeout: Duration,
}

fn main() -> ExitCode {
    let Client::Echo(options) = Cli::parse().client;
    match echo(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("edgecall: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn echo(options: &EchoOptions) -> Result<(), String> {
    let limits = Limits {
        connect_timeout: options.timeout,
        // Whoever reads our output may take as long as they like.
        stall_timeout: Duration::ZERO,
        grace: Duration::MAX,
        ..Limits::default()
    };
    let client = StreamClient::new(options.address.to_string(), options.timeout);
    let mut reactor = Reactor::new(client, limits).map_err(|error| reason(&error))?;
    start(&mut reactor, &options.address)
        .and_then(|()| reactor.run())
        .map_err(|error| format!("cannot reach {}: {}", options.address, reason(&error)))?;
    reactor
        .protocol()
        .failure()
        .map_or(Ok(()), |failure| Err(failure.to_owned()))
}

fn start(reactor: &mut Reactor<StreamClient>, server: &Address) -> io::Result<()> {
    reactor.adopt(copy(io::stdout())?, Direction::Output, STDOUT)?;
    reactor.adopt(copy(io::stdin())?, Direction::Input, STDIN)?;
    reactor.connect(server, SERVER)
}

/// The reactor closes what it adopts, so it gets a copy.
fn copy(stream: impl AsFd) -> io::Result<OwnedFd> {
    stream.as_fd().try_clone_to_owned()
}

/// `500ms`, `30s`, `5m`, `1h`, and `0`.
fn duration(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        _ => humantime::parse_duration(text).map_err(|error| error.to_string()),
    }
}
