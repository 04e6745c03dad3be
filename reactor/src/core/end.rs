//! How a connection ends: flush, `shutdown(2)`, discard what the peer still sends, close.
//!
//! An end is begun in one place, `Core::begin_end`, and a connection is closed in one place, `reap`,
//! at the end of a turn: nothing else of the turn finds it gone.

use std::mem;

use super::conn::{Conn, Phase, State, Stream};
use super::timers::TimerKey;
use super::{Core, live, present};
use crate::id::ConnId;
use crate::outbox::{Asked, End};
use crate::protocol::{Closed, Protocol};

impl<S: Stream, P: Protocol> Core<S, P> {
    /// Ends a connection as its protocol asks. What was said to it before, while the outbox was
    /// shorter than `until`, still leaves; what is said from here on is ignored.
    pub(super) fn begin_end(&mut self, id: ConnId, end: End, until: usize) {
        let Some(conn) = live(&mut self.slots, id) else {
            return self.cancel(id, end);
        };
        if conn.asked.contains(Asked::HOLD) && end == End::Finish {
            conn.asked |= Asked::FINISH;
            return;
        }
        if let Some(parcel) = self.voice.outbox.output.take_until(id, until) {
            self.send_parcel(parcel);
        }
        if let Some(framing) = self.voice.outbox.output.framing(id)
            && matches!(end, End::Finish | End::HalfClose | End::Close)
        {
            self.send_as_is(id, framing.end);
        }
        let Some(conn) = live(&mut self.slots, id) else {
            return;
        };
        match end {
            End::Abort => return self.doom(id, Closed::Aborted),
            End::Close => return self.doom(id, Closed::Finished),
            End::Overflow => return self.doom(id, Closed::SlowConsumer),
            End::HalfClose => conn.state |= State::HALF_CLOSED,
            End::Finish => conn.finish(),
        }
        self.end(id);
    }

    /// After the visit of a connection that is on its way to the end, or short of memory.
    pub(super) fn conclude(&mut self, id: ConnId) {
        let Some(conn) = live(&mut self.slots, id) else {
            return;
        };
        if conn.state.contains(State::STARVED) {
            self.list_if_starved(id);
        }
        self.end(id);
    }

    /// Takes the next step towards the end, if the connection is on its way there.
    pub(super) fn end(&mut self, id: ConnId) {
        let Some(conn) = live(&mut self.slots, id) else {
            return;
        };
        let before = conn.phase;
        if let Some(why) = conn.end(self.shared.now) {
            conn.phase = Phase::Doomed;
            let why = if self.stopping { Closed::Shutdown } else { why };
            self.doomed.push((id, why));
        } else if before < Phase::Lingering && conn.phase == Phase::Lingering {
            self.arm(id);
            self.list(id);
        }
    }

    /// Begins to end all connections: those without pending output are closed at once, the others when
    /// it is sent, and held ones when they are released.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        // Input is discarded for as long as the grace period lasts: a close before would destroy
        // replies that are under way.
        self.limits.linger_timeout = self.limits.linger_timeout.max(self.limits.grace);
        self.limits.linger_bytes = usize::MAX;
        self.flush_outbox();
        let ids: Vec<ConnId> = self.all_ids().collect();
        for id in ids {
            let Some(conn) = self.live(id) else { continue };
            let is_done = conn.unsent_bytes() == 0 && conn.is_settled();
            if conn.asked.contains(Asked::HOLD) {
                conn.asked |= Asked::FINISH;
            } else if is_done {
                self.doom(id, Closed::Shutdown);
            } else {
                conn.finish();
                self.end(id);
            }
        }
        self.end_races();
    }

    /// Closes connections that were ended and whose bytes have all arrived by now, rather than wait
    /// for the peer's end.
    pub(crate) fn close_settled(&mut self) {
        let why = match self.stopping {
            true => Closed::Shutdown,
            false => Closed::Finished,
        };
        let lingers = |conn: &Conn<S>| conn.phase == Phase::Lingering && conn.is_settled();
        let settled = self.slots.iter().filter(|(_, conn)| lingers(conn));
        let settled: Vec<ConnId> = settled.map(|(id, _)| id).collect();
        settled.into_iter().for_each(|id| self.doom(id, why));
    }

    /// Ends all connections at once, and tells how many there were to end.
    pub(crate) fn abort_all(&mut self) -> usize {
        let ids: Vec<ConnId> = self.all_ids().collect();
        let doomed_before = self.doomed.len();
        for id in ids {
            self.doom(id, Closed::Shutdown);
        }
        self.doomed.len() - doomed_before
    }

    pub(crate) fn doom(&mut self, id: ConnId, why: Closed) {
        if let Some(conn) = present(&mut self.slots, id) {
            conn.phase = Phase::Doomed;
            self.doomed.push((id, why));
        }
    }

    /// The one place where connections are closed: nothing else of this turn will touch them.
    pub(super) fn reap(&mut self, closing: &mut impl FnMut(ConnId, Closed, S)) {
        let mut doomed = mem::take(&mut self.doomed);
        for (id, why) in doomed.drain(..) {
            self.timers.cancel(TimerKey::Protocol(id.slot));
            self.voice.outbox.output.forget(id);
            self.admitted.forget(id);
            let Some(mut conn) = self.slots.remove(id) else {
                continue;
            };
            if conn.is_cut_off(why) {
                conn.stream.reset();
            }
            conn.drop_unsent(&mut self.shared);
            let was_peer = conn.stream.is_peer();
            closing(id, why, conn.stream);
            if let Some(connecting) = self.connecting.remove(id) {
                self.attempt_failed(id, connecting.race, why);
                continue;
            }
            if was_peer {
                self.shared.stats.count_closed(why);
            }
            self.tell(|protocol, out| protocol.on_close(id, why, out));
            self.ids().give_back(id);
        }
        if self.doomed.is_empty() {
            self.doomed = doomed;
        }
        if self.slots.is_empty() {
            self.timers.cancel(TimerKey::Search);
        }
        // Every close frees a descriptor and memory, which may be what a starved source lacks.
        self.lists.feed();
    }
}
