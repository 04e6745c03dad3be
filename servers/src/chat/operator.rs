//! The server's own terminal: what is typed there is said to all.

use edgeloop_reactor::{ConnId, Outbox};

use super::command::split_word;
use super::{Chat, text};
use crate::line::LineAssembler;

/// The longest line of the operator's, in bytes.
const LINE_MAX: usize = 4096;
const HELP: &str = "\
TEXT         is said to all
/who         everybody, room by room
/kick NAME   asks somebody to leave
";

/// Standard input and output, if they are used.
#[derive(Debug, Default)]
pub(super) struct Operator {
    pub(super) stdin: Option<ConnId>,
    pub(super) stdout: Option<ConnId>,
    lines: LineAssembler,
}

impl Operator {
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
    }

    fn obey(&mut self, line: &[u8], out: &mut Outbox) {
        let (verb, rest) = split_word(line);
        match verb {
            b"" => {}
            b"/who" => {
                let everybody = self.everybody();
                self.answer(&everybody, out);
            }
            b"/kick" => {
                let name = String::from_utf8_lossy(split_word(rest).0);
                if !self.kick(&name, out) {
                    self.answer(b"nobody has this name\n", out);
                }
            }
            [b'/', ..] => self.answer(HELP.as_bytes(), out),
            _ => self.proclaim(line, out),
        }
    }

    fn answer(&self, text: &[u8], out: &mut Outbox) {
        if let Some(stdout) = self.operator.stdout {
            out.send(stdout, text);
        }
    }

    /// Everybody who has joined hears this, in whatever room.
    fn proclaim(&mut self, line: &[u8], out: &mut Outbox) {
        self.page.clear();
        self.page.extend_from_slice(b"* operator: ");
        text::clean(line, &mut self.page);
        self.page.push(b'\n');
        let everybody = self.rooms.iter().flat_map(|(_, room)| room.members());
        out.broadcast(everybody.copied(), &self.page);
    }
}
