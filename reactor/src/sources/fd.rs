//! Streams that are descriptors: sockets, terminals, pipes and files, without a call that waits.
//!
//! An event loop must never wait in a read or a write: one call that waits stops all connections.
//! The textbook answer is `O_NONBLOCK`, but that flag belongs to the *open file description*
//! (open(2)), which a process shares with every process that inherited the descriptor. A server
//! that sets it on its standard input sets it for the user's shell too, whose next read fails with
//! `EAGAIN`. So each kind of descriptor gets a way of its own ([`Kind`]):
//!
//! | descriptor | way | epoll |
//! |---|---|---|
//! | socket | `MSG_DONTWAIT` in each call (recv(2), send(2)) | edges |
//! | terminal, anonymous pipe | opened anew through `/proc/self/fd`, with `O_NONBLOCK` | edges |
//! | regular file | nothing: its reads and writes never wait | `EPERM`: it is always ready |
//! | any other, such as a named pipe or a device | poll(2) before each call | edges, or `EPERM` |
//!
//! The last way is the weakest: another process that reads the same pipe may take the bytes between
//! poll(2) and read(2), and then the read waits.
//!
//! Terminals need three exceptions. A process in the background is stopped when it reads its
//! terminal, so `jobs.rs` is asked first. A terminal whose other side has hung up fails with `EIO`:
//! on a read this is the end of the stream, on a write it is what `EPIPE` is to a pipe. And a read
//! returns one line however many were typed, so a short read does not show that the terminal was
//! drained ([`State::UNSURE`]).

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::Result;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, readlink};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockType, SockaddrLike, SockaddrStorage, connect,
    getsockopt, recv, setsockopt, shutdown, sockopt,
};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::isatty;

use crate::core::conn::{State, Stream};
use crate::poll::Interest;
use crate::sources::address::{Address, Peer, unix_addr};
use crate::sources::bound::{bind_source, inet_socket, keep_alive, local_address, new_socket};
use crate::sources::jobs::{is_anothers, may_read, may_write};
use crate::sys;

/// The directions in which an adopted descriptor is used. This decides the open mode, the interest
/// for epoll, and which timeouts count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Read only, as standard input. No idle timeout closes it: a user may be silent.
    Input,
    /// Written only, as standard output. No idle or stall timeout closes it: a user may stop a
    /// pager.
    Output,
    /// Read and written: a socket, whose peer is treated like any other.
    Both,
}

impl Direction {
    /// The access mode for open(2).
    fn access(self) -> OFlag {
        match self {
            Direction::Input => OFlag::O_RDONLY,
            Direction::Output => OFlag::O_WRONLY,
            Direction::Both => OFlag::O_RDWR,
        }
    }

    /// The readiness to be reported for such a descriptor.
    pub(crate) fn interest(self) -> Interest {
        match self {
            Direction::Input => Interest::IN | Interest::RDHUP,
            Direction::Output => Interest::OUT,
            Direction::Both => Interest::all(),
        }
    }
}

/// The way in which a call on the descriptor is kept from waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Each call has the flag `MSG_DONTWAIT`.
    Socket,
    /// `O_NONBLOCK` is set on an open file description that no other process shares; or the
    /// descriptor is a regular file, whose calls never wait.
    File,
    /// poll(2) is called before each read or write, with a timeout of zero. If another process
    /// reads the same pipe, the read may still wait.
    Asked,
}

/// A descriptor as a [`Stream`]: the one type that the reactor's connections read from and write
/// to. It is 8 bytes large, and part of every connection.
#[derive(Debug)]
pub(crate) struct Fd {
    descriptor: OwnedFd,
    kind: Kind,
    direction: Direction,
    /// Job control and hang-ups are to be minded: see the head of the file.
    is_terminal: bool,
    /// The far end is no peer but a part of the program, as a database is.
    is_own: bool,
}

impl Fd {
    /// A connected socket, as accept(2) returns it.
    pub(crate) fn socket(fd: OwnedFd) -> Fd {
        Fd {
            descriptor: fd,
            kind: Kind::Socket,
            direction: Direction::Both,
            is_terminal: false,
            is_own: false,
        }
    }

    /// Marks a connection of the program's own (`Limits::own_tags`).
    pub(crate) fn set_own(&mut self) {
        self.is_own = true;
    }

    /// Begins a non-blocking connect(2) to the first of the address's numbers. Returns the socket,
    /// the peer's address, and whether the connect is still under way (`EINPROGRESS`): its end is
    /// then an `OUT` edge, and [`Stream::connect_result`] says how it ended.
    ///
    /// Errors: those of socket(2), bind(2) and connect(2), among them a Unix socket's `EAGAIN` when
    /// the listener's queue is full; `EADDRNOTAVAIL` for a name without an address; `EPROTOTYPE`
    /// for UDP.
    pub(crate) fn connect(to: &Address, keepalive: Duration) -> io::Result<(Fd, Peer, bool)> {
        let (fd, peer, address): (OwnedFd, Peer, Box<dyn SockaddrLike>) = match to {
            Address::Unix(path) => {
                let fd = new_socket(AddressFamily::Unix, SockType::Stream)?;
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

    /// Takes over any descriptor without changing its behaviour for other processes that share it.
    /// The head of the file says how each kind is kept from waiting.
    ///
    /// A regular file is not opened anew: its offset belongs to the open file description as well,
    /// and a shell that runs several commands with one redirection expects each to go on where the
    /// last one stopped.
    pub(crate) fn adopt(fd: OwnedFd, direction: Direction) -> Result<Fd> {
        let is_terminal = is_terminal(&fd);
        let status = fstat(&fd)?;
        let (descriptor, kind) = match file_type(&status) {
            SFlag::S_IFSOCK => (fd, Kind::Socket),
            SFlag::S_IFREG => (fd, Kind::File),
            _ => match reopen(&fd, &status, direction) {
                Some(own) => (own, Kind::File),
                None => (fd, Kind::Asked),
            },
        };
        Ok(Fd {
            descriptor,
            kind,
            direction,
            is_terminal,
            is_own: false,
        })
    }

    /// The state of a connection on this stream before its first event.
    pub(crate) fn first_state(&self) -> State {
        let mut state = State::empty();
        state.set(State::UNSURE, !self.short_read_means_drained());
        state.set(
            State::EOF | State::WRITE_ONLY,
            self.direction == Direction::Output,
        );
        state
    }

    /// Whether a read that returns fewer bytes than there was room for has drained the stream. This
    /// is true of TCP alone: a terminal returns a line at a time, some sockets a packet, and a read
    /// from a Unix stream ends where descriptors were passed along (unix(7), `SCM_RIGHTS`).
    fn short_read_means_drained(&self) -> bool {
        getsockopt(&self.descriptor, sockopt::SockType) == Ok(SockType::Stream)
            && local_address(self.descriptor.as_fd()).is_some()
    }

    /// Reads from a descriptor that is not a socket.
    fn read_file(&self, buffer: &mut [u8]) -> Result<usize> {
        self.ask(PollFlags::POLLIN)?;
        // No retry is needed: the terminal's next event brings the connection here again.
        if self.is_terminal && !may_read(&self.descriptor) {
            return Err(Errno::EAGAIN);
        }
        match nix::unistd::read(&self.descriptor, buffer) {
            // The terminal became another job's between the question and the read.
            Err(Errno::EIO) if is_anothers(&self.descriptor) => Err(Errno::EAGAIN),
            // The terminal has hung up: the end of the stream.
            Err(Errno::EIO) if self.is_terminal => Ok(0),
            result => result,
        }
    }

    /// Fails with `EAGAIN` if the descriptor is [`Kind::Asked`] and poll(2) finds that a call would
    /// wait.
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

/// Opens a pipe or a terminal anew, to get an open file description of our own. `None` if that is
/// impossible: after su(1) a terminal belongs to another user (`EACCES`), and a pipe whose reader
/// is gone cannot be opened for writing.
///
/// A named pipe is left alone, since a new reader waits for the next writer and never hears that
/// the last one is gone. So are devices of which each open(2) makes another one, such as the master
/// side of a terminal.
fn reopen(fd: &OwnedFd, status: &FileStat, direction: Direction) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let is_the_same = match file_type(status) {
        SFlag::S_IFIFO => readlink(&*path).is_ok_and(|link| link.as_bytes().starts_with(b"pipe:")),
        SFlag::S_IFCHR => is_terminal(fd) && status.st_rdev != TERMINAL_MASTER,
        _ => false,
    };
    let own = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let open = || open(&*path, direction.access() | own, Mode::empty()).ok();
    is_the_same.then(open).flatten()
}

fn file_type(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

/// The device number of `/dev/ptmx` (pts(4)).
const TERMINAL_MASTER: libc::dev_t = libc::makedev(5, 2);

/// Whether this is a terminal, including one that has hung up, for which isatty(3) fails with
/// `EIO`.
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
            Kind::Socket => sys::send_one(self.descriptor.as_fd(), bytes),
            _ => self.send(&[IoSlice::new(bytes)]),
        }
    }

    fn send(&mut self, slices: &[IoSlice<'_>]) -> Result<usize> {
        if self.kind == Kind::Socket {
            return sys::send(self.descriptor.as_fd(), slices);
        }
        self.ask(PollFlags::POLLOUT)?;
        // No event will say that the terminal is this job's again. A write of 0 bytes puts the
        // connection on the starved list, which tries again after a while.
        if self.is_terminal && !may_write(&self.descriptor) {
            return Ok(0);
        }
        let written = match self.kind {
            // A pipe that poll(2) reports as writable takes PIPE_BUF bytes without waiting
            // (pipe(7)).
            Kind::Asked => slices.first().map_or(Ok(0), |first| {
                nix::unistd::write(&self.descriptor, &first[..first.len().min(libc::PIPE_BUF)])
            }),
            _ => nix::sys::uio::writev(&self.descriptor, slices),
        };
        match written {
            // The terminal has hung up: it is like a pipe without a reader.
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
        // Standard input and output may be the same socket, as under inetd(8): the end of the input
        // must not shut down the output.
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
        self.direction == Direction::Both && !self.is_own
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
