//! One terminal, one peer, both talking at once: the notes' two processes a side as one loop.
//!
//! Standard input, standard output and the peer are three connections of one reactor. Input goes to
//! the peer while the peer's bytes are shown. Backpressure: while a destination takes no more, its
//! source is paused. Notices about callers have no source that could be paused: they are limited,
//! and left out while standard output is full. A [`Screen`] stands between the person and the wire.
//!
//! The end of our input ends our half of the conversation, and the peer's remaining bytes are still
//! shown. When the peer ends its half, a person is told so and the conversation is over. A file or
//! a pipe is sent to its end first: the peer may have come to the end of a file too.
//!
//! A person that was called can hang up (`/hangup`): a peer that says nothing would keep all others
//! out. Callers do not wait for that. They are told that the line is busy, and call again.
//!
//! `talk.rs` is about the three connections, `our_half.rs` about input on its way to the peer,
//! `notices.rs` and `callers.rs` about what the person is told. `command.rs` is the server's
//! command line; the client's is in another crate.

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
pub const PEER: u64 = CLIENT;
/// The tag of standard input.
pub const STDIN: u64 = 1;
/// The tag of standard output.
pub const STDOUT: u64 = 2;

/// Time between two attempts to reach the peer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Longest time that the beginning of a line waits for its end before it is shown as it is.
const PROMPT_DELAY: Duration = Duration::from_millis(200);
/// Reply to a second caller.
const BUSY: &[u8] = b"busy\n";

/// A call: the peer's address, and the caller's patience.
#[derive(Debug)]
pub struct Call {
    /// The peer's address, resolved.
    pub address: Address,
    /// Number of further attempts if the peer cannot be reached.
    pub retries: u32,
    /// Longest silence of the peer once all is sent to it; zero is no limit.
    pub patience: Duration,
}

/// The protocol, for the side that calls and for the side that is called.
#[derive(Debug)]
pub struct Talk {
    screen: Screen,
    /// `None` for the side that is called.
    call: Option<Call>,
    stdin: Option<ConnId>,
    stdout: Option<ConnId>,
    peer: Option<ConnId>,
    /// The peer's address, until the person was told of this peer.
    unannounced: Option<Peer>,
    callers: Callers,
    /// Standard input has ended, for this peer and for those to come.
    input_ended: bool,
    /// The peer has ended its half.
    peer_ended: bool,
    /// Bytes were sent to the peer since it ended its half, and more may follow.
    peer_is_told: bool,
    /// The peer is above its high-water mark.
    peer_is_full: bool,
    /// Standard output is above its high-water mark.
    screen_is_full: bool,
    sent: u64,
    received: u64,
    failure: Option<String>,
}

impl Talk {
    /// The process goes on after it was stopped, or its terminal has another size: draws again.
    pub fn redraw(&mut self, out: &mut Outbox) {
        let mut drawn = Vec::new();
        self.screen.redraw(&mut drawn);
        // While the screen takes nothing, drawing is left to the next key or notice.
        if !self.screen_is_full {
            self.put(&drawn, out);
        }
    }

    /// The side that is called.
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

    /// The side that calls.
    #[must_use]
    pub fn calling(screen: Screen, call: Call) -> Self {
        Talk {
            call: Some(call),
            ..Talk::answering(screen)
        }
    }

    /// The failure that ended the conversation, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// One line with the number of bytes in each direction.
    #[must_use]
    pub fn summary(&self) -> String {
        let Talk { sent, received, .. } = self;
        format!("sent {sent} bytes, received {received} bytes")
    }

    fn meet(&mut self, id: ConnId, peer: Peer, out: &mut Outbox) {
        if let Some(left) = self.peer.take_if(|_| self.peer_ended && !self.peer_is_told) {
            // This peer has ended its half, and nothing is on its way to it.
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
        self.screen.next_peer();
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
        // Further input is for the next caller.
        self.pace_stdin(out);
    }

    /// The person ends the call. The peer receives what was said before, and its later words are
    /// discarded; the next caller is welcome at once.
    fn hang_up(&mut self, out: &mut Outbox) {
        let Some(peer) = self.peer else {
            return self.notice("nobody is there", out);
        };
        out.finish(peer);
        self.peer_has_gone(Closed::Finished, out);
        self.notice("hung up", out);
    }

    /// Notes a failure if a call ended too early. The server may leave a person at any time; a
    /// script's input must have been sent to its end, unless this program was stopped.
    fn judge(&mut self, why: Closed) {
        let heard_out = matches!(why, Closed::Eof | Closed::Finished) && self.input_ended;
        if !(self.screen.is_a_person() || heard_out || why == Closed::Shutdown) {
            self.failure
                .get_or_insert("server closed the connection".into());
        }
    }

    /// Ends the two remaining streams, and with them the program.
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
                // The reader has gone, as in `edgecall talk | head`: no failure.
                Closed::Reset => out.stop(),
                why => self.fail(format!("cannot write to standard output: {why}"), out),
            }
        }
    }

    /// The peer's timer: the peer, or our input after the peer's end, was silent for too long.
    fn on_timer(&mut self, peer: ConnId, out: &mut Outbox) {
        if self.peer_ended {
            out.finish(peer);
        } else if let Some(call) = &self.call {
            let failure = format!("no answer from {} in time", call.address);
            self.fail(failure, out);
        }
    }

    /// The service timer has three uses: to call the peer again, to show a line that the peer left
    /// unfinished, to catch up on callers that were left out.
    fn on_service_timer(&mut self, out: &mut Outbox) {
        match &self.call {
            Some(call) if self.peer.is_none() => {
                out.connect(call.address.clone(), PEER);
            }
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
                // The peer waits for the screen, so its silence is no fault of its own.
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

    fn on_connect_error(&mut self, _: ConnId, _: u64, why: Closed, out: &mut Outbox) {
        let Some(call) = &mut self.call else { return };
        // This program was stopped, which is no failure.
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

    fn on_redraw(&mut self, out: &mut Outbox) {
        self.redraw(out);
    }

    fn failure(&self) -> Option<String> {
        self.failure.clone()
    }
}
