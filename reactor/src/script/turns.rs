//! A script's turns of the loop: those of `reactor.rs`, without a wait and without descriptors.

use super::Script;
use super::memory::Gone;
use crate::core::work::Part;
use crate::id::ConnId;
use crate::outbox::Command;
use crate::protocol::{Closed, Protocol};
use crate::sources::address::Address;

/// Turns of the loop that one event can bring about.
const TURNS: usize = 1_000;

impl<P: Protocol> Script<P> {
    /// Runs turns of the loop until nothing is left to do, but no more than [`TURNS`], so that a
    /// protocol which always goes on comes back. A lingering connection is closed as if its far end
    /// had closed too.
    pub(super) fn settle(&mut self) {
        for _ in 0..TURNS {
            self.turn();
            if !self.core.has_work() {
                return;
            }
        }
    }

    /// Runs one turn of the loop, and returns the units of work that it was charged: see
    /// [`Limits::turn_budget`](crate::Limits::turn_budget).
    pub fn turn(&mut self) -> usize {
        self.core.begin_turn(self.core.shared.now);
        self.run_timers();
        self.core.work().begin(Part::ReadyList);
        while let Some(token) = self.core.next_ready() {
            self.core.resume(ConnId::from_token(token));
        }
        self.run_commands();
        let gone = &mut self.gone;
        self.core.settle(|id, why, memory| {
            gone.insert(id, Gone { why, memory });
        });
        self.core.close_settled();
        self.core.work().spent()
    }

    /// Whether the next turn has work to do already, as far as the clock does not move.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.core.has_work()
    }

    fn run_timers(&mut self) {
        self.core.work().begin(Part::Timers);
        while let Some(key) = self.core.next_timer() {
            self.core.run_timer(key);
        }
    }

    fn begin_connect(&mut self, id: ConnId, to: Address) {
        let Some(tag) = self.core.promised_tag(id) else {
            return;
        };
        if self.stopped {
            return self.core.end_race(id, Closed::Shutdown);
        }
        if let Address::Udp(_) = to {
            self.core.withdraw(id);
            self.udp.push((tag, id));
        }
        self.connects.push((id, to, tag));
    }

    fn stop_listening(&mut self, tag: Option<u64>) {
        match tag {
            Some(tag) => self.unheard.push(tag),
            None => self.listening = false,
        }
        let ids = self.core.ids();
        for (_, id) in self
            .udp
            .extract_if(.., |(its, _)| tag.is_none_or(|tag| tag == *its))
        {
            ids.give_back(id);
        }
    }

    /// Carries out the requests that a reactor would carry out with descriptors.
    fn run_commands(&mut self) {
        let (commands, letters) = self.core.voice.outbox.take_commands();
        let mut next = 0;
        for command in commands {
            match command {
                Command::Connect(id, to) => self.begin_connect(id, to),
                // There is one attempt for each connect, so no connection gets another token.
                Command::WatchAnew(_) => {}
                Command::SendTo { count, .. } => {
                    let sent = (next..next + count).map(|at| (letters.to(at), letters.bytes(at)));
                    let sent = sent.map(|(to, bytes)| (to, bytes.to_vec()));
                    self.datagrams.extend(sent);
                    next += count;
                }
                Command::StopListening(tag) => self.stop_listening(tag),
                Command::Stop => self.begin_stop(),
            }
        }
    }
}
