//! The end of the program: a limit on the time for output that is still to be written.
//!
//! The loop has ended by then, so a wait holds no connection. But a reader that pauses must not
//! hold the exit: all waits together end with the grace period, and a stop signal ends them at
//! once.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The grace period of a program that ends before it has served.
const GRACE: Duration = Duration::from_secs(5);
/// Time that a writer has in any case: lines that a reader takes at once need next to none, and the
/// last lines, which say why the program ends, must not be lost.
const LEAST: Duration = Duration::from_millis(500);

/// End of all waits; `None` if it lies beyond the range of the clock.
static UNTIL: OnceLock<Option<Instant>> = OnceLock::new();

/// Service has ended; this much of the grace period is left. Only the first call counts.
pub fn begin(left: Duration) {
    UNTIL.get_or_init(|| Instant::now().checked_add(left.max(LEAST)));
}

/// Whether service has ended.
pub(crate) fn has_begun() -> bool {
    UNTIL.get().is_some()
}

/// Waits until `fd` has one of these events; false if the time is over, or a stop signal is
/// pending.
pub(crate) fn wait(fd: BorrowedFd, events: PollFlags) -> bool {
    begin(GRACE);
    let until = UNTIL.get().copied().flatten();
    let stop = stop_signals();
    let mut asked = vec![PollFd::new(fd, events)];
    asked.extend(
        stop.iter()
            .map(|stop| PollFd::new(stop.as_fd(), PollFlags::POLLIN)),
    );
    loop {
        match poll(&mut asked, timeout(until)) {
            Err(Errno::EINTR) => {}
            Ok(1..) => return asked[0].any() == Some(true),
            _ => return false,
        }
    }
}

/// The blocked stop signals, as events. `None` if there is no descriptor left: then only the time
/// limits the wait.
fn stop_signals() -> Option<SignalFd> {
    let stop: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    SignalFd::with_flags(&stop, SfdFlags::SFD_CLOEXEC).ok()
}

fn timeout(until: Option<Instant>) -> PollTimeout {
    let Some(until) = until else {
        return PollTimeout::NONE;
    };
    let left = until.saturating_duration_since(Instant::now());
    PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX)
}
