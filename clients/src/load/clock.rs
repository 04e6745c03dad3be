//! The clock of the latencies.
//!
//! The reactor reads its own once a turn and in milliseconds, which is what timeouts need. A
//! latency is a matter of microseconds.

use std::time::{Duration, Instant};

use edgeloop_reactor::Outbox;

/// Nanoseconds since the beginning of the run.
pub(super) type Nanos = u64;

/// A duration on this clock.
pub(super) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What time it is. All workers of a run have the same clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
    read: fn(Instant, &Outbox) -> Nanos,
}

impl Clock {
    /// A clock that begins now.
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

#[cfg(test)]
impl Clock {
    /// The reactor's clock, which a [`Script`](edgeloop_reactor::Script) moves by hand.
    pub(super) fn of_script() -> Clock {
        Clock {
            read: |_, out| nanos(out.now()),
            ..Clock::start()
        }
    }
}
