//! The server's own terminal, and what is known of it.

use edgeloop_reactor::{ConnId, Outbox};

use super::gate::Gate;
use crate::line::LineAssembler;
use crate::screen::Screen;

/// Standard input and output, if they are used.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) stdin: Option<ConnId>,
    pub(super) stdout: Option<ConnId>,
    pub(super) screen: Screen,
    /// The log does not go to the terminal.
    pub(super) has_log: bool,
    pub(super) lines: LineAssembler,
    /// The room that the operator has joined; `None` for all rooms.
    pub(super) room: Option<String>,
    /// What all rooms may be told by the operator, who does not stand in their queues: all of them
    /// would have to be open at one time.
    pub(super) gate: Gate,
    /// Standard output takes no more for now.
    pub(super) is_full: bool,
    /// Bytes that standard output is given in one turn.
    pub(super) shown: Gate,
    /// Lines left out since a line was shown last.
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

    /// Standard input is open.
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

    /// Leaves the terminal as it was found.
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

    /// Ends both, and with them the program if there is nobody else.
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
