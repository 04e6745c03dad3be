//! `benches compare`: echo servers measured in turn, and a page about it.
//!
//! From the question to the page, a file each: [`model`], [`workload`] and [`plan`] say which
//! servers are measured and under which load, [`programs`] finds or builds the programs, [`cores`]
//! and [`limits`] ask what the machine allows, [`run`] measures once with a [`process`] for the
//! server and one for the generator, while [`neighbours`] watches what other programs take;
//! [`measure`] does so for the whole plan, and [`record`] keeps the results. Then [`metric`] names
//! the figures in them, [`series`] and [`stats`] condense the rounds, [`verdict`] compares them,
//! and [`plot`], [`table`], [`page`] and [`markdown`] show them.

pub mod cores;
pub mod limits;
pub mod machine;
pub mod markdown;
pub mod measure;
pub mod metric;
pub mod model;
pub mod neighbours;
pub mod number;
pub mod options;
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
pub mod text;
pub mod verdict;
pub mod workload;

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub use self::options::Options;

use self::record::Comparison;

/// Measures, or reads an earlier comparison, and writes the page. An error is one line.
pub fn compare(options: &Options) -> Result<(), String> {
    let directory = &options.output;
    // Before the runs: a comparison that cannot be written should not take its time.
    prepare(directory).map_err(|error| cannot_write(directory, &error))?;
    let comparison = match &options.from {
        Some(file) => read(file)?,
        None => measure::measure(options)?,
    };
    for (name, content) in files(&comparison)? {
        let path = directory.join(name);
        write(directory, &path, &content).map_err(|error| cannot_write(&path, &error))?;
    }
    // An error means that the user has closed standard output.
    let _ = writeln!(
        io::stdout(),
        "{}",
        directory.join("comparison.html").display()
    );
    Ok(())
}

/// Makes the directory, and checks that a file can be written there.
fn prepare(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    tempfile::tempfile_in(directory)?;
    Ok(())
}

/// Writes all of a file, or leaves the earlier one as it is.
fn write(directory: &Path, path: &Path, content: &str) -> io::Result<()> {
    let readable = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new()
        .permissions(readable)
        .tempfile_in(directory)?;
    file.write_all(content.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

/// The files of a comparison. The JSON comes first, since the others can be made anew from it; then
/// the page, the table for a README, and a file for each plot.
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
