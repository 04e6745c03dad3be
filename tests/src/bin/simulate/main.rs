//! Deterministic fault simulation of the reactor and its servers, unchanged.
//!
//! ```text
//! cargo run --release -p tests --bin simulate -- --seeds 100000 [--from N] [--server echo|upper|sink|chat|calls] [--trace]
//! ```
//!
//! The program is a server, its kernel and its clients in one thread. It defines the libc functions
//! that the reactor calls (`calls.rs`), so the real code of the reactor and of the servers runs on a
//! simulated kernel that does the worst that the manual pages allow (`world.rs`). A seed decides about
//! everything: the options of the server, the clients, and each fault (`generate.rs`). After a run its
//! promises are checked (`check.rs`). A seed that fails is printed, cut shorter (`shrink.rs`), and
//! fails again whenever it is run.
//!
//! | file | subject |
//! |---|---|
//! | `plan.rs`, `generate.rs`, `generate/` | a run as data, and how a seed makes it |
//! | `caller.rs` | a program that connects, in the place of a server |
//! | `calls.rs` | the border: libc's functions |
//! | `world.rs`, `world/` | the kernel, its clock, the clients |
//! | `run.rs`, `memory.rs` | a run; the memory that the server holds |
//! | `check.rs`, `check/` | the promises |
//! | `shrink.rs`, `regressions.rs` | failures: cut shorter, and kept with their story |

mod caller;
mod calls;
mod check;
mod generate;
mod memory;
mod plan;
mod regressions;
mod run;
mod shrink;
mod world;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use log::{LevelFilter, Log, Metadata, Record};

use crate::plan::{Fault, Kind, Plan};
use crate::run::{Outcome, run};

/// Lines of a trace that are printed without `--trace`.
const TRACE_LINES: usize = 40;

/// Runs servers on a simulated kernel that does the worst that it may.
#[derive(Debug, Parser)]
struct Options {
    /// Number of seeds for each server
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,

    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,

    /// One server only
    #[arg(long)]
    server: Option<Kind>,

    /// Print every event and every call
    #[arg(long)]
    trace: bool,

    /// Run the past failures instead of seeds
    #[arg(long)]
    regressions: bool,

    /// Do not cut a failing plan shorter
    #[arg(long)]
    whole: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    // The way to standard error is chosen once for the process, and not by a server in a world.
    edgeloop::stderr::draw(b"");
    // Their buffers are the process's, and would count as the first run's.
    let _ = (io::stdin(), io::stdout());
    run::catch_panics();
    if options.trace && log::set_logger(&ToTrace).is_ok() {
        log::set_max_level(LevelFilter::Trace);
    }
    let mut figures = Figures::default();
    let passed = match options.regressions {
        true => regressions::all().iter().all(|regression| {
            println!("{}: {}", regression.name, regression.story);
            figures.take(&regression.plan, &options)
        }),
        false => run_seeds(&options, &mut figures),
    };
    match passed {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn run_seeds(options: &Options, figures: &mut Figures) -> bool {
    let kinds = match options.server {
        Some(kind) => vec![kind],
        None => Kind::ALL.to_vec(),
    };
    for kind in kinds {
        *figures = Figures::default();
        for seed in options.from..options.from.saturating_add(options.seeds) {
            if !figures.take(&Plan::of_seed(seed, kind), options) {
                return false;
            }
        }
        figures.print(kind);
    }
    true
}

/// The sums over all runs of one server.
#[derive(Debug)]
struct Figures {
    seeds: u64,
    turns: u64,
    calls: u64,
    faults: Vec<u64>,
    simulated: Duration,
    began: Instant,
}

impl Default for Figures {
    fn default() -> Self {
        Figures {
            seeds: 0,
            turns: 0,
            calls: 0,
            faults: vec![0; Fault::ALL.len()],
            simulated: Duration::ZERO,
            began: Instant::now(),
        }
    }
}

impl Figures {
    /// Runs a plan, adds it to the figures, and returns whether it passed.
    fn take(&mut self, plan: &Plan, options: &Options) -> bool {
        let outcome = run(plan, options.trace);
        outcome.trace.iter().for_each(|line| println!("{line}"));
        if let Some(failure) = &outcome.failure {
            println!("FAILED: {}: {}", failure.check, failure.text);
            report(plan, failure.check, options);
            return false;
        }
        self.add(&outcome);
        true
    }

    fn add(&mut self, outcome: &Outcome) {
        let tally = &outcome.tally;
        self.seeds += 1;
        self.turns += tally.turns;
        self.calls += tally.turns + tally.reads + tally.writes + tally.accepts + tally.adds;
        self.simulated += Duration::from_nanos(outcome.simulated_ns);
        for (sum, count) in self.faults.iter_mut().zip(&tally.faults) {
            *sum += count;
        }
    }

    fn print(&self, kind: Kind) {
        let seconds = self.began.elapsed().as_secs_f64();
        println!(
            "{}: {} seeds, {} turns, {} calls, {} h simulated, in {seconds:.1} s ({:.2} ms a seed)",
            kind.name(),
            self.seeds,
            self.turns,
            self.calls,
            self.simulated.as_secs() / 3600,
            seconds * 1000.0 / self.seeds.max(1) as f64,
        );
        let faults = Fault::ALL.iter().zip(&self.faults);
        let faults = faults.filter(|(_, count)| **count > 0);
        let faults: Vec<String> = faults
            .map(|(fault, count)| format!("{} {count}", fault.name()))
            .collect();
        println!("  faults: {}", faults.join("; "));
    }
}

/// Prints a failing plan, cut shorter, with the end of its trace.
fn report(plan: &Plan, check: &str, options: &Options) {
    let (kind, seed) = (plan.kind.name(), plan.seed);
    match options.regressions {
        true => println!("replay it: --regressions --trace"),
        false => println!("replay it: --server {kind} --from {seed} --seeds 1 --trace"),
    }
    if options.whole {
        return;
    }
    let (short, runs) = shrink::shrink(plan, check);
    let outcome = run(&short, true);
    println!("cut shorter in {runs} runs:");
    match serde_json::to_string(&short) {
        Ok(json) => println!("{json}"),
        Err(error) => println!("{error}"),
    }
    let from = outcome.trace.len().saturating_sub(TRACE_LINES);
    outcome.trace[from..]
        .iter()
        .for_each(|line| println!("{line}"));
    if let Some(failure) = outcome.failure {
        println!("FAILED: {}: {}", failure.check, failure.text);
    }
}

/// The servers' log as a part of the trace.
struct ToTrace;

impl Log for ToTrace {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        calls::in_world(|world| world.note(|| format!("log: {}", record.args())));
    }

    fn flush(&self) {}
}
