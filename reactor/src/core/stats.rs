//! Counters of the loop: plain additions, so cheap that they are always on.

use std::fmt::{self, Write};

use nix::errno::Errno;

use crate::protocol::Closed;

macro_rules! counters {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        $vis struct $name { $($(#[$field_doc])* pub $field: u64,)* }

        impl $name {
            /// Each counter's name and value, in the order of the declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field)),*].into_iter()
            }

            /// Adds another reactor's counters, as when several reactors serve one address.
            pub fn merge(&mut self, other: &$name) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

counters! {
    /// The counters of a reactor since it was made. All but `connections` only grow.
    ///
    /// Printed as `name=value` pairs. Those with an underscore in their name, of which most are
    /// rare, are left out as long as they are zero.
    pub struct Stats {
        /// Turns of the loop, each of which is one epoll_wait(2).
        turns,
        /// Events that those waits brought.
        events,
        /// Events for a connection that is gone.
        stale,
        /// recv(2) and read(2) calls.
        reads,
        /// send(2), sendmsg(2) and writev(2) calls.
        writes,
        /// Of the reads and writes, those that ended in `EAGAIN`.
        again,
        /// accept4(2) calls.
        accepts,
        /// epoll_ctl(2) calls.
        controls,
        /// Bytes received.
        bytes_in,
        /// Bytes the kernel took.
        bytes_out,
        /// Connections that had to wait for their next turn because their read budget was spent.
        budget_spent,
        /// Times a peer's input was paused because too much waited for it.
        paused,
        /// Deadlines that came due.
        timers,
        /// Datagrams received.
        datagrams_in,
        /// Datagrams the kernel took.
        datagrams_out,
        /// Datagrams that could not be sent: dropped, or given back to the protocol.
        datagrams_lost,
        /// Datagrams that were not answered because their time to live was used up.
        datagrams_expired,
        /// Datagrams that the kernel dropped because we did not fetch them in time.
        datagrams_missed,
        /// Connections open now, standard streams not counted.
        connections,
        /// The most connections that were open at one time.
        peak,
        /// Connections accepted and served.
        accepted,
        /// Connects that succeeded.
        connected,
        /// Connects that failed at every address, and errors of UDP sockets with one peer.
        connect_errors,
        /// Connections closed at once, for whatever cause.
        refused,
        /// Refused because the limit of connections was reached.
        refused_limit,
        /// Refused because the process or the system had no descriptor left.
        refused_descriptors,
        /// Refused because the kernel would not watch them (epoll_ctl(2)).
        refused_setup,
        /// Times accept4(2) failed for want of memory or descriptors and was put off.
        accept_paused,
        /// Connections closed, for whatever cause.
        closed,
        /// Closed because the peer ended.
        closed_eof,
        /// Closed because the protocol had finished.
        closed_finished,
        /// Closed because the protocol aborted.
        closed_aborted,
        /// Closed because the peer reset the connection.
        closed_reset,
        /// Closed by the idle timeout.
        closed_idle,
        /// Closed by the stall timeout.
        closed_stalled,
        /// Closed because too much waited for the peer.
        closed_slow_consumer,
        /// Closed because a connect took too long.
        closed_timed_out,
        /// Closed because the reactor stopped.
        closed_shutdown,
        /// Closed by another error.
        closed_error,
    }
}

impl Stats {
    pub(crate) fn count_opened(&mut self) {
        self.connections += 1;
        self.peak = self.peak.max(self.connections);
    }

    pub(crate) fn count_closed(&mut self, why: Closed) {
        self.connections -= 1;
        self.closed += 1;
        *match why {
            Closed::Eof => &mut self.closed_eof,
            Closed::Finished => &mut self.closed_finished,
            Closed::Aborted => &mut self.closed_aborted,
            Closed::Reset => &mut self.closed_reset,
            Closed::Idle => &mut self.closed_idle,
            Closed::Stalled => &mut self.closed_stalled,
            Closed::SlowConsumer => &mut self.closed_slow_consumer,
            Closed::TimedOut => &mut self.closed_timed_out,
            Closed::Shutdown => &mut self.closed_shutdown,
            Closed::Error(_) => &mut self.closed_error,
        } += 1;
    }

    pub(crate) fn count_write(&mut self, result: nix::Result<usize>) {
        self.writes += 1;
        match result {
            Ok(bytes) => self.bytes_out += bytes as u64,
            Err(errno) => self.again += u64::from(errno == Errno::EAGAIN),
        }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Written in one piece: standard error has no buffer, and each piece is a write(2) there.
        let mut text = String::new();
        // There are many counters, and most are rare.
        let shown = |(name, value): &(&str, u64)| *value > 0 || !name.contains('_');
        for (name, value) in self.iter().filter(shown) {
            write!(text, "{name}={value} ")?;
        }
        let per_wait = self.events as f64 / self.turns.max(1) as f64;
        write!(text, "events/wait={per_wait:.1}")?;
        out.pad(&text)
    }
}
