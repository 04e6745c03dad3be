//! `benches cost`: how many instructions a server spends on a message, counted and not timed.
//!
//! A server runs under valgrind(1) twice, once for a few rounds of messages and once for many. The
//! difference of the two counts belongs to the rounds that only the second run has: start, warm-up
//! and connecting are in both. Times differ by tens of per cent from run to run; these counts differ
//! by less than one.
//!
//! [`load`] says what the clients do in a round, [`gate`] lets the server find all of it in one
//! turn, [`counted`] is a server under valgrind and what it has counted, [`measure`] takes the
//! difference, [`table`] shows it. [`mod@reference`] has the figures that a test holds us to.

mod clients;
pub mod counted;
pub mod gate;
pub mod load;
pub mod measure;
pub mod reference;
pub mod table;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use self::load::Load;
use self::measure::{Cost, Row};
use crate::compare::model::{Model, Models};
use crate::compare::programs::Programs;

/// The rows of the table. A process or a thread for each connection is left out, since their work is
/// the kernel's, and so is io_uring(7): valgrind does not end a program that waits in it.
const MODELS: [Model; 7] = [
    Model::Reactor,
    Model::Raw,
    Model::Mio,
    Model::Libev,
    Model::Libuv,
    Model::Libevent,
    Model::Tokio,
];

/// The options of `benches cost`.
#[derive(Debug, Args)]
pub struct Options {
    /// The servers: reactor, mio, tokio, and in C raw, libuv, libev, libevent; or all of them
    #[arg(long, value_name = "MODEL,...", default_value = "all")]
    pub models: Models,

    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,

    /// Keep callgrind's profiles of the short and the long runs there, for callgrind_annotate(1)
    #[arg(long, value_name = "DIR")]
    pub profiles: Option<PathBuf>,

    /// The server to count for [default: build it]
    #[arg(long, value_name = "PATH")]
    pub edgeloop: Option<PathBuf>,
}

/// Counts, and prints a row for each server. Errors: in one line.
pub fn cost(options: &Options) -> Result<(), String> {
    // The peers in Rust are part of this program.
    if cfg!(debug_assertions) {
        return Err(
            "what is not optimised costs more: cargo run --release -p benches -- cost".into(),
        );
    }
    counted::valgrind()?;
    let is_chosen = |model: &Model| options.models.0.contains(model);
    let models: Vec<Model> = MODELS.into_iter().filter(is_chosen).collect();
    if models.is_empty() {
        return Err("none of these is counted".into());
    }
    if let Some(directory) = &options.profiles {
        let made = fs::create_dir_all(directory);
        made.map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    }
    let mut programs = Programs::servers(options.edgeloop.as_deref())?;
    let left_out = programs.compile(&models)?;
    for (_, why) in &left_out {
        eprintln!("benches: {why}");
    }
    let is_there = |model: &Model| left_out.iter().all(|(missing, _)| missing != model);
    let models = models.into_iter().filter(is_there);
    let rows: Vec<Row> = models.map(|model| row(&programs, model, options)).collect();
    let text = match options.json {
        true => serde_json::to_string_pretty(&rows).map_err(|error| error.to_string())? + "\n",
        false => table::table(&rows),
    };
    // A reader that has closed the pipe wants no more of it: that is no error.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// All figures of a server. A load that fails has none, and a line that says why.
fn row(programs: &Programs, model: Model, options: &Options) -> Row {
    let cost = |load: Load| -> Option<Cost> {
        let server = load.server(programs, model)?;
        eprintln!("counting: {model}, {load}");
        let directory = options.profiles.as_ref();
        let profiles = directory.map(|it| it.join(format!("{}-{model}", load.name())));
        measure::measure(load, &server, profiles.as_deref())
            .inspect_err(|why| eprintln!("benches: {model}, {load}: {why}"))
            .ok()
    };
    Row {
        model,
        costs: Load::ALL
            .into_iter()
            .filter_map(|load| Some((load, cost(load)?)))
            .collect(),
    }
}
