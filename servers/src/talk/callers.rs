//! A limit on notices about callers.
//!
//! A stranger may call and go a hundred thousand times a minute. The notices about it must be no
//! more than a person can follow, and must not pile up while the screen takes nothing.

use std::mem;
use std::time::Duration;

/// Notices that may follow each other at once.
const BURST: u32 = 5;
/// Time between two notices after those.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// Notices about callers: a few at once, then one per [`INTERVAL`], and a count of the callers that
/// were left out.
#[derive(Debug)]
pub(super) struct Callers {
    /// Notices that may be shown, as of `since`.
    allowed: u32,
    since: Duration,
    left_out: u64,
}

impl Default for Callers {
    fn default() -> Self {
        Callers {
            allowed: BURST,
            since: Duration::ZERO,
            left_out: 0,
        }
    }
}

impl Callers {
    /// Whether a notice about a caller may be shown at this time. The count of callers that were
    /// left out comes first.
    pub(super) fn admit(&mut self, now: Duration) -> bool {
        let intervals = now.saturating_sub(self.since).as_secs() / INTERVAL.as_secs();
        if intervals > 0 {
            let more = u32::try_from(intervals).unwrap_or(u32::MAX);
            self.allowed = self.allowed.saturating_add(more).min(BURST);
            self.since = now;
        }
        if self.left_out > 0 || self.allowed == 0 {
            return false;
        }
        self.allowed -= 1;
        true
    }

    /// Counts a caller that has gone without a notice. True for the first one since the last
    /// [`Callers::take_left_out`].
    pub(super) fn leave_out(&mut self) -> bool {
        self.left_out += 1;
        self.left_out == 1
    }

    /// Whether callers were left out since the last [`Callers::take_left_out`].
    pub(super) fn has_left_out(&self) -> bool {
        self.left_out > 0
    }

    /// One line about the callers that were left out, if there are any.
    pub(super) fn take_left_out(&mut self) -> Option<String> {
        match mem::take(&mut self.left_out) {
            0 => None,
            1 => Some("(1 caller came and went meanwhile)".into()),
            count => Some(format!("({count} callers came and went meanwhile)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_at_once_then_one_a_second() {
        let mut callers = Callers::default();
        let mut told = 0;
        for call in 0..100_000 {
            let now = Duration::from_millis(call / 10);
            if callers.admit(now) {
                told += 1;
            } else if callers.leave_out() && call % 2 == 0 {
                assert!(callers.take_left_out().is_some());
            }
        }
        assert!((BURST..BURST + 10).contains(&told), "{told} in ten seconds");
    }

    #[test]
    fn what_was_left_out_is_told_once() {
        let mut callers = Callers::default();
        while callers.admit(Duration::ZERO) {}
        assert!(callers.leave_out());
        assert!(!callers.leave_out());
        assert!(!callers.admit(10 * INTERVAL), "it comes first");
        let line = "(2 callers came and went meanwhile)";
        assert_eq!(callers.take_left_out().as_deref(), Some(line));
        assert_eq!(callers.take_left_out(), None);
        assert!(callers.admit(10 * INTERVAL));
    }
}
