//! Requests to a reactor from other threads: eventfd(2) and three flags.
//!
//! A reactor lives on one thread and spends its time in epoll_wait(2). Another thread that wants
//! something of it sets a flag and then writes to an eventfd, which is on the reactor's interest
//! list: the wait ends. The order matters. The flag is set *before* the eventfd is written, and the
//! reactor resets the eventfd *before* it takes the flags. So a request that comes too late to be
//! taken finds the counter at zero, and its write is a new edge; no request is lost, whatever the
//! threads' timing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::sync::{Arc, Weak};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// A handle to a reactor for other threads. It wakes the reactor, so that its protocol hears
/// [`on_wake`](crate::Protocol::on_wake), asks for its counters, or stops it. Clones refer to the
/// same reactor.
///
/// Requests of one kind that are made before the reactor takes them are one request, except
/// [`Waker::stop`], whose calls are counted. No call waits, and each is one write(2) to an eventfd
/// (eventfd(2)). Calls after the end of the reactor have no effect.
///
/// A reactor without other sources waits as long as there is a waker for it. When the last one is
/// dropped, and its requests are met, [`Reactor::run`](crate::Reactor::run) returns.
#[derive(Clone, Debug)]
pub struct Waker {
    handle: Arc<Handle>,
}

/// The part that all clones of a waker share; dropped with the last of them.
#[derive(Debug)]
struct Handle {
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

/// The reactor's side of its wakers.
#[derive(Debug)]
pub(crate) struct Wakers {
    shared: Arc<Shared>,
    handle: Weak<Handle>,
}

/// The requests that were made since the reactor took them last.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) wake: bool,
    pub(crate) report: bool,
    pub(crate) stops: u32,
}

impl Waker {
    /// Wakes the reactor. Errors: those of write(2) on an eventfd.
    pub fn wake(&self) -> io::Result<()> {
        self.handle.shared.wake.store(true, Ordering::Release);
        self.handle.shared.ring()
    }

    /// Asks for a report of the counters, as SIGUSR1 does (see
    /// [`Reactor::report`](crate::Reactor::report)). Errors: those of write(2) on an eventfd.
    pub fn report(&self) -> io::Result<()> {
        self.handle.shared.report.store(true, Ordering::Release);
        self.handle.shared.ring()
    }

    /// Stops the reactor as SIGTERM does: gracefully the first time, at once the second. Errors:
    /// those of write(2) on an eventfd.
    pub fn stop(&self) -> io::Result<()> {
        self.handle.shared.stops.fetch_add(1, Ordering::Release);
        self.handle.shared.ring()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The reactor may have been waiting for nothing else.
        let _ = self.shared.ring();
    }
}

impl Shared {
    fn ring(&self) -> io::Result<()> {
        match self.counter.write(1) {
            // EAGAIN: the counter is at its maximum, so the eventfd is readable already.
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn is_asked(&self) -> bool {
        let Shared {
            wake,
            report,
            stops,
            ..
        } = self;
        let by_flag = wake.load(Ordering::Acquire) || report.load(Ordering::Acquire);
        by_flag || stops.load(Ordering::Acquire) > 0
    }
}

impl Wakers {
    pub(crate) fn new() -> io::Result<Wakers> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Wakers {
            shared: Arc::new(Shared {
                counter: EventFd::from_flags(flags)?,
                wake: AtomicBool::new(false),
                report: AtomicBool::new(false),
                stops: AtomicU32::new(0),
            }),
            handle: Weak::new(),
        })
    }

    /// A waker, which may be the first or the first since the last was dropped.
    pub(crate) fn waker(&mut self) -> Waker {
        let handle = self.handle.upgrade().unwrap_or_else(|| {
            let shared = Arc::clone(&self.shared);
            Arc::new(Handle { shared })
        });
        self.handle = Arc::downgrade(&handle);
        Waker { handle }
    }

    /// Whether there is a waker, or one has asked for what was not seen to yet.
    pub(crate) fn may_ask(&self) -> bool {
        if self.handle.strong_count() > 0 {
            return true;
        }
        // Requests that were made before the last waker was dropped are seen from here on.
        fence(Ordering::Acquire);
        self.shared.is_asked()
    }

    /// Whether a waker has asked for what was not seen to yet. Costs no system call.
    pub(crate) fn is_asked(&self) -> bool {
        self.shared.is_asked()
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

impl AsFd for Wakers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.counter.as_fd()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.shared.counter.as_fd()
    }
}
