//! What the user is told on standard error.

use std::io::{self, Write};

use log::LevelFilter;
use simplelog::{ConfigBuilder, WriteLogger};

/// Sends the log to stderr, as bare lines.
pub(crate) fn start(verbose: u8) -> Result<(), String> {
    let level = match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        _ => LevelFilter::Debug,
    };
    let bare = ConfigBuilder::new()
        .set_max_level(LevelFilter::Off)
        .set_time_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .build();
    WriteLogger::init(level, bare, io::stderr()).map_err(|error| error.to_string())
}

/// Writes one line to stderr. A failure to do so is nobody's concern.
pub(crate) fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
