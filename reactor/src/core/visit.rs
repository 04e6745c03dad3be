//! Bytes in: one connection's turn.
//!
//! A turn is: flush, read, end. Flushing comes first, since it may be what reading waits for. Reading
//! goes on until the stream is drained, the protocol pauses it or the budget is spent.
//!
//! Most visits are one read of a few bytes that are answered at once, so `Core::pass` looks the
//! connection up once and holds it through the read, the callback and the write. Where anything else
//! is to be done, it says so and lets go, and `Core::visit` does it and passes again.

use std::mem;

use super::conn::{HiddenEnd, Read, Shared, State, Stream};
use super::racing::Connecting;
use super::timers::Millis;
use super::{Core, live};
use crate::id::{ConnId, Data};
use crate::outbox::{Current, Said};
use crate::poll::Ready;
use crate::protocol::{Closed, Protocol};

/// Reads of one connection in a turn, at the most, however little each brings: a peer that sends
/// single bytes without end must not have all the time either.
const READS_A_TURN: usize = 64;

/// The step that a pass leaves to be done.
enum Next {
    /// Nothing, in this turn.
    Rest,
    /// The connect may have ended, or there may be room for the bytes that wait.
    Look,
    /// The protocol asks for more than to send.
    SeeTo,
    /// The kernel did not take all of a reply: the result of the write, and whether bytes waited
    /// before it.
    Written(nix::Result<()>, bool),
    /// The peer has ended its side.
    Eof,
    /// The budget is spent.
    List,
    /// The connection may be on its way to its end, or short of memory.
    Conclude,
    /// The connection is over.
    Doom(Closed),
}

impl<S: Stream, P: Protocol> Core<S, P> {
    /// Takes in an event: one connection's turn.
    pub(crate) fn deliver(&mut self, id: ConnId, ready: Ready) {
        let mut budget = self.limits.read_budget;
        match self.pass(id, ready, &mut budget) {
            Next::Rest => {}
            next => self.go_on(id, next, budget),
        }
    }

    /// A turn of the loop begins: this is its time, and the connections that were listed in the last
    /// one have their turn in this one.
    pub(crate) fn begin_turn(&mut self, now: Millis) {
        self.set_now(now);
        mem::swap(&mut self.ready, &mut self.ready_now);
    }

    /// The connections whose budget was spent in the last turn go on with a new one.
    pub(crate) fn run_ready(&mut self) {
        let mut ready = mem::take(&mut self.ready_now);
        for id in ready.drain(..) {
            if let Some(conn) = self.live(id) {
                conn.state -= State::LISTED;
                self.visit(id);
            }
        }
        self.ready_now = ready;
    }

    /// One connection's turn, without an event.
    pub(super) fn visit(&mut self, id: ConnId) {
        self.go_on(id, Next::Look, self.limits.read_budget);
    }

    /// Does what a pass has left to be done, and passes again.
    fn go_on(&mut self, id: ConnId, mut next: Next, mut budget: usize) {
        loop {
            match next {
                Next::Rest => return,
                Next::Look => {
                    if self.is(id, State::CONNECTING) && !self.finish_connect(id) {
                        return;
                    }
                    self.flush(id);
                }
                Next::SeeTo => self.see_to(),
                Next::Written(written, was_waiting) => {
                    self.written(id, written, was_waiting);
                    self.tell_risen();
                }
                Next::Eof => self.tell(|protocol, out| protocol.on_eof(id, out)),
                Next::List => {
                    self.stats.budget_spent += 1;
                    return self.list(id);
                }
                Next::Conclude => return self.conclude(id),
                Next::Doom(why) => return self.doom(id, why),
            }
            next = self.pass(id, Ready::empty(), &mut budget);
        }
    }

    /// Takes in an event, if there is one, then reads and hands over until something else is to be
    /// done.
    #[inline]
    fn pass(&mut self, id: ConnId, ready: Ready, budget: &mut usize) -> Next {
        let Some(conn) = live(&mut self.slots, id) else {
            self.stats.stale += u64::from(!ready.is_empty());
            return Next::Rest;
        };
        if !ready.is_empty() {
            conn.note(ready);
            if conn.state.contains(State::LISTED) {
                // It has its turn later in this one.
                return Next::Rest;
            }
            if conn.is_waiting() || conn.state.contains(State::CONNECTING) {
                return Next::Look;
            }
        }
        let mut shared = Shared {
            pool: &mut self.pool,
            stats: &mut self.stats,
            now: self.now,
        };
        let most = self.received.len().min(self.limits.read_budget);
        let buffer = &mut self.received[..most];
        while conn.wants_read() {
            if *budget == 0 {
                return Next::List;
            }
            let count = match conn.read(buffer, &mut shared) {
                Ok(Read::Data(count)) => count,
                Ok(Read::Eof) => return Next::Eof,
                Ok(Read::Drained) => break,
                Err(errno) => return Next::Doom(conn.closed_by(errno)),
            };
            *budget = budget.saturating_sub(count.max(most / READS_A_TURN));
            let said = self.voice.tell(Current::Conn(id), |protocol, out| {
                protocol.on_data(id, Data(&mut buffer[..count]), out);
            });
            match said {
                Said::Nothing => {}
                Said::More => return Next::SeeTo,
                Said::Back(len) => {
                    let was_waiting = conn.is_waiting();
                    let written = conn.send_back(&buffer[..len], &mut shared);
                    if written.is_err() || conn.is_waiting() {
                        return Next::Written(written, was_waiting);
                    }
                }
            }
        }
        match conn.is_steady() {
            true => Next::Rest,
            false => self.pass_unsteady(id, budget),
        }
    }

    /// The part of a pass for connections that are paused, or on their way to their end.
    fn pass_unsteady(&mut self, id: ConnId, budget: &mut usize) -> Next {
        let Some(conn) = live(&mut self.slots, id) else {
            return Next::Rest;
        };
        let mut shared = Shared {
            pool: &mut self.pool,
            stats: &mut self.stats,
            now: self.now,
        };
        let mut hidden = conn.hidden_end(self.limits.keeps_unread);
        while conn.wants_discard() || hidden == Some(HiddenEnd::Read) {
            if *budget == 0 {
                return Next::List;
            }
            match conn.read(&mut self.received, &mut shared) {
                Ok(Read::Data(count)) => {
                    *budget =
                        budget.saturating_sub(count.max(self.limits.read_budget / READS_A_TURN));
                    let lingers = conn.state.contains(State::LINGERING);
                    if lingers && conn.charge_linger(count, &self.limits, self.now) {
                        return Next::Doom(Closed::Finished);
                    }
                }
                Ok(Read::Eof) if hidden.is_some() => return Next::Eof,
                Ok(Read::Eof | Read::Drained) => hidden = None,
                Err(errno) => return Next::Doom(conn.closed_by(errno)),
            }
        }
        match hidden {
            Some(HiddenEnd::Failed(why)) => Next::Doom(why),
            _ => Next::Conclude,
        }
    }

    /// Whether a connect has ended well.
    fn finish_connect(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.live(id) else {
            return false;
        };
        // Only the end of the attempt, good or bad, makes the socket writable.
        if !conn.state.contains(State::WRITABLE) {
            return false;
        }
        if let Err(errno) = conn.stream.connect_result() {
            self.doom(id, Closed::Error(errno));
            return false;
        }
        conn.state -= State::CONNECTING;
        if let Some(Connecting { opened, race }) = self.connecting.remove(id) {
            self.connected(id, opened, race);
        }
        true
    }
}
