//! The kernel's epoll and nothing more: [`Poll`], [`Token`], [`Interest`], [`Ready`].
//!
//! poll(2) hands the kernel the whole list of descriptors in each call, so a call costs as much as
//! there are connections. epoll(7) lets the kernel keep that list, the *interest list*: a
//! descriptor is added once, with a [`Token`] of the caller's choice, and each [`Poll::wait`] costs
//! as much as there are *ready* descriptors. This floor can be used alone: `examples/on_poll.rs` is
//! an echo server on it.
//!
//! # Edge-triggered readiness
//!
//! Every descriptor is added with `EPOLLET`. A level-triggered wait reports a descriptor for as
//! long as it is readable. An edge-triggered wait reports it once, when new bytes, new room to
//! write or an error arrive. This has three consequences for the code above:
//!
//! - The caller reads, writes or accepts until the kernel answers `EAGAIN`, or remembers that it
//!   stopped early. No event repeats an edge that was not used up; a caller that forgets one has a
//!   connection that hangs for ever. The rules stand in `core/conn.rs`.
//! - Backpressure costs no system call: a caller that does not want to read leaves the edge unused.
//!   With level-triggered readiness it would need an epoll_ctl(2) to be left alone, and another one
//!   to be told again.
//! - One registration for both reading and writing lasts for the connection's life.
//!
//! Readiness is a hint. Between the wait and the read another process may have taken the bytes, and
//! the kernel may report an edge that turns out to bring nothing. Only the next system call on the
//! descriptor tells for certain, so descriptors must be non-blocking.
//!
//! # Tokens
//!
//! The kernel keeps 64 bits for each registration and returns them with every event. The reactor
//! puts a slot and a generation into them ([`ConnId`](crate::ConnId)): one batch of events may hold
//! an event for a connection that an earlier event of that batch has closed, and whose slot or
//! descriptor number a new connection uses already. A descriptor number alone could not tell the
//! two apart.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bitflags::bitflags;
use nix::errno::Errno;

use crate::sys;

/// The caller's name for a registered descriptor: any 64 bits, which each event for the descriptor
/// carries back (`epoll_data` in epoll_ctl(2)). The kernel does not interpret them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Implements `Debug` as the names of the flags, separated by spaces, or `nothing`.
macro_rules! words {
    ($flags:ident) => {
        impl fmt::Debug for $flags {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut space = "";
                for (name, _) in self.iter_names() {
                    write!(out, "{space}{name}")?;
                    space = " ";
                }
                if self.is_empty() {
                    out.write_str("nothing")
                } else {
                    Ok(())
                }
            }
        }
    };
}

bitflags! {
    /// The kinds of readiness to be reported for a descriptor. The kernel reports `ERR` and `HUP`
    /// in any case (epoll_ctl(2)), and [`Poll`] adds `EPOLLET` to whatever is asked for.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct Interest: u32 {
        /// Bytes have arrived, or a connection to be accepted.
        const IN = libc::EPOLLIN as u32;
        /// The send buffer has room again, or a connect has succeeded or failed.
        const OUT = libc::EPOLLOUT as u32;
        /// The peer has shut down its sending side (half-close).
        const RDHUP = libc::EPOLLRDHUP as u32;
        /// Urgent data has arrived, at which a read stops short (tcp(7)).
        const PRI = libc::EPOLLPRI as u32;
    }
}

bitflags! {
    /// The readiness that an event reports. The flags are hints: only the next system call on the
    /// descriptor tells for certain.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct Ready: u32 {
        /// A read or an accept would not wait; it may also bring the end of the stream or an error.
        const IN = libc::EPOLLIN as u32;
        /// A write would not wait. Also the end of a connect, whether it succeeded or failed.
        const OUT = libc::EPOLLOUT as u32;
        /// The peer will send no more. Bytes that it sent before may still be unread.
        const RDHUP = libc::EPOLLRDHUP as u32;
        /// Both directions are closed. Bytes that the peer sent before may still be unread.
        const HUP = libc::EPOLLHUP as u32;
        /// The descriptor has a pending error, which the next call on it returns.
        const ERR = libc::EPOLLERR as u32;
        /// Urgent data has arrived.
        const PRI = libc::EPOLLPRI as u32;
    }
}

words!(Interest);
words!(Ready);

/// A descriptor that became ready, as one entry of a wait's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The token with which the descriptor was added.
    pub token: Token,
    /// The descriptor's readiness at the time of the wait, not only its change since the last one.
    pub ready: Ready,
}

/// A buffer for the events of one wait, allocated once and filled anew by every wait.
pub struct Events {
    room: Vec<libc::epoll_event>,
    /// The first `count` entries of `room` are the last wait's.
    count: usize,
}

impl Events {
    /// A buffer for `capacity` events, at least one. Events that do not fit are returned by the
    /// next wait; the kernel goes round, so that no descriptor is left out for ever.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Events {
        Events {
            room: vec![libc::epoll_event { events: 0, u64: 0 }; capacity.max(1)],
            count: 0,
        }
    }

    /// The number of events that the last wait returned.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the last wait returned no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the last wait filled the buffer, so that there may be more events.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.count == self.room.len()
    }

    /// Event number `index` of the last wait, `None` past the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Event> {
        let event = self.room[..self.count].get(index)?;
        Some(Event {
            token: Token(event.u64),
            ready: Ready::from_bits_truncate(event.events),
        })
    }

    /// The events of the last wait, in the kernel's order.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        (0..self.count).filter_map(|index| self.get(index))
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.iter()).finish()
    }
}

/// An epoll instance: an interest list in the kernel, and the means to wait for it.
///
/// Dropping it closes the instance; the registered descriptors stay open, for they belong to the
/// caller. A registration belongs to the *open file description*, not to the descriptor: it ends
/// when the last copy of the descriptor is closed (epoll(7), "Questions and answers", question 6).
/// A copy that a forked child inherited keeps it alive, so [`Poll::delete`] is the only sure way to
/// end one.
///
/// ```
/// use std::io::Write;
/// use std::os::unix::net::UnixStream;
/// use edgeloop_reactor::{Events, Interest, Poll, Token};
///
/// let (ours, mut theirs) = UnixStream::pair()?;
/// ours.set_nonblocking(true)?;
/// let poll = Poll::new()?;
/// poll.add(&ours, Token(7), Interest::IN | Interest::RDHUP)?;
/// theirs.write_all(b"hello")?;
///
/// let mut events = Events::with_capacity(64);
/// poll.wait(&mut events, None)?;
/// assert_eq!(events.get(0).map(|event| event.token), Some(Token(7)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Poll {
    epoll: OwnedFd,
    /// There is no epoll_pwait2(2).
    is_coarse: AtomicBool,
}

impl Poll {
    /// A new instance, with close-on-exec set (epoll_create1(2)). Errors: `EMFILE`, `ENFILE`,
    /// `ENOMEM`.
    pub fn new() -> io::Result<Poll> {
        Ok(Poll {
            epoll: sys::epoll_create()?,
            is_coarse: AtomicBool::new(false),
        })
    }

    /// Adds a descriptor, edge-triggered (epoll_ctl(2), `EPOLL_CTL_ADD`). A descriptor that is
    /// ready already is reported by the next wait, so no edge is lost between accept(2) and this
    /// call.
    ///
    /// Errors: `EPERM` for a file that is always ready and cannot be waited for (a regular file, a
    /// directory, `/dev/null`), `EEXIST` if the descriptor was added before, `ENOSPC` over
    /// `/proc/sys/fs/epoll/max_user_watches`, `ENOMEM`.
    pub fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    /// Replaces the token and the interest (epoll_ctl(2), `EPOLL_CTL_MOD`), and raises the edge
    /// anew: readiness that the descriptor has now is reported by the next wait.
    ///
    /// Errors: `ENOENT` if the descriptor was not added, `ENOMEM`.
    pub fn modify(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    /// Removes a descriptor (epoll_ctl(2), `EPOLL_CTL_DEL`). A batch of events that was fetched
    /// before may still hold one for it. Error: `ENOENT` if the descriptor was not added.
    pub fn delete(&self, fd: impl AsFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, Token(0), Interest::empty())
    }

    fn control(
        &self,
        operation: i32,
        fd: impl AsFd,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let events = interest.bits() | libc::EPOLLET as u32;
        sys::epoll_ctl(self.epoll.as_fd(), operation, fd.as_fd(), events, token.0)?;
        Ok(())
    }

    /// Waits until a descriptor becomes ready or `timeout` has passed, and fills `events`
    /// (epoll_wait(2)). `None` waits without a timeout; zero does not wait.
    ///
    /// A timeout that is not whole milliseconds takes epoll_pwait2(2). Where the kernel or a sandbox
    /// has none (`ENOSYS`, `EPERM`), it is rounded up to milliseconds: rounded down, the last fraction
    /// before a deadline would be spent in waits of length zero. A signal ends the wait early with no
    /// events (signal(7); SIGSTOP followed by SIGCONT is enough), so a caller must not take an empty
    /// batch for a timeout that has passed.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.count = match self.wait_for(&mut events.room, timeout) {
            Err(Errno::EINTR) => 0,
            result => result?,
        };
        Ok(())
    }

    fn wait_for(
        &self,
        room: &mut [libc::epoll_event],
        timeout: Option<Duration>,
    ) -> nix::Result<usize> {
        let epoll = self.epoll.as_fd();
        let fine = timeout.filter(|left| left.subsec_nanos() % 1_000_000 > 0);
        if let Some(left) = fine.filter(|_| !self.is_coarse.load(Relaxed)) {
            match sys::epoll_pwait2(epoll, room, left) {
                Err(Errno::ENOSYS | Errno::EPERM) => self.is_coarse.store(true, Relaxed),
                result => return result,
            }
        }
        sys::epoll_wait(epoll, room, timeout_ms(timeout))
    }
}

/// The epoll descriptor, readable when there are events: one epoll can wait for another (epoll(7)).
impl AsFd for Poll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Whole milliseconds for epoll_wait(2), rounded up, at most `i32::MAX` (24.8 days), -1 for ever.
fn timeout_ms(timeout: Option<Duration>) -> i32 {
    timeout.map_or(-1, |left| {
        i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn timeouts_are_rounded_up_and_saturate() {
        assert_eq!(timeout_ms(None), -1);
        assert_eq!(timeout_ms(Some(Duration::ZERO)), 0);
        assert_eq!(timeout_ms(Some(Duration::from_nanos(1))), 1);
        assert_eq!(timeout_ms(Some(Duration::from_micros(1_001))), 2);
        assert_eq!(timeout_ms(Some(Duration::MAX)), i32::MAX);
    }

    #[test]
    fn readiness_prints_as_words() {
        assert_eq!(format!("{:?}", Ready::IN | Ready::RDHUP), "IN RDHUP");
        assert_eq!(format!("{:?}", Interest::OUT), "OUT");
        assert_eq!(format!("{:?}", Ready::empty()), "nothing");
    }

    #[test]
    fn an_edge_is_reported_once_and_again_after_modify() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(8));
        poll.add(&ours, Token(7), Interest::IN).unwrap();
        io::Write::write_all(&mut &theirs, b"x").unwrap();
        let mut heard = |timeout| {
            poll.wait(&mut events, Some(timeout)).unwrap();
            events.iter().collect::<Vec<_>>()
        };
        let edge = vec![Event {
            token: Token(7),
            ready: Ready::IN,
        }];
        assert_eq!(heard(Duration::from_secs(5)), edge);
        assert_eq!(
            heard(Duration::ZERO),
            [],
            "the byte is unread, yet there is no new edge"
        );
        poll.modify(&ours, Token(7), Interest::IN).unwrap();
        assert_eq!(
            heard(Duration::ZERO),
            edge,
            "EPOLL_CTL_MOD raises the edge anew"
        );
        poll.delete(&ours).unwrap();
        assert_eq!(heard(Duration::ZERO), []);
    }

    #[test]
    fn files_cannot_be_waited_for() {
        let poll = Poll::new().unwrap();
        for file in [File::open("/dev/null"), tempfile::tempfile()] {
            let refused = poll.add(file.unwrap(), Token(0), Interest::IN);
            assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EPERM));
        }
    }
}
