//! The server's own terminal: what is typed there is said to all.

use edgeloop_reactor::{ConnId, Outbox};

use super::bounds::READ_BUDGET;
use super::command::split_word;
use super::gate::Gate;
use super::{Chat, text};
use crate::line::LineAssembler;

/// The longest line of the operator's, in bytes.
const LINE_MAX: usize = 4096;
const HELP: &str = "\
TEXT         is said to all
/who         everybody, room by room
/kick NAME   asks somebody to leave
";

/// What stands before each line of the operator's.
const BEFORE: &str = "* operator: ";
/// What the members are told of one read, at the most: lines of one byte, and a line that was begun
/// before. A byte that is no UTF-8 is told as three.
pub(super) const TOLD_MAX: usize = READ_BUDGET / 2 * (BEFORE.len() + 4) + 3 * LINE_MAX;

/// What stands in the transcript for a room, where something is said in all of them.
const ALL_ROOMS: &str = "*";

/// Standard input and output, if they are used.
#[derive(Debug, Default)]
pub(super) struct Operator {
    pub(super) stdin: Option<ConnId>,
    pub(super) stdout: Option<ConnId>,
    lines: LineAssembler,
    /// What all rooms may be told by the operator, who does not stand in their queues: all of them
    /// would have to be open at one time.
    gate: Gate,
    /// Standard output takes no more for now.
    is_full: bool,
}

impl Operator {
    /// Ends both, and with them the program if there is nobody else.
    pub(super) fn leave(&self, out: &mut Outbox) {
        let streams = [self.stdin, self.stdout];
        streams.into_iter().flatten().for_each(|id| out.finish(id));
    }

    pub(super) fn closed(&mut self, id: ConnId) {
        self.stdin.take_if(|stdin| *stdin == id);
        self.stdout.take_if(|stdout| *stdout == id);
    }
}

impl Chat {
    /// What was typed at the server's terminal.
    pub(super) fn operate(&mut self, bytes: &[u8], out: &mut Outbox) {
        let mut lines = std::mem::take(&mut self.operator.lines);
        lines.feed(bytes, LINE_MAX, |line| self.obey(line.text, out));
        self.operator.lines = lines;
        self.let_operator_go_on(out);
    }

    /// Standard output takes no more for now, or has caught up.
    pub(super) fn operator_is_full(&mut self, id: ConnId, is_full: bool, out: &mut Outbox) {
        if self.operator.stdout == Some(id) {
            self.operator.is_full = is_full;
            self.let_operator_go_on(out);
        }
    }

    /// Reads on from standard input, unless a room that is behind was told enough, or the answers are
    /// not taken: then it rests.
    pub(super) fn let_operator_go_on(&mut self, out: &mut Outbox) {
        let Some(stdin) = self.operator.stdin else {
            return;
        };
        let allowance = &self.bounds.allowance;
        let wait = self.operator.gate.wait(allowance, out.now());
        if !wait.is_zero() {
            out.set_timer(stdin, wait);
        }
        match self.operator.is_full || !wait.is_zero() {
            true => out.pause(stdin),
            false => out.resume(stdin),
        }
    }

    /// The end of standard input. The last line may lack its newline.
    pub(super) fn operator_has_ended(&mut self, out: &mut Outbox) {
        let mut lines = std::mem::take(&mut self.operator.lines);
        lines.finish(LINE_MAX, |line| self.obey(line.text, out));
    }

    fn obey(&mut self, line: &[u8], out: &mut Outbox) {
        let (verb, rest) = split_word(line);
        match verb {
            b"" => {}
            b"/who" => {
                let everybody = self.everybody();
                self.print(&everybody, out);
            }
            b"/kick" => {
                let name = String::from_utf8_lossy(split_word(rest).0);
                if !self.kick(&name, out) {
                    self.print(b"nobody has this name\n", out);
                }
            }
            [b'/', ..] => self.print(HELP.as_bytes(), out),
            _ => self.proclaim(line, out),
        }
    }

    fn print(&self, text: &[u8], out: &mut Outbox) {
        if let Some(stdout) = self.operator.stdout {
            out.send(stdout, text);
        }
    }

    /// Everybody who has joined hears this, in whatever room.
    fn proclaim(&mut self, line: &[u8], out: &mut Outbox) {
        self.page.clear();
        self.page.extend_from_slice(BEFORE.as_bytes());
        text::clean(line, &mut self.page);
        self.page.push(b'\n');
        let everybody = self.rooms.iter().flat_map(|(_, room)| room.members());
        out.broadcast(everybody.copied(), &self.page);
        self.spend_everywhere(out);
        if let Some(transcript) = &mut self.transcript {
            transcript.note(ALL_ROOMS, &self.page);
            self.tick(out);
        }
    }
    /// All rooms are told what stands on the page.
    fn spend_everywhere(&mut self, out: &Outbox) {
        let (allowance, bytes, now) = (&self.bounds.allowance, self.page.len(), out.now());
        let mut is_behind = false;
        for (_, room) in &mut self.rooms {
            is_behind |= room.gate.is_behind();
            room.gate.spend(allowance, bytes, now);
        }
        let gate = &mut self.operator.gate;
        gate.set_behind(is_behind);
        gate.spend(allowance, bytes, now);
    }
}
