//! Counters of the loop.
//!
//! Each counter is a plain addition on the reactor's own thread, so counting is always on: an
//! operator can ask a running server what it does (SIGUSR1), and a test can check that a refusal
//! was counted. One macro declares the fields and the code that goes over all of them, so that a
//! new counter is one line.

use std::fmt::{self, Write};

use nix::errno::Errno;

use crate::protocol::Closed;

macro_rules! counters {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        $vis struct $name { $($(#[$field_doc])* pub $field: u64,)* }

        impl $name {
            /// The name and value of each counter, in the order of the declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field)),*].into_iter()
            }

            /// Adds the counters of another reactor, as for several reactors that serve one
            /// address. The sum of two peaks is an upper bound of their common peak.
            pub fn merge(&mut self, other: &$name) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

counters! {
    /// The counters of a reactor since it was made. All but `connections` and `bytes_pending` only
    /// grow; `peak` is a maximum, and the others are sums.
    ///
    /// They are printed as `name=value` pairs. A counter with an underscore in its name is left out
    /// while it is zero: most of these are rare.
    pub struct Stats {
        /// Turns of the loop, each of which is one epoll_wait(2).
        turns,
        /// Events that these waits returned.
        events,
        /// Events for a connection that is closed, or will be at the end of the turn.
        stale,
        /// recv(2) and read(2) calls.
        reads,
        /// send(2), sendmsg(2) and writev(2) calls.
        writes,
        /// Reads and writes that failed with `EAGAIN`.
        again,
        /// accept4(2) calls.
        accepts,
        /// epoll_ctl(2) calls.
        controls,
        /// Bytes received.
        bytes_in,
        /// Bytes that the kernel took.
        bytes_out,
        /// Bytes of pending output of all connections now.
        bytes_pending,
        /// Times a connection went to the ready list because its read budget was spent, or that of the
        /// turn while it was read.
        budget_spent,
        /// Turns before which sources were left waiting, because the budget of a turn was spent.
        turns_cut,
        /// Times the pending output of a connection rose above the high-water mark.
        paused,
        /// Timers that fired.
        timers,
        /// Datagrams received.
        datagrams_in,
        /// Datagrams that the kernel took.
        datagrams_out,
        /// Datagrams that were not sent: dropped, or given back to the protocol with `on_unsent`.
        datagrams_lost,
        /// Answers that were not sent because their time to live was used up.
        datagrams_expired,
        /// Datagrams that the kernel dropped because the receive buffer was full.
        datagrams_missed,
        /// Connections open now; standard streams and the program's own ones do not count.
        connections,
        /// The most connections that were open at one time.
        peak,
        /// Connections accepted and served.
        accepted,
        /// Connects that succeeded.
        connected,
        /// Connects that failed at every address, and errors of UDP sockets with one peer
        /// (`on_connect_error`).
        connect_errors,
        /// Connections closed as soon as they were accepted, whatever the cause.
        refused,
        /// Refused because `max_connections` were open.
        refused_limit,
        /// Refused because their address had `max_per_address` connections.
        refused_address,
        /// Refused because the process or the system had no descriptor left.
        refused_descriptors,
        /// Refused because epoll_ctl(2) failed.
        refused_setup,
        /// Times accepting was put off because accept4(2) failed for want of memory or descriptors.
        accept_paused,
        /// Connections closed, whatever the cause.
        closed,
        /// Closed after the peer's end of the stream.
        closed_eof,
        /// Closed after the protocol finished them.
        closed_finished,
        /// Closed because the protocol aborted them.
        closed_aborted,
        /// Closed because the peer reset the connection.
        closed_reset,
        /// Closed by the idle timeout.
        closed_idle,
        /// Closed by the stall timeout.
        closed_stalled,
        /// Closed because the pending output exceeded the queue limit, or the peer was below the
        /// minimum rate.
        closed_slow_consumer,
        /// Included in `closed_slow_consumer`: closed because the pending output of all peers together
        /// exceeded `max_pending`.
        closed_max_pending,
        /// Closed in favour of a newcomer when `max_connections` were open: silent since they opened,
        /// and from the address with most connections.
        closed_displaced,
        /// Closed by the connect timeout.
        closed_timed_out,
        /// Closed because the reactor stopped.
        closed_shutdown,
        /// Closed by another error of a system call.
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
            Closed::Displaced => &mut self.closed_displaced,
            Closed::TimedOut => &mut self.closed_timed_out,
            Closed::Shutdown => &mut self.closed_shutdown,
            Closed::Error(_) => &mut self.closed_error,
        } += 1;
    }

    /// Counts one write of a stream or a datagram, by its result.
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
        // A line of all counters would be too long to read.
        let shown = |(name, value): &(&str, u64)| *value > 0 || !name.contains('_');
        for (name, value) in self.iter().filter(shown) {
            write!(text, "{name}={value} ")?;
        }
        let per_wait = self.events as f64 / self.turns.max(1) as f64;
        write!(text, "events/wait={per_wait:.1}")?;
        out.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_counts_also_if_it_takes_nothing() {
        let mut stats = Stats::default();
        stats.count_write(Ok(3));
        stats.count_write(Ok(4));
        stats.count_write(Err(Errno::EAGAIN));
        stats.count_write(Err(Errno::EPIPE));
        assert_eq!((stats.writes, stats.bytes_out, stats.again), (4, 7, 1));
    }

    #[test]
    fn a_line_has_the_main_counters_and_of_the_others_those_that_count_something() {
        let stats = Stats {
            turns: 2,
            events: 3,
            closed_idle: 1,
            ..Stats::default()
        };
        let line = stats.to_string();
        let has = |word| line.split(' ').any(|shown| shown == word);
        assert!(has("turns=2") && has("closed=0") && has("closed_idle=1"));
        assert!(!line.contains("closed_eof"), "{line}");
        assert!(line.ends_with(" events/wait=1.5"), "{line}");
    }
}
