//! A log that strangers cannot flood.

use std::fmt::{self, Write};

use log::Level;

/// Time after which one more line may be written, in milliseconds.
const INTERVAL_MS: u64 = 1_000;
/// Bytes of a text that are written; a peer chooses its name, and may have a long address.
const TEXT_MAX: usize = 200;

/// A log for lines that peers can cause: a few at once, then one a second, together with the number
/// of lines that were left out since the last one. A text is cut off at 200 bytes. A flood of
/// connections then fills neither the disk nor the loop's time: one such log grows by less than 25
/// MB a day.
///
/// ```
/// use edgeloop_reactor::RateLimitedLog;
///
/// let mut refusals = RateLimitedLog::default();
/// for attempt in 0..100_000 {
///     // One line is written, and the next one, a second later, says how many were left out.
///     refusals.log(5_000, format_args!("refused, attempt {attempt}"));
/// }
/// ```
#[derive(Debug)]
pub struct RateLimitedLog {
    level: Level,
    burst: u64,
    /// Lines that may be written, as of `since_ms`.
    allowed: u64,
    since_ms: u64,
    /// Lines since the last one that was written.
    left_out: u64,
}

/// Warnings, one a second.
impl Default for RateLimitedLog {
    fn default() -> Self {
        RateLimitedLog::new(Level::Warn, 1)
    }
}

impl RateLimitedLog {
    /// A log of this level, of which `burst` lines may follow each other at once.
    #[must_use]
    pub const fn new(level: Level, burst: u64) -> Self {
        RateLimitedLog {
            level,
            burst,
            allowed: burst,
            since_ms: 0,
            left_out: 0,
        }
    }

    /// Writes a line, or counts it if too many were written lately. `now_ms` is the time in
    /// milliseconds on any monotonic clock.
    pub fn log(&mut self, now_ms: u64, text: fmt::Arguments) {
        if !log::log_enabled!(self.level) {
            return;
        }
        if !self.is_open(now_ms) {
            self.left_out += 1;
            return;
        }
        self.allowed -= 1;
        let mut cut = Cut(String::new());
        // An error only says that the text was cut off.
        let _ = cut.write_fmt(text);
        let (level, text) = (self.level, cut.0);
        match std::mem::take(&mut self.left_out) {
            0 => log::log!(level, "{text}"),
            left_out => log::log!(level, "{text} ({left_out} more in between)"),
        }
    }

    /// Whether a line would be written now.
    pub fn is_open(&mut self, now_ms: u64) -> bool {
        let intervals = now_ms.saturating_sub(self.since_ms) / INTERVAL_MS;
        if intervals > 0 {
            self.allowed = self.allowed.saturating_add(intervals).min(self.burst);
            self.since_ms = now_ms;
        }
        self.allowed > 0
    }
}

/// The first [`TEXT_MAX`] bytes of a text. Formatting ends there, however long the text is.
struct Cut(String);

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT_MAX - self.0.len().min(TEXT_MAX);
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let end = (0..=room).rfind(|&end| text.is_char_boundary(end));
        self.0.push_str(&text[..end.unwrap_or(0)]);
        self.0.push_str("...");
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of lines that are written within ten seconds, if there is one each millisecond.
    fn written_in_ten_seconds(mut log: RateLimitedLog) -> usize {
        let is_written = |now_ms: &u64| {
            let is_open = log.is_open(*now_ms);
            log.allowed -= u64::from(is_open);
            is_open
        };
        (1..=10_000).filter(is_written).count()
    }

    #[test]
    fn a_few_at_once_then_one_a_second() {
        assert_eq!(written_in_ten_seconds(RateLimitedLog::default()), 11);
        let burst = RateLimitedLog::new(Level::Info, 100);
        assert_eq!(written_in_ten_seconds(burst), 110);
    }

    #[test]
    fn a_text_is_cut_off_between_two_characters() {
        let cut = |text: fmt::Arguments| {
            let mut cut = Cut(String::new());
            let _ = cut.write_fmt(text);
            cut.0
        };
        assert_eq!(cut(format_args!("{} is short", "this")), "this is short");
        let long = "é".repeat(150);
        let expected = format!("x{}...", "é".repeat(99));
        assert_eq!(cut(format_args!("x{long} and {long}")), expected);
    }
}
