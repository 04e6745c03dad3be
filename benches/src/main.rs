//! `benches compare` measures servers side by side; `benches cost` counts their instructions;
//! `benches peer` is a server to compare with. Under the name `edgeloop`, this program is that
//! server, from its library.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use benches::{compare, cost, peers};
use clap::{Parser, Subcommand};

/// The reactor, fork, threads and other event loops, measured side by side
#[derive(Debug, Parser)]
#[command(name = "benches", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure servers in turn, and write a page with plots and tables
    Compare(compare::Options),
    /// Count the instructions that servers spend on a message
    Cost(cost::Options),
    /// Serve as one of the peers that are compared
    #[command(hide = true)]
    Peer(peers::Options),
}

fn main() -> ExitCode {
    // So benchmarks start the library's own servers as processes without building another program.
    if called("edgeloop") {
        return edgeloop::main();
    }
    let done = match Cli::parse().command {
        Command::Compare(options) => compare::compare(&options),
        Command::Cost(options) => cost::cost(&options),
        Command::Peer(options) => peers::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("benches: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Whether this program was called by this name.
fn called(name: &str) -> bool {
    let program = env::args_os().next();
    program.is_some_and(|path| Path::new(&path).file_name() == Some(name.as_ref()))
}
