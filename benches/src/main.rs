//! `benches compare` measures servers side by side; `benches cost` counts their instructions;
//! `benches peer` is one of those measured. Under the name `edgeloop` it is another: that program, from its library.

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
    /// Serve as one of those that are compared
    #[command(hide = true)]
    Peer(peers::Options),
}

fn main() -> ExitCode {
    // So benchmarks start the library's own servers as processes, with no program more to build.
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

/// Whether this is the name that we were called by.
fn called(name: &str) -> bool {
    let program = env::args_os().next();
    program.is_some_and(|path| Path::new(&path).file_name() == Some(name.as_ref()))
}
