//! Reaching a reactor from another thread.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::Result;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Reaches a reactor from any thread: makes its wait end, so that the protocol hears `on_wake`,
/// asks for its counters, or for its end. Clones reach the same reactor.
///
/// Rests on eventfd(2). What is asked for several times before the reactor looks is asked once, but
/// for [`Waker::stop`].
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    counter: EventFd,
    wake: AtomicBool,
    report: AtomicBool,
    stops: AtomicU32,
}

/// What a reactor was asked for since it looked last.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) wake: bool,
    pub(crate) report: bool,
    pub(crate) stops: u32,
}

impl Waker {
    pub(crate) fn new() -> Result<Waker> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Waker {
            shared: Arc::new(Shared {
                counter: EventFd::from_flags(flags)?,
                wake: AtomicBool::new(false),
                report: AtomicBool::new(false),
                stops: AtomicU32::new(0),
            }),
        })
    }

    /// Wakes the reactor. Never waits.
    pub fn wake(&self) -> Result<()> {
        self.shared.wake.store(true, Ordering::Release);
        self.ring()
    }

    /// Asks for the report that SIGUSR1 asks for (see [`Reactor::report`](crate::Reactor::report)).
    /// Never waits.
    pub fn report(&self) -> Result<()> {
        self.shared.report.store(true, Ordering::Release);
        self.ring()
    }

    /// Stops the reactor as SIGTERM does: in good order the first time, at once the second. Never
    /// waits.
    pub fn stop(&self) -> Result<()> {
        self.shared.stops.fetch_add(1, Ordering::Release);
        self.ring()
    }

    fn ring(&self) -> Result<()> {
        match self.shared.counter.write(1) {
            // The counter is full: the reactor has 2⁶⁴ reasons to wake up already.
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Takes what was asked for. The counter goes back to zero first, which makes an edge of
    /// whatever is asked from here on.
    pub(crate) fn take(&self) -> Asked {
        let Shared {
            counter,
            wake,
            report,
            stops,
        } = &*self.shared;
        // EAGAIN says that it is zero already.
        let _ = counter.read();
        Asked {
            wake: wake.swap(false, Ordering::Acquire),
            report: report.swap(false, Ordering::Acquire),
            stops: stops.swap(0, Ordering::Acquire),
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.counter.as_fd()
    }
}
