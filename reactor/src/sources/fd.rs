//! Streams that are descriptors: sockets, terminals, pipes and files.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::Result;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, readlink};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, SockaddrLike, SockaddrStorage, connect,
    getsockopt, recv, send, setsockopt, shutdown, socket, sockopt,
};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::isatty;

use crate::core::conn::{State, Stream};
use crate::poll::Interest;
use crate::sources::address::{Address, Peer, unix_addr};
use crate::sources::bound::{bind_source, inet_socket, keep_alive, local_address};
use crate::sources::jobs::{is_anothers, may_read, may_write};
use crate::sys;

/// Which way the bytes of an adopted descriptor go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Only read from: standard input. No idle timeout ends it.
    Input,
    /// Only written to: standard output. No idle or stall timeout ends it.
    Output,
    /// Both: a socket, with a peer like any other.
    Both,
}

impl Direction {
    fn access(self) -> OFlag {
        match self {
            Direction::Input => OFlag::O_RDONLY,
            Direction::Output => OFlag::O_WRONLY,
            Direction::Both => OFlag::O_RDWR,
        }
    }

    pub(crate) fn interest(self) -> Interest {
        match self {
            Direction::Input => Interest::IN | Interest::RDHUP,
            Direction::Output => Interest::OUT,
            Direction::Both => Interest::all(),
        }
    }
}

/// How to ask a descriptor not to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Each call says `MSG_DONTWAIT`.
    Socket,
    /// `O_NONBLOCK` is set, on an open file of our own. Or it is a regular file, which never waits.
    File,
    /// Neither is possible: poll(2) first. Another reader of the same pipe could still make us
    /// wait.
    Asked,
}

/// A descriptor as a stream.
#[derive(Debug)]
pub(crate) struct Fd {
    descriptor: OwnedFd,
    kind: Kind,
    direction: Direction,
    is_terminal: bool,
}

impl Fd {
    pub(crate) fn socket(fd: OwnedFd) -> Fd {
        Fd {
            descriptor: fd,
            kind: Kind::Socket,
            direction: Direction::Both,
            is_terminal: false,
        }
    }

    /// A non-blocking connect(2): the socket, its peer, and whether the end of it is still to come.
    pub(crate) fn connect(to: &Address, keepalive: Duration) -> io::Result<(Fd, Peer, bool)> {
        let (fd, peer, address): (OwnedFd, Peer, Box<dyn SockaddrLike>) = match to {
            Address::Unix(path) => {
                let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
                let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
                (fd, Peer::Unix, Box::new(unix_addr(path)?))
            }
            Address::Tcp(_) => {
                let at = to
                    .resolve()?
                    .into_iter()
                    .next()
                    .ok_or(Errno::EADDRNOTAVAIL)?;
                let fd = inet_socket(&at, SockType::Stream)?;
                bind_source(&fd, to.source())?;
                setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
                keep_alive(&fd, keepalive)?;
                (fd, Peer::Inet(at), Box::new(SockaddrStorage::from(at)))
            }
            Address::Udp(_) => return Err(Errno::EPROTOTYPE.into()),
        };
        match connect(fd.as_raw_fd(), &*address) {
            Ok(()) => Ok((Fd::socket(fd), peer, false)),
            Err(Errno::EINPROGRESS) => Ok((Fd::socket(fd), peer, true)),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Takes over any descriptor without changing how it behaves for those who share it.
    ///
    /// `O_NONBLOCK` belongs to the open file, which an inherited terminal or pipe has in common
    /// with the user's shell (open(2), "open file description"). So a terminal or pipe is opened
    /// anew through `/proc`, which makes an open file of our own. A regular file must keep its
    /// shared offset, and needs no such care.
    pub(crate) fn adopt(fd: OwnedFd, direction: Direction) -> Result<Fd> {
        let is_terminal = is_terminal(&fd);
        let of = |descriptor, kind| Fd {
            descriptor,
            kind,
            direction,
            is_terminal,
        };
        let kind = SFlag::from_bits_truncate(fstat(&fd)?.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFSOCK {
            return Ok(of(fd, Kind::Socket));
        }
        if kind == SFlag::S_IFREG {
            return Ok(of(fd, Kind::File));
        }
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let own = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let reopened = may_reopen(&fd, &path)
            .then(|| open(path.as_str(), direction.access() | own, Mode::empty()));
        Ok(match reopened {
            Some(Ok(fd)) => of(fd, Kind::File),
            // It may be somebody else's terminal, after su(1), or a pipe whose other end is gone.
            _ => of(fd, Kind::Asked),
        })
    }

    /// What is known of such a stream from the start.
    pub(crate) fn first_state(&self) -> State {
        let mut state = State::empty();
        state.set(State::UNSURE, !self.short_read_means_drained());
        state.set(
            State::EOF | State::WRITE_ONLY,
            self.direction == Direction::Output,
        );
        state
    }

    /// True of TCP alone: a terminal gives a line at a time, some sockets a packet, and a read from
    /// a Unix stream ends where descriptors were passed along (unix(7), `SCM_RIGHTS`).
    fn short_read_means_drained(&self) -> bool {
        getsockopt(&self.descriptor, sockopt::SockType) == Ok(SockType::Stream)
            && local_address(self.descriptor.as_fd()).is_some()
    }

    /// Reads what is no socket.
    fn read_file(&self, buffer: &mut [u8]) -> Result<usize> {
        self.ask(PollFlags::POLLIN)?;
        // Its next event brings us back.
        if self.is_terminal && !may_read(&self.descriptor) {
            return Err(Errno::EAGAIN);
        }
        match nix::unistd::read(&self.descriptor, buffer) {
            // It became another job's a moment ago.
            Err(Errno::EIO) if is_anothers(&self.descriptor) => Err(Errno::EAGAIN),
            // A terminal whose other side has gone has ended.
            Err(Errno::EIO) if self.is_terminal => Ok(0),
            result => result,
        }
    }

    fn ask(&self, flags: PollFlags) -> Result<()> {
        if self.kind == Kind::Asked
            && poll(
                &mut [PollFd::new(self.descriptor.as_fd(), flags)],
                PollTimeout::ZERO,
            )? == 0
        {
            return Err(Errno::EAGAIN);
        }
        Ok(())
    }
}

/// Whether to open this anew is to get the same thing, for ourselves.
///
/// Not so for a named pipe, where the new reader waits for a next writer and never hears that the
/// last one is gone; nor for a device that gives everyone another one, such as the master side of a
/// terminal.
fn may_reopen(fd: &OwnedFd, path: &str) -> bool {
    let Ok(status) = fstat(fd) else { return false };
    match SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFIFO => readlink(path).is_ok_and(|link| link.as_bytes().starts_with(b"pipe:")),
        SFlag::S_IFCHR => is_terminal(fd) && status.st_rdev != TERMINAL_MASTER,
        _ => false,
    }
}

/// The device number of `/dev/ptmx` (pts(4)).
const TERMINAL_MASTER: libc::dev_t = libc::makedev(5, 2);

/// Also of a terminal that has hung up, which answers with EIO.
fn is_terminal(fd: &OwnedFd) -> bool {
    !matches!(isatty(fd), Ok(false) | Err(Errno::ENOTTY | Errno::EINVAL))
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Stream for Fd {
    #[inline]
    fn recv(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.kind == Kind::Socket {
            return recv(self.descriptor.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT);
        }
        self.read_file(buffer)
    }

    #[inline]
    fn send_one(&mut self, bytes: &[u8]) -> Result<usize> {
        match self.kind {
            Kind::Socket => send(self.descriptor.as_raw_fd(), bytes, sys::SEND_FLAGS),
            _ => self.send(&[IoSlice::new(bytes)]),
        }
    }

    fn send(&mut self, slices: &[IoSlice<'_>]) -> Result<usize> {
        if self.kind == Kind::Socket {
            return sys::send(self.descriptor.as_fd(), slices);
        }
        self.ask(PollFlags::POLLOUT)?;
        // No event brings us back: it is tried again after a while.
        if self.is_terminal && !may_write(&self.descriptor) {
            return Ok(0);
        }
        let written = match self.kind {
            // A pipe that poll(2) calls writable takes PIPE_BUF bytes without waiting (pipe(7)).
            Kind::Asked => slices.first().map_or(Ok(0), |first| {
                nix::unistd::write(&self.descriptor, &first[..first.len().min(libc::PIPE_BUF)])
            }),
            _ => nix::sys::uio::writev(&self.descriptor, slices),
        };
        match written {
            // A terminal whose other side has gone is like a pipe that nobody reads.
            Err(Errno::EIO) if self.is_terminal => Err(Errno::EPIPE),
            result => result,
        }
    }

    /// `SO_LINGER` of zero (socket(7)). On standard streams and Unix sockets it means nothing.
    fn reset(&mut self) {
        if self.kind == Kind::Socket && self.is_peer() {
            let at_once = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            let _ = setsockopt(&self.descriptor, sockopt::Linger, &at_once);
        }
    }

    fn shutdown_write(&mut self) -> Result<()> {
        // Standard input and output may be the same socket, as under inetd(8): to end one is not to
        // end the other.
        if self.direction == Direction::Input {
            return Err(Errno::ENOTCONN);
        }
        shutdown(self.descriptor.as_raw_fd(), Shutdown::Write)
    }

    fn connect_result(&mut self) -> Result<()> {
        match getsockopt(&self.descriptor, sockopt::SocketError)? {
            0 => Ok(()),
            errno => Err(Errno::from_raw(errno)),
        }
    }

    fn is_peer(&self) -> bool {
        self.direction == Direction::Both
    }

    fn unread(&self) -> Result<usize> {
        sys::unread(self.descriptor.as_fd())
    }

    fn unacknowledged(&self) -> Result<usize> {
        match self.kind {
            Kind::Socket => sys::unacknowledged(self.descriptor.as_fd()),
            _ => Ok(0),
        }
    }

    fn unheard_ms(&self) -> Option<u32> {
        sys::unheard_ms(self.descriptor.as_fd()).ok()
    }
}
