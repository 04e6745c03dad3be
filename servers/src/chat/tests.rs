//! The chat server without sockets: the input of each client, and the output that it must have seen.
//!
//! [`Party`] drives a [`Chat`] by a [`Script`]. Each file of tests is about one subject; `model.rs`
//! compares the chat with a small model of it.

mod bans;
mod budget;
mod charges;
mod choices;
mod commands;
mod costs;
mod cuts;
mod hostile;
mod ignoring;
mod later;
mod log_lines;
mod model;
mod operator;
mod pacing;
mod record;
mod several;
mod slow_rooms;
mod storms;
mod taking_over;

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use edgeloop_reactor::{ConnId, Opened, Peer, Script};

use super::settings::{STDIN, STDOUT};
use super::{Chat, Member, Settings, Transcript};

const WELCOME: &str = "Welcome! What is your name?\n";
const EMPTY: &str = "* The room is empty\n";

/// A chat and its clients.
struct Party {
    script: Script<Chat>,
    /// The log may be read: for tests whose log is read later.
    opens_log: Arc<AtomicBool>,
}

impl Party {
    fn new() -> Party {
        Party::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Party {
        Party::recorded(change, None)
    }

    fn recorded(change: impl FnOnce(&mut Settings), transcript: Option<Transcript>) -> Party {
        let mut settings = Settings::default();
        change(&mut settings);
        Party {
            script: Script::new(Chat::new(settings, transcript)),
            opens_log: Arc::default(),
        }
    }

    /// Connects a client, which is asked for a name.
    fn connect(&mut self) -> ConnId {
        let id = self.script.open();
        assert_eq!(self.hears(id), WELCOME);
        id
    }

    /// Connects a client and joins it. Its greeting is read; the announcement to the others is not.
    fn join(&mut self, name: &str) -> ConnId {
        let id = self.connect();
        self.says(id, name);
        let list = self.hears(id);
        assert!(list.starts_with("* The room "), "{list:?}");
        id
    }

    /// Joins several members, and reads all that they are sent.
    fn join_all<const N: usize>(&mut self, names: [&str; N]) -> [ConnId; N] {
        let ids = names.map(|name| self.join(name));
        ids.iter().for_each(|&id| drop(self.hears(id)));
        ids
    }

    /// Opens the operator's terminal: standard input and standard output.
    fn operator(&mut self) -> (ConnId, ConnId) {
        let peer = Peer::Stream;
        let mut open = |tag| self.script.open_as(Opened::new(peer, tag));
        (open(STDIN), open(STDOUT))
    }

    /// Sends a line.
    fn says(&mut self, id: ConnId, line: &str) {
        self.sends(id, format!("{line}\n").as_bytes());
    }

    fn sends(&mut self, id: ConnId, bytes: &[u8]) {
        self.script.data(id, bytes);
    }

    /// All text that a connection was sent since the last call.
    fn hears(&mut self, id: ConnId) -> String {
        String::from_utf8(self.script.take_output(id)).expect("UTF-8")
    }

    /// As `hears`, for a client that speaks Telnet: commands are shown in words.
    fn sees(&mut self, id: ConnId) -> String {
        let output = self.script.take_output(id);
        let (mut seen, mut rest) = (Vec::new(), &output[..]);
        while let Some((byte, more)) = rest.split_first() {
            rest = more;
            match (byte, more) {
                (0xff, [verb, option, more @ ..]) => {
                    let verb = match verb {
                        0xfc => "WONT",
                        0xfe => "DONT",
                        verb => panic!("no client asked for {verb}"),
                    };
                    seen.extend(format!("<{verb} {option}>").bytes());
                    rest = more;
                }
                _ => seen.push(*byte),
            }
        }
        String::from_utf8(seen).expect("UTF-8")
    }

    fn each_hears<const N: usize>(&mut self, ids: [ConnId; N]) -> [String; N] {
        ids.map(|id| self.hears(id))
    }

    fn is_closed(&self, id: ConnId) -> bool {
        self.script.closed(id).is_some()
    }

    fn seconds_pass(&mut self, seconds: u64) {
        self.script.advance(Duration::from_secs(seconds));
    }

    fn chat(&self) -> &Chat {
        self.script.protocol()
    }

    /// Checks that state which is kept in two places is equal in both.
    fn check(&self) {
        let chat = self.chat();
        let mut joined = 0;
        for (id, member) in chat
            .members
            .iter()
            .filter(|(_, member)| member.has_joined())
        {
            joined += 1;
            assert_eq!(chat.names.get(member.name()), Some(id));
            let room = &chat.rooms[member.room as usize];
            assert_eq!(room.members()[member.place as usize], id);
        }
        let mut present = 0;
        for (number, room) in &chat.rooms {
            present += room.members().len();
            assert_eq!(chat.room_by_name.get(&room.name), Some(number as u32));
            let count = |is_so: fn(&Member) -> bool| {
                let members = room.members().iter();
                members
                    .filter(|&&id| is_so(chat.members.get(id).unwrap()))
                    .count()
            };
            assert_eq!(room.ignoring, count(Member::ignores_some));
            assert_eq!(room.gate.above(), count(Member::is_above));
            for &id in &room.queue {
                let kept = chat.members.get(id).and_then(Member::kept);
                assert_eq!(kept.unwrap().room, Some(number as u32));
            }
            assert!(!room.members().is_empty() || &*room.name == "lobby");
        }
        assert_eq!((chat.names.len(), present), (joined, joined));
        let mut rooms: Vec<(usize, &str)> = chat
            .rooms
            .iter()
            .map(|(_, room)| (room.members().len(), &*room.name))
            .collect();
        rooms.sort_by_key(|&(members, name)| (Reverse(members), name));
        assert!(chat.ranking.iter().eq(rooms));
        assert_eq!(chat.room_by_name.len(), chat.rooms.len());
    }

    /// Checks that nothing is kept of members after all of them have left.
    fn check_forgotten(&mut self) {
        // Time for summaries that are due.
        self.seconds_pass(10);
        self.check();
        let chat = self.chat();
        assert!(chat.members.is_empty() && chat.names.len() == 0 && chat.ignored.is_empty());
        assert!(chat.crowded.is_empty() && chat.addresses.is_empty() && chat.numbers.is_empty());
        assert!(chat.arrivals.is_empty() && chat.tokens.is_empty());
        assert_eq!(chat.rooms.len(), 1, "there is the lobby only");
    }
}
