//! A log that many clients cannot flood.

use std::fmt;

/// The shortest time between two lines, in milliseconds.
const INTERVAL_MS: u64 = 1_000;

/// Warnings that many clients can cause at once: one a second is written, with the number of those
/// that were left out.
#[derive(Debug, Default)]
pub struct RateLimitedLog {
    /// The earliest time of the next line, in milliseconds.
    next_ms: u64,
    left_out: u64,
}

impl RateLimitedLog {
    /// Logs a warning, or counts it if the last one was written less than a second ago. `now_ms`:
    /// milliseconds on a clock that is not set back; its zero does not matter.
    pub fn log(&mut self, now_ms: u64, text: fmt::Arguments) {
        if now_ms < self.next_ms {
            self.left_out += 1;
            return;
        }
        match std::mem::take(&mut self.left_out) {
            0 => log::warn!("{text}"),
            left_out => log::warn!("{text} ({left_out} more in between)"),
        }
        self.next_ms = now_ms + INTERVAL_MS;
    }
}
