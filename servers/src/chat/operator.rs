//! The state of the server's own terminal.

use edgeloop_reactor::{ConnId, Outbox};

use super::gate::Gate;
use crate::line::LineAssembler;
use crate::screen::Screen;

/// Standard input and output, if they are used: the operator speaks through one, and reads the lines
/// of rooms and the replies to its commands on the other.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) stdin: Option<ConnId>,
    pub(super) stdout: Option<ConnId>,
    /// The terminal, with the line that is being edited on it.
    pub(super) screen: Screen,
    /// The log does not go to the terminal.
    pub(super) has_log: bool,
    /// An incomplete line of standard input.
    pub(super) lines: LineAssembler,
    /// The room that the operator has joined; `None` for all rooms.
    pub(super) room: Option<String>,
    /// Bytes that the operator may tell all rooms.
    pub(super) gate: Gate,
    /// Standard output takes no more for now.
    pub(super) is_full: bool,
    /// Bytes that standard output is given in one turn.
    pub(super) shown: Gate,
    /// Number of lines left out since the last line that was shown.
    pub(super) missing: usize,
}

impl Operator {
    pub(super) fn new(screen: Screen, has_log: bool) -> Operator {
        Operator {
            stdin: None,
            stdout: None,
            screen,
            has_log,
            lines: LineAssembler::default(),
            room: None,
            gate: Gate::default(),
            is_full: false,
            shown: Gate::default(),
            missing: 0,
        }
    }

    /// Notes that standard input is open, and prepares the terminal.
    pub(super) fn sits_down(&mut self, id: ConnId, out: &mut Outbox) {
        self.stdin = Some(id);
        let mut opening = Vec::new();
        self.screen.open(&mut opening);
        self.put(&opening, out);
    }

    /// Whether standard output takes lines, and is not another job's terminal.
    pub(super) fn may_show(&self) -> bool {
        !self.is_full && !self.screen.is_anothers()
    }

    /// Restores the terminal.
    pub(super) fn gets_up(&mut self, out: &mut Outbox) {
        let mut rest = Vec::new();
        self.screen.close(&mut rest);
        self.put(&rest, out);
    }

    pub(super) fn redraw(&mut self, out: &mut Outbox) {
        let mut drawn = Vec::new();
        self.screen.redraw(&mut drawn);
        self.put(&drawn, out);
    }

    /// Ends both streams, and with them the program if there is no other connection.
    pub(super) fn leave(&mut self, out: &mut Outbox) {
        self.gets_up(out);
        let streams = [self.stdin, self.stdout];
        streams.into_iter().flatten().for_each(|id| out.finish(id));
    }

    pub(super) fn closed(&mut self, id: ConnId) {
        self.stdin.take_if(|stdin| *stdin == id);
        self.stdout.take_if(|stdout| *stdout == id);
    }

    pub(super) fn put(&self, bytes: &[u8], out: &mut Outbox) {
        if let Some(stdout) = self.stdout {
            out.send(stdout, bytes);
        }
    }
}
