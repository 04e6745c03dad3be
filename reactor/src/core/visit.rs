//! Bytes in: one connection's turn.
//!
//! A turn is: flush, read, end. Flushing comes first, since it may be what reading waits for. Reading
//! goes on until the stream is drained, the protocol pauses it or the budget is spent.
//!
//! Most visits are one read of a few bytes that are answered at once, so `Core::pass` looks the
//! connection up once and holds it through the read, the callback and the write. Where anything else
//! is to be done, it says so and lets go, and `Core::go_on` does it and passes again.

use super::conn::{HiddenEnd, Phase, Read, State, Stream};
use super::race::Connecting;
use super::timers::Millis;
use super::work::{CALLBACK, Part};
use super::{Core, live, present};
use crate::id::{ConnId, Data};
use crate::outbox::{Current, Said};
use crate::poll::Ready;
use crate::protocol::{Closed, Protocol};
use crate::reason::SystemError;

/// Reads of one connection in a turn, at the most, however little each brings: a peer that sends
/// single bytes without end must not have all the time either.
const READS_A_TURN: usize = 64;

/// The step that a pass leaves to its caller.
enum Next {
    /// Nothing, in this turn.
    Rest,
    /// The connect may have ended, or there may be room for pending output.
    Look,
    /// The callback has sent something, or was charged for something else.
    Charge,
    /// The callback has asked for more than to send.
    SeeTo,
    /// The kernel may not have taken all of a reply: the result of the write.
    Written(nix::Result<()>),
    /// The peer has ended its side.
    Eof,
    /// The budget of the connection is spent, or that of the turn.
    List,
    /// The connection may be on its way to its end, or short of memory.
    Conclude,
    /// The connection is over.
    Doom(Closed),
}

impl<S: Stream, P: Protocol> Core<S, P> {
    /// Takes in an event: one connection's turn.
    pub(crate) fn deliver(&mut self, id: ConnId, ready: Ready) {
        self.budget = self.limits.read_budget;
        match self.pass(id, ready) {
            Next::Rest => {}
            next => self.go_on(id, next),
        }
    }

    /// A turn of the loop begins: this is its time, and the sources that were listed in the last one
    /// have their turn in this one.
    pub(crate) fn begin_turn(&mut self, now: Millis) {
        self.set_now(now);
        self.timers.begin_turn();
        let is_behind = self.lists.begin_turn();
        self.shared.stats.turns_cut += u64::from(is_behind);
        self.work().begin_turn();
        self.work().begin(match is_behind {
            true => Part::NoEvents,
            false => Part::Events,
        });
    }

    /// Counts what a callback of this visit was charged beside its bytes against the budget of the
    /// visit, which ends if the turn has come to its end too.
    fn charge_visit(&mut self) {
        let work = &self.voice.outbox.work;
        let bytes = work.of_callback() / self.units_a_byte;
        self.budget = match work.is_spent() {
            true => 0,
            false => self.budget.saturating_sub(bytes),
        };
    }

    /// A connection from one of the lists goes on, with a new budget.
    pub(crate) fn resume(&mut self, id: ConnId) {
        let Some(conn) = present(&mut self.slots, id) else {
            return;
        };
        if conn.state.contains(State::STARVED) {
            conn.state |= State::READABLE | State::WRITABLE;
        }
        conn.state -= State::LISTED | State::STARVED;
        self.budget = self.limits.read_budget;
        self.go_on(id, Next::Look);
    }

    /// Takes the step that a pass has left, and passes again.
    fn go_on(&mut self, id: ConnId, mut next: Next) {
        loop {
            match next {
                Next::Rest => return,
                Next::Look => {
                    self.work().charge(CALLBACK);
                    if !self.look(id) {
                        return;
                    }
                    self.flush(id);
                    self.tell_again(id);
                }
                Next::SeeTo => {
                    self.charge_visit();
                    self.see_to();
                }
                Next::Charge => self.charge_visit(),
                Next::Written(written) => {
                    self.written(id, written);
                    self.tell_risen();
                }
                Next::Eof => {
                    self.tell(|protocol, out| protocol.on_eof(id, out));
                    return self.conclude(id);
                }
                Next::List => {
                    self.shared.stats.budget_spent += 1;
                    return self.list(id);
                }
                Next::Conclude => return self.conclude(id),
                Next::Doom(why) => return self.doom(id, why),
            }
            next = self.pass(id, Ready::empty());
        }
    }

    /// Takes in an event, if there is one, then reads and hands over until something else is to be
    /// done.
    #[inline]
    fn pass(&mut self, id: ConnId, ready: Ready) -> Next {
        let Some(conn) = live(&mut self.slots, id) else {
            return self.pass_attempt(id, ready);
        };
        if !ready.is_empty() {
            conn.note(ready);
            if !conn.is_plain() {
                return Next::Look;
            }
        }
        let buffer = &mut *self.received;
        while conn.wants_read() {
            if self.budget == 0 {
                return Next::List;
            }
            let count = match conn.read(buffer, &mut self.shared) {
                Ok(Read::Data(count)) => count,
                Ok(Read::Eof) => return Next::Eof,
                Ok(Read::Drained) => break,
                Err(errno) => return Next::Doom(conn.closed_by(errno)),
            };
            let cost = count.max(buffer.len() / READS_A_TURN);
            self.budget = self.budget.saturating_sub(cost);
            let said = self.voice.tell(Current::Conn(id), count, |protocol, out| {
                protocol.on_data(id, Data(&mut buffer[..count]), out);
            });
            match said {
                Said::Nothing => {
                    if conn.wants_read() {
                        return Next::Charge;
                    }
                }
                Said::More => return Next::SeeTo,
                Said::Back(len) => {
                    let written = conn.write(&buffer[..len], &mut self.shared);
                    if written.is_err() || !conn.is_plain() {
                        return Next::Written(written);
                    }
                }
            }
        }
        match conn.is_plain() {
            true => Next::Rest,
            false => self.pass_unsteady(id),
        }
    }

    /// The part of a pass for a connection that is not open: its connect may have ended, or the event
    /// is stale.
    #[cold]
    fn pass_attempt(&mut self, id: ConnId, ready: Ready) -> Next {
        let Some(conn) = present(&mut self.slots, id) else {
            self.shared.stats.stale += u64::from(!ready.is_empty());
            return Next::Rest;
        };
        conn.note(ready);
        Next::Look
    }

    /// The part of a pass for connections that are paused, or on their way to their end.
    fn pass_unsteady(&mut self, id: ConnId) -> Next {
        let Some(conn) = live(&mut self.slots, id) else {
            return Next::Rest;
        };
        let mut hidden = conn.hidden_end(self.limits.keeps_unread);
        while conn.wants_discard() || hidden == Some(HiddenEnd::Read) {
            if self.budget == 0 {
                return Next::List;
            }
            self.voice.outbox.work.charge(CALLBACK);
            match conn.read(&mut self.received, &mut self.shared) {
                Ok(Read::Data(count)) => {
                    let cost = count.max(self.received.len() / READS_A_TURN);
                    self.budget = self.budget.saturating_sub(cost);
                    self.voice.outbox.work.charge(count);
                    let lingers = conn.phase == Phase::Lingering;
                    if lingers && conn.charge_linger(count, &self.limits, self.shared.now) {
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

    /// Whether to go on with a connection that is not plain: not if a list will bring it its turn, or
    /// its connect has not succeeded.
    fn look(&mut self, id: ConnId) -> bool {
        match self.live(id) {
            Some(conn) => !conn.state.contains(State::LISTED),
            None => self.finish_connect(id),
        }
    }

    /// Whether a connect has ended well.
    fn finish_connect(&mut self, id: ConnId) -> bool {
        let Some(conn) = present(&mut self.slots, id) else {
            return false;
        };
        // Only the end of the attempt, good or bad, makes the socket writable.
        if !conn.state.contains(State::WRITABLE) {
            return false;
        }
        if let Err(errno) = conn.stream.connect_result() {
            self.doom(id, Closed::Error(SystemError::of(errno)));
            return false;
        }
        conn.phase = Phase::Open;
        if let Some(Connecting { opened, race }) = self.connecting.remove(id) {
            self.connected(id, opened, race);
        }
        true
    }
}
