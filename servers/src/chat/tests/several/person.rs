//! A client, and all that it was shown.

use edgeloop_reactor::{ConnId, Script};

use crate::backplane::entry::{MemberId, Origin};
use crate::chat::Chat;

/// A connection, and the lines that it was sent.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) origin: Origin,
    pub(super) id: ConnId,
    pub(super) lines: Vec<String>,
    pub(super) has_ignored: bool,
    /// It sends no more.
    pub(super) has_ended: bool,
    /// Its name was lost, and it has none.
    has_lost_name: bool,
}

impl Person {
    pub(super) fn new(origin: Origin, id: ConnId) -> Person {
        Person {
            origin,
            id,
            lines: Vec::new(),
            has_ignored: false,
            has_ended: false,
            has_lost_name: false,
        }
    }

    pub(super) fn member(&self) -> MemberId {
        MemberId {
            origin: self.origin,
            number: self.id.to_bits(),
        }
    }

    /// Takes what was sent. Returns whether the person is to give a name.
    pub(super) fn listen(&mut self, script: &mut Script<Chat>) -> bool {
        let output = String::from_utf8(script.take_output(self.id)).expect("UTF-8");
        let mut is_asked = false;
        for line in output.lines() {
            self.has_lost_name |= line.starts_with("* your name was taken");
            self.has_lost_name &= !line.starts_with("* The room ");
            let is_refused = line.starts_with("* this name ") || line.starts_with("* a name ");
            is_asked |= line.starts_with("* your name was taken");
            is_asked |= self.has_lost_name && is_refused;
            self.lines.push(line.to_owned());
        }
        is_asked && !self.has_ended && script.closed(self.id).is_none()
    }

    /// The lines that it was told of others, in small letters, the names in a list in their order.
    pub(super) fn heard(&self) -> Vec<String> {
        let told = self.lines.iter().filter(|line| is_of_others(line));
        let told = told.map(|line| match line.starts_with("* The room contains: ") {
            true => super::reference::sorted(line),
            false => line.clone(),
        });
        told.map(|line| line.to_lowercase()).collect()
    }

    pub(super) fn was_told(&self, part: &str) -> bool {
        self.lines.iter().any(|line| line.contains(part))
    }
}

fn is_of_others(line: &str) -> bool {
    let begins = ["[", "** ", "* operator: ", "* The room "];
    let contains = [
        " has entered the room",
        " has left the room",
        " have left the room",
        " is now known as ",
        " is back",
        " are back",
    ];
    begins.iter().any(|begin| line.starts_with(begin))
        || contains.iter().any(|part| line.contains(part))
}
