//! Every bound of the reactor in one place.

use std::time::Duration;

/// What a reactor allows itself and its peers. Sizes are in bytes. A timeout of zero means never,
/// unless it says otherwise; one of more than 24 days is taken for 24 days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at one time, standard streams not counted; one more is closed as soon as it
    /// is accepted. Default: no bound but descriptors.
    pub max_connections: usize,
    /// Bytes waiting for one peer above which nothing more is read from whoever causes them: from
    /// the peer itself, unless the protocol says otherwise. Default 256 KiB.
    pub high_water: usize,
    /// Bytes waiting for one peer above which it is closed as a slow consumer: the bound of what
    /// others send to it, since what its own input causes stops at `high_water`, but for one callback's
    /// replies. The bound holds within a callback, too: what is said beyond it is dropped. Default,
    /// `None`: 16 MiB above `high_water`.
    pub queue_limit: Option<usize>,
    /// Bytes read from one connection before the others have their turn; each read counts as a 64th
    /// of it at least, and brings no more than all of it. Default 64 KiB, the size of the read
    /// buffer.
    pub read_budget: usize,
    /// Connections accepted from one listener before the others have their turn. Default 64.
    pub accept_budget: usize,
    /// Bytes a second, averaged over 30 s, that a peer must accept while more than `high_water` waits
    /// for it; one that accepts fewer is closed as a slow consumer. For protocols that send to a peer
    /// what others say, so that its own input cannot be blamed. Default 0: any rate will do.
    pub min_rate: usize,
    /// Closes a connection that neither sent nor accepted a byte for so long. Default never.
    pub idle_timeout: Duration,
    /// Closes a peer that accepted none of the bytes waiting for it for so long. Its progress counts,
    /// also where the kernel has no room yet; it is looked for four times in that time, and counts from
    /// the first look on. Default 60 s.
    pub stall_timeout: Duration,
    /// Gives up connecting after so long, to all addresses of a name together. Default 30 s.
    pub connect_timeout: Duration,
    /// Whether bytes that arrived before a peer reset a paused connection are still handed over once
    /// it is read again. If not, the reset ends it at once. Default true.
    pub keeps_unread: bool,
    /// After we have ended a stream: how long what the peer still sends is read and discarded, so
    /// that our last bytes are not destroyed by a reset. Zero: not at all. Default 30 s, or 5 s of
    /// silence.
    pub linger_timeout: Duration,
    /// After we have ended a stream: so many bytes that the peer still sends are discarded, and a
    /// peer that sends more is closed. Default: any number, within `linger_timeout`.
    pub linger_bytes: usize,
    /// A TCP peer that vanished without a word is found this long after it was last heard when
    /// nothing was under way to it (tcp(7), `SO_KEEPALIVE`), and within two stall timeouts otherwise.
    /// Zero: it is not looked for. Default 60 s.
    pub keepalive: Duration,
    /// How long a stop waits for what is pending. Zero: not at all. Default 5 s.
    pub grace: Duration,
    /// Completed handshakes that the kernel keeps for us to accept; it takes no more than
    /// `/proc/sys/net/core/somaxconn` (listen(2)). Default 4096.
    pub backlog: usize,
}

impl Limits {
    /// The bound of what may wait for one peer.
    pub(crate) fn queue_bound(&self) -> usize {
        self.queue_limit
            .unwrap_or(self.high_water.saturating_add(OTHERS_BYTES))
    }
}

/// Bytes that others may queue for a peer above the high-water mark, by default.
const OTHERS_BYTES: usize = 16 * 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_connections: usize::MAX,
            high_water: 256 * 1024,
            queue_limit: None,
            min_rate: 0,
            read_budget: READ_BUFFER,
            accept_budget: 64,
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

/// The size of the one read buffer: large enough that a call's cost is spread over many bytes,
/// small enough to stay in the processor's cache.
pub(crate) const READ_BUFFER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever raised the high-water mark above a fixed queue limit had echoes cut off as slow
    /// consumers, though they were about to be paused.
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
