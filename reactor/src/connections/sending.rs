//! How bytes leave: those that go back to where they came from, those in the outbox, and those that
//! have waited.

use std::io::IoSlice;
use std::mem;

use super::{Connections, live};
use crate::buffer::SHORT;
use crate::conn::{Shared, State, Stream};
use crate::outbox::{Current, Parcel};
use crate::protocol::{Closed, ConnId, Protocol};

impl<S: Stream, P: Protocol> Connections<S, P> {
    /// An echo server's way: from the read buffer to the socket.
    ///
    /// In a crowd, what is short stays there until others have been read, too. To receive again and
    /// again, and then to send again and again, keeps the kernel's code for either in the
    /// processor's caches.
    pub(super) fn send_back(&mut self, id: ConnId, len: usize) {
        self.returns.push((id, self.received.keep(len)));
        if len > SHORT || !self.crowded || self.received.is_full() {
            self.write_returns();
        }
    }

    /// Sends what goes back from the read buffer: before anything else that was said to the same
    /// peer since, and before anything that was asked of it.
    pub(super) fn write_returns(&mut self) {
        let mut returns = mem::take(&mut self.returns);
        for (id, range) in returns.drain(..) {
            let Some(conn) = live(&mut self.slots, id) else {
                continue;
            };
            if conn.state.intersects(State::FINISHED | State::HALF_CLOSED) {
                continue;
            }
            let mut shared = Shared {
                pool: &mut self.pool,
                stats: &mut self.stats,
                now: self.now,
            };
            let was_waiting = conn.unsent_bytes() > 0;
            let bytes = IoSlice::new(self.received.kept(range));
            let written = conn.write(&mut [bytes], &mut shared);
            let waiting = conn.unsent_bytes();
            if written.is_err() || waiting > 0 {
                self.written(id, written, was_waiting, waiting);
            }
        }
        self.received.forget();
        self.returns = returns;
    }

    /// Sends all that the callbacks of this turn have said: one system call for each peer.
    pub(super) fn flush_outbox(&mut self) {
        self.write_returns();
        loop {
            for index in 0..self.outbox.parcel_count() {
                let parcel = self.outbox.take_parcel(index);
                self.deliver_parcel(parcel);
            }
            self.outbox.clear();
            if self.risen.is_empty() {
                return;
            }
            // What is said to that takes another round; nobody rises twice.
            self.tell_of_high_water();
        }
    }

    /// Sends or queues what one peer is to get.
    pub(super) fn deliver_parcel(&mut self, parcel: Parcel) {
        let id = parcel.id;
        let Some(conn) = live(&mut self.slots, id) else {
            return;
        };
        // What was said before the end was asked for is still sent; what came later is not.
        if parcel.is_empty()
            || conn.state.intersects(State::FINISHED | State::HALF_CLOSED) && !parcel.finished
        {
            return;
        }
        let mut shared = Shared {
            pool: &mut self.pool,
            stats: &mut self.stats,
            now: self.now,
        };
        let was_waiting = conn.unsent_bytes() > 0;
        let mut written = Ok(());
        self.outbox
            .for_each_slices(parcel, &self.received, |slices| {
                if written.is_ok() {
                    written = conn.write(slices, &mut shared);
                }
            });
        let waiting = conn.unsent_bytes();
        if written.is_err() || waiting > 0 {
            self.written(id, written, was_waiting, waiting);
        }
    }

    /// What became of a write that did not send all there was.
    pub(super) fn written(
        &mut self,
        id: ConnId,
        written: nix::Result<()>,
        was_waiting: bool,
        waiting: usize,
    ) {
        let Some(conn) = live(&mut self.slots, id) else {
            return;
        };
        match written {
            Err(errno) => {
                let why = conn.closed_by(errno);
                self.doom(id, why);
            }
            // The user's own output may rest for as long as the user likes.
            Ok(()) if waiting > self.limits.queue_bound() && conn.stream.is_peer() => {
                self.doom(id, Closed::SlowConsumer);
            }
            Ok(()) => self.has_to_wait(id, was_waiting),
        }
    }

    /// Something waits for this peer: our patience is limited, and so is our memory.
    pub(super) fn has_to_wait(&mut self, id: ConnId, was_waiting: bool) {
        if !was_waiting {
            self.arm(id);
        }
        let (high_water, now) = (self.limits.high_water, self.now);
        let Some(conn) = self.live(id) else { return };
        let told = State::HIGH_WATER | State::FINISHED;
        if conn.unsent_bytes() > high_water && !conn.state.intersects(told) {
            conn.state |= State::HIGH_WATER;
            conn.begin_window(now);
            self.stats.paused += 1;
            self.risen.push(id);
            if self.limits.min_rate > 0 {
                self.arm(id);
            }
        }
    }

    /// Tells the protocol who has risen above the high-water mark, so that it pauses whoever is the
    /// cause.
    pub(super) fn tell_of_high_water(&mut self) {
        while let Some(id) = self.risen.pop() {
            self.outbox.set_current(Current::Nobody);
            self.protocol.on_high_water(id, &mut self.outbox);
            self.carry_out_requests();
        }
    }

    /// Sends what waits for a peer, if there may be room.
    pub(super) fn flush(&mut self, id: ConnId) {
        let low_water = self.limits.high_water / 2;
        let Some((conn, mut shared)) = self.at_work(id) else {
            return;
        };
        if conn.unsent_bytes() == 0 {
            return;
        }
        match conn.flush(&mut shared) {
            Err(errno) => {
                let why = conn.closed_by(errno);
                self.doom(id, why);
            }
            Ok(())
                if conn.state.contains(State::HIGH_WATER) && conn.unsent_bytes() <= low_water =>
            {
                conn.state -= State::HIGH_WATER;
                let ended = conn.state.contains(State::FINISHED);
                let untold = self.risen.iter().position(|&risen| risen == id);
                // A protocol that has not heard of the high water does not hear of the low one.
                if let Some(untold) = untold {
                    self.risen.swap_remove(untold);
                }
                if ended || untold.is_some() {
                    return;
                }
                self.outbox.set_current(Current::Nobody);
                self.protocol.on_low_water(id, &mut self.outbox);
                self.after_callback();
            }
            Ok(()) => {}
        }
    }
}
