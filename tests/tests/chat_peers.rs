//! Members that do not read, that reset while lines are on their way to them, or that end in the
//! middle of a line: the other members lose no line, and are only told that a member has left.

use std::io::Read;
use std::net::TcpStream;

use tests::chat::{Guest, chat, dial_stingy, hear_all};
use tests::client::dial;
use tests::process::resident_bytes;
use tests::server::Server;
use tests::{MIB, one_at_a_time};

/// Line `number` of the flood: 1000 bytes, including the name before it and the newline.
fn flood_line(number: usize) -> String {
    format!("{number:07} {}", "x".repeat(1000 - 8 - "[talker] \n".len()))
}

/// Lines that the talker says before the listeners read them.
const BLOCK: usize = 64;

#[test]
fn a_member_that_never_reads_is_dropped_and_the_others_hear_everything() {
    let _turn = one_at_a_time();
    // The stall timeout decides, since the minimum rate would take half a minute.
    let server = chat(&["--rate", "0", "--stall-timeout", "5s"]).start();
    let names = ["talker", "ann", "bob"];
    let [talker, mut ann, mut bob] = Guest::join_all(server.tcp(), names);
    let stalled = Guest::on(dial_stingy(server.tcp())).joined("stalled");
    hear_all([&mut ann, &mut bob], "* stalled has entered the room");
    let before = resident_bytes(server.pid());
    let (mut highest, mut announced) = (before, [0, 0]);
    for block in 0..24 * MIB / 1000 / BLOCK {
        let numbers = block * BLOCK..(block + 1) * BLOCK;
        let lines: Vec<String> = numbers.clone().map(flood_line).collect();
        talker.say(lines.join("\n"));
        for (listener, announced) in [&mut ann, &mut bob].into_iter().zip(&mut announced) {
            for line in &lines {
                let mut heard = listener.next();
                if heard == "* stalled has left the room" {
                    *announced += 1;
                    heard = listener.next();
                }
                assert!(
                    heard.strip_prefix("[talker] ") == Some(line),
                    "{heard:.100}"
                );
            }
        }
        highest = highest.max(resident_bytes(server.pid()));
    }
    assert_eq!(announced, [1, 1]);
    server.logs("stalled has left: ");
    let growth = highest - before;
    assert!(growth < 8 * MIB, "{growth} bytes while 24 MiB passed");
    assert_eq!(server.stats().get("closed_stalled"), 1);
    check_lines_of_the_stalled_member(&stalled);
    // Its name is free again.
    let mut returned = Guest::knock(server.tcp());
    returned.say("stalled");
    returned.hears("* The room contains: talker, ann, bob");
}

/// The dropped member was sent the beginning of the flood, unchanged.
fn check_lines_of_the_stalled_member(stalled: &Guest) {
    let mut told = Vec::new();
    // The connection may end with an RST.
    let _ = stalled.stream().read_to_end(&mut told);
    let lines = told.chunks(1000);
    for (number, line) in lines.enumerate() {
        let expected = format!("[talker] {}\n", flood_line(number));
        assert!(expected.as_bytes().starts_with(line), "line {number}");
    }
}

/// Joins 30 members whose names begin with `prefix`. The host reads the announcements.
fn gather(server: &Server, host: &mut Guest, prefix: &str) -> Vec<(String, Guest)> {
    let mut members: Vec<(String, Guest)> = Vec::new();
    for number in 0..30 {
        let name = format!("{prefix}{number}");
        let member = Guest::join(server.tcp(), &name);
        let heard = format!("* {name} has entered the room");
        hear_all(members.iter_mut().map(|(_, member)| member), &heard);
        host.hears(&heard);
        members.push((name, member));
    }
    members
}

/// Checks that a member reads all of these lines except its own, in any order.
fn hears_all(listener: &mut Guest, name: &str, lines: &[String]) {
    let own = format!("[{name}] ");
    let others = lines.iter().filter(|line| !line.starts_with(&own));
    let mut due: Vec<&String> = others.collect();
    let mut heard: Vec<String> = due.iter().map(|_| listener.next()).collect();
    due.sort_unstable();
    heard.sort_unstable();
    assert!(heard.iter().eq(due), "{name} has heard {heard:?}");
}

/// When the server wakes up, it finds in one batch resets, lines of other members, and new
/// connections, which may get the slots of the closed ones.
#[test]
fn members_break_off_while_they_are_spoken_to() {
    let server = chat(&[]).start();
    let mut host = Guest::join(server.tcp(), "host");
    for round in 0..8 {
        let members = gather(&server, &mut host, &format!("m{round}x"));
        server.stop();
        let (mut present, mut lines) = (Vec::new(), Vec::new());
        for (number, (name, member)) in members.into_iter().enumerate() {
            if number % 2 == round % 2 {
                lines.push(format!("* {name} has left the room"));
                member.reset();
            } else {
                member.say("and on we go");
                lines.push(format!("[{name}] and on we go"));
                present.push((name, member));
            }
        }
        let newcomers: Vec<TcpStream> = (0..15).map(|_| dial(server.tcp())).collect();
        server.resume();

        hears_all(&mut host, "host", &lines);
        for (name, member) in &mut present {
            hears_all(member, name, &lines);
        }
        for (number, newcomer) in newcomers.into_iter().enumerate() {
            let name = format!("n{round}x{number}");
            let newcomer = Guest::on(newcomer).joined(&name);
            newcomer.say("hello");
            for line in [
                format!("* {name} has entered the room"),
                format!("[{name}] hello"),
            ] {
                host.hears(&line);
                hear_all(present.iter_mut().map(|(_, member)| member), &line);
            }
            present.push((name, newcomer));
        }
        for (name, member) in present {
            member.end();
            host.hears(&format!("* {name} has left the room"));
        }
    }
}

/// Members reset one by one while a talker talks without a pause.
#[test]
fn members_break_off_at_any_time() {
    const LINES: usize = 20;
    let server = chat(&["--rate", "0"]).start();
    let mut host = Guest::join(server.tcp(), "host");
    let talker = Guest::join(server.tcp(), "talker");
    host.hears("* talker has entered the room");
    let members = gather(&server, &mut host, "m");
    let mut left = Vec::new();
    let mut said = Vec::new();
    for (number, (name, member)) in members.into_iter().enumerate() {
        let lines: Vec<String> = (0..LINES).map(|line| format!("{number}.{line}")).collect();
        talker.say(lines.join("\n"));
        member.reset();
        left.push(format!("* {name} has left the room"));
        said.extend(lines.iter().map(|line| format!("[talker] {line}")));
    }
    let heard = (0..said.len() + left.len()).map(|_| host.next());
    let (mut leaves, lines): (Vec<String>, Vec<String>) =
        heard.partition(|line| line.starts_with("* "));
    assert_eq!(lines, said);
    leaves.sort_unstable();
    left.sort_unstable();
    assert_eq!(leaves, left);
}

/// The lines of each member arrive in order, however many arrive in one batch.
#[test]
fn lines_that_come_while_it_is_stopped() {
    const SPEAKERS: usize = 20;
    let server = chat(&[]).start();
    let names: [String; SPEAKERS] = std::array::from_fn(|number| format!("m{number}"));
    let mut members = Guest::join_all(server.tcp(), names.each_ref().map(String::as_str));
    for round in 0..10 {
        server.stop();
        for member in &members {
            for line in 0..3 {
                member.say(format!("{round}.{line}"));
            }
        }
        server.resume();
        for (number, member) in members.iter_mut().enumerate() {
            let mut heard: Vec<String> = (0..3 * (SPEAKERS - 1)).map(|_| member.next()).collect();
            // A stable sort keeps the order of each member's lines.
            heard.sort_by_key(|line| line.split_once(']').map(|(name, _)| name.to_owned()));
            let mut names: Vec<&String> = names.iter().collect();
            names.remove(number);
            names.sort_unstable();
            let lines = |name: &&String| [0, 1, 2].map(|line| format!("[{name}] {round}.{line}"));
            let due: Vec<String> = names.iter().flat_map(lines).collect();
            assert_eq!(heard, due);
        }
    }
}

/// The end of a stream completes its last line, and that line comes before the announced leave.
#[test]
fn last_words() {
    let server = chat(&[]).start();
    let mut host = Guest::join(server.tcp(), "host");
    for number in 0..20 {
        let mut guest = Guest::knock(server.tcp());
        guest.send(format!("guest{number}\none\ntwo\r\n\nlast words"));
        guest.end();
        guest.hears("* The room contains: host");
        guest.hears_the_end();
        host.hears(&format!("* guest{number} has entered the room"));
        for words in ["one", "two", "last words"] {
            host.hears(&format!("[guest{number}] {words}"));
        }
        host.hears(&format!("* guest{number} has left the room"));
    }
}

/// The lines do not depend on how the bytes are split into segments.
#[test]
fn one_byte_at_a_time() {
    let server = chat(&[]).start();
    let mut host = Guest::join(server.tcp(), "host");
    let guest = Guest::knock(server.tcp());
    // With TCP_NODELAY each byte is a segment.
    for byte in "guest\r\nhello\n//slash\r\nna\u{ef}ve \u{1f600}\n".bytes() {
        guest.send([byte]);
    }
    host.hears("* guest has entered the room");
    host.hears("[guest] hello");
    host.hears("[guest] /slash");
    host.hears("[guest] na\u{ef}ve \u{1f600}");
}
