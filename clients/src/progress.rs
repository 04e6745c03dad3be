//! The progress bar of a large file that is sent.

use std::fs::File;
use std::io::{self, IsTerminal, Seek};
use std::os::fd::AsFd;

use indicatif::ProgressBar;
use nix::sys::stat::{SFlag, fstat};

use crate::canvas;

/// Smallest file with a bar, in bytes: a smaller one is sent before a user could read the bar.
const WORTH_WATCHING: u64 = 8 * 1024 * 1024;
/// Often enough to look alive. Between two drawings, progress costs an addition and a look at the
/// clock.
const DRAWS_PER_SECOND: u8 = 10;

const TEMPLATE: &str =
    "{binary_bytes} of {binary_total_bytes} {wide_bar} {binary_bytes_per_sec}, {eta} left";

/// A bar on standard error: bytes sent of the size, rate, time left. It is gone when this is
/// dropped.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// The bar of standard input, if that is a large file and a user can watch: standard error is a
    /// terminal, and no reply is `printed` on one at the same time.
    pub(crate) fn of_process(printed: bool) -> Self {
        let watched = io::stderr().is_terminal() && !(printed && io::stdout().is_terminal());
        let bar = rest_of_file(io::stdin())
            .filter(|&rest| watched && rest >= WORTH_WATCHING)
            .map(|rest| canvas::bar(Some(rest), TEMPLATE, DRAWS_PER_SECOND));
        bar.map_or_else(Progress::hidden, Progress)
    }

    /// No bar: the input is small, or not watched.
    pub(crate) fn hidden() -> Self {
        Progress(ProgressBar::hidden())
    }

    /// The connection is open. The rate counts from here on.
    pub(crate) fn start(&self) {
        self.0.reset();
    }

    /// More bytes are on their way.
    pub(crate) fn add(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }
}

/// The bytes of a regular file after its current position, since it may have been read from before.
/// `None` for anything else.
fn rest_of_file(fd: impl AsFd) -> Option<u64> {
    let status = fstat(&fd).ok()?;
    if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return None;
    }
    let position = File::from(fd.as_fd().try_clone_to_owned().ok()?)
        .stream_position()
        .ok()?;
    Some(u64::try_from(status.st_size).ok()?.saturating_sub(position))
}
