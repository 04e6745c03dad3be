//! Listening sockets, and what an accept that fails means.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;

use crate::sources::address::Peer;
use crate::sources::bound::SocketFile;
use crate::sys;

/// A socket that clients connect to.
#[derive(Debug)]
pub(crate) struct Listener {
    fd: OwnedFd,
    pub(crate) tag: u64,
    /// On the ready list or the starved list.
    pub(crate) listed: bool,
    /// Removes the socket's file when the listener is dropped.
    _file: Option<Arc<SocketFile>>,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What one accept brought.
#[derive(Debug)]
pub(crate) enum Accept {
    /// A connection.
    Connection(OwnedFd, Peer),
    /// There is nothing more; an edge will tell when there is.
    Drained,
    /// Somebody gave up before we came, or a signal did: go on at once.
    Vanished(Errno),
    /// The process or the system has no descriptor left (`EMFILE`, `ENFILE`).
    NoDescriptor(Errno),
    /// The system is short of memory (`ENOBUFS`, `ENOMEM`), or something is wrong with the
    /// listener.
    Failed(Errno),
}

impl Listener {
    pub(crate) fn new(fd: OwnedFd, file: Option<Arc<SocketFile>>, tag: u64) -> Listener {
        Listener {
            fd,
            tag,
            listed: false,
            _file: file,
        }
    }

    /// One accept4(2), with its errors sorted by what to do about them. The peer's address is known
    /// even when the peer has reset the connection already.
    #[inline]
    pub(crate) fn accept(&self) -> Accept {
        match sys::accept(self.fd.as_fd()) {
            Ok((fd, address)) => Accept::Connection(fd, address.map_or(Peer::Unix, Peer::Inet)),
            Err(errno) => sort(errno),
        }
    }
}

/// The classes of accept(2)'s errors. Network errors of a connection that is not ours yet are
/// passed on through the listener on Linux, and mean nothing for the next one.
fn sort(errno: Errno) -> Accept {
    match errno {
        Errno::EAGAIN => Accept::Drained,
        Errno::EMFILE | Errno::ENFILE => Accept::NoDescriptor(errno),
        Errno::ENOBUFS
        | Errno::ENOMEM
        | Errno::EBADF
        | Errno::EINVAL
        | Errno::ENOTSOCK
        | Errno::EFAULT => Accept::Failed(errno),
        _ => Accept::Vanished(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_accept_are_sorted_by_what_to_do() {
        use Errno::*;
        for errno in [
            ECONNABORTED,
            EPROTO,
            EINTR,
            EPERM,
            ENETDOWN,
            EHOSTUNREACH,
            ENETUNREACH,
            EOPNOTSUPP,
            ETIMEDOUT,
        ] {
            assert!(matches!(sort(errno), Accept::Vanished(_)), "{errno}");
        }
        assert!(matches!(sort(EMFILE), Accept::NoDescriptor(EMFILE)));
        assert!(matches!(sort(ENFILE), Accept::NoDescriptor(ENFILE)));
        assert!(matches!(sort(ENOMEM), Accept::Failed(ENOMEM)));
        assert!(matches!(sort(EAGAIN), Accept::Drained));
    }
}
