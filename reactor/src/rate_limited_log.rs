//! A log that many clients cannot flood.

use std::fmt;

/// The shortest time between two lines, in milliseconds.
const INTERVAL_MS: u64 = 1_000;

/// A log for warnings that clients can cause: at most one a second is written, together with the
/// number of warnings that were left out since the last one. A flood of connections then fills
/// neither the disk nor the loop's time.
#[derive(Debug, Default)]
pub struct RateLimitedLog {
    /// The earliest time of the next line, in milliseconds.
    next_ms: u64,
    /// Warnings since the last line that were not written.
    left_out: u64,
}

impl RateLimitedLog {
    /// Writes a warning, or counts it if the last one was written less than a second ago. `now_ms`
    /// is the time in milliseconds on any monotonic clock.
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
