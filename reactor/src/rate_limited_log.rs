//! A log that many clients cannot flood.

use std::fmt;

use crate::core::timers::Millis;

/// The shortest time between two lines.
const INTERVAL: Millis = 1_000;

/// Log lines that many clients can cause at once: one a second is written, with the number of those
/// that were left out.
#[derive(Debug, Default)]
pub(crate) struct RateLimitedLog {
    next: Millis,
    left_out: u64,
}

impl RateLimitedLog {
    pub(crate) fn log(&mut self, now: Millis, text: fmt::Arguments) {
        if now < self.next {
            self.left_out += 1;
            return;
        }
        match std::mem::take(&mut self.left_out) {
            0 => log::warn!("{text}"),
            left_out => log::warn!("{text} ({left_out} more in between)"),
        }
        self.next = now + INTERVAL;
    }
}
