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

/// After the peer has ended its half, a pipe that says nothing for so long has no more to say.
const QUIET: Duration = Duration::from_secs(2);
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

    /// Tells the person of a new peer, if not now, then before its first words.
    fn introduce(&mut self, peer: Peer, out: &mut Outbox) {
        self.unannounced = Some(peer);
        if self.admits_notice(out) {
            self.announce(out);
        } else if !self.screen_is_full && !self.callers.has_left_out() {
            self.arm_catch_up(out);
        }
    }

    /// Whether the person may be told of a caller now.
    fn admits_notice(&mut self, out: &Outbox) -> bool {
        !self.screen_is_full && self.callers.admit(out.now())
    }

    /// Tells the person of the peer, if that was not done yet.
    fn announce(&mut self, out: &mut Outbox) {
        if let Some(peer) = self.unannounced.take() {
            self.notice(&format!("peer connected from {peer}"), out);
            if self.peer_ended {
                self.notice("peer closed", out);
            }
        }
    }

    /// A caller has gone of which the person was not told.
    fn leave_out(&mut self, out: &mut Outbox) {
        if self.callers.leave_out() && !self.screen_is_full {
            self.arm_catch_up(out);
        }
    }

    fn leave_out_unannounced(&mut self, out: &mut Outbox) {
        if self.unannounced.take().is_some() {
            self.leave_out(out);
        }
    }

    /// Sets the time at which the person is told of the callers that were left out. The beginning of
    /// a line that waits for its end has set an earlier one.
    fn arm_catch_up(&self, out: &mut Outbox) {
        if !self.screen.holds_back() {
            out.set_service_timer(callers::INTERVAL);
        }
    }

    /// Tells the person of the callers that were left out, and of the peer.
    fn catch_up(&mut self, out: &mut Outbox) {
        if let Some(line) = self.callers.take_left_out() {
            self.notice(&line, out);
        }
        self.announce(out);
    }

    /// Reads standard input while there is a peer that takes more, and while the screen takes what
    /// a person sees of it. A person who waits to be called, perhaps for long, is heard and told
    /// that nobody is there.
    fn pace_stdin(&self, out: &mut Outbox) {
        let Some(stdin) = self.stdin else { return };
        let person = self.screen.is_a_person();
        let is_full = self.peer_is_full || person && self.screen_is_full;
        if !is_full && (self.peer.is_some() || person && self.call.is_none()) {
            out.resume(stdin);
        } else {
            out.pause(stdin);
        }
    }

    /// What came from the keyboard, or from whatever standard input is.
    fn say(&mut self, data: &[u8], out: &mut Outbox) {
        let (mut echo, mut words) = (Vec::new(), Vec::new());
        let ended = self.screen.typed(data, &mut echo, &mut words);
        self.put(&echo, out);
        match self.peer {
            Some(peer) => {
                out.send(peer, &words);
                self.peer_is_told = true;
                self.sent += words.len() as u64;
                self.wait_for_input(peer, out);
            }
            None if !words.is_empty() => self.notice("nobody is there to read this", out),
            None => {}
        }
        if ended {
            self.stdin.into_iter().for_each(|stdin| out.finish(stdin));
            self.input_has_ended(out);
        }
    }

    fn input_has_ended(&mut self, out: &mut Outbox) {
        self.input_ended = true;
        self.end_our_half(out);
    }

    fn end_our_half(&mut self, out: &mut Outbox) {
        let Some(peer) = self.peer else { return };
        if self.peer_ended {
            return out.finish(peer);
        }
        out.half_close(peer);
        self.wait_for_answer(peer, out);
    }

    /// Once the peer has ended its half, a pipe that is silent holds us no longer.
    fn wait_for_input(&self, peer: ConnId, out: &mut Outbox) {
        if self.peer_ended && !self.peer_is_full {
            out.set_timer(peer, QUIET);
        }
    }

    /// Once we have ended our half, the caller's patience with a silent peer is limited.
    fn wait_for_answer(&self, peer: ConnId, out: &mut Outbox) {
        let patience = self.call.as_ref().map(|call| call.patience);
        if let Some(patience) = patience.filter(|patience| !patience.is_zero())
            && self.input_ended
            && !self.screen_is_full
        {
            out.set_timer(peer, patience);
        }
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

    /// The last that is shown.
    fn end_screen(&mut self, out: &mut Outbox) {
        self.catch_up(out);
        let mut rest = Vec::new();
        self.screen.close(&mut rest);
        self.put(&rest, out);
    }

    /// Tells the person something about the peer, which is nothing to a person who does not know of
    /// the peer.
    fn notice_of_peer(&mut self, notice: &str, out: &mut Outbox) {
        if self.unannounced.is_none() {
            self.notice(notice, out);
        }
    }

    /// Tells the person something that the peer has not said.
    fn notice(&mut self, notice: &str, out: &mut Outbox) {
        let mut shown = Vec::new();
        self.screen.notice(notice, &mut shown);
        self.put(&shown, out);
    }

    /// Shows what waited for the rest of its line.
    fn show_all(&mut self, out: &mut Outbox) {
        let mut shown = Vec::new();
        self.screen.show_all(&mut shown);
        self.put(&shown, out);
    }

    fn put(&self, bytes: &[u8], out: &mut Outbox) {
        if let Some(stdout) = self.stdout {
            out.send(stdout, bytes);
        }
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

#[cfg(test)]
mod tests {
    use edgeloop_reactor::{Errno, Script};

    use super::*;

    const PERSON: bool = true;
    const PIPE: bool = false;

    fn open(script: &mut Script<Talk>, tag: u32) -> ConnId {
        script.open_as(Opened {
            peer: Peer::Unix,
            tag,
        })
    }

    /// Standard input, standard output, and nobody else yet.
    fn answering(input: bool) -> (Script<Talk>, ConnId, ConnId) {
        let mut script = Script::new(Talk::answering(Screen::for_test(input)));
        let (stdin, stdout) = (open(&mut script, STDIN), open(&mut script, STDOUT));
        (script, stdin, stdout)
    }

    fn call(retries: u32) -> Call {
        Call {
            address: "127.0.0.1:5678".parse().unwrap(),
            retries,
            patience: Duration::from_secs(30),
        }
    }

    fn calling(input: bool) -> (Script<Talk>, ConnId, ConnId, ConnId) {
        let mut script = Script::new(Talk::calling(Screen::for_test(input), call(0)));
        let [stdin, stdout, peer] = [STDIN, STDOUT, PEER].map(|tag| open(&mut script, tag));
        (script, stdin, stdout, peer)
    }

    #[test]
    fn both_talk_at_once() {
        let (mut script, stdin, stdout) = answering(PIPE);
        assert!(script.is_paused(stdin), "nobody is there to hear it");
        let peer = open(&mut script, PEER);
        assert!(!script.is_paused(stdin));
        script.data(stdin, b"to the peer\n");
        script.data(peer, b"to the screen\x1b\n");
        script.data(stdin, b"more");
        assert_eq!(script.take_output(peer), b"to the peer\nmore");
        assert_eq!(
            script.take_output(stdout),
            b"to the screen\x1b\n",
            "a file gets every byte as it is"
        );
    }

    #[test]
    fn what_is_typed_while_we_call_waits_for_an_answer() {
        let mut script = Script::new(Talk::calling(Screen::for_test(PERSON), call(0)));
        let stdin = open(&mut script, STDIN);
        assert!(script.is_paused(stdin));
        open(&mut script, PEER);
        assert!(!script.is_paused(stdin));
    }

    #[test]
    fn a_second_caller_is_told_that_we_are_busy_and_the_next_is_welcome() {
        let (mut script, stdin, _) = answering(PIPE);
        let first = open(&mut script, PEER);
        let second = open(&mut script, PEER);
        assert_eq!(script.take_output(second), BUSY);
        assert_eq!(script.closed(second), Some(Closed::Finished));
        script.data(stdin, b"x");
        assert_eq!(script.take_output(first), b"x");
        script.close(first, Closed::Reset);
        assert!(script.is_paused(stdin));
        let third = open(&mut script, PEER);
        script.data(stdin, b"y");
        assert_eq!(script.take_output(third), b"y");
    }

    #[test]
    fn a_caller_who_has_ended_and_is_told_nothing_keeps_nobody_waiting() {
        let (mut script, stdin, _) = answering(PIPE);
        let first = open(&mut script, PEER);
        script.eof(first);
        let second = open(&mut script, PEER);
        assert!(script.closed(first).is_some());
        script.eof(second);
        script.data(stdin, b"half a file");
        let third = open(&mut script, PEER);
        assert_eq!(script.take_output(third), BUSY);
        script.data(stdin, b"the other half");
        assert_eq!(script.take_output(second), b"half a filethe other half");
    }

    #[test]
    fn the_end_of_our_input_ends_our_half_only() {
        let (mut script, stdin, stdout, peer) = calling(PIPE);
        script.data(stdin, b"last words");
        script.eof(stdin);
        assert!(script.is_half_closed(peer));
        script.data(peer, b"still there");
        assert_eq!(script.take_output(stdout), b"still there");
        script.eof(peer);
        assert_eq!(script.closed(peer), Some(Closed::Eof));
        assert_eq!(script.closed(stdout), Some(Closed::Finished));
        assert_eq!(script.protocol().failure(), None);
    }

    #[test]
    fn when_the_peer_ends_first_a_pipe_is_still_sent_to_its_end() {
        let (mut script, stdin, stdout, peer) = calling(PIPE);
        script.eof(peer);
        assert_eq!(script.closed(peer), None);
        script.advance(QUIET / 2);
        script.data(stdin, b"the rest");
        script.advance(QUIET / 2);
        assert_eq!(script.closed(peer), None, "it has said something meanwhile");
        script.eof(stdin);
        assert_eq!(script.closed(peer), Some(Closed::Eof));
        assert_eq!(script.take_output(peer), b"the rest");
        assert!(script.closed(stdout).is_some());
        assert_eq!(script.protocol().failure(), None);
    }

    #[test]
    fn a_pipe_that_is_silent_does_not_hold_a_peer_that_has_gone() {
        let (mut script, _, _, peer) = calling(PIPE);
        script.eof(peer);
        script.high_water(peer, true);
        script.advance(10 * QUIET);
        assert_eq!(script.closed(peer), None, "it is the peer that is slow");
        script.high_water(peer, false);
        script.advance(2 * QUIET);
        assert_eq!(script.closed(peer), Some(Closed::Eof));
        assert_eq!(
            script.protocol().failure(),
            Some("server closed the connection")
        );
    }

    #[test]
    fn a_person_is_told_and_free_to_go_when_the_peer_closes() {
        let (mut script, stdin, stdout, peer) = calling(PERSON);
        script.eof(peer);
        assert_eq!(script.closed(peer), Some(Closed::Eof));
        assert!(script.closed(stdin).is_some() && script.closed(stdout).is_some());
        assert_eq!(script.protocol().failure(), None);
    }

    #[test]
    fn a_person_s_keys_wait_while_the_screen_is_full() {
        for (person, waits) in [(PERSON, true), (PIPE, false)] {
            let (mut script, stdin, stdout, peer) = calling(person);
            script.high_water(stdout, true);
            assert_eq!(script.is_paused(stdin), waits);
            script.high_water(peer, true);
            script.high_water(stdout, false);
            assert!(script.is_paused(stdin), "the peer takes nothing");
            script.high_water(peer, false);
            assert!(!script.is_paused(stdin));
        }
    }

    #[test]
    fn who_comes_while_the_screen_is_full_is_served_all_the_same() {
        let (mut script, stdin, stdout) = answering(PERSON);
        script.high_water(stdout, true);
        for _ in 0..1000 {
            let stranger = open(&mut script, PEER);
            script.eof(stranger);
            assert_eq!(script.closed(stranger), Some(Closed::Eof));
        }
        let guest = open(&mut script, PEER);
        assert!(script.is_paused(guest));
        script.high_water(stdout, false);
        script.data(guest, b"hello");
        assert_eq!(script.take_output(stdout), b"hello");
        script.data(stdin, b"good evening\n");
        assert_eq!(script.take_output(guest), b"good evening\n");
    }

    #[test]
    fn a_reader_that_is_gone_is_a_quiet_end() {
        let (mut script, _, stdout, peer) = calling(PIPE);
        script.close(stdout, Closed::Reset);
        assert!(script.is_stopped());
        script.close(peer, Closed::Shutdown);
        assert_eq!(script.protocol().failure(), None);
    }

    #[test]
    fn a_caller_tries_again_as_often_as_it_was_told() {
        let mut script = Script::new(Talk::calling(Screen::for_test(PIPE), call(2)));
        let refused = Closed::Error(Errno::ECONNREFUSED);
        for _ in 0..2 {
            script.connect_error(PEER, refused);
            assert_eq!(script.take_connects(), []);
            script.advance(RETRY_INTERVAL);
            assert_eq!(
                script.take_connects(),
                [("tcp://127.0.0.1:5678".to_owned(), PEER)]
            );
        }
        script.connect_error(PEER, refused);
        assert!(script.is_stopped());
        let failure = script.protocol().failure().unwrap();
        assert!(failure.starts_with("cannot reach tcp://127.0.0.1:5678: "));
    }

    #[test]
    fn a_caller_that_is_stopped_has_not_failed() {
        let (mut script, _, _, peer) = calling(PIPE);
        script.stop();
        script.close(peer, Closed::Shutdown);
        assert_eq!(script.protocol().failure(), None);
        let mut script = Script::new(Talk::calling(Screen::for_test(PIPE), call(1)));
        script.stop();
        script.connect_error(PEER, Closed::Shutdown);
        assert_eq!(script.protocol().failure(), None);
    }

    #[test]
    fn a_caller_s_patience_begins_when_all_is_said_and_rests_while_the_screen_is_full() {
        let (mut script, stdin, stdout, peer) = calling(PIPE);
        script.advance(Duration::from_secs(100));
        script.high_water(stdout, true);
        assert!(script.is_paused(peer));
        script.eof(stdin);
        script.advance(Duration::from_secs(100));
        assert!(!script.is_stopped());
        script.high_water(stdout, false);
        assert!(!script.is_paused(peer));
        script.advance(Duration::from_secs(31));
        let failure = script.protocol().failure();
        assert_eq!(failure, Some("no answer from tcp://127.0.0.1:5678 in time"));
    }
}
