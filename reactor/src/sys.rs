//! The border to the kernel: system calls that nix does not wrap, or not as thinly as the loop
//! needs them, and all the `unsafe` of the crate.
//!
//! A wrong argument to a system call is undefined behaviour: the kernel writes where a pointer
//! says, and a length that is too large lets it write past the end. Rust cannot check this, so the
//! calls stand here together, where they can be read in one sitting. Each function is one call that
//! is safe for any argument: references and slices in, `Result<_, Errno>` out, and a `SAFETY` line
//! for what the compiler could not see. Callers decide what an error means, including `EINTR` and
//! `EAGAIN`. The arrays of recvmmsg(2) and sendmmsg(2), which point at one another, have a file of
//! their own: [`mmsg`].

#![allow(
    unsafe_code,
    reason = "the border to the kernel: every other file of the crate is safe Rust"
)]

pub(crate) mod mmsg;

use std::io::IoSlice;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use nix::Result;
use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal};
use nix::sys::socket::MsgFlags;
use nix::sys::time::TimeSpec;

/// `epoll_create1(2)` with `EPOLL_CLOEXEC`.
pub(crate) fn epoll_create() -> Result<OwnedFd> {
    // SAFETY: no pointers; a non-negative result is a descriptor that nothing else owns.
    unsafe {
        Errno::result(libc::epoll_create1(libc::EPOLL_CLOEXEC)).map(|fd| OwnedFd::from_raw_fd(fd))
    }
}

/// `epoll_ctl(2)`; `operation` is one of `EPOLL_CTL_ADD`, `_MOD`, `_DEL`.
pub(crate) fn epoll_ctl(
    epoll: BorrowedFd,
    operation: i32,
    fd: BorrowedFd,
    events: u32,
    token: u64,
) -> Result<()> {
    let mut interest = libc::epoll_event { events, u64: token };
    // SAFETY: `interest` is a valid epoll_event for the length of the call, and the kernel copies
    // it.
    Errno::result(unsafe {
        libc::epoll_ctl(
            epoll.as_raw_fd(),
            operation,
            fd.as_raw_fd(),
            &raw mut interest,
        )
    })
    .map(drop)
}

/// `epoll_wait(2)`: fills `events` from the front and returns the number of events. A `timeout_ms`
/// of -1 waits without a timeout, 0 does not wait.
pub(crate) fn epoll_wait(
    epoll: BorrowedFd,
    events: &mut [libc::epoll_event],
    timeout_ms: i32,
) -> Result<usize> {
    let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
    // SAFETY: the kernel writes at most `room` events, which is no more than the slice holds.
    Errno::result(unsafe {
        libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), room, timeout_ms)
    })
    .map(|count| count as usize)
}

/// `epoll_pwait2(2)` without a signal mask: as [`epoll_wait`], with a timeout in nanoseconds.
pub(crate) fn epoll_pwait2(
    epoll: BorrowedFd,
    events: &mut [libc::epoll_event],
    timeout: Duration,
) -> Result<usize> {
    let room = libc::c_long::try_from(events.len()).unwrap_or(i32::MAX.into());
    let timeout = TimeSpec::from(timeout);
    // SAFETY: the kernel reads the timeout and writes at most `room` events, which is no more than the
    // slice holds; without a mask its size is not looked at.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            events.as_mut_ptr(),
            room,
            &raw const timeout,
            ptr::null::<libc::sigset_t>(),
            0,
        )
    })
    .map(|count| count as usize)
}

/// `listen(2)`. The kernel caps the backlog at `/proc/sys/net/core/somaxconn`; nix would cap it at
/// a constant of its own, which is why its wrapper is not used.
pub(crate) fn listen(fd: BorrowedFd, backlog: i32) -> Result<()> {
    // SAFETY: no pointers.
    Errno::result(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// `accept4(2)`, non-blocking and close-on-exec. The peer's address comes with it, so that no
/// getpeername(2) is needed, which would fail for a peer that has reset the connection already.
/// `None`: the family is neither IPv4 nor IPv6.
pub(crate) fn accept(listener: BorrowedFd) -> Result<(OwnedFd, Option<SocketAddr>)> {
    // SAFETY: all zeroes is a valid sockaddr_in6, whose family is then AF_UNSPEC.
    let mut address: libc::sockaddr_in6 = unsafe { mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: `address` has room for `length` bytes, and the kernel cuts what is longer; a
    // non-negative result is a descriptor that nothing else owns.
    let fd = unsafe {
        let fd = libc::accept4(
            listener.as_raw_fd(),
            (&raw mut address).cast(),
            &raw mut length,
            flags,
        );
        OwnedFd::from_raw_fd(Errno::result(fd)?)
    };
    Ok((fd, socket_addr(&address)))
}

/// The standard library's form of an IPv4 or IPv6 address. A dual-stack listener reports an IPv4
/// peer as an IPv6 address with IPv4 mapped into it; this becomes IPv4 again.
fn socket_addr(address: &libc::sockaddr_in6) -> Option<SocketAddr> {
    let port = u16::from_be(address.sin6_port);
    match i32::from(address.sin6_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is a sockaddr_in, which is shorter and is aligned
            // alike.
            let v4 = unsafe { &*(&raw const *address).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::from((ip, port)))
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            let scope = address.sin6_scope_id;
            let v6 = SocketAddrV6::new(ip, port, address.sin6_flowinfo, scope);
            let mapped = ip.to_ipv4_mapped();
            Some(mapped.map_or(v6.into(), |ip| SocketAddr::from((ip, port))))
        }
        _ => None,
    }
}

/// The flags of every send. `MSG_DONTWAIT` makes the call non-blocking, so that `O_NONBLOCK` need
/// not be set on a socket that other processes share. `MSG_NOSIGNAL` turns SIGPIPE into `EPIPE`.
pub(crate) const SEND_FLAGS: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

/// `send(2)`, which nix wraps too, but out of line: this is called for every message.
#[inline]
pub(crate) fn send_one(fd: BorrowedFd, bytes: &[u8]) -> Result<usize> {
    let (start, length) = (bytes.as_ptr().cast(), bytes.len());
    // SAFETY: the kernel reads `length` bytes of a slice that lives for the call.
    let count = unsafe { libc::send(fd.as_raw_fd(), start, length, SEND_FLAGS.bits()) };
    Errno::result(count).map(|count| count as usize)
}

/// `sendmsg(2)` with [`SEND_FLAGS`]: gathers the slices into one call and returns the bytes that
/// the kernel took, which may be fewer than there are.
pub(crate) fn send(fd: BorrowedFd, slices: &[IoSlice<'_>]) -> Result<usize> {
    // SAFETY: all zeroes is a valid msghdr: no address, no slices, no control data.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    // The standard library promises that an IoSlice has the layout of an iovec; sendmsg only reads.
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len();
    // SAFETY: `message` names `slices.len()` live slices, which the kernel only reads.
    let count = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, SEND_FLAGS.bits()) };
    Errno::result(count).map(|count| count as usize)
}

/// `ioctl(2)` `SIOCOUTQ`: bytes in the send queue, which the peer has not acknowledged (tcp(7)) or,
/// on a Unix socket, not read (unix(7)).
pub(crate) fn unacknowledged(fd: BorrowedFd) -> Result<usize> {
    nix::ioctl_read_bad!(outq, libc::TIOCOUTQ, libc::c_int);
    let mut bytes = 0;
    // SAFETY: the kernel writes one int, and `bytes` is one.
    unsafe { outq(fd.as_raw_fd(), &raw mut bytes) }.map(|_| bytes as usize)
}

/// `ioctl(2)` `FIONREAD`: bytes in the receive queue that no read has taken.
pub(crate) fn unread(fd: BorrowedFd) -> Result<usize> {
    nix::ioctl_read_bad!(inq, libc::FIONREAD, libc::c_int);
    let mut bytes = 0;
    // SAFETY: the kernel writes one int, and `bytes` is one.
    unsafe { inq(fd.as_raw_fd(), &raw mut bytes) }.map(|_| bytes as usize)
}

/// `setsockopt(2)` `TCP_NOTSENT_LOWAT`: the socket takes more bytes, and is reported as writable,
/// only while fewer than `bytes` wait to be sent for the first time. Bytes on their way to the peer
/// do not count.
pub(crate) fn set_notsent_lowat(fd: BorrowedFd, bytes: u32) -> Result<()> {
    // SAFETY: the kernel reads one u32, and `bytes` is one.
    Errno::result(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            size_of_val(&bytes) as libc::socklen_t,
        )
    })
    .map(drop)
}

/// `getsockopt(2)` `TCP_INFO`: milliseconds since the peer's last acknowledgement (tcp(7)). An
/// error on a socket that is not TCP.
pub(crate) fn unheard_ms(fd: BorrowedFd) -> Result<u32> {
    // SAFETY: all zeroes is a valid tcp_info, which is numbers only.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`.
    Errno::result(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    })?;
    Ok(info.tcpi_last_ack_recv)
}

/// `getsockopt(2)` `SO_MEMINFO` (Linux 4.12): datagrams that the kernel dropped because the
/// socket's receive buffer was full, since the socket was made.
pub(crate) fn dropped_datagrams(fd: BorrowedFd) -> Result<u32> {
    const DROPS: usize = 8;
    let mut info = [0u32; DROPS + 1];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`.
    Errno::result(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    Ok(info[DROPS])
}

/// `signal(2)` with `SIG_IGN`: the whole process ignores the signal from here on, and so do
/// programs that it executes.
pub(crate) fn ignore(signal: Signal) -> Result<()> {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }.map(drop)
}

/// `sigaction(2)`: whether the process ignores a signal.
pub(crate) fn is_ignored(signal: i32) -> bool {
    // SAFETY: all zeroes is a valid sigaction.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: nothing is set; the kernel writes the present action to `action`.
    let asked = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}
