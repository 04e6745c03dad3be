//! The measured time, the same for all workers.
//!
//! Whoever notices a little late that it has begun or ended counts right all the same: what matters
//! is when a message was sent, or planned, not when somebody looks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::clock::Nanos;

/// When measuring begins and ends; until then, never.
#[derive(Debug)]
pub(super) struct Window {
    from: AtomicU64,
    until: AtomicU64,
}

impl Window {
    pub(super) fn new() -> Window {
        Window {
            from: AtomicU64::new(Nanos::MAX),
            until: AtomicU64::new(Nanos::MAX),
        }
    }

    /// Measuring begins.
    pub(super) fn open(&self, now: Nanos) {
        self.from.store(now, Ordering::Relaxed);
    }

    /// When measuring began.
    pub(super) fn from(&self) -> Nanos {
        self.from.load(Ordering::Relaxed)
    }

    /// Measuring ends, if it has begun and not ended before.
    pub(super) fn close(&self, now: Nanos) {
        self.until.fetch_min(now, Ordering::Relaxed);
    }

    /// Whether it counts what was sent, or planned, at this time.
    pub(super) fn holds(&self, time: Nanos) -> bool {
        self.from.load(Ordering::Relaxed) <= time && time <= self.until.load(Ordering::Relaxed)
    }

    /// How long it was open.
    pub(super) fn length(&self) -> Nanos {
        let (from, until) = (&self.from, &self.until);
        let until = until.load(Ordering::Relaxed);
        until.saturating_sub(from.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sent_in_between_counts() {
        let window = Window::new();
        assert!(!window.holds(5));
        window.open(10);
        assert!(!window.holds(9) && window.holds(10) && window.holds(1000));
        window.close(20);
        window.close(30);
        assert!(window.holds(20) && !window.holds(21));
        assert_eq!(window.length(), 10);
    }

    #[test]
    fn without_a_beginning_nothing_counts() {
        let window = Window::new();
        window.close(20);
        assert!(!window.holds(15));
        assert_eq!(window.length(), 0);
    }
}
