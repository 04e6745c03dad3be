//! The bound of pending output of all peers together.
//!
//! The queue of one peer has a bound, but ten thousand peers that read nothing have as many queues.
//! Above [`Limits::max_pending`](super::Limits::max_pending), peers are closed until an eighth of it
//! is free, so that the search, which looks at all connections, is not repeated for every message.

use super::Core;
use super::conn::{Phase, Stream};
use crate::protocol::{Closed, Protocol};

/// Time without progress after which a peer counts as one that takes nothing, in ms.
const RESTING_MS: u32 = 1_000;

impl<S: Stream, P: Protocol> Core<S, P> {
    /// Closes peers until less is pending: those that take nothing first, the largest queue first.
    /// Their queues are dropped at once.
    #[cold]
    pub(super) fn shed(&mut self) {
        let (bound, now) = (self.limits.pending_bound(), self.shared.now);
        let waiting = self.slots.iter().filter(|(_, conn)| {
            conn.unsent.is_some() && conn.phase != Phase::Doomed && conn.stream.is_peer()
        });
        let mut queues: Vec<_> = waiting
            .map(|(id, conn)| {
                let rests = conn.waited_ms(now) >= RESTING_MS;
                ((rests, conn.unsent_bytes()), id)
            })
            .collect();
        queues.sort_unstable_by_key(|(order, _)| *order);
        let mut closed = 0;
        while self.shared.pending > bound - bound / 8
            && let Some((_, id)) = queues.pop()
        {
            self.doom(id, Closed::SlowConsumer);
            if let Some(conn) = self.slots.get_mut(id.slot()) {
                conn.drop_unsent(&mut self.shared);
            }
            closed += 1;
        }
        self.shared.stats.closed_max_pending += closed;
        self.shed_log.log(
            now,
            format_args!(
                "more than {bound} bytes waited for all peers; slow ones closed: {closed}"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::core::limits::Limits;
    use crate::id::{ConnId, Data};
    use crate::outbox::Outbox;
    use crate::protocol::{Closed, Opened, Protocol};
    use crate::script::Script;
    use crate::sources::address::Peer;

    struct Echo;

    impl Protocol for Echo {
        fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
            out.send_back(data);
        }
    }

    const KIB: usize = 1024;

    /// Clients of an echo server that may keep 1 MiB for all of them.
    fn server() -> Script<Echo> {
        let limits = Limits {
            high_water: 64 * KIB,
            queue_limit: Some(256 * KIB),
            max_pending: 1024 * KIB,
            ..Limits::default()
        };
        Script::with_limits(Echo, limits)
    }

    fn deaf_client(script: &mut Script<Echo>, bytes: usize) -> ConnId {
        let id = script.open();
        script.set_reading(id, false);
        script.data(id, &vec![b'x'; bytes]);
        id
    }

    #[test]
    fn a_thousand_deaf_peers_hold_no_more_than_the_bound() {
        let mut script = server();
        let reader = script.open();
        let mut deaf = Vec::new();
        for _ in 0..1000 {
            deaf.push(deaf_client(&mut script, 60 * KIB));
            assert!(script.pending() <= 1024 * KIB, "{}", script.pending());
            script.data(reader, b"one that reads is served");
            assert_eq!(script.take_output(reader), b"one that reads is served");
        }
        let closed = deaf.iter().filter(|id| script.closed(**id).is_some());
        assert!(closed.count() >= 1000 - 1024 / 60);
        assert!(
            script.pending() >= (1024 - 128 - 60) * KIB,
            "none for nothing"
        );
    }

    #[test]
    fn output_up_to_the_bound_closes_no_peer() {
        let mut script = server();
        let mut deaf = (0..16).map(|_| deaf_client(&mut script, 64 * KIB));
        let first = deaf.next().unwrap();
        assert_eq!(deaf.count(), 15);
        assert_eq!(script.pending(), 1024 * KIB);
        script.data(first, b"x");
        assert_eq!(
            script.pending(),
            (1024 - 128) * KIB,
            "an eighth of the bound is free"
        );
        assert_eq!(script.closed(first), Some(Closed::SlowConsumer));
        let stats = script.stats();
        assert_eq!(stats.closed_max_pending, 2, "a sixteenth each");
    }

    #[test]
    fn the_user_s_own_output_may_rest_whatever_its_size() {
        let mut script = server();
        let adopted = script.open_as(Opened::new(Peer::Stream, 0));
        script.set_reading(adopted, false);
        (0..40).for_each(|_| script.data(adopted, &vec![b'x'; 60 * KIB]));
        assert_eq!(script.pending(), 0, "it is no peer's");
        (0..40).for_each(|_| _ = deaf_client(&mut script, 60 * KIB));
        assert!(script.stats().closed_max_pending > 0);
        assert_eq!(script.closed(adopted), None);
    }

    #[test]
    fn the_largest_queue_that_rests_goes_first() {
        let mut script = server();
        let idle = script.open();
        let [small, large] = [10, 60].map(|kib| deaf_client(&mut script, kib * KIB));
        script.advance(Duration::from_secs(2));
        // Their peers may be about to read.
        let fresh: Vec<ConnId> = (0..16)
            .map(|_| deaf_client(&mut script, 60 * KIB))
            .collect();
        assert_eq!(script.closed(large), Some(Closed::SlowConsumer));
        assert!(script.was_reset(large));
        assert_eq!(script.closed(small), Some(Closed::SlowConsumer));
        assert_eq!(script.closed(idle), None, "nothing is pending for it");
        let left = fresh.iter().filter(|id| script.closed(**id).is_none());
        assert_eq!(
            left.count(),
            14,
            "as many as an eighth below the bound allows"
        );
    }
}
