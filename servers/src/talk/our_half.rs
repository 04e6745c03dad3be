//! Our half of the conversation: standard input, on its way to the peer.

use std::mem;
use std::time::Duration;

use edgeloop_reactor::{ConnId, Outbox};

use super::Talk;

/// Longest silence of a pipe after the peer has ended its half: then the pipe counts as ended, too.
pub(super) const QUIET: Duration = Duration::from_secs(2);
/// The line with which a person ends the call of a peer that may never end it.
const HANG_UP: &[u8] = b"/hangup\n";
/// The line that says the same to the peer.
const SAY_HANG_UP: &[u8] = b"//hangup\n";

impl Talk {
    /// Reads standard input while there is a peer that takes more. A person's input is read while
    /// the screen takes its echo, and also while the person waits to be called, perhaps for long:
    /// the reply is that no peer is there.
    pub(super) fn pace_stdin(&self, out: &mut Outbox) {
        let Some(stdin) = self.stdin else { return };
        let person = self.screen.is_a_person();
        let is_full = self.peer_is_full || person && self.screen_is_full;
        if !is_full && (self.peer.is_some() || person && self.call.is_none()) {
            out.resume(stdin);
        } else {
            out.pause(stdin);
        }
    }

    /// Takes bytes from standard input and sends them to the peer.
    pub(super) fn say(&mut self, data: &[u8], out: &mut Outbox) {
        let (mut echo, mut words) = (Vec::new(), Vec::new());
        let ended = self.screen.typed(data, &mut echo, &mut words);
        self.put(&echo, out);
        match self.screen.is_a_person() && self.call.is_none() {
            true => self.obey(&words, out),
            false => self.tell(&words, out),
        }
        if ended {
            self.stdin.into_iter().for_each(|stdin| out.finish(stdin));
            self.input_has_ended(out);
        }
    }

    /// Sends lines that were typed to the peer, but for the one command. A caller's lines are not
    /// looked at: they may be commands of a chat.
    fn obey(&mut self, words: &[u8], out: &mut Outbox) {
        let mut said = Vec::new();
        for line in words.split_inclusive(|&byte| byte == b'\n') {
            match line {
                HANG_UP => {
                    self.tell(&mem::take(&mut said), out);
                    self.hang_up(out);
                }
                SAY_HANG_UP => said.extend_from_slice(HANG_UP),
                line => said.extend_from_slice(line),
            }
        }
        self.tell(&said, out);
    }

    /// Sends bytes to the peer.
    fn tell(&mut self, words: &[u8], out: &mut Outbox) {
        match self.peer {
            Some(_) if words.is_empty() => {}
            Some(peer) => {
                out.send(peer, words);
                self.peer_is_told = true;
                self.sent += words.len() as u64;
                self.wait_for_input(peer, out);
            }
            None if !words.is_empty() => self.notice("nobody is there to read this", out),
            None => {}
        }
    }

    pub(super) fn input_has_ended(&mut self, out: &mut Outbox) {
        self.input_ended = true;
        self.end_our_half(out);
    }

    pub(super) fn end_our_half(&mut self, out: &mut Outbox) {
        let Some(peer) = self.peer else { return };
        if self.peer_ended {
            return out.finish(peer);
        }
        out.half_close(peer);
        self.wait_for_answer(peer, out);
    }

    /// Once the peer has ended its half, a silent pipe does not hold the connection for long.
    pub(super) fn wait_for_input(&self, peer: ConnId, out: &mut Outbox) {
        if self.peer_ended && !self.peer_is_full {
            out.set_timer(peer, QUIET);
        }
    }

    /// Once our half has ended, the caller's patience with a silent peer is limited.
    pub(super) fn wait_for_answer(&self, peer: ConnId, out: &mut Outbox) {
        let patience = self.call.as_ref().map(|call| call.patience);
        if let Some(patience) = patience.filter(|patience| !patience.is_zero())
            && self.input_ended
            && !self.screen_is_full
        {
            out.set_timer(peer, patience);
        }
    }
}
