//! The person's side: the peer's bytes, and notices about peers and callers, on their way to
//! standard output.

use edgeloop_reactor::{Outbox, Peer};

use super::{Talk, callers};

impl Talk {
    /// Tells the person of a new peer: now, or before its first bytes are shown.
    pub(super) fn introduce(&mut self, peer: Peer, out: &mut Outbox) {
        self.unannounced = Some(peer);
        if self.admits_notice(out) {
            self.announce(out);
        } else if !self.screen_is_full && !self.callers.has_left_out() {
            self.arm_catch_up(out);
        }
    }

    /// Whether the person may be told of a caller now.
    pub(super) fn admits_notice(&mut self, out: &Outbox) -> bool {
        !self.screen_is_full && self.callers.admit(out.now())
    }

    /// Tells the person of the peer, if that was not done yet.
    pub(super) fn announce(&mut self, out: &mut Outbox) {
        if let Some(peer) = self.unannounced.take() {
            self.notice(&format!("peer connected from {peer}"), out);
            if self.peer_ended {
                self.notice("peer closed", out);
            }
        }
    }

    /// Counts a caller that has gone before the person was told of it.
    pub(super) fn leave_out(&mut self, out: &mut Outbox) {
        if self.callers.leave_out() && !self.screen_is_full {
            self.arm_catch_up(out);
        }
    }

    /// Counts the peer that has gone, if the person was not told of it.
    pub(super) fn leave_out_unannounced(&mut self, out: &mut Outbox) {
        if self.unannounced.take().is_some() {
            self.leave_out(out);
        }
    }

    /// Sets the time at which the person is told of the callers that were left out. The beginning
    /// of a line that waits for its end has set an earlier one.
    fn arm_catch_up(&self, out: &mut Outbox) {
        if !self.screen.holds_back() {
            out.set_service_timer(callers::INTERVAL);
        }
    }

    /// Tells the person of the callers that were left out, and of the peer.
    pub(super) fn catch_up(&mut self, out: &mut Outbox) {
        if let Some(line) = self.callers.take_left_out() {
            self.notice(&line, out);
        }
        self.announce(out);
    }

    /// Tells the person something about the peer, unless the person does not know of this peer yet.
    pub(super) fn notice_of_peer(&mut self, notice: &str, out: &mut Outbox) {
        if self.unannounced.is_none() {
            self.notice(notice, out);
        }
    }

    /// Tells the person something that the peer has not said.
    pub(super) fn notice(&mut self, notice: &str, out: &mut Outbox) {
        let mut shown = Vec::new();
        self.screen.notice(notice, &mut shown);
        self.put(&shown, out);
    }

    /// Shows the beginning of a line that waited for its end.
    pub(super) fn show_all(&mut self, out: &mut Outbox) {
        let mut shown = Vec::new();
        self.screen.show_all(&mut shown);
        self.put(&shown, out);
    }

    /// Catches up, and leaves the screen as it was found.
    pub(super) fn end_screen(&mut self, out: &mut Outbox) {
        self.catch_up(out);
        let mut rest = Vec::new();
        self.screen.close(&mut rest);
        self.put(&rest, out);
    }

    /// Sends bytes to standard output, if it is open.
    pub(super) fn put(&self, bytes: &[u8], out: &mut Outbox) {
        if let Some(stdout) = self.stdout {
            out.send(stdout, bytes);
        }
    }
}
