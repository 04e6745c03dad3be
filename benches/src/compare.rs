//! `benches compare`: echo servers measured in turn, and a page about it.
//!
//! From the question to the page, a file each: [`model`] and [`plan`] say who and what is measured,
//! [`programs`] finds or builds the programs, [`cores`] and [`limits`] ask what the machine allows,
//! [`run`] measures once with a [`process`] for the server and one for the generator, while
//! [`neighbours`] watches whether anybody disturbs; [`measure`] does so for the whole plan, and
//! [`record`] keeps what came out. Then [`metric`] names what can be read from it, [`series`] and
//! [`stats`] condense the rounds, [`verdict`] compares them, and [`plot`], [`table`], [`page`] and
//! [`markdown`] show them.

pub mod cores;
pub mod limits;
pub mod machine;
pub mod markdown;
pub mod measure;
pub mod metric;
pub mod model;
pub mod neighbours;
pub mod number;
pub mod page;
pub mod plan;
pub mod plot;
pub mod process;
pub mod programs;
pub mod record;
pub mod report;
pub mod run;
pub mod scale;
pub mod series;
pub mod shape;
pub mod stats;
pub mod table;
pub mod verdict;

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use edgeloop::values::duration;

use self::model::Models;
use self::record::Comparison;

/// What the user may choose.
#[derive(Debug, Args)]
pub struct Options {
    /// Fewer connections, shorter runs: done within two minutes
    #[arg(long)]
    pub quick: bool,

    /// Where comparison.html, .json, .md and the plots go
    #[arg(long, value_name = "DIR", default_value = "target/comparison")]
    pub output: PathBuf,

    /// What is compared: reactor, fork, thread, mio, tokio; in C raw, uring, libuv, libev,
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

/// Measures, or reads what was measured, and writes the page. Errors: in one line.
pub fn compare(options: &Options) -> Result<(), String> {
    let directory = &options.output;
    // Before it takes its time: nobody should measure for nothing.
    prepare(directory).map_err(|error| cannot_write(directory, &error))?;
    let comparison = match &options.from {
        Some(file) => read(file)?,
        None => measure::measure(options)?,
    };
    for (name, content) in files(&comparison)? {
        let path = directory.join(name);
        write(directory, &path, &content).map_err(|error| cannot_write(&path, &error))?;
    }
    // Whoever has closed it does not want to know.
    let _ = writeln!(
        io::stdout(),
        "{}",
        directory.join("comparison.html").display()
    );
    Ok(())
}

/// Makes the directory, and sees whether something can be written there.
fn prepare(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    tempfile::tempfile_in(directory)?;
    Ok(())
}

/// Writes all of a file, or leaves the one that was there as it is.
fn write(directory: &Path, path: &Path, content: &str) -> io::Result<()> {
    let readable = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new()
        .permissions(readable)
        .tempfile_in(directory)?;
    file.write_all(content.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

/// What is written: all that was measured, from which the rest can be made anew, and so it comes
/// first; the page, the table for a README, and each plot for itself.
fn files(comparison: &Comparison) -> Result<Vec<(String, String)>, String> {
    let json = serde_json::to_string_pretty(comparison).map_err(|error| error.to_string())?;
    let mut files = vec![
        ("comparison.json".to_owned(), json),
        ("comparison.html".to_owned(), page::page(comparison)),
        ("comparison.md".to_owned(), markdown::markdown(comparison)),
    ];
    for metric in metric::metrics() {
        let plot = plot::document(comparison, metric);
        files.push((format!("comparison-{}.svg", metric.id), plot));
    }
    Ok(files)
}

fn read(file: &Path) -> Result<Comparison, String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string());
    let comparison = text.and_then(|text| {
        serde_json::from_str(&text).map_err(|error| format!("not a comparison: {error}"))
    });
    comparison.map_err(|error| format!("cannot read {}: {error}", file.display()))
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}
