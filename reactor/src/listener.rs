//! Listening sockets: how they are made, and what an accept that fails means.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::Result;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind, connect,
    getsockname, setsockopt, socket, sockopt,
};

use crate::address::{Peer, is_wildcard, to_socket_addr};
use crate::sys;

/// A socket that clients connect to.
#[derive(Debug)]
pub(crate) struct Listener {
    fd: OwnedFd,
    pub(crate) tag: u32,
    pub(crate) pending: Pending,
    /// The turn in which it had its budget last.
    pub(crate) last_turn: u64,
    /// Removes the socket's file when the listener is dropped.
    _file: Option<SocketFile>,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether accepting stopped before there was nothing left to accept, so that no edge will tell us
/// to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    No,
    /// The budget was spent: go on in the next turn.
    Budget,
    /// A descriptor or memory was missing: go on when there may be some.
    Resources,
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
    /// Listens on a TCP address, both families for `[::]` (ipv6(7), `IPV6_V6ONLY`).
    pub(crate) fn tcp(address: SocketAddr, tag: u32, backlog: usize) -> Result<Listener> {
        let fd = inet_socket(&address, SockType::Stream)?;
        // What is set here, every accepted connection inherits: no call for each of them.
        setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
        // Urgent data stays in the stream, where a peer that echoes is expected to find it.
        setsockopt(&fd, sockopt::OobInline, &true)?;
        // Addresses of connections that ended a moment ago are in TIME_WAIT, and shall not keep us
        // from restarting.
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
        Listener::start(fd, tag, backlog, None)
    }

    /// Listens on a Unix path. A socket file that nobody listens on is replaced; any other file is
    /// an error.
    pub(crate) fn unix(path: &Path, tag: u32, backlog: usize) -> io::Result<Listener> {
        remove_stale(path)?;
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        let file = SocketFile::new(path)?;
        Ok(Listener::start(fd, tag, backlog, Some(file))?)
    }

    fn start(fd: OwnedFd, tag: u32, backlog: usize, file: Option<SocketFile>) -> Result<Listener> {
        sys::listen(fd.as_fd(), i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(Listener {
            fd,
            tag,
            pending: Pending::No,
            last_turn: 0,
            _file: file,
        })
    }

    /// The address with the port that the kernel chose, `None` for a Unix socket.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        local_address(self.fd.as_fd())
    }

    /// One accept4(2), with its errors sorted by what to do about them.
    pub(crate) fn accept(&self) -> Accept {
        match sys::accept(self.fd.as_fd()) {
            Ok((fd, address)) => Accept::Connection(fd, Peer::accepted(address.as_ref())),
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

/// A socket of the address's family, non-blocking and close-on-exec, open to both families where
/// that can be.
pub(crate) fn inet_socket(address: &SocketAddr, kind: SockType) -> Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let fd = socket(
        family,
        kind,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &!is_wildcard(address))?;
    }
    Ok(fd)
}

pub(crate) fn local_address(fd: BorrowedFd) -> Option<SocketAddr> {
    let address = getsockname::<SockaddrStorage>(fd.as_raw_fd()).ok()?;
    if address.family() == Some(AddressFamily::Unix) {
        None
    } else {
        to_socket_addr(&address)
    }
}

/// Makes way for a new socket file, if what is there is a socket on which nobody listens any more.
fn remove_stale(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "File exists and is not a socket",
        ));
    }
    // Whoever listens there may be too busy to answer: we do not wait for that.
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path),
        Ok(()) | Err(Errno::EAGAIN) => Err(Errno::EADDRINUSE.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// The file of a Unix socket, ours to remove as long as nobody has put another in its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<SocketFile> {
        let metadata = fs::symlink_metadata(path)?;
        // The working directory may change before the file is removed.
        let path = std::path::absolute(path)?;
        Ok(SocketFile {
            path,
            device_and_inode: (metadata.dev(), metadata.ino()),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path).map(|metadata| (metadata.dev(), metadata.ino()));
        if now.is_ok_and(|now| now == self.device_and_inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
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

    #[test]
    fn a_stale_socket_file_is_replaced_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sock");
        let first = Listener::unix(&path, 0, 16).unwrap();
        let in_use = Listener::unix(&path, 0, 16).unwrap_err();
        assert_eq!(in_use.raw_os_error(), Some(libc::EADDRINUSE));
        drop(first);
        assert!(!path.exists(), "our own file is removed at the end");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the standard library leaves a stale file");
        let second = Listener::unix(&path, 0, 16).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(second);
        assert_eq!(
            fs::read(&path).unwrap(),
            b"precious",
            "another's file is left alone"
        );
        assert!(Listener::unix(&path, 0, 16).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
