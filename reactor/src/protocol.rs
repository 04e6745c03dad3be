//! The events that a protocol is told of.
//!
//! A [`Protocol`] is a state machine without I/O: it is told what happened and writes what it wants
//! into an [`Outbox`]. It never sees a descriptor, never blocks and is never re-entered, so it is
//! tested without sockets, with [`Script`](crate::Script). The states of a connection, and the
//! contract of the callbacks, are with the trait.

use std::fmt;
use std::net::SocketAddr;

use crate::id::{ConnId, Data};
use crate::outbox::Outbox;
use crate::reason::SystemError;
use crate::sources::address::Peer;

/// How a connection came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// The far end.
    pub peer: Peer,
    /// The near end, where it is known without asking the kernel for every client: that of a connect,
    /// and the address of a listener that is bound to a single one. `None` for a wildcard listener, a
    /// Unix socket and an adopted descriptor.
    pub local: Option<SocketAddr>,
    /// The tag given to `listen`, `serve`, `connect` or `adopt`, so that a protocol can tell its
    /// connections apart.
    pub tag: u64,
}

impl Opened {
    /// A connection whose near end is not known.
    #[must_use]
    pub fn new(peer: Peer, tag: u64) -> Opened {
        Opened {
            peer,
            local: None,
            tag,
        }
    }
}

/// Why a connection closed. Each has a counter in [`Stats`](crate::Stats).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// Both sides have ended, the peer first or after a half-close of ours, and the kernel has taken
    /// all output: the regular end.
    Eof,
    /// The protocol ended it with [`Outbox::finish`] before the peer did, and all that was pending was
    /// sent; or with [`Outbox::close`].
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
    /// It made room for another: `max_connections` were open, and it came from the address with most
    /// of them and had never sent a byte.
    Displaced,
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
            Closed::Displaced => "displaced by another connection",
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
/// it takes effect after the callback has returned. A callback is never called within another.
///
/// # The life of a connection
///
/// ```text
///    accepted, adopted        connect: the id is known from here on
///            |                   |
///            |               Connecting ------ refused, timed out, ------> on_connect_error
///            |                   |             cancelled by abort, close or finish
///            | on_open           | on_open
///            v                   |
///           Open <---------------+
///            | | |
///            | | +-- half_close --------> half-closed: later sends are ignored --+
///            | |                                                                 | both, and
///            | +---- the peer's FIN ----> on_eof; no more on_data ---------------+ all is sent
///            |                                                                   v
///            | finish, in all three states                                  closed: Eof
///            v
///        Finishing       pending output is sent, input is discarded
///            | |
///            | +---- the peer has ended before ----------------------------> closed: Eof
///            | our FIN
///            v
///        Lingering       input is discarded
///            |
///            +------ the peer's FIN, 5 s of silence, the linger timeout ---> closed: Finished
///
///    in any state:   close ------------------------------------------------> closed: Finished
///                    abort ------------------------------------------------> closed: Aborted
///                    a limit or a timeout ---------> closed: SlowConsumer, Stalled or Idle
///                    a reset, a call that failed --------------> closed: Reset or Error
///    once the reactor stops, each regular end ------------------------------> closed: Shutdown
/// ```
///
/// `closed` is [`Protocol::on_close`], with its cause ([`Closed`]). These hold for each connection:
///
/// - `on_open` comes first, and once. Each connect has either `on_open` or `on_connect_error`, with the
///   id that it was given. A connect that fails has no `on_open`, and no `on_close`.
/// - While it is connecting, its timer can be set, and `on_timer` is heard. To end it, in whichever way,
///   is to cancel the connect; only `half_close` is ignored, as is all else that is said before
///   `on_open`.
/// - `on_close` comes last, and once, after the descriptor's last use. It comes for every connection
///   that was open, also at the end of a stop.
/// - `on_eof` comes at most once, after all data. The default is to finish. A protocol that does
///   nothing instead keeps a connection that it can send to, for as long as it likes.
/// - After `finish` nothing is heard of the connection but `on_close`. After `half_close` everything
///   is heard but `on_again`.
/// - While it is paused or throttled there is no `on_data`; timers and `on_low_water` go on. `on_eof`
///   and a reset are heard in a pause if no unread data lies before them.
/// - A [held](Outbox::hold) connection that is finished, by the protocol, by the default `on_eof` or by
///   a stop, stays Open until it is released.
///
/// In one turn of the loop, events come first, each connection's within its budget, then timers, then
/// connections that go on from the last turn (`on_again` among them). Output is sent after that, and
/// closed connections are closed last.
///
/// # What the peer sees
///
/// | end | on the wire |
/// |---|---|
/// | `finish` | all output, then a FIN; a reset if it does not take the output in time |
/// | `half_close` | all output, then a FIN; its own bytes are still read |
/// | `close` | the output that the kernel takes at once, then a FIN; a reset if output or input is left |
/// | `abort`, and `SlowConsumer`, `Stalled`, `Error` | a reset, after the output that the kernel takes at once at `abort` |
/// | `Idle`, `Shutdown` after the grace period | a FIN; a reset if output is left |
///
/// A FIN says that the stream is whole, a reset that it is not. On a Unix socket the peer cannot tell
/// `abort` from `close`.
///
/// TCP connections that were accepted or connected have `TCP_NODELAY` set: what a turn has for a peer
/// leaves at once, in one call, so a protocol need not collect it. Keepalive is on, with
/// [`Limits::keepalive`](crate::Limits::keepalive) as its time. Of adopted sockets no option is touched.
///
/// # When there is too much
///
/// Output that the kernel does not take is queued for the peer. Above
/// [`Limits::high_water`](crate::Limits::high_water) the protocol is told, and reading from the cause
/// stops. Above [`Limits::queue_limit`](crate::Limits::queue_limit) the connection is lost: what this
/// turn has said to it is dropped, and it closes as [`Closed::SlowConsumer`], by a reset, before the
/// turn ends. The limit holds within a callback too. A protocol that has more to say than that looks at
/// [`Outbox::queued`], stops in time, and goes on in [`Protocol::on_again`].
pub trait Protocol {
    /// A connection is open: accepted, connected or adopted. The first thing heard of it, but for the
    /// timer of a connect.
    ///
    /// Everything may be said to it already. [`Outbox::pause`] here means that no byte of it is read
    /// before [`Outbox::resume`]. Of [`Reactor::adopt`](crate::Reactor::adopt) it is called before
    /// `adopt` returns.
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        let _ = (id, opened, out);
    }

    /// Bytes arrived, at least one and no more than 64 KiB. TCP splits and joins messages as it likes:
    /// never take one call for one message, and test that with [`every_split`](crate::every_split).
    ///
    /// Unless overridden, the connection is aborted: a protocol that has no use for streams, as one that
    /// speaks UDP only, must not let a peer believe that its bytes were taken.
    ///
    /// The bytes are lent for this call. Another one may follow at once, in the same turn, unless the
    /// connection was paused or ended in this one.
    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        let _ = data;
        out.abort(id);
    }

    /// The peer will send no more, but may go on reading (half-close). Unless overridden, what is
    /// pending is sent and the connection ends. An override must see to the end itself, with
    /// [`Outbox::finish`], now or later.
    ///
    /// All data was told before. A protocol that still has a reply under way keeps this default and
    /// uses [`Outbox::hold`].
    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        out.finish(id);
    }

    /// The connection is gone, and `id` with it: the last thing heard of it. What is said to it is
    /// ignored, its timer is forgotten, and no other connection will ever have its id. Others may be
    /// spoken to, and ended.
    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        let _ = (id, why, out);
    }

    /// The timer set with [`Outbox::set_timer`] is due. Set it again for another round. It is heard in
    /// pauses, and after a half-close of either side; not after a finish.
    fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
        let _ = (id, out);
    }

    /// The timer set with [`Outbox::set_service_timer`] is due. Set it again for another round. There
    /// is one for the whole reactor; while it is set, [`Reactor::run`](crate::Reactor::run) goes on.
    fn on_service_timer(&mut self, out: &mut Outbox) {
        let _ = out;
    }

    /// More than [`Limits::high_water`](crate::Limits::high_water) bytes wait for this peer:
    /// their cause is to be paused. Unless overridden, the cause is the peer itself, as in a protocol
    /// of requests and replies.
    ///
    /// It comes once, and [`Protocol::on_low_water`] follows before it comes again, unless the
    /// connection ends in between. It comes when the kernel has refused the bytes, after the callback
    /// that sent them: within a callback, [`Outbox::queued`] tells.
    ///
    /// A protocol that feeds the peer from elsewhere pauses that instead, and must not pause the
    /// peer: two programs that each stop reading because the other does would wait for each other
    /// for ever.
    fn on_high_water(&mut self, id: ConnId, out: &mut Outbox) {
        out.throttle(id);
    }

    /// After [`Protocol::on_high_water`]: no more than half of the high-water mark waits any more. An
    /// override of one calls for an override of the other.
    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        out.unthrottle(id);
    }

    /// After [`Outbox::again`]: no more than half of the high-water mark is pending, so that there is
    /// room for more. It comes once for each time that it was asked for, in the next turn at the
    /// earliest, so that other connections have theirs in between. It is not heard after the protocol
    /// has ended its side.
    fn on_again(&mut self, id: ConnId, out: &mut Outbox) {
        let _ = (id, out);
    }

    /// The connect that was given this id and this tag has failed, or was cancelled
    /// ([`Closed::Aborted`], [`Closed::Finished`]): there is no connection, and no other will ever have
    /// the id. It is called at the end of a turn, once, in place of `on_open`. It is not called if
    /// [`Reactor::connect`](crate::Reactor::connect) itself returns the error.
    ///
    /// For a connected UDP socket, the network has reported that a datagram was not taken: the socket
    /// stays, and the next datagram may be taken.
    fn on_connect_error(&mut self, id: ConnId, tag: u64, why: Closed, out: &mut Outbox) {
        let _ = (id, tag, why, out);
    }

    /// A datagram arrived, whole. [`Outbox::send_back`] answers its sender, [`Outbox::send_to`] any address;
    /// neither is queued, and high water is not heard of: what the kernel does not take is lost or
    /// comes back with [`Protocol::on_unsent`].
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

    /// A [`Waker`](crate::Waker) was used, once or more since the last call: of a channel, take all
    /// that is there.
    fn on_wake(&mut self, out: &mut Outbox) {
        let _ = out;
    }

    /// SIGHUP: the protocol reads its files again, or opens them anew. Heard only with
    /// [`Reactor::handle_signals`](crate::Reactor::handle_signals).
    fn on_reload(&mut self, out: &mut Outbox) {
        let _ = out;
    }

    /// The reactor begins to stop: the moment for last words. All connections are finished after
    /// this, held ones when they are released, and cut off when the grace period is over. Each still
    /// has its `on_close`. Timers and wakers are heard until the end; a connect fails.
    fn on_stop(&mut self, out: &mut Outbox) {
        let _ = out;
    }
}
