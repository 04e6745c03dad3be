//! The chat: names, commands, lines and Telnet of several members, who come and go.

use std::time::Duration;

use edgeloop::chat::{Chat, Settings};
use edgeloop_reactor::{ConnId, Script};

use crate::input::{Input, chunks, is_obeyed};

/// Clients at a time.
const SEATS: usize = 4;
/// Longest line, in bytes: short, so that a fuzzer reaches it.
const MAX_LINE: usize = 80;
/// Time in which everything that a member has sent is said.
const SETTLED: Duration = Duration::from_secs(1);

/// Everything that one client has received.
type Heard = Vec<u8>;

struct Room<'a> {
    script: Script<Chat>,
    seats: [Option<ConnId>; SEATS],
    /// The output of the clients that have left, in the order in which they left.
    heard: Vec<Heard>,
    cuts: &'a [u8],
}

impl<'a> Room<'a> {
    fn new(options: u8, cuts: &'a [u8]) -> Room<'a> {
        let settings = Settings {
            max_line: MAX_LINE,
            // A pace would make the order of lines depend on the cuts.
            rate: 0,
            unicode_names: options & 1 != 0,
            plain: options & 2 != 0,
            ..Settings::default()
        };
        Room {
            script: Script::new(Chat::new(settings, None)),
            seats: [None; SEATS],
            heard: Vec::new(),
            cuts,
        }
    }

    fn sends(&mut self, seat: usize, bytes: &[u8]) {
        let id = *self.seats[seat].get_or_insert_with(|| self.script.open());
        for chunk in chunks(bytes, self.cuts) {
            self.script.data(id, chunk);
        }
    }

    fn ends(&mut self, seat: usize) {
        if let Some(id) = self.seats[seat].take() {
            self.script.eof(id);
            self.script.advance(SETTLED);
            assert!(self.script.closed(id).is_some(), "it stays after its end");
            self.heard.push(self.script.take_output(id));
        }
    }
}

/// Runs a conversation, and returns the output of each client.
fn run(mut input: Input<'_>, options: u8, cuts: &[u8]) -> Vec<Heard> {
    let mut room = Room::new(options, cuts);
    while !input.0.is_empty() {
        let step = input.byte();
        let seat = usize::from(step) % SEATS;
        match step / 4 % 8 {
            0 => room.ends(seat),
            1 => room.sends(seat, format!("name{seat}\n").as_bytes()),
            2 => room.sends(seat, &[input.bytes(), b"\n"].concat()),
            3 => room.sends(seat, &[b"/", input.bytes(), b"\n"].concat()),
            4 => room.sends(seat, b"/join den\n/who\n/rooms\n"),
            5 => room.sends(seat, b"/nick other\n/ignore name1\n/msg name2 hello\n"),
            _ => room.sends(seat, input.bytes()),
        }
        room.script.advance(SETTLED);
    }
    (0..SEATS).for_each(|seat| room.ends(seat));
    let late = room.script.open();
    room.script.data(late, b"late\n");
    let heard = String::from_utf8(room.script.take_output(late)).expect("UTF-8");
    assert!(heard.ends_with("* The room is empty\n"), "{heard:?}");
    room.heard
}

/// Every client hears whole lines of harmless text, of which each is the server's or names its speaker;
/// cuts of the input do not matter; and no member stays behind.
pub fn chat(input: &[u8]) {
    let mut input = Input(input);
    let options = input.byte();
    let cuts = input.cuts();
    let heard = run(Input(input.0), options, &[u8::MAX]);
    assert_eq!(run(Input(input.0), options, cuts), heard);
    for heard in heard {
        let heard = without_answers(&heard);
        let text = String::from_utf8(heard).expect("a chat speaks UTF-8");
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        assert!(!text.contains(is_obeyed), "{text:?}");
        text.lines().skip(1).for_each(check_line);
    }
}

/// A line is the server's, an action, or has its speaker in front.
fn check_line(line: &str) {
    let speaker = line
        .strip_prefix('[')
        .and_then(|line| line.split_once("] "));
    let is_named = |(speaker, _): (&str, &str)| {
        let names = speaker.split(' ');
        speaker.len() <= 2 * 4 * 32 + 8 && names.clone().count() <= 3 && names.clone().all(is_name)
    };
    let is_servers = line.starts_with("* ") || line.starts_with("** ");
    assert!(is_servers || speaker.is_some_and(is_named), "{line:?}");
    // Names take the rest: of a list of those who are present, or in front of a line.
    let most = 3 * MAX_LINE + (SEATS + 2) * (4 * 32 + 2) + 64;
    assert!(line.len() <= most, "{} bytes", line.len());
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && !word.contains(['[', ']', '*', '/'])
}

/// The received bytes without the answers to Telnet, which are three bytes each.
fn without_answers(mut heard: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    while let Some((&first, rest)) = heard.split_first() {
        heard = rest;
        if first == 255 {
            heard = rest.get(2..).unwrap_or_default();
        } else {
            text.push(first);
        }
    }
    text
}
