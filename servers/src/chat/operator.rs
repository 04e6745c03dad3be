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

/// What stands in the transcript for a room, where something is said in all of them.
const ALL_ROOMS: &str = "*";

/// Standard input and output, if they are used.
#[derive(Debug, Default)]
pub(super) struct Operator {
    pub(super) stdin: Option<ConnId>,
    pub(super) stdout: Option<ConnId>,
    lines: LineAssembler,
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
        self.page.extend_from_slice(b"* operator: ");
        text::clean(line, &mut self.page);
        self.page.push(b'\n');
        let everybody = self.rooms.iter().flat_map(|(_, room)| room.members());
        out.broadcast(everybody.copied(), &self.page);
        if let Some(transcript) = &mut self.transcript {
            transcript.note(ALL_ROOMS, &self.page);
            self.tick(out);
        }
    }
}
