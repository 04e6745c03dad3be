//! The events that a protocol is told of.
//!
//! A [`Protocol`] is a state machine without I/O: it is told what happened and writes what it wants
//! into an [`Outbox`]. It never sees a descriptor, never blocks and is never re-entered, so it is
//! tested without sockets, with [`Script`](crate::Script).

use std::fmt;
use std::net::SocketAddr;

use crate::id::{ConnId, Data};
use crate::outbox::Outbox;
use crate::reason::SystemError;
use crate::sources::address::Peer;

/// How a connection came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The far end.
    pub peer: Peer,
    /// The tag given to `listen`, `serve`, `connect` or `adopt`, so that a protocol can tell its
    /// connections apart. A protocol that has to know at which of its addresses a client arrived
    /// gives each a tag of its own: to ask the kernel would be a system call for every client.
    pub tag: u64,
}

/// Why a connection closed. Each has a counter in [`Stats`](crate::Stats).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// The peer ended, and had all its answers: the regular end.
    Eof,
    /// The protocol ended it with [`Outbox::finish`], and all that was pending was sent.
    Finished,
    /// The protocol ended it with [`Outbox::abort`].
    Aborted,
    /// The peer reset the connection, or vanished while there was something to send (`ECONNRESET`,
    /// `EPIPE`).
    Reset,
    /// Nothing was received or accepted for the idle timeout.
    Idle,
    /// The peer accepted none of the bytes that waited for it for the stall timeout.
    Stalled,
    /// More bytes waited for the peer than the queue limit.
    SlowConsumer,
    /// A connect got no answer in time.
    TimedOut,
    /// The reactor stopped.
    Shutdown,
    /// A system call failed in another way.
    Error(SystemError),
}

impl Closed {
    /// The cause in words, for logs.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Closed::Eof => "end of file",
            Closed::Finished => "finished",
            Closed::Aborted => "aborted",
            Closed::Reset => "reset by peer",
            Closed::Idle => "idle for too long",
            Closed::Stalled => "accepted nothing for too long",
            Closed::SlowConsumer => "too slow a reader",
            Closed::TimedOut => "timed out",
            Closed::Shutdown => "server stopped",
            Closed::Error(error) => error.reason(),
        }
    }
}

/// Why a connection closed on which a system call failed.
impl From<SystemError> for Closed {
    fn from(error: SystemError) -> Closed {
        match error.raw_os_error() {
            libc::ECONNRESET | libc::EPIPE => Closed::Reset,
            _ => Closed::Error(error),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.reason())
    }
}

/// A datagram that arrived.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Its sender; port 0 is possible and cannot be answered.
    pub from: SocketAddr,
    /// The tag given to `listen`, `serve` or `connect`.
    pub tag: u64,
    /// Its bytes, 0 to 65,507 of them: an empty datagram is a message like any other.
    pub data: Data<'a>,
}

/// A server or a client, as a state machine that is told what happens to its connections.
///
/// One value serves all connections of a reactor. What belongs to one connection is kept in a
/// [`ConnMap`](crate::ConnMap). Every callback may say anything to anyone through the [`Outbox`];
/// it takes effect after the callback has returned.
pub trait Protocol {
    /// A connection is open: accepted, connected or adopted. The first thing heard of it.
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        let _ = (id, opened, out);
    }

    /// Bytes arrived, at least one. TCP splits and joins messages as it likes: never take one call
    /// for one message.
    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox);

    /// The peer will send no more, but may go on reading (half-close). Unless overridden, what is
    /// pending is sent and the connection ends.
    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        out.finish(id);
    }

    /// The connection is gone, and `id` with it: the last thing heard of it.
    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        let _ = (id, why, out);
    }

    /// The timer set with [`Outbox::set_timer`] is due. Set it again for another round.
    fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
        let _ = (id, out);
    }

    /// The timer set with [`Outbox::set_service_timer`] is due. Set it again for another round.
    fn on_service_timer(&mut self, out: &mut Outbox) {
        let _ = out;
    }

    /// More than [`Limits::high_water`](crate::Limits::high_water) bytes wait for this peer:
    /// their cause is to be paused. Unless overridden, the cause is the peer itself, as in a protocol
    /// of requests and replies.
    ///
    /// A protocol that feeds the peer from elsewhere pauses that instead, and must not pause the
    /// peer: two programs that each stop reading because the other does would wait for each other
    /// for ever.
    fn on_high_water(&mut self, id: ConnId, out: &mut Outbox) {
        out.throttle(id);
    }

    /// After [`Protocol::on_high_water`]: no more than half of the high-water mark waits any more.
    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        out.unthrottle(id);
    }

    /// After [`Outbox::again`]: no more than half of the high-water mark is pending, so that there is
    /// room for more.
    fn on_again(&mut self, id: ConnId, out: &mut Outbox) {
        let _ = (id, out);
    }

    /// A connect with this tag failed; there is no connection. For a connected UDP socket, the network
    /// has reported that a datagram was not taken: the socket stays, and the next datagram may be taken.
    fn on_connect_error(&mut self, tag: u64, why: Closed, out: &mut Outbox) {
        let _ = (tag, why, out);
    }

    /// A datagram arrived.
    fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox) {
        let _ = (datagram, out);
    }

    /// The kernel has no room for a datagram that was sent with [`Outbox::send_to`] (`EAGAIN`,
    /// `ENOBUFS`, `ENOMEM`), and gives it back. No event says when there is room: a protocol that
    /// sends it again does so after a while. Unless overridden the datagram is lost, as datagrams may
    /// be.
    fn on_unsent(&mut self, tag: u64, datagram: Vec<u8>, out: &mut Outbox) {
        let _ = (tag, datagram, out);
    }

    /// A [`Waker`](crate::Waker) was used, once or more since the last call.
    fn on_wake(&mut self, out: &mut Outbox) {
        let _ = out;
    }

    /// The process goes on after it was stopped (SIGCONT), or its terminal has another size
    /// (SIGWINCH): a protocol that draws on the terminal draws again. Heard only with
    /// [`Reactor::handle_signals`](crate::Reactor::handle_signals).
    fn on_redraw(&mut self, out: &mut Outbox) {
        let _ = out;
    }

    /// SIGHUP: the protocol reads its files again, or opens them anew. Heard only with
    /// [`Reactor::handle_signals`](crate::Reactor::handle_signals).
    fn on_reload(&mut self, out: &mut Outbox) {
        let _ = out;
    }

    /// The reactor begins to stop: the moment for last words. All connections are finished after
    /// this.
    fn on_stop(&mut self, out: &mut Outbox) {
        let _ = out;
    }
}
