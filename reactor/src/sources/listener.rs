//! Listening sockets, and the classes of errors of accept(2).
//!
//! A server that ends when accept(2) fails can be ended by any client: a connection that was reset
//! in the queue is such an error. A server that tries again at once whatever the error is spins at
//! the limit of descriptors. So each error is sorted by what is to be done next: go on, wait for an
//! edge, or try again after a while ([`Accept`]). `reactor/accepting.rs` does it.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;

use crate::sources::address::{Peer, is_wildcard};
use crate::sources::bound::{SocketFile, local_address};
use crate::sys;

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    fd: OwnedFd,
    /// The tag of every connection that is accepted here.
    pub(crate) tag: u64,
    /// Its address, and so that of every connection, unless it is a wildcard.
    pub(crate) local: Option<SocketAddr>,
    /// The listener is on the ready list or the starved list.
    pub(crate) listed: bool,
    /// Removes the socket's file when the listener is dropped.
    _file: Option<Arc<SocketFile>>,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The result of one accept.
#[derive(Debug)]
pub(crate) enum Accept {
    /// A connection, and its peer's address.
    Connection(OwnedFd, Peer),
    /// The queue is empty (`EAGAIN`): the next connection is an edge.
    Drained,
    /// The connection was lost before it was accepted (`ECONNABORTED` and errors of the network),
    /// or a signal interrupted the call: the next accept may succeed at once.
    Vanished(Errno),
    /// The process or the system has no descriptor left (`EMFILE`, `ENFILE`). No edge follows.
    NoDescriptor(Errno),
    /// The system is short of memory (`ENOBUFS`, `ENOMEM`), or the listener itself is broken
    /// (`EINVAL`, for instance): a retry at once would spin. No edge follows.
    Failed(Errno),
}

impl Listener {
    pub(crate) fn new(fd: OwnedFd, file: Option<Arc<SocketFile>>, tag: u64) -> Listener {
        let local = local_address(fd.as_fd());
        Listener {
            fd,
            tag,
            local: local.filter(|local| !is_wildcard(local)),
            listed: false,
            _file: file,
        }
    }

    /// One accept4(2).
    #[inline]
    pub(crate) fn accept(&self) -> Accept {
        match sys::accept(self.fd.as_fd()) {
            Ok((fd, address)) => Accept::Connection(fd, address.map_or(Peer::Unix, Peer::Inet)),
            Err(errno) => sort(errno),
        }
    }
}

/// Sorts the errors of accept(2). On Linux the pending network error of the new connection is
/// returned by accept(2) (accept(2), "Error handling"), and says nothing of the next one: all
/// errors that are not listed here are of that class.
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
