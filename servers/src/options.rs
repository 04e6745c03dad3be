//! Options that every server takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Args, ValueEnum};
use edgeloop_reactor::Address;
use log::LevelFilter;

use crate::place::Place;
use crate::values::{duration, number, positive, size};

/// Options that every server takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every server")]
pub(crate) struct Options {
    #[arg(value_name = "ADDR", help_heading = None::<&str>)]
    pub(crate) addresses: Vec<Place>,

    /// How connections are served; fork and thread: over TCP only
    #[arg(long, default_value = "reactor")]
    pub(crate) model: Model,

    /// Number of reactors, a thread for each, that share the clients, and those of chat the rooms too;
    /// 1024 at the most, 64 for chat, one for talk
    #[arg(long, value_name = "N", default_value = "1", value_parser = workers)]
    pub(crate) workers: usize,

    /// Serve one connection (or one datagram) and exit
    #[arg(long)]
    pub(crate) once: bool,

    /// Refuse connections above this number [default: as many as there are descriptors; fork and
    /// thread: a quarter of the processes and threads that the machine allows]
    #[arg(long, value_name = "N", value_parser = positive::<usize>)]
    pub(crate) max_connections: Option<usize>,

    /// Refuse connections from one address (an IPv6 /64 is one) above this number; 0 is no limit
    /// [default: half of --max-connections; none from this machine, over loopback or Unix sockets]
    #[arg(long, value_name = "N", value_parser = number::<usize>)]
    pub(crate) max_per_ip: Option<usize>,

    /// Close a connection that neither sent nor accepted a byte for so long; 0 is never
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration)]
    pub(crate) idle_timeout: Duration,

    /// Close a peer that accepts none of the bytes waiting for it for so long; 0 is never
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) stall_timeout: Duration,

    /// Find a TCP peer that vanished without a word about so long after it was last heard, or
    /// within two stall timeouts while something is under way to it; 0 is not at all
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) keepalive: Duration,

    /// Bytes waiting for one peer before its input is paused
    #[arg(long, value_name = "SIZE", default_value = "256KiB", value_parser = size)]
    pub(crate) high_water: usize,

    /// Bytes waiting for all peers together; above it, peers that take nothing are closed, the
    /// largest queue first
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = size)]
    pub(crate) max_pending: usize,

    /// Connections that the kernel keeps until they are accepted; it takes no more than
    /// /proc/sys/net/core/somaxconn
    #[arg(long, value_name = "N", default_value = "4096", value_parser = positive::<usize>)]
    pub(crate) backlog: usize,

    /// How long SIGTERM and SIGINT wait for pending output, 0 is not at all; a second signal ends
    /// at once
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) grace: Duration,

    /// Print a line of counters so often; SIGUSR1 prints one at any time [default: 0, which is
    /// never]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) stats: Option<Duration>,

    /// Serve numbers for Prometheus at /metrics, and a sign of health at /healthz, over HTTP at this
    /// address: PORT, HOST:PORT, unix:PATH or unix:@NAME; 127.0.0.1 unless a host is given. The
    /// models fork and thread count connections only
    #[arg(long, value_name = "ADDR", value_parser = metrics_address)]
    pub(crate) metrics: Option<Address>,

    /// Log each connection (-v), and more (-vv)
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Log warnings and errors only, unless -v is given
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Log to this file rather than to stderr; SIGHUP opens it anew
    #[arg(long, value_name = "PATH")]
    pub(crate) log_file: Option<PathBuf>,
}

/// A way to serve connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Model {
    /// One thread for all
    Reactor,
    /// A process for each
    Fork,
    /// A thread for each
    Thread,
}

/// Options of the servers that answer datagrams, too.
#[derive(Debug, Args)]
pub(crate) struct AnswerOptions {
    #[command(flatten)]
    pub(crate) common: Options,

    /// Answer UDP datagrams from ports below 1024 too, which may be another server's
    #[arg(long, help_heading = "Options for UDP")]
    pub(crate) answer_low_ports: bool,
}

impl Options {
    /// The log level that `--verbose` and `--quiet` ask for.
    pub(crate) fn log_level(&self) -> LevelFilter {
        match (self.quiet, self.verbose) {
            (true, 0) => LevelFilter::Warn,
            (false, 0) => LevelFilter::Info,
            (_, 1) => LevelFilter::Debug,
            (_, _) => LevelFilter::Trace,
        }
    }

    /// Options that exclude each other, whatever the server. An error is a message for the user.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let is_tcp = |place: &Place| matches!(place.address, Address::Tcp(_)) && !place.is_web;
        if self.model != Model::Reactor {
            if self.workers > 1 {
                return Err("--workers are reactors: leave it out, or --model");
            }
            if !self.addresses.iter().all(is_tcp) {
                return Err(
                    "only the reactor serves UDP, Unix sockets and HTTP: leave out --model",
                );
            }
            if matches!(self.metrics, Some(Address::Unix(_))) {
                return Err("only the reactor serves Unix sockets: give --metrics a port");
            }
        }
        if self.workers > 1 && self.once {
            return Err("--once serves one client, which is one worker's: leave out --workers");
        }
        Ok(())
    }

    /// Whether some of the addresses are for browsers.
    pub(crate) fn has_web(&self) -> bool {
        self.addresses.iter().any(|place| place.is_web)
    }

    /// Options that a server with one conversation cannot heed. An error is a message for the user.
    pub(crate) fn check_conversation(&self) -> Result<(), &'static str> {
        let is_udp = |place: &Place| matches!(place.address, Address::Udp(_));
        if self.model != Model::Reactor {
            return Err("only the reactor serves a conversation: leave out --model");
        }
        if self.addresses.iter().any(is_udp) {
            return Err("a conversation needs a stream: this server does not speak UDP");
        }
        Ok(())
    }
}

/// The address of the metrics: any that a stream can come from, with `http://` in front or without.
fn metrics_address(text: &str) -> Result<Address, String> {
    let place: Place = text.parse().map_err(|error| format!("{error}"))?;
    match place.address {
        Address::Udp(_) => Err("HTTP needs a stream: write PORT, HOST:PORT or unix:PATH".into()),
        address => Ok(address),
    }
}

/// The help of the argument `addresses`, with the server's default port.
pub(crate) fn default_port(arg: Arg, port: u16) -> Arg {
    arg.help(format!(
        "Where to listen: PORT, HOST:PORT, tcp://HOST:PORT, udp://HOST:PORT, unix:PATH or \
         unix:@NAME; 127.0.0.1 unless a host is given [default: {port}]"
    ))
}

/// The help of the argument `addresses` of a server that has something for browsers.
pub(crate) fn or_http(arg: Arg) -> Arg {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    arg.help(help.replace("unix:PATH", "http://HOST:PORT, unix:PATH"))
}

/// The largest number of workers, which is more than any machine has processors.
const WORKERS_MAX: usize = 1024;

fn workers(text: &str) -> Result<usize, String> {
    match positive(text)? {
        count if count > WORKERS_MAX => Err(format!("{WORKERS_MAX} workers are the most")),
        count => Ok(count),
    }
}
