//! How long a connection is kept: the deadlines of connections, and the search for vanished peers.
//!
//! A connection has one timer, whatever it waits for, and the timer is lazy: traffic only notes the
//! time. When the timer fires, the deadline is computed again from these notes, and if it has moved,
//! the timer is armed anew. Nor is the timer of a connection that closes taken back: the next
//! connection in its slot has one to begin with.

use std::mem;
use std::time::Duration;

use super::conn::{Conn, Phase, State, Stream};
use super::limits::Limits;
use super::timers::{Millis, TimerKey, millis};
use super::{Core, live, present};
use crate::id::ConnId;
use crate::outbox::Asked;
use crate::protocol::{Closed, Protocol};

/// Silence of a lingering peer that is taken for its end, in ms.
const QUIET_MS: u32 = 5_000;
/// The time over which the minimum rate is averaged, in ms.
const RATE_WINDOW_MS: u32 = 30_000;
/// The longest timeout that the 32-bit clocks of a connection can measure: 24.8 days.
const TIMEOUT_MAX_MS: u32 = i32::MAX as u32;
/// Connections that the search for vanished peers looks at in one turn.
const SEARCHED_A_TURN: usize = 256;

/// The action that a connection's deadline calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deadline {
    Close(Closed),
    /// Output is pending: has the peer taken any?
    Look,
    /// More than the high-water mark is pending: does the peer keep to the minimum rate?
    Judge,
    /// There was silence for as long as the framing allows.
    Beat,
}

fn timeout_ms(timeout: Duration) -> u32 {
    millis(timeout).min(TIMEOUT_MAX_MS.into()) as u32
}

/// Milliseconds since `then`. The subtraction wraps, so that the clocks may run over after 49 days.
fn elapsed_ms(now: Millis, then: u32) -> u32 {
    (now as u32).wrapping_sub(then)
}

/// The rest of a timeout, in ms; `None` if the timeout is zero, which means never.
fn left(elapsed_ms: u32, timeout_ms: u32) -> Option<u32> {
    (timeout_ms > 0).then(|| timeout_ms.saturating_sub(elapsed_ms))
}

impl<S: Stream, P: Protocol> Core<S, P> {
    /// Sets the connection's timer to what its state calls for. An earlier timer stays; when it
    /// fires it recomputes the deadline.
    pub(super) fn arm(&mut self, id: ConnId) {
        let beat_ms = self.beat_ms(id);
        if let Some(conn) = present(&mut self.slots, id)
            && let Some((left, _)) = conn.deadline(&self.limits, beat_ms, self.shared.now)
        {
            let at = self.shared.now.saturating_add(left.into());
            self.timers.arm_no_later(TimerKey::Conn(id.slot), at);
        }
    }

    /// Sets the timer of a connection that opens. Of all its deadlines only the idle timeout counts
    /// then, and the timer of the slot's last connection is likely to be early enough.
    pub(super) fn arm_opened(&mut self, id: ConnId) {
        if !self.limits.idle_timeout.is_zero() {
            let idle_ms = timeout_ms(self.limits.idle_timeout);
            let at = self.shared.now.saturating_add(idle_ms.into());
            self.timers.arm_no_later(TimerKey::Conn(id.slot), at);
        }
        self.arm_search();
    }

    /// A connection's timer has fired: its deadline has come, or has moved, or the connection that
    /// armed the timer is gone.
    pub(super) fn run_deadline(&mut self, slot: u32) {
        let Some(id) = self.tenant(slot) else { return };
        let beat_ms = self.beat_ms(id);
        let Some(conn) = present(&mut self.slots, id) else {
            return;
        };
        let (limits, now) = (&self.limits, self.shared.now);
        let doomed = match conn.deadline(limits, beat_ms, now) {
            Some((0, Deadline::Close(why))) => Some(why),
            Some((0, Deadline::Look)) => conn.look(limits, now).then_some(Closed::Stalled),
            Some((0, Deadline::Judge)) => {
                conn.fell_short(limits, now).then_some(Closed::SlowConsumer)
            }
            Some((0, Deadline::Beat)) => {
                self.beat(id);
                None
            }
            _ => None,
        };
        match doomed {
            Some(why) => self.doom(id, why),
            None => self.arm(id),
        }
    }

    /// The interval of a connection's heartbeat, in ms; 0 is none.
    fn beat_ms(&self, id: ConnId) -> u32 {
        match self.voice.outbox.output.framing(id) {
            Some(framing) if !framing.heartbeat.1.is_empty() => timeout_ms(framing.heartbeat.0),
            _ => 0,
        }
    }

    /// Sends a connection its heartbeat.
    fn beat(&mut self, id: ConnId) {
        if let Some(framing) = self.voice.outbox.output.framing(id) {
            self.send_as_is(id, framing.heartbeat.1);
        }
    }

    /// Lets the search for vanished peers begin, unless it is off, under way or about to.
    pub(super) fn arm_search(&mut self) {
        if self.timers.is_armed(TimerKey::Search) {
            return;
        }
        let stall_timeout = self.limits.stall_timeout;
        if !self.limits.keepalive.is_zero() && !stall_timeout.is_zero() {
            let at = self.shared.now.saturating_add(millis(stall_timeout));
            self.timers.arm(TimerKey::Search, at);
        }
    }

    /// Closes peers that vanished while sent bytes were under way to them. Each turn looks at a part
    /// of the connections, so that thousands of them do not make a long turn.
    pub(super) fn search_for_vanished(&mut self) {
        if self.searched.is_empty() {
            self.searched = self.all_ids().collect();
        }
        let rest = self.searched.len().saturating_sub(SEARCHED_A_TURN);
        for id in self.searched.split_off(rest) {
            let (now, limits) = (self.shared.now, &self.limits);
            if live(&mut self.slots, id).is_some_and(|conn| conn.has_vanished(limits, now)) {
                self.doom(id, Closed::Stalled);
            }
        }
        if rest > 0 {
            self.timers.arm(TimerKey::Search, self.shared.now + 1);
        } else if !self.slots.is_empty() {
            self.arm_search();
        }
    }
}

impl<S: Stream> Conn<S> {
    /// The reply that was computed is there: the peer was not idle meanwhile.
    pub(super) fn released(&mut self, now: Millis) {
        self.active_ms = now as u32;
    }

    /// The wait that is measured began then, before this connection did.
    pub(super) fn wait_since(&mut self, began: Millis) {
        self.since_ms = began as u32;
    }

    /// Milliseconds since the connection opened or its last wait began.
    pub(super) fn waited_ms(&self, now: Millis) -> u32 {
        elapsed_ms(now, self.since_ms)
    }

    /// The next deadline of this connection, and the milliseconds left until then. `beat_ms`: interval
    /// of its heartbeat; 0 is none.
    fn deadline(&self, limits: &Limits, beat_ms: u32, now: Millis) -> Option<(u32, Deadline)> {
        let since = elapsed_ms(now, self.since_ms);
        let active = elapsed_ms(now, self.active_ms);
        let mut earliest = None;
        let mut add = |left: Option<u32>, deadline| {
            if let Some(left) = left
                && earliest.is_none_or(|(least, _)| left < least)
            {
                earliest = Some((left, deadline));
            }
        };
        if self.phase == Phase::Connecting {
            let timeout_ms = timeout_ms(limits.connect_timeout);
            add(left(since, timeout_ms), Deadline::Close(Closed::TimedOut));
            return earliest;
        }
        if self.stream.is_peer() && !self.asked.contains(Asked::HOLD) {
            let idle = left(active, timeout_ms(limits.idle_timeout));
            add(idle, Deadline::Close(Closed::Idle));
        }
        if !self.has_ended() {
            // Pending output is as good as a heartbeat.
            let silent = if self.unsent.is_some() { 0 } else { active };
            add(left(silent, beat_ms), Deadline::Beat);
        }
        if self.stream.is_peer()
            && let Some(unsent) = &self.unsent
        {
            let stall_ms = timeout_ms(limits.stall_timeout);
            // The stall timeout counts from the first look, which has nothing to compare with: that
            // look comes early.
            let looked = elapsed_ms(now, unsent.drain.looked_ms);
            add(left(looked, stall_ms.div_ceil(4)), Deadline::Look);
            add(left(since, stall_ms), Deadline::Look);
            if limits.min_rate > 0 && self.state.contains(State::HIGH_WATER) {
                let window = elapsed_ms(now, unsent.drain.window_ms);
                add(left(window, RATE_WINDOW_MS), Deadline::Judge);
            }
        }
        if self.phase == Phase::Lingering {
            let linger_ms = timeout_ms(limits.linger_timeout);
            let over = linger_ms.saturating_sub(since);
            let quiet = QUIET_MS.saturating_sub(active);
            add(Some(over.min(quiet)), Deadline::Close(Closed::Finished));
        }
        earliest
    }

    /// Looks whether the peer has taken anything since the last look, and returns whether it has
    /// taken nothing for the stall timeout.
    ///
    /// Progress of the peer counts, not ours alone: the kernel's send queue drains for a while
    /// before there is room for more, and a slow peer takes long for that.
    pub(super) fn look(&mut self, limits: &Limits, now: Millis) -> bool {
        let Some(unsent) = &mut self.unsent else {
            return false;
        };
        let unacknowledged = self.stream.unacknowledged().ok();
        let before = mem::replace(&mut unsent.drain.unacknowledged, unacknowledged);
        unsent.drain.looked_ms = now as u32;
        if let Some(unacknowledged) = unacknowledged {
            // The first look has nothing to compare with: what came before cannot be held against
            // the peer.
            if before.is_none_or(|before| unacknowledged < before) {
                self.since_ms = now as u32;
            }
            if before.is_some_and(|before| unacknowledged < before) {
                self.active_ms = now as u32;
            }
        }
        elapsed_ms(now, self.since_ms) >= timeout_ms(limits.stall_timeout)
    }

    /// More waits than the high-water mark: from now on the minimum rate counts.
    pub(super) fn begin_window(&mut self, now: Millis) {
        if let Some(unsent) = &mut self.unsent {
            (unsent.drain.window_ms, unsent.drain.taken) = (now as u32, 0);
        }
    }

    /// The end of a window: whether the peer took less in it than the minimum rate, and still too
    /// much waits for it.
    pub(super) fn fell_short(&mut self, limits: &Limits, now: Millis) -> bool {
        let taken = self.unsent.as_ref().map_or(0, |unsent| unsent.drain.taken);
        let least = limits
            .min_rate
            .saturating_mul(RATE_WINDOW_MS as usize / 1000);
        let fell_short = taken < least && self.unsent_bytes() > limits.high_water;
        self.begin_window(now);
        fell_short
    }

    /// Charges what a lingering peer still sent: its bytes use up the time that it has, in
    /// proportion to those that it may send. Returns whether nothing is left.
    pub(super) fn charge_linger(&mut self, count: usize, limits: &Limits, now: Millis) -> bool {
        let total = u64::from(timeout_ms(limits.linger_timeout));
        let cost = total.saturating_mul(count as u64) / limits.linger_bytes.max(1) as u64;
        let elapsed = u64::from(elapsed_ms(now, self.since_ms));
        if elapsed + cost >= total {
            return true;
        }
        self.since_ms = self.since_ms.wrapping_sub(cost as u32);
        false
    }

    /// Looks for a peer that vanished while sent bytes were under way to it: they were so at the
    /// last look, and nothing was acknowledged since. Looks are a stall timeout apart.
    ///
    /// `TCP_USER_TIMEOUT` would be the kernel's way, but it also ends a live peer whose window is
    /// small or closed, and replaces the keepalive's own patience with an idle one (tcp(7)).
    pub(super) fn has_vanished(&mut self, limits: &Limits, now: Millis) -> bool {
        let stall_ms = timeout_ms(limits.stall_timeout);
        let silent = elapsed_ms(now, self.active_ms);
        let was_under_way = self.state.contains(State::UNACKNOWLEDGED);
        if !self.stream.is_peer() || silent / 2 > stall_ms && !was_under_way {
            return false;
        }
        let under_way = self.stream.unacknowledged().is_ok_and(|bytes| bytes > 0);
        self.state.set(State::UNACKNOWLEDGED, under_way);
        let unheard = |ms: u32| ms >= stall_ms;
        under_way && was_under_way && self.stream.unheard_ms().is_some_and(unheard)
    }
}
