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
