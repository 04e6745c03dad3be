//! How much of a large file is sent.

use std::fs::File;
use std::io::{self, IsTerminal, Seek};
use std::os::fd::AsFd;

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use nix::sys::stat::{SFlag, fstat};

use crate::canvas;

/// Files below this are sent before anybody could read the bar, in bytes.
const WORTH_WATCHING: u64 = 8 * 1024 * 1024;
/// Often enough to look alive; what lies between costs an addition and a look at the clock.
const DRAWS_PER_SECOND: u8 = 10;

const TEMPLATE: &str =
    "{binary_bytes} of {binary_total_bytes} {wide_bar} {binary_bytes_per_sec}, {eta} left";

/// A bar on standard error: bytes sent of the size, rate, time left. It is gone when this is
/// dropped.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// For standard input, if it is a large file and somebody can watch: standard error is a
    /// terminal, and no answer is `printed` on one at the same time.
    pub(crate) fn of_process(printed: bool) -> Self {
        let watched = io::stderr().is_terminal() && !(printed && io::stdout().is_terminal());
        let bar = rest_of_file(io::stdin())
            .filter(|&rest| watched && rest >= WORTH_WATCHING)
            .map(visible);
        bar.map_or_else(Progress::hidden, Progress)
    }

    /// For what is small, or not watched.
    pub(crate) fn hidden() -> Self {
        Progress(ProgressBar::hidden())
    }

    /// The connection is there: the time it took is not counted.
    pub(crate) fn start(&self) {
        self.0.reset();
    }

    /// So many bytes more are on their way.
    pub(crate) fn add(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }
}

fn visible(total: u64) -> ProgressBar {
    let target = canvas::target(DRAWS_PER_SECOND);
    let bar =
        ProgressBar::with_draw_target(Some(total), target).with_finish(ProgressFinish::AndClear);
    match ProgressStyle::with_template(TEMPLATE) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// What is left of a regular file: it may have been read from before. `None` for all else.
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
