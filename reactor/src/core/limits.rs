//! Every bound of the reactor in one place.
//!
//! A server is a promise to strangers, and each thing that it holds for a peer is a thing that a
//! peer can make it hold without end: a connection, a descriptor, pending output, the time of a
//! turn. So each of them has a limit here, each limit a counter in [`Stats`](crate::Stats) for the
//! peers that met it, and each default is one that a public server can live with.
//!
//! Pending output has two limits, for its two causes. Output that a peer's own input causes stops
//! at the *high-water mark*: the peer is not read any more, the kernel's buffers fill, and its
//! sends wait (backpressure). Output that *others* cause, as in a chat, cannot be stopped by not
//! reading the peer that receives it; above the *queue limit* that peer is closed as a slow
//! consumer, for the rest of the room must not wait for it.

use std::time::Duration;

use crate::places::Places;

/// The limits of a reactor and its peers. Sizes are in bytes. A timeout of zero means no timeout,
/// unless the field says otherwise; timeouts of connections are at most 24 days, and longer ones
/// are taken as that.
///
/// ```
/// use std::time::Duration;
/// use edgeloop_reactor::Limits;
///
/// let limits = Limits {
///     max_connections: 10_000,
///     idle_timeout: Duration::from_secs(300),
///     ..Limits::default()
/// };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at one time; standard streams and those of `own_tags` do not count. A connection over the limit is
    /// closed as soon as it is accepted, and counted as `refused_limit`. Default: no limit but the
    /// descriptors of the process, and 8 million.
    pub max_connections: usize,
    /// Connections accepted from one address at one time, where an IPv6 /64 counts as one address;
    /// further ones are refused, and counted as `refused_address`. 0: any number. Default, `None`:
    /// half of `max_connections`, and any number from loopback addresses. Unix peers and adopted
    /// descriptors never count. Unless it is 0, a newcomer that finds `max_connections` open
    /// displaces a connection ([`Closed::Displaced`](crate::Closed::Displaced)) that is counted, has
    /// never sent a byte, is older than 10 s and comes from an address with most connections, or with
    /// seven eighths as many, if 64 looks find one.
    pub max_per_address: Option<usize>,
    /// Places that several reactors share: `max_connections` and `max_per_address` hold for all of them
    /// together, and count accepted connections only. A newcomer displaces a connection of the reactor
    /// that has accepted it. Default, `None`: both hold for this reactor.
    pub places: Option<Places>,
    /// Bytes for a peer that is refused because of its address, sent before the connection is closed, by
    /// the tag of the listener. Up to 4 KiB of input that has arrived by then are discarded, so that no
    /// reset destroys these bytes. Default: none.
    pub refusals: Vec<(u64, &'static str)>,
    /// Tags of connects to what is a part of the program, as its database is. Such a connection counts as
    /// none, in limits and counters alike, and has neither idle nor stall timeout nor queue limit, as
    /// standard streams have none: the protocol sees to its deadlines. Default: none.
    pub own_tags: Vec<u64>,
    /// High-water mark: bytes of pending output of one connection above which the protocol is told
    /// ([`on_high_water`](crate::Protocol::on_high_water)). Unless it overrides that, the
    /// connection is not read until no more than half of the mark is pending. Default 256 KiB.
    pub high_water: usize,
    /// Queue limit: bytes of pending output of one connection above which it is closed as a slow
    /// consumer ([`Closed::SlowConsumer`](crate::Closed::SlowConsumer)) and reset. It holds within a
    /// callback too: output beyond it is dropped as soon as it is said. A protocol whose replies are
    /// larger than its requests looks at [`Outbox::queued`](crate::Outbox::queued), and goes on later
    /// by [`Outbox::again`](crate::Outbox::again). Default, `None`: 16 MiB above `high_water`.
    pub queue_limit: Option<usize>,
    /// Pending output of all peers together, in bytes. Above it, peers are closed as slow consumers
    /// ([`Closed::SlowConsumer`](crate::Closed::SlowConsumer)) until an eighth of it is free: first
    /// those that have taken nothing for a second, the largest queue first. At least the queue limit,
    /// so that one peer can use its own. Default 512 MiB.
    pub max_pending: usize,
    /// Read budget: bytes read from one connection in one turn of the loop. A connection that has
    /// more to read goes to the ready list, and on in the next turn after the others. One read
    /// brings at most the whole budget, and counts as at least a 64th of the read buffer, so that a
    /// peer that sends single bytes has an end too. At least 1. Default 64 KiB, the size of the
    /// read buffer.
    pub read_budget: usize,
    /// Connections accepted from one listener in one turn of the loop; a listener with more goes to
    /// the ready list. At least 1. Default 64.
    pub accept_budget: usize,
    /// Turn budget: work of one turn of the loop. Sources and timers that are left when it is spent go
    /// on in the next turn, in their order; that comes at once, and looks at signals and wakers first.
    /// The unit is the work on one byte: a byte received, or queued for one recipient, is one; a
    /// callback is 1,024; a recipient of output is 512 in a turn, and 32 for each piece. A protocol
    /// charges what it looks at beyond that with [`Outbox::charge`](crate::Outbox::charge). A turn is
    /// longer by its last callback, and by the callbacks of connections that close. One connection has a
    /// 16th of the budget in a turn. A reactor also looks at the clock, every 80 Ki units, and ends a
    /// turn after 5 ms. At least 1. Default 16 Mi, which are a few milliseconds.
    pub turn_budget: usize,
    /// Minimum rate: bytes a second, averaged over 30 s, that a peer must accept while more than
    /// `high_water` is pending for it; a slower peer is closed as a slow consumer. Meant for
    /// protocols that send a peer the messages of others, where backpressure does not reach the
    /// sender. Default 0: any rate is accepted.
    pub min_rate: usize,
    /// Idle timeout: a connection whose peer has neither sent nor accepted a byte for this long is
    /// closed ([`Closed::Idle`](crate::Closed::Idle)), unless it is held
    /// ([`Outbox::hold`](crate::Outbox::hold)). Default zero: none.
    pub idle_timeout: Duration,
    /// Stall timeout: a connection whose peer has accepted none of its pending output for this long
    /// is closed ([`Closed::Stalled`](crate::Closed::Stalled)). The peer's acknowledgements count
    /// as progress even while the kernel's send buffer has no room. They are looked at four times
    /// in this time, and the time counts from the first look, so the close may come a quarter
    /// later. Default 60 s.
    pub stall_timeout: Duration,
    /// Connect timeout: a connect that has not succeeded after this long fails
    /// ([`Closed::TimedOut`](crate::Closed::TimedOut)). All addresses of a name share it. Default
    /// 30 s.
    pub connect_timeout: Duration,
    /// Whether a paused connection that was reset keeps its unread input. If true, the protocol
    /// hears the bytes that arrived before the reset once it resumes the connection, and then of
    /// the close. If false, the reset closes the connection at once, and the bytes are dropped.
    /// Default true.
    pub keeps_unread: bool,
    /// Linger timeout: after the reactor has shut down its side of a stream, the peer's input is
    /// read and discarded until the peer's end, for at most this long and at most 5 s of silence. A
    /// close with unread input would send a reset, which destroys replies that are still under way.
    /// Zero: nothing is discarded, and the connection is closed after the shutdown. A stop raises
    /// this to `grace`. Default 30 s.
    pub linger_timeout: Duration,
    /// Bytes that a lingering peer may still send. They use up `linger_timeout` in proportion: a
    /// peer that sends half of them has half of the time left. A peer that sends all of them is
    /// closed. Default: no limit.
    pub linger_bytes: usize,
    /// Keepalive: a TCP peer that vanished without a FIN or a reset is found this long after it was
    /// last heard, by the kernel's probes (tcp(7), `SO_KEEPALIVE`); between 2 s and 32,767 s, in
    /// whole seconds. Probes are not sent while sent bytes are unacknowledged: such a peer is found
    /// within two stall timeouts, if `stall_timeout` is set. Zero: vanished peers are not looked
    /// for. Default 60 s.
    pub keepalive: Duration,
    /// Grace period: the time that a stop waits for pending output to be sent and acknowledged.
    /// Connections that are left after it are cut off. Zero: a stop does not wait. Default 5 s.
    pub grace: Duration,
    /// Backlog: completed handshakes that the kernel queues for each listener, at most
    /// `/proc/sys/net/core/somaxconn` (listen(2)). Beyond it, the kernel drops a TCP client's
    /// handshake, which the client repeats; a Unix client waits, or fails with `EAGAIN`. Default
    /// 4096.
    pub backlog: usize,
}

impl Limits {
    /// The queue limit in bytes: the one that is set, or its default.
    pub(crate) fn queue_bound(&self) -> usize {
        self.queue_limit
            .unwrap_or(self.high_water.saturating_add(OTHERS_BYTES))
    }

    /// Units of work that count as one byte read by a connection, so that its visit has one budget for
    /// both.
    pub(crate) fn units_a_byte(&self) -> usize {
        (self.turn_budget / VISITS_A_TURN / self.read_budget).max(1)
    }

    /// The bound of pending output of all peers, in bytes.
    pub(crate) fn pending_bound(&self) -> usize {
        self.max_pending.max(self.queue_bound())
    }
}

/// Visits that spend a whole turn's budget, if each spends its own: a connection may have a 16th of it.
/// The expensive requests of one peer are then spread over many turns, with those of other peers in
/// between.
const VISITS_A_TURN: usize = 16;

/// The default queue limit, in bytes above the high-water mark.
const OTHERS_BYTES: usize = 16 * 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_connections: usize::MAX,
            max_per_address: None,
            places: None,
            refusals: Vec::new(),
            own_tags: Vec::new(),
            high_water: 256 * 1024,
            queue_limit: None,
            max_pending: 512 * 1024 * 1024,
            min_rate: 0,
            read_budget: READ_BUFFER,
            accept_budget: 64,
            turn_budget: 16 * 1024 * 1024,
            idle_timeout: Duration::ZERO,
            stall_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(30),
            keeps_unread: true,
            linger_timeout: Duration::from_secs(30),
            linger_bytes: usize::MAX,
            keepalive: Duration::from_secs(60),
            grace: Duration::from_secs(5),
            backlog: 4096,
        }
    }
}

/// Bytes of the one read buffer: large enough to spread the cost of a system call over many bytes,
/// small enough to stay in the processor's cache.
pub(crate) const READ_BUFFER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: the default queue limit was a constant. A server whose high-water mark was
    /// higher closed connections as slow consumers that were about to be paused.
    #[test]
    fn the_queue_limit_rises_with_the_high_water_mark_unless_it_is_given() {
        let high_water = 64 * 1024 * 1024;
        let limits = Limits {
            high_water,
            ..Limits::default()
        };
        assert!(limits.queue_bound() > high_water + 2 * READ_BUFFER);
        let given = Limits {
            queue_limit: Some(1000),
            ..limits
        };
        assert_eq!(given.queue_bound(), 1000);
    }
}
