//! The log, on standard error.

use edgeloop::stderr::say;
use log::{LevelFilter, Log, Metadata, Record};

/// Sends the log to stderr, as bare lines.
pub(crate) fn start(verbose: u8) -> Result<(), String> {
    log::set_max_level(match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        _ => LevelFilter::Debug,
    });
    log::set_logger(&Bare).map_err(|error| error.to_string())
}

struct Bare;

impl Log for Bare {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        say(&record.args().to_string());
    }

    fn flush(&self) {}
}
