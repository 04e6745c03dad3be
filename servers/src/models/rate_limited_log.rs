//! A log that many clients cannot flood.

use std::fmt;
use std::mem;
use std::time::{Duration, Instant};

/// The shortest time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// Log lines that many clients can cause at once: one a second is written, with the number of those
/// that were left out.
#[derive(Default)]
pub(super) struct RateLimitedLog {
    last: Option<Instant>,
    left_out: u64,
}

impl RateLimitedLog {
    pub(super) fn log(&mut self, text: fmt::Arguments) {
        if self.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            self.left_out += 1;
            return;
        }
        match mem::take(&mut self.left_out) {
            0 => log::warn!("{text}"),
            left_out => log::warn!("{text} ({left_out} more in between)"),
        }
        self.last = Some(Instant::now());
    }
}
