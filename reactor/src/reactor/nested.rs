//! Another loop inside this one: one thread serves both, each with its own connections and limits.
//!
//! The inner loop is anything with a descriptor to wait for, most of all another [`Reactor`]. Its connections count
//! in no limit and no counter of the outer one, which it does not keep running either, and it goes on
//! while the outer one stops: so it suits a listener for operators.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;

use super::{Reactor, Source};
use crate::core::stats::Stats;
use crate::core::timers::{TimerKey, millis};
use crate::outbox::Outbox;
use crate::poll::Interest;
use crate::protocol::Protocol;

impl<P: Protocol> Reactor<P> {
    /// Nests another loop in this one. `turn` is called on an edge of the inner loop's descriptor: for a
    /// reactor it makes a turn that does not wait ([`Reactor::turn_for`]). It returns the time after which
    /// it is to be called in any case ([`Reactor::timeout`]). It is lent this reactor's protocol, counters
    /// and outbox as well.
    ///
    /// An event that the inner loop has fetched raises no further edge. So `turn` either sees to all that it
    /// leads to, or returns a time for the rest.
    ///
    /// Errors: `EBUSY` if a loop is nested already; those of epoll_ctl(2).
    pub fn nest<I: AsFd + Send + 'static>(
        &mut self,
        mut inner: I,
        mut turn: impl FnMut(&mut I, &mut P, &Stats, &mut Outbox) -> Option<Duration> + Send + 'static,
    ) -> io::Result<()> {
        if self.nested.is_some() {
            return Err(Errno::EBUSY.into());
        }
        self.control(&inner, Source::Nested, Interest::IN)?;
        self.nested = Some(Box::new(move |protocol, stats, out| {
            turn(&mut inner, protocol, stats, out)
        }));
        // The inner loop may have a deadline already, or have seen its last edge.
        self.core.set_now(self.clock());
        let now = self.core.shared.now;
        self.core.timers.arm_next_turn(TimerKey::Nested, now);
        Ok(())
    }

    pub(super) fn turn_nested(&mut self) {
        let stats = self.stats();
        let Some(turn) = &mut self.nested else { return };
        let timeout = self.core.call(|protocol, out| turn(protocol, &stats, out));
        let now = self.core.shared.now;
        let timers = &mut self.core.timers;
        match timeout {
            None => timers.cancel(TimerKey::Nested),
            Some(Duration::ZERO) => timers.arm_next_turn(TimerKey::Nested, now),
            Some(after) => timers.arm(TimerKey::Nested, now.saturating_add(millis(after))),
        }
    }
}
