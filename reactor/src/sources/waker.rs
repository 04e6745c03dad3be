//! Requests to a reactor from other threads: eventfd(2) and three flags.
//!
//! A reactor lives on one thread and spends its time in epoll_wait(2). Another thread that wants
//! something of it sets a flag and then writes to an eventfd, which is on the reactor's interest
//! list: the wait ends. The order matters. The flag is set *before* the eventfd is written, and the
//! reactor resets the eventfd *before* it takes the flags. So a request that comes too late to be
//! taken finds the counter at zero, and its write is a new edge; no request is lost, whatever the
//! threads' timing.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::Result;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// A handle to a reactor for other threads. It wakes the reactor, so that its protocol hears
/// [`on_wake`](crate::Protocol::on_wake), asks for its counters, or stops it. Clones refer to the
/// same reactor.
///
/// Requests of one kind that are made before the reactor takes them are one request, except
/// [`Waker::stop`], whose calls are counted. No call waits, and each is one write(2) to an eventfd
/// (eventfd(2)). Calls after the end of the reactor have no effect.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

/// The state that the reactor and all its wakers share.
#[derive(Debug)]
struct Shared {
    /// On the reactor's interest list. Any value above zero is an edge.
    counter: EventFd,
    wake: AtomicBool,
    report: AtomicBool,
    stops: AtomicU32,
}

/// The requests that were made since the reactor took them last.
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

    /// Wakes the reactor. Errors: those of write(2) on an eventfd.
    pub fn wake(&self) -> Result<()> {
        self.shared.wake.store(true, Ordering::Release);
        self.ring()
    }

    /// Asks for a report of the counters, as SIGUSR1 does (see
    /// [`Reactor::report`](crate::Reactor::report)). Errors: those of write(2) on an eventfd.
    pub fn report(&self) -> Result<()> {
        self.shared.report.store(true, Ordering::Release);
        self.ring()
    }

    /// Stops the reactor as SIGTERM does: gracefully the first time, at once the second. Errors:
    /// those of write(2) on an eventfd.
    pub fn stop(&self) -> Result<()> {
        self.shared.stops.fetch_add(1, Ordering::Release);
        self.ring()
    }

    fn ring(&self) -> Result<()> {
        match self.shared.counter.write(1) {
            // EAGAIN: the counter is at its maximum, so the eventfd is readable already.
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Takes the requests. The counter is reset first, so that a request from here on is a new
    /// edge.
    pub(crate) fn take(&self) -> Asked {
        let Shared {
            counter,
            wake,
            report,
            stops,
        } = &*self.shared;
        // EAGAIN: the counter is zero already.
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
