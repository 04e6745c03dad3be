//! The transcript: the lines that are written, and lines for which there is no room.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::sys::eventfd::EventFd;
use nix::unistd::read;

use super::Party;
use crate::chat::Transcript;
use crate::recorder::Recorder;

/// The far end of the pipe that leads to the file.
struct Pipe {
    reader: OwnedFd,
    lost: Arc<EventFd>,
    tail: Vec<u8>,
}

impl Pipe {
    /// Whole lines that were written since the last call. Their times are checked and left out.
    fn lines(&mut self) -> Vec<String> {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = read(&self.reader, &mut buffer) {
            self.tail.extend_from_slice(&buffer[..count]);
        }
        let end = self.tail.iter().rposition(|&byte| byte == b'\n');
        let whole: Vec<u8> = self.tail.drain(..end.map_or(0, |end| end + 1)).collect();
        let without_time = |line: &str| match line.split_once(' ') {
            Some((time, rest)) => {
                humantime::parse_rfc3339(time).unwrap();
                rest.to_owned()
            }
            None => line.to_owned(),
        };
        let whole = String::from_utf8(whole).unwrap();
        whole.lines().map(without_time).collect()
    }
}

/// A chat whose transcript goes to a pipe of `room` bytes.
fn party(room: i32) -> (Party, Pipe) {
    let (recorder, reader, lost) = Recorder::for_test(room);
    let tail = Vec::new();
    let transcript = Transcript::new(recorder);
    let party = Party::recorded(|settings| settings.rate = 0, Some(transcript));
    (party, Pipe { reader, lost, tail })
}

#[test]
fn what_is_said_in_rooms_is_taken_down_once_a_second() {
    let (mut party, mut pipe) = party(65_536);
    let (stdin, _) = party.operator();
    let [alice, bob] = party.join_all(["alice", "bob"]);
    party.sends(
        alice,
        b"hello \x1b[2J\n/me waves\n/msg bob a secret\n/who\n/nick Alice\n",
    );
    party.sends(bob, b"/join dev\nalone\n");
    party.says(stdin, "good night");
    assert!(pipe.lines().is_empty());
    party.seconds_pass(1);
    assert_eq!(
        pipe.lines(),
        [
            "lobby [alice] hello [2J",
            "lobby ** alice waves",
            "lobby * alice is now known as Alice",
            "dev [bob] alone",
            "* * operator: good night",
        ]
    );
    party.says(alice, "the end");
    drop(party);
    assert_eq!(pipe.lines(), ["lobby [Alice] the end"]);
}

#[test]
fn what_has_no_room_waits_for_it_and_none_is_lost() {
    let (mut party, mut pipe) = party(4096);
    let [alice] = party.join_all(["alice"]);
    let line = "x".repeat(3000);
    for _ in 0..200 {
        party.says(alice, &line);
    }
    let mut lines = Vec::new();
    while lines.len() < 200 {
        party.seconds_pass(1);
        let more = pipe.lines();
        assert!(!more.is_empty());
        lines.extend(more);
    }
    assert_eq!(lines, vec![format!("lobby [alice] {line}"); 200]);
    assert_eq!(pipe.lost.read().ok(), None);
}

#[test]
fn what_waits_is_bounded_and_what_is_lost_is_counted() {
    let (mut party, mut pipe) = party(4096);
    let [alice, bob] = party.join_all(["alice", "bob"]);
    let line = "x".repeat(4000);
    for _ in 0..2000 {
        party.says(alice, &line);
    }
    party.seconds_pass(5);
    assert_eq!(
        party.hears(bob).lines().count(),
        2000,
        "people go on talking"
    );
    let lost = pipe.lost.read().unwrap() as usize;
    let mut lines = Vec::new();
    while lines.len() < 2000 - lost {
        lines.extend(pipe.lines());
        party.seconds_pass(1);
    }
    assert!((1000..1050).contains(&lines.len()), "{} lines", lines.len());
    assert!(
        lines
            .iter()
            .all(|kept| *kept == format!("lobby [alice] {line}"))
    );
}

#[test]
fn the_file_is_opened_anew_between_two_lines() {
    let (mut party, mut pipe) = party(4096);
    let [alice] = party.join_all(["alice"]);
    let long = "x".repeat(4000);
    for line in [&long, &long] {
        party.says(alice, line);
    }
    party.script.reload();
    party.says(alice, "after");
    let mut lines = Vec::new();
    while lines.len() < 4 {
        lines.extend(pipe.lines());
        party.seconds_pass(1);
    }
    let [long, after] = [&long, "after"].map(|line| format!("lobby [alice] {line}"));
    assert_eq!(lines, [&long, &long, "\0", &after]);
}
