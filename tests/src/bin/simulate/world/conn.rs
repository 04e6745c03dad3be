//! One stream socket: the kernel's state of it, between the server's calls and the client's.
//!
//! A [`Conn`] has the promises of tcp(7), unix(7) and epoll(7), and no more. Each method says which
//! events its change raises; the world passes them on to the interest list. What is in the send buffer
//! counts as unacknowledged until the client has read it.

use std::collections::VecDeque;

use super::words::{Bits, Moment};

/// The family of a stream socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Tcp,
    Unix,
}

/// A stream socket of the server, and the way to its client.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) family: Family,
    /// The client at the other end.
    pub(crate) client: usize,
    /// Bytes that the server has not read.
    pub(crate) inbound: VecDeque<u8>,
    pub(crate) room_in: usize,
    /// Bytes that the client has not read.
    pub(crate) out: VecDeque<u8>,
    pub(crate) room_out: usize,
    /// The client has ended its side.
    pub(crate) fin: bool,
    /// Both sides are over: a reset came, or a timeout.
    pub(crate) dead: bool,
    /// The pending error of the socket, which one call returns.
    pub(crate) error: Option<i32>,
    pub(crate) urgent: bool,
    /// A write was refused or cut for want of room: new room is an edge.
    pub(crate) wants_room: bool,
    /// An event has reported a hang-up or urgent data: a short read proves nothing any more.
    pub(crate) warned: bool,
    /// The server has ended its side.
    pub(crate) shut: bool,
    /// The server has closed its descriptor.
    pub(crate) closed: bool,
    /// The server's end is a reset.
    pub(crate) reset_by_server: bool,
    /// `SO_LINGER` of zero.
    pub(crate) aborts: bool,
    /// The client reads no more: what is sent to it is answered by a reset.
    pub(crate) deaf: bool,
    /// Keepalive, in nanoseconds; 0 is off.
    pub(crate) keepalive_ns: u64,
    /// Time of the client's last sign of life.
    pub(crate) heard_ns: u64,
    /// epoll_ctl(2) has added it: the server has not refused it.
    pub(crate) watched: bool,
    /// Bytes that the server has read, and has sent.
    pub(crate) taken: u64,
    pub(crate) given: u64,
    /// `taken` when the server heard that it is to stop, or when it ended its side.
    pub(crate) taken_by_end: Option<u64>,
    /// `given` when the server heard that it is to stop.
    pub(crate) given_by_stop: u64,
    /// The server was last told that there is input, and has not read it to the end since.
    pub(crate) readable_since: Option<Moment>,
    /// The server has output left that was refused (`owes`), and was told that there is room.
    pub(crate) owes: bool,
    pub(crate) writable_since: Option<Moment>,
}

impl Conn {
    pub(crate) fn new(family: Family, client: usize, room_in: usize, room_out: usize) -> Conn {
        Conn {
            family,
            client,
            inbound: VecDeque::new(),
            room_in,
            out: VecDeque::new(),
            room_out,
            fin: false,
            dead: false,
            error: None,
            urgent: false,
            wants_room: false,
            warned: false,
            shut: false,
            closed: false,
            reset_by_server: false,
            aborts: false,
            deaf: false,
            keepalive_ns: 0,
            heard_ns: 0,
            watched: false,
            taken: 0,
            given: 0,
            taken_by_end: None,
            given_by_stop: 0,
            readable_since: None,
            owes: false,
            writable_since: None,
        }
    }

    /// The readiness that poll(2) would report.
    pub(crate) fn ready(&self) -> Bits {
        let mut ready = 0;
        let mut set = |bit: i32, is_so: bool| ready |= if is_so { bit as u32 } else { 0 };
        let is_over = self.dead || self.fin && self.shut;
        let hangs_up = self.family == Family::Unix && self.fin && self.deaf;
        set(libc::EPOLLIN, self.has_input());
        set(
            libc::EPOLLOUT,
            self.has_room() || self.shut || self.dead || hangs_up,
        );
        set(libc::EPOLLRDHUP, self.fin || self.dead);
        set(libc::EPOLLHUP, is_over || hangs_up);
        set(libc::EPOLLERR, self.error.is_some());
        set(libc::EPOLLPRI, self.urgent);
        ready
    }

    /// Whether a read would bring bytes, the end or an error.
    pub(crate) fn has_input(&self) -> bool {
        !self.inbound.is_empty() || self.fin || self.dead || self.error.is_some()
    }

    /// Whether poll(2) reports room: a third of the send buffer is free.
    fn has_room(&self) -> bool {
        (self.room_out - self.out.len().min(self.room_out)) * 3 >= self.room_out
    }

    /// The server reads. `short`: less than there is.
    pub(crate) fn read(&mut self, buffer: &mut [u8], short: bool) -> Result<usize, i32> {
        let mut count = buffer.len().min(self.inbound.len());
        if count == 0 {
            if let Some(error) = self.error.take() {
                return Err(error);
            }
            return match self.fin || self.dead {
                true => Ok(0),
                false => Err(libc::EAGAIN),
            };
        }
        if short && (self.warned || self.family == Family::Unix) {
            count = count.div_ceil(2);
        }
        let bytes = self.inbound.drain(..count);
        bytes.zip(buffer).for_each(|(byte, place)| *place = byte);
        self.taken += count as u64;
        if self.inbound.is_empty() {
            self.urgent = false;
        }
        Ok(count)
    }

    /// The server writes; how many bytes were taken. `short`: fewer than there is room for.
    pub(crate) fn write<'a>(
        &mut self,
        slices: impl Iterator<Item = &'a [u8]> + Clone,
        short: bool,
    ) -> Result<usize, i32> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.shut || self.dead || self.family == Family::Unix && self.deaf {
            return Err(libc::EPIPE);
        }
        let offered: usize = slices.clone().map(<[u8]>::len).sum();
        let room = self.room_out.saturating_sub(self.out.len());
        if room == 0 {
            (self.wants_room, self.owes) = (true, true);
            return Err(libc::EAGAIN);
        }
        let mut count = offered.min(room);
        if short {
            count = count.div_ceil(2);
        }
        if !self.deaf {
            self.out.extend(slices.flatten().take(count));
        }
        self.given += count as u64;
        self.wants_room |= count == room;
        self.owes = count < offered;
        Ok(count)
    }

    /// The other end is closed, and bytes have arrived there: a reset comes back.
    pub(crate) fn reset(&mut self, error: i32) -> Bits {
        if self.dead || self.closed {
            return 0;
        }
        self.dead = true;
        self.out.clear();
        self.error = Some(error);
        u32::MAX
    }

    /// The client sends bytes; how many there was room for.
    pub(crate) fn push(&mut self, bytes: impl Iterator<Item = u8>) -> (usize, Bits) {
        let before = self.inbound.len();
        let room = self.room_in.saturating_sub(before);
        self.inbound.extend(bytes.take(room));
        (self.inbound.len() - before, libc::EPOLLIN as u32)
    }

    /// The client reads up to `most` bytes.
    pub(crate) fn pull(&mut self, most: usize, into: &mut Vec<u8>) -> Bits {
        let count = most.min(self.out.len());
        into.extend(self.out.drain(..count));
        if count > 0 && self.wants_room && self.has_room() {
            self.wants_room = false;
            return libc::EPOLLOUT as u32;
        }
        0
    }

    /// The client ends its side.
    pub(crate) fn end(&mut self) -> Bits {
        if self.fin || self.dead {
            return 0;
        }
        self.fin = true;
        (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP) as u32
    }

    /// The client closes its end.
    pub(crate) fn close_by_client(&mut self) -> Bits {
        let unread = !self.out.is_empty();
        self.deaf = true;
        self.out.clear();
        match (self.family, unread) {
            (Family::Tcp, true) => self.reset(libc::ECONNRESET),
            (Family::Unix, true) => {
                self.error = Some(libc::ECONNRESET);
                self.end() | u32::MAX
            }
            (Family::Tcp, false) => self.end(),
            (Family::Unix, false) => self.end() | u32::MAX,
        }
    }

    /// The server ends its side.
    pub(crate) fn shut_down(&mut self) -> Result<Bits, i32> {
        if self.dead {
            return Err(libc::ENOTCONN);
        }
        self.taken_by_end.get_or_insert(self.taken);
        self.shut = true;
        Ok(match self.fin {
            true => libc::EPOLLHUP as u32,
            false => 0,
        })
    }

    /// The server closes its descriptor. `arrives` of the bytes that are on their way arrive before a
    /// reset, if there is one.
    pub(crate) fn close_by_server(&mut self, arrives: usize) {
        self.closed = true;
        if (self.aborts || !self.inbound.is_empty()) && !self.dead {
            self.reset_by_server = true;
            if self.family == Family::Tcp || self.aborts {
                self.out.truncate(arrives);
            }
        }
    }

    /// The end of the stream, once the client has read all there is: `Some(true)` is a reset.
    pub(crate) fn end_for_client(&self) -> Option<bool> {
        if !self.out.is_empty() {
            return None;
        }
        let is_over = self.shut || self.closed;
        (is_over || self.reset_by_server || self.dead)
            .then_some(self.reset_by_server || self.dead && !is_over)
    }
}
