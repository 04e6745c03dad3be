//! The kernel's epoll and nothing more: [`Poll`], [`Token`], [`Interest`], [`Ready`].
//!
//! This floor can be used alone; `examples/on_poll.rs` is an echo server on it. An interest list is
//! kept by the kernel: a descriptor is added once, with a [`Token`] of the caller's choice, and
//! every [`Poll::wait`] says for which tokens something happened. Everything is edge-triggered
//! ([`Interest`] sets `EPOLLET`): an edge says that there is something new, not that there is
//! something left. See epoll(7).

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bitflags::bitflags;
use nix::errno::Errno;

use crate::sys;

/// What the caller wants to see again when an event for a descriptor arrives: any 64 bits
/// (`epoll_data` in epoll_ctl(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

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
    /// What to hear of. `ERR` and `HUP` are always heard of, asked for or not (epoll_ctl(2)).
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct Interest: u32 {
        /// There is something to read, or to accept.
        const IN = libc::EPOLLIN as u32;
        /// There is room to write again, or a connect has ended.
        const OUT = libc::EPOLLOUT as u32;
        /// The peer has shut down its sending side.
        const RDHUP = libc::EPOLLRDHUP as u32;
        /// Urgent data has arrived, at which a read stops short (tcp(7)).
        const PRI = libc::EPOLLPRI as u32;
    }
}

bitflags! {
    /// What has happened, as a hint: only the next read or write tells for certain.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct Ready: u32 {
        /// Something to read or to accept, end of file included.
        const IN = libc::EPOLLIN as u32;
        /// Room to write; also the end of a connect, good or bad.
        const OUT = libc::EPOLLOUT as u32;
        /// The peer will send no more. What it sent before may still be unread.
        const RDHUP = libc::EPOLLRDHUP as u32;
        /// Both directions are closed. What the peer sent before may still be unread.
        const HUP = libc::EPOLLHUP as u32;
        /// An error waits to be fetched by the next call on the descriptor.
        const ERR = libc::EPOLLERR as u32;
        /// Urgent data.
        const PRI = libc::EPOLLPRI as u32;
    }
}

words!(Interest);
words!(Ready);

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whose descriptor it is.
    pub token: Token,
    /// What happened to it.
    pub ready: Ready,
}

/// Room for the events of one wait; made once and used for every wait.
pub struct Events {
    room: Vec<libc::epoll_event>,
    count: usize,
}

impl Events {
    /// Room for `capacity` events (at least one). What does not fit comes with the next wait.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Events {
        Events {
            room: vec![libc::epoll_event { events: 0, u64: 0 }; capacity.max(1)],
            count: 0,
        }
    }

    /// How many events the last wait brought.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the last wait brought none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
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

/// An epoll instance.
#[derive(Debug)]
pub struct Poll {
    epoll: OwnedFd,
    /// There is no epoll_pwait2(2).
    is_coarse: AtomicBool,
}

impl Poll {
    /// A new instance, closed in child programs (epoll_create1(2)). Errors: `EMFILE`, `ENFILE`,
    /// `ENOMEM`.
    pub fn new() -> io::Result<Poll> {
        Ok(Poll {
            epoll: sys::epoll_create()?,
            is_coarse: AtomicBool::new(false),
        })
    }

    /// Adds a descriptor, edge-triggered (epoll_ctl(2)). If it is ready already, the next wait says
    /// so.
    ///
    /// Errors: `EPERM` for what is always ready and cannot be waited for (a regular file, a
    /// directory, `/dev/null`), `EEXIST` if it is there already, `ENOSPC` over
    /// `/proc/sys/fs/epoll/max_user_watches`, `ENOMEM`.
    pub fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    /// Changes token and interest, and raises the edge anew: what is ready now is reported by the
    /// next wait.
    pub fn modify(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    /// Removes a descriptor. Closing its last copy does the same; a copy held by a forked child
    /// keeps it alive.
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

    /// Waits until something happens or `timeout` has passed, `None` meaning for ever
    /// (epoll_wait(2)).
    ///
    /// A timeout that is not whole milliseconds takes epoll_pwait2(2). Where the kernel or a sandbox
    /// has none (`ENOSYS`, `EPERM`), it is rounded up to milliseconds: rounded down, the last fraction
    /// before a deadline would be spent spinning. A signal (also SIGSTOP and SIGCONT, signal(7)) ends
    /// the wait early with no events.
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
