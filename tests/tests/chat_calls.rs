//! The cost of a chat line in system calls. The counts are exact, on any machine.

use tests::chat::{Guest, chat, hear_all};
use tests::process::state;
use tests::server::{Server, Stats};
use tests::until;

const MEMBERS: usize = 50;
const LINES: usize = 4;

/// An idle chat with all its members.
fn room() -> (Server, [Guest; MEMBERS]) {
    let server = chat(&["--quiet"]).start();
    let names: [String; MEMBERS] = std::array::from_fn(|number| format!("m{number}"));
    let members = Guest::join_all(server.tcp(), names.each_ref().map(String::as_str));
    (server, members)
}

/// How many reads, writes and refused writes (`again`) the server has made since then.
fn calls(server: &Server, since: &Stats) -> [u64; 3] {
    let now = server.stats();
    ["reads", "writes", "again"].map(|name| now.since(since, name))
}

/// A line costs one read, and one write for each other member.
#[test]
fn a_line_is_sent_once_to_each() {
    let (server, mut members) = room();
    for speaker in 0..MEMBERS {
        let before = server.stats();
        members[speaker].say("hello");
        let line = format!("[m{speaker}] hello");
        let others = members.iter_mut().enumerate();
        let others = others.filter(|(number, _)| *number != speaker);
        hear_all(others.map(|(_, member)| member), &line);
        assert_eq!(calls(&server, &before), [1, MEMBERS as u64 - 1, 0]);
    }
}

/// One turn of the loop brings four lines from each member. It costs one read for each author and
/// one write for each member, not a write for each of nearly ten thousand deliveries.
#[test]
fn lines_of_one_turn_are_sent_at_once() {
    let (server, mut members) = room();
    for round in 0..10 {
        let before = server.stats();
        until("the server waits for events", || state(server.pid()) == 'S');
        server.stop();
        for member in &members {
            for line in 0..LINES {
                member.say(format!("line {line} of round {round}"));
            }
        }
        server.resume();
        for (listener, member) in members.iter_mut().enumerate() {
            // epoll reports the connections in the order in which they became ready.
            for speaker in (0..MEMBERS).filter(|speaker| *speaker != listener) {
                for line in 0..LINES {
                    member.hears(&format!("[m{speaker}] line {line} of round {round}"));
                }
            }
        }
        assert_eq!(calls(&server, &before), [MEMBERS as u64, MEMBERS as u64, 0]);
    }
}

/// An announcement that a member has entered or left costs one write for each member, too.
#[test]
fn coming_and_going() {
    let (server, mut members) = room();
    for _ in 0..3 {
        let visitor = Guest::knock(server.tcp());
        let before = server.stats();
        let mut visitor = visitor.joined("visitor");
        hear_all(&mut members, "* visitor has entered the room");
        let [_, writes, again] = calls(&server, &before);
        assert_eq!([writes, again], [MEMBERS as u64 + 1, 0]);
        let before = server.stats();
        visitor.say("/quit");
        visitor.hears_the_end();
        hear_all(&mut members, "* visitor has left the room");
        assert_eq!(calls(&server, &before)[1], MEMBERS as u64);
    }
}
