//! Bytes out.
//!
//! The output of callbacks lies in the outbox until the end of the turn: one system call for each
//! peer. Two kinds of output leave at once: a reply that goes back as it lies in the read buffer,
//! which the next read needs, and the output that was said before an end was asked for.

use super::conn::{Phase, State, Stream};
use super::{Core, live};
use crate::id::ConnId;
use crate::outbox::{Asked, Current, Parcel, Said};
use crate::protocol::{Closed, Protocol};

impl<S: Stream, P: Protocol> Core<S, P> {
    /// Sends the reply that the last callback left in the read buffer, and its later output for the
    /// same connection.
    pub(super) fn send_received(&mut self) {
        let outbox = &mut self.voice.outbox;
        let (Some(id), Some(len)) = (outbox.current_conn(), outbox.take_back()) else {
            return;
        };
        let rest = outbox.take_parcel_behind_back(id);
        let Some(conn) = live(&mut self.slots, id) else {
            return;
        };
        let back = &self.received[..len];
        let written = match rest {
            None => conn.write(back, &mut self.shared),
            Some(rest) => outbox.output.try_for_each_slices(back, rest, |slices| {
                conn.write_slices(slices, &mut self.shared)
            }),
        };
        self.written(id, written);
    }

    /// Sends the output of all callbacks of this turn.
    pub(super) fn flush_outbox(&mut self) {
        loop {
            let mut index = 0;
            while let Some(parcel) = self.voice.outbox.output.take(index) {
                self.send_parcel(parcel);
                index += 1;
            }
            self.voice.outbox.output.clear();
            if self.risen.is_empty() {
                return;
            }
            // Replies to that take another round; no connection rises twice.
            self.tell_risen();
        }
    }

    /// Sends or queues the output for one peer.
    pub(super) fn send_parcel(&mut self, parcel: Parcel) {
        let id = parcel.id;
        let Some(conn) = live(&mut self.slots, id) else {
            return;
        };
        if parcel.is_empty() {
            return;
        }
        let outbox = &self.voice.outbox.output;
        let written = match outbox.only_slice(parcel) {
            Some(bytes) => conn.write(bytes, &mut self.shared),
            None => outbox.try_for_each_slices(&[], parcel, |slices| {
                conn.write_slices(slices, &mut self.shared)
            }),
        };
        if written.is_err() || !conn.is_plain() {
            self.written(id, written);
        }
    }

    /// Sends bytes behind all that was sent before. The outbox has none for this connection.
    pub(super) fn send_as_is(&mut self, id: ConnId, bytes: &[u8]) {
        if let Some(conn) = live(&mut self.slots, id)
            && !bytes.is_empty()
        {
            let written = conn.write(bytes, &mut self.shared);
            self.written(id, written);
        }
    }

    /// Follows up a write that may have failed or left output pending.
    pub(super) fn written(&mut self, id: ConnId, written: nix::Result<()>) {
        let bound = self.limits.queue_bound();
        let Some(conn) = self.live(id) else { return };
        if let Err(errno) = written {
            let why = conn.closed_by(errno);
            return self.doom(id, why);
        }
        let pending = conn.unsent_bytes();
        // The user's own output may rest for as long as the user likes.
        if pending > bound && conn.stream.is_peer() {
            return self.doom(id, Closed::SlowConsumer);
        }
        if pending == 0 {
            return;
        }
        self.voice.outbox.output.set_pending(id, pending);
        self.note_high_water(id);
        self.arm(id);
        self.list_if_starved(id);
        if self.shared.pending > self.limits.pending_bound() {
            self.shed();
        }
    }

    /// Notes when pending output rises above the high-water mark.
    fn note_high_water(&mut self, id: ConnId) {
        let (high_water, now) = (self.limits.high_water, self.shared.now);
        let Some(conn) = self.live(id) else { return };
        // A connection that the protocol has finished is not given more.
        if conn.unsent_bytes() <= high_water || conn.state.contains(State::HIGH_WATER) {
            return;
        }
        conn.state |= State::HIGH_WATER;
        conn.begin_window(now);
        self.shared.stats.paused += 1;
        self.risen.push(id);
    }

    /// Tells the protocol which connections have risen above the high-water mark, so that it pauses the
    /// cause.
    pub(super) fn tell_risen(&mut self) {
        while let Some(id) = self.risen.pop() {
            // The protocol may have finished the connection since.
            if !self.hears(id) {
                continue;
            }
            let said = self.voice.tell(Current::Nobody, 0, |protocol, out| {
                protocol.on_high_water(id, out);
            });
            if said == Said::More {
                self.carry_out_requests();
            }
        }
    }

    /// Tells the protocol that it may go on with what it has to say, if it asked for that.
    pub(super) fn tell_again(&mut self, id: ConnId) {
        let low_water = self.limits.high_water / 2;
        if let Some(conn) = live(&mut self.slots, id)
            && conn.asked.contains(Asked::AGAIN)
            && conn.unsent_bytes() <= low_water
        {
            conn.asked -= Asked::AGAIN;
            if !conn.has_ended() {
                self.tell(|protocol, out| protocol.on_again(id, out));
            }
        }
    }

    /// Sends pending output, if there may be room for it.
    pub(super) fn flush(&mut self, id: ConnId) {
        let low_water = self.limits.high_water / 2;
        let Some(conn) = live(&mut self.slots, id) else {
            return;
        };
        let before = conn.unsent_bytes();
        if let Err(errno) = conn.flush(&mut self.shared) {
            let why = conn.closed_by(errno);
            return self.doom(id, why);
        }
        let pending = conn.unsent_bytes();
        self.voice.outbox.work.charge(before - pending);
        self.voice.outbox.output.set_pending(id, pending);
        if !conn.state.contains(State::HIGH_WATER) || pending > low_water {
            return;
        }
        conn.state -= State::HIGH_WATER;
        let ended = conn.phase > Phase::Open;
        // A protocol that has not heard of the high water does not hear of the low one.
        let untold = self.risen.iter().position(|&risen| risen == id);
        if let Some(untold) = untold {
            self.risen.swap_remove(untold);
        } else if !ended {
            self.tell(|protocol, out| protocol.on_low_water(id, out));
        }
    }
}
