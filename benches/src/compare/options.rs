//! The command line of `benches compare`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use edgeloop::values::duration;

use super::model::Models;

/// The options of the user.
#[derive(Debug, Args)]
pub struct Options {
    /// Fewer connections, shorter runs: done within two minutes
    #[arg(long)]
    pub quick: bool,

    /// Where comparison.html, .json, .md and the plots go
    #[arg(long, value_name = "DIR", default_value = "target/comparison")]
    pub output: PathBuf,

    /// Models to compare: reactor, fork, thread, mio, tokio; in C raw, uring, libuv, libev,
    /// libevent; or all
    #[arg(
        long,
        value_name = "MODEL,...",
        default_value = "reactor,fork,thread,mio,tokio"
    )]
    pub models: Models,

    /// Numbers of connections [default: 1,10,100,1000,5000,10000; --quick: up to 1000]
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    pub connections: Vec<usize>,

    /// How often everything is measured [default: 5; --quick: 3]
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,

    /// How long one run measures [default: 2s; --quick: 200ms]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub duration: Option<Duration>,

    /// How long it runs before that [default: 500ms; --quick: 50ms]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub warm_up: Option<Duration>,

    /// Let the scheduler choose the cores
    #[arg(long)]
    pub no_pin: bool,

    /// The server to measure [default: build it]
    #[arg(long, value_name = "PATH")]
    pub edgeloop: Option<PathBuf>,

    /// The program that measures [default: build it]
    #[arg(long, value_name = "PATH")]
    pub edgecall: Option<PathBuf>,

    /// Measure nothing: write the page anew from a comparison.json
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = [
            "quick", "models", "connections", "rounds", "duration", "warm_up", "no_pin", "edgeloop",
            "edgecall",
        ]
    )]
    pub from: Option<PathBuf>,
}
