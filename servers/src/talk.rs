//! One terminal, one peer, both talking at once: the notes' two processes a side as one loop.
//!
//! Standard input, standard output and the peer are three connections of one reactor. What is typed
//! goes to the peer while what the peer sends is shown, and whoever cannot take more has its source
//! paused. Notices about callers have no source that could be paused: they are limited, and left out
//! while standard output is full. A [`Screen`] stands between the person and the wire.
//!
//! The end of our input ends our half of the conversation, and what the peer still has to say is
//! shown. When the peer ends its half, a person is told so and the conversation is over. A file or
//! a pipe is sent to its end first: the peer may have come to the end of a file too.

mod callers;
mod command;
mod notices;
mod our_half;
#[cfg(test)]
mod tests;

use std::time::Duration;

use edgeloop_reactor::{Address, Closed, ConnId, Data, Opened, Outbox, Peer, Protocol};

use self::callers::Callers;
pub use crate::screen::Screen;
use crate::server::{CLIENT, Server, StandardStreams};
pub(crate) use command::TalkCommand;

/// The tag of the connection to the peer.
pub const PEER: u32 = CLIENT;
/// The tag of standard input.
pub const STDIN: u32 = 1;
/// The tag of standard output.
pub const STDOUT: u32 = 2;

/// Between two attempts to reach the peer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long the beginning of a line waits for its end before it is shown as it is.
const PROMPT_DELAY: Duration = Duration::from_millis(200);
/// What a second caller is told.
const BUSY: &[u8] = b"busy\n";

/// Whom to call, and how hard to try.
#[derive(Debug)]
pub struct Call {
    /// The peer's address, resolved.
    pub address: Address,
    /// How often to try again if nobody answers.
    pub retries: u32,
    /// How long the peer may be silent once all is sent to it; zero is for ever.
    pub patience: Duration,
}

/// The protocol, for the one who calls and for the one who is called.
#[derive(Debug)]
pub struct Talk {
    screen: Screen,
    /// `None` for the one who waits to be called.
    call: Option<Call>,
    stdin: Option<ConnId>,
    stdout: Option<ConnId>,
    peer: Option<ConnId>,
    /// The peer's address, as long as the person was not told of this peer.
    unannounced: Option<Peer>,
    callers: Callers,
    /// We have nothing more to say, to this peer or to the next.
    input_ended: bool,
    /// The peer has nothing more to say.
    peer_ended: bool,
    /// Since then it was told something, and may be told more.
    peer_is_told: bool,
    /// The peer takes no more for now.
    peer_is_full: bool,
    /// Nor does standard output.
    screen_is_full: bool,
    sent: u64,
    received: u64,
    failure: Option<String>,
}

impl Talk {
    /// For who waits to be called.
    #[must_use]
    pub fn answering(screen: Screen) -> Self {
        Talk {
            screen,
            call: None,
            stdin: None,
            stdout: None,
            peer: None,
            unannounced: None,
            callers: Callers::default(),
            input_ended: false,
            peer_ended: false,
            peer_is_told: false,
            peer_is_full: false,
            screen_is_full: false,
            sent: 0,
            received: 0,
            failure: None,
        }
    }

    /// For who calls.
    #[must_use]
    pub fn calling(screen: Screen, call: Call) -> Self {
        Talk {
            call: Some(call),
            ..Talk::answering(screen)
        }
    }

    /// What went wrong, if anything did.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// How much was said, in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let Talk { sent, received, .. } = self;
        format!("sent {sent} bytes, received {received} bytes")
    }

    fn meet(&mut self, id: ConnId, peer: Peer, out: &mut Outbox) {
        if let Some(left) = self.peer.take_if(|_| self.peer_ended && !self.peer_is_told) {
            // It has ended its half, and nothing was on its way to it.
            out.finish(left);
            self.leave_out_unannounced(out);
        }
        if self.peer.is_some() {
            out.send(id, BUSY);
            out.finish(id);
            return match self.admits_notice(out) {
                true => self.notice(&format!("{peer} called meanwhile"), out),
                false => self.leave_out(out),
            };
        }
        self.peer = Some(id);
        (self.peer_ended, self.peer_is_full) = (false, false);
        if self.screen_is_full {
            out.pause(id);
        }
        match &self.call {
            Some(call) => log::info!("connected to {} ({peer})", call.address),
            None => self.introduce(peer, out),
        }
        if self.input_ended {
            self.end_our_half(out);
        }
        self.pace_stdin(out);
    }

    fn hear(&mut self, peer: ConnId, data: &[u8], out: &mut Outbox) {
        self.received += data.len() as u64;
        self.announce(out);
        let mut shown = Vec::new();
        self.screen.show(data, &mut shown);
        self.put(&shown, out);
        if self.screen.holds_back() {
            out.set_service_timer(PROMPT_DELAY);
        }
        self.wait_for_answer(peer, out);
    }

    fn peer_has_ended(&mut self, peer: ConnId, out: &mut Outbox) {
        (self.peer_ended, self.peer_is_told) = (true, self.peer_is_full);
        self.show_all(out);
        self.notice_of_peer("peer closed", out);
        if self.input_ended || self.screen.is_a_person() {
            out.finish(peer);
        } else {
            self.wait_for_input(peer, out);
        }
    }

    fn peer_has_gone(&mut self, why: Closed, out: &mut Outbox) {
        self.peer = None;
        self.peer_is_full = false;
        if !self.callers.has_left_out() {
            out.clear_service_timer();
        }
        self.show_all(out);
        match why {
            _ if self.peer_ended => {}
            Closed::Shutdown | Closed::Finished => {}
            Closed::Eof | Closed::Reset => self.notice_of_peer("peer closed", out),
            why => self.notice_of_peer(&format!("peer closed: {why}"), out),
        }
        self.leave_out_unannounced(out);
        if self.call.is_some() {
            self.judge(why);
            return self.leave(out);
        }
        // Whoever calls next is to hear what comes next.
        self.pace_stdin(out);
    }

    /// Whether the end of a call was a good one. A person may be left; what a script has to say is
    /// to be heard, unless it is we who stop.
    fn judge(&mut self, why: Closed) {
        let heard_out = matches!(why, Closed::Eof | Closed::Finished) && self.input_ended;
        if !(self.screen.is_a_person() || heard_out || why == Closed::Shutdown) {
            self.failure
                .get_or_insert("server closed the connection".into());
        }
    }

    /// Ends the two streams that are left, and with them the program.
    fn leave(&mut self, out: &mut Outbox) {
        self.end_screen(out);
        out.clear_service_timer();
        self.stdin.take().into_iter().for_each(|id| out.finish(id));
        self.stdout.take().into_iter().for_each(|id| out.finish(id));
    }

    fn fail(&mut self, failure: String, out: &mut Outbox) {
        self.failure.get_or_insert(failure);
        out.stop();
    }
}

impl Protocol for Talk {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        match opened.tag {
            STDIN => {
                self.stdin = Some(id);
                let mut opening = Vec::new();
                self.screen.open(&mut opening);
                self.put(&opening, out);
                self.pace_stdin(out);
            }
            STDOUT => self.stdout = Some(id),
            _ => self.meet(id, opened.peer, out),
        }
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        if Some(id) == self.peer {
            self.hear(id, &data, out);
        } else if Some(id) == self.stdin {
            self.say(&data, out);
        }
    }

    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        if Some(id) == self.peer {
            self.peer_has_ended(id, out);
        } else {
            out.finish(id);
            if Some(id) == self.stdin {
                self.input_has_ended(out);
            }
        }
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        if Some(id) == self.peer {
            self.peer_has_gone(why, out);
        } else if Some(id) == self.stdin {
            self.stdin = None;
            if let Closed::Error(_) = why {
                self.fail(format!("cannot read standard input: {why}"), out);
            }
        } else if Some(id) == self.stdout {
            self.stdout = None;
            match why {
                Closed::Finished | Closed::Shutdown => {}
                // Nobody reads any more, as in `edgecall talk | head`: a quiet end.
                Closed::Reset => out.stop(),
                why => self.fail(format!("cannot write to standard output: {why}"), out),
            }
        }
    }

    /// The peer's timer: somebody has been silent for too long.
    fn on_timer(&mut self, peer: ConnId, out: &mut Outbox) {
        if self.peer_ended {
            out.finish(peer);
        } else if let Some(call) = &self.call {
            let failure = format!("no answer from {} in time", call.address);
            self.fail(failure, out);
        }
    }

    /// A peer is to be called again or has left a line unfinished, or callers were left out.
    fn on_service_timer(&mut self, out: &mut Outbox) {
        match &self.call {
            Some(call) if self.peer.is_none() => out.connect(call.address.clone(), PEER),
            _ => {
                self.show_all(out);
                if !self.screen_is_full {
                    self.catch_up(out);
                }
            }
        }
    }

    fn on_high_water(&mut self, id: ConnId, out: &mut Outbox) {
        if Some(id) == self.peer {
            self.peer_is_full = true;
            out.clear_timer(id);
            self.pace_stdin(out);
        } else if Some(id) == self.stdout {
            self.screen_is_full = true;
            self.pace_stdin(out);
            if let Some(peer) = self.peer {
                // It is we who make the peer wait.
                out.pause(peer);
                out.clear_timer(peer);
            }
        }
    }

    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        if Some(id) == self.peer {
            self.peer_is_full = false;
            self.pace_stdin(out);
            self.wait_for_input(id, out);
        } else if Some(id) == self.stdout {
            self.screen_is_full = false;
            self.catch_up(out);
            self.pace_stdin(out);
            if let Some(peer) = self.peer {
                out.resume(peer);
                self.wait_for_answer(peer, out);
            }
        }
    }

    fn on_connect_error(&mut self, _: u32, why: Closed, out: &mut Outbox) {
        let Some(call) = &mut self.call else { return };
        // It is we who stop, which is no failure.
        if why == Closed::Shutdown {
            return;
        }
        if call.retries > 0 {
            call.retries -= 1;
            log::info!("cannot reach {}: {why}; trying again", call.address);
            return out.set_service_timer(RETRY_INTERVAL);
        }
        let failure = format!("cannot reach {}: {why}", call.address);
        self.fail(failure, out);
    }

    fn on_redraw(&mut self, out: &mut Outbox) {
        let mut drawn = Vec::new();
        self.screen.redraw(&mut drawn);
        // A screen that takes nothing is drawn by the next key or notice.
        if !self.screen_is_full {
            self.put(&drawn, out);
        }
    }

    fn on_stop(&mut self, out: &mut Outbox) {
        self.end_screen(out);
    }
}

impl Server for Talk {
    fn streams(&self) -> StandardStreams {
        StandardStreams {
            stdin: Some(STDIN),
            stdout: Some(STDOUT),
        }
    }

    fn on_served(&mut self, out: &mut Outbox) {
        self.leave(out);
    }

    fn failure(&self) -> Option<String> {
        self.failure.clone()
    }
}
