//! The time of a run: the clock of its latencies, and the window in which messages count.
//!
//! The reactor reads its own clock once a turn and in milliseconds, which is what timeouts need. A
//! latency is a matter of microseconds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use edgeloop_reactor::Outbox;

/// Nanoseconds since the start of the run.
pub(super) type Nanos = u64;

/// A duration on this clock.
pub(super) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The clock, which all workers of a run share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
    read: fn(Instant, &Outbox) -> Nanos,
}

impl Clock {
    /// A clock that starts now.
    pub(super) fn start() -> Clock {
        Clock {
            start: Instant::now(),
            read: |start, _| nanos(start.elapsed()),
        }
    }

    /// The time; without a system call, since the kernel shares its clock's page (vdso(7)).
    pub(super) fn now(self, out: &Outbox) -> Nanos {
        (self.read)(self.start, out)
    }

    /// The time outside of a reactor.
    pub(super) fn elapsed(self) -> Nanos {
        nanos(self.start.elapsed())
    }
}

impl Clock {
    /// The reactor's clock, which a [`Script`](edgeloop_reactor::Script) moves by hand.
    pub(super) fn of_script() -> Clock {
        Clock {
            read: |_, out| nanos(out.now()),
            ..Clock::start()
        }
    }
}

/// The measured time, one window for all workers.
///
/// A worker that learns of its beginning or end a little late counts right all the same: the time
/// at which a message was sent, or planned, decides, and not the time at which the worker looks.
#[derive(Debug)]
pub(super) struct Window {
    from: AtomicU64,
    until: AtomicU64,
}

impl Window {
    /// A window that is not open yet.
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

    /// The time at which measuring began.
    pub(super) fn from(&self) -> Nanos {
        self.from.load(Ordering::Relaxed)
    }

    /// Measuring ends, unless it has ended before.
    pub(super) fn close(&self, now: Nanos) {
        self.until.fetch_min(now, Ordering::Relaxed);
    }

    /// Whether a message counts that was sent, or planned, at this time.
    pub(super) fn holds(&self, time: Nanos) -> bool {
        self.from.load(Ordering::Relaxed) <= time && time <= self.until.load(Ordering::Relaxed)
    }

    /// The measured time; 0 if measuring has not begun.
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
