//! Waking a reactor from another thread.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::Result;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Makes a reactor's wait end, from any thread; the protocol hears `on_wake`. Clones wake the same
/// reactor.
///
/// Rests on eventfd(2). Several wake-ups before the reactor looks are one.
#[derive(Clone, Debug)]
pub struct Waker {
    counter: Arc<EventFd>,
}

impl Waker {
    pub(crate) fn new() -> Result<Waker> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Waker {
            counter: Arc::new(EventFd::from_flags(flags)?),
        })
    }

    /// Wakes the reactor. Never waits.
    pub fn wake(&self) -> Result<()> {
        match self.counter.write(1) {
            // The counter is full: the reactor has 2⁶⁴ reasons to wake up already.
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Sets the counter back to zero, which the next `wake` makes an edge of.
    pub(crate) fn reset(&self) {
        // EAGAIN says that it is zero already.
        let _ = self.counter.read();
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.counter.as_fd()
    }
}
