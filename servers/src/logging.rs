//! The log, and a standard error that cannot stop the loop.

use std::fs::File;
use std::io::{self, LineWriter, Write};
use std::os::fd::AsFd;
use std::path::Path;

use log::LevelFilter;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use simplelog::{ConfigBuilder, WriteLogger, format_description};

/// Sends the log to `file`, or to stderr.
pub(crate) fn start(level: LevelFilter, file: Option<&Path>) -> Result<(), String> {
    let config = ConfigBuilder::new()
        .set_time_format_custom(format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        ))
        .set_target_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build();
    let started = match file {
        None => WriteLogger::init(level, config, LineWriter::new(Stderr)),
        Some(path) => {
            let file = File::options().create(true).append(true).open(path);
            let file = file
                .map_err(|error| format!("cannot write the log to {}: {error}", path.display()))?;
            WriteLogger::init(level, config, LineWriter::new(file))
        }
    };
    started.map_err(|error| error.to_string())
}

/// Writes one line to stderr that is no part of the log, such as the banner. A failure to do so is
/// nobody's concern.
pub(crate) fn say(line: &str) {
    let _ = Stderr.write_all(format!("{line}\n").as_bytes());
}

/// Standard error, without waiting for it: a line that a stopped terminal or a full pipe would not
/// take is dropped, so that whoever looks at the log cannot stop the server by looking away.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        let mut asked = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut asked, PollTimeout::ZERO) {
            Ok(0) => Ok(bytes.len()),
            _ => Ok(nix::unistd::write(stderr.as_fd(), bytes)?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
