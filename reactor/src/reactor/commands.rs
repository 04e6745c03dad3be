//! Commands of protocols to the reactor as a whole: connects, datagrams, the end of listening, the stop.

use std::net::SocketAddr;
use std::ops::Range;

use super::Reactor;
use crate::letters::Letters;
use crate::outbox::Command;
use crate::protocol::Protocol;
use crate::sources::udp::Udp;

impl<P: Protocol> Reactor<P> {
    /// Carries out the commands of protocols that concern the reactor as a whole.
    pub(super) fn run_commands(&mut self) {
        if !self.core.voice.outbox.has_commands() {
            return;
        }
        let (commands, letters) = self.core.voice.outbox.take_commands();
        let mut next = 0;
        for command in commands {
            match command {
                Command::StopListening(tag) => self.stop_listening(tag),
                Command::Stop => self.stop(),
                Command::Connect(id, to) => self.connect_for_protocol(id, &to),
                Command::WatchAnew(id) => self.watch_anew(id),
                Command::SendTo { tag, count } => {
                    self.send_letters(tag, next..next + count, &letters);
                    next += count;
                }
            }
        }
        self.core.voice.outbox.reuse(letters);
    }

    /// Sends datagrams, those that follow upon one another from one socket together.
    fn send_letters(&mut self, tag: u64, mut which: Range<usize>, letters: &Letters) {
        while let Some(first) = which.next() {
            let from = |at: usize| self.udp_for(tag, letters.to(at));
            let socket = from(first);
            let others = which.clone().take_while(|at| from(*at) == socket).count();
            which.start += others;
            match socket {
                Some(index) => self.udp[index].send(first..which.start, letters, &mut self.core),
                None => self.core.shared.stats.datagrams_lost += 1 + others as u64,
            }
        }
    }

    /// The socket with this tag that can send there.
    fn udp_for(&self, tag: u64, to: SocketAddr) -> Option<usize> {
        let fits = |(_, udp): &(usize, &Udp)| udp.tag == tag && udp.reaches(&to);
        self.udp.iter().find(fits).map(|(index, _)| index)
    }

    /// Closes the listeners and UDP sockets with this tag, or all of them.
    pub(super) fn stop_listening(&mut self, tag: Option<u64>) {
        let is_kept = |its: u64| tag.is_some_and(|tag| tag != its);
        let stats = &mut self.core.shared.stats;
        let ids = &mut self.core.voice.outbox.ids;
        self.udp.retain(|_, udp| {
            if !is_kept(udp.tag) {
                udp.id.into_iter().for_each(|id| ids.give_back(id));
                stats.datagrams_missed += u64::from(udp.missed());
                stats.datagrams_lost += udp.unanswered() as u64;
            }
            is_kept(udp.tag)
        });
        self.listeners.retain(|_, listener| {
            if !is_kept(listener.tag) {
                // A path's listener may be another reactor's, too: to close our descriptor would not
                // end the watch (epoll(7)).
                let _ = self.poll.delete(&*listener);
            }
            is_kept(listener.tag)
        });
    }
}
