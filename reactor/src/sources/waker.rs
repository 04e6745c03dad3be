//! Reaching a reactor from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::sync::{Arc, Weak};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Reaches a reactor from any thread: makes its wait end, so that the protocol hears `on_wake`,
/// asks for its counters, or for its end. Clones reach the same reactor.
///
/// A reactor without other sources waits as long as there is a waker for it; when the last is
/// dropped, and what was asked for is seen to, [`Reactor::run`](crate::Reactor::run) returns.
///
/// Rests on eventfd(2). What is asked for several times before the reactor looks is asked once, but
/// for [`Waker::stop`].
#[derive(Clone, Debug)]
pub struct Waker {
    handle: Arc<Handle>,
}

/// What all clones of a waker share; dropped with the last of them.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
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

/// What a reactor was asked for since it looked last.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) wake: bool,
    pub(crate) report: bool,
    pub(crate) stops: u32,
}

impl Waker {
    /// Wakes the reactor. Never waits.
    pub fn wake(&self) -> io::Result<()> {
        self.handle.shared.wake.store(true, Ordering::Release);
        self.handle.shared.ring()
    }

    /// Asks for the report that SIGUSR1 asks for (see [`Reactor::report`](crate::Reactor::report)).
    /// Never waits.
    pub fn report(&self) -> io::Result<()> {
        self.handle.shared.report.store(true, Ordering::Release);
        self.handle.shared.ring()
    }

    /// Stops the reactor as SIGTERM does: in good order the first time, at once the second. Never
    /// waits.
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
            // The counter is full: the reactor has 2⁶⁴ reasons to wake up already.
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
        // What was asked for before the last waker was dropped is seen from here on.
        fence(Ordering::Acquire);
        self.shared.is_asked()
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
