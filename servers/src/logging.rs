//! The log: a line for each entry, to a file or to standard error. The log has no lock, so that a
//! thread or a forked process may write to it at any time, and never waits: see `recorder.rs`.

use std::fmt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use humantime::format_rfc3339_millis;
use log::{Level, LevelFilter, Log, Metadata};

use crate::recorder::{Record, Recorder};
use crate::stderr::{self, say};

const LOG: Record = Record {
    name: "log",
    gap: |lines| {
        entry(
            Level::Warn,
            format_args!("lines missing from the log: {lines}"),
        )
    },
    complain: |why| say(&format!("edgeloop: {why}")),
    // The line in the log tells its readers.
    resumed: |_| {},
};

/// The log's file; unset if the log goes to standard error.
static FILE: OnceLock<Recorder> = OnceLock::new();

/// Sends the log to `file`, or to standard error.
pub(crate) fn start(level: LevelFilter, file: Option<&Path>) -> Result<(), String> {
    stderr::start();
    if let Some(path) = file {
        let recorder = Recorder::open(path, &LOG);
        let recorder = recorder.map_err(|why| format!("cannot write the log to {why}"))?;
        FILE.get_or_init(|| recorder);
    }
    log::set_logger(&Logger).map_err(|error| error.to_string())?;
    log::set_max_level(level);
    Ok(())
}

/// SIGHUP: opens the log's file anew. `others`: other files were read again or opened anew, too.
pub(crate) fn reload(others: bool) {
    let file = FILE.get();
    file.inspect(|file| file.reopen());
    match others || file.is_some() {
        true => log::info!("SIGHUP: files are opened anew"),
        false => log::info!("SIGHUP ignored"),
    }
}

/// At the end of the program: waits until all is written, for as long as [`ending`](crate::ending)
/// allows.
pub(crate) fn finish() {
    if let Some(file) = FILE.get() {
        let _ = file.finish(&[]);
    }
    stderr::finish();
}

/// In a forked child: closes its copy of the file.
pub(crate) fn close_in_child() {
    FILE.get().inspect(|file| file.close_in_child());
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, entry: &Metadata) -> bool {
        entry.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record) {
        let line = entry(record.level(), *record.args());
        match FILE.get() {
            Some(file) => file.line(line.as_bytes()),
            None => stderr::write(line.as_bytes()),
        }
    }

    fn flush(&self) {}
}

fn entry(level: Level, text: fmt::Arguments) -> String {
    let now = format_rfc3339_millis(SystemTime::now());
    format!("{now} [{level}] {text}\n")
}
