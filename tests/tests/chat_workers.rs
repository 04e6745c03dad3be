//! `edgeloop chat --workers N`: one chat on several reactors. Members cannot tell which of them serves
//! whom.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;

use nix::sys::signal::Signal;
use tempfile::tempdir;
use tests::chat::{Guest, chat};
use tests::client::ask;
use tests::process::threads;
use tests::server::{Launch, Server};
use tests::tmux::Tmux;
use tests::until;

const WORKERS: usize = 4;
/// As many members that it would be a wonder if one worker had all of them.
const MEMBERS: usize = 20;

fn workers(options: &[&str]) -> Launch {
    chat(options).args(&["--workers", "4"])
}

/// Members named `m0` and so on, each of which knows of all others.
fn members(server: SocketAddr) -> Vec<Guest> {
    let mut members: Vec<Guest> = Vec::new();
    for number in 0..MEMBERS {
        let newcomer = Guest::join(server, &format!("m{number}"));
        for member in &mut members {
            member.hears(&format!("* m{number} has entered the room"));
        }
        members.push(newcomer);
    }
    members
}

fn until_several_workers_have_members(server: &Server) {
    until("several workers have members", || {
        workers_with_members(server) > 1
    });
}

/// The number of connections that have the highest count of the same id, which each worker gives once.
fn workers_with_members(server: &Server) -> usize {
    let log = server.stderr().text();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for line in log
        .lines()
        .filter(|line| line.contains("] connection ") && line.contains(" from "))
    {
        let id = line
            .split("] connection ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        *counts.entry(id.expect("an id")).or_default() += 1;
    }
    counts.into_values().max().unwrap_or_default()
}

/// The names in a list of members.
fn names(list: &str) -> Vec<&str> {
    let (_, names) = list.split_once(": ").expect("a list");
    let mut names: Vec<&str> = names.split(", ").collect();
    names.sort_unstable();
    names
}

#[test]
fn members_of_all_workers_hear_the_same_lines_in_the_same_order() {
    const LINES: usize = 30;
    let server = workers(&["-v", "--rate", "0"]).start();
    until("all threads run", || threads(server.pid()) == WORKERS + 1);
    let mut members = members(server.tcp());
    until_several_workers_have_members(&server);
    // All talk at once.
    for line in 0..LINES {
        for (number, member) in members.iter().enumerate() {
            member.say(format!("{number} {line}"));
        }
    }
    let total = MEMBERS * LINES;
    let mut told: Vec<Vec<String>> = Vec::new();
    for member in &mut members {
        let others = total - LINES;
        told.push((0..others).map(|_| member.next()).collect());
    }
    // A member does not hear itself, so the orders of two are compared without their own lines.
    let first = &told[0];
    for (number, other) in told.iter().enumerate().skip(1) {
        let (own, firsts) = (format!("[m{number}] "), "[m0] ");
        let without = |lines: &[String]| -> Vec<String> {
            let is_of_others =
                |line: &&String| !line.starts_with(&own) && !line.starts_with(firsts);
            lines.iter().filter(is_of_others).cloned().collect()
        };
        assert!(without(first) == without(other), "{number}: another order");
    }
    for number in 1..MEMBERS {
        let lines = first
            .iter()
            .filter_map(|line| line.strip_prefix(&format!("[m{number}] ")));
        let expected = (0..LINES).map(|line| format!("{number} {line}"));
        assert!(lines.eq(expected), "of m{number}: {first:?}");
    }
}

#[test]
fn commands_reach_all_workers() {
    let server = workers(&["-v"]).start();
    let mut members = members(server.tcp());
    until_several_workers_have_members(&server);
    let mut all: Vec<String> = (0..MEMBERS).map(|number| format!("m{number}")).collect();
    all.sort_unstable();
    for member in &mut members {
        member.say("/who");
        let told = member.next();
        assert!(told.starts_with("* in lobby (20): "), "{told}");
        assert_eq!(names(&told), all);
        member.say("/nick m3");
        let told = member.next();
        assert!(told.contains("m3") || told.contains("taken"), "{told}");
    }
    members[7].say("/nick seven");
    members[7].hears("* you are now known as seven");
    for (number, member) in members.iter_mut().enumerate() {
        if number != 7 {
            member.hears("* m7 is now known as seven");
        }
    }
    for number in 0..MEMBERS {
        if number != 7 {
            members[number].say("/msg seven psst");
            members[number].hears("[you to seven] psst");
            members[7].hears(&format!("[m{number} to you] psst"));
        }
    }
    // Half of them go to another room.
    for member in &mut members[..MEMBERS / 2] {
        member.say("/join attic");
        member.hears_at_last("* you are in attic now");
    }
    for member in &mut members {
        member.say("/rooms");
        until("both rooms are told", || member.next().contains("attic"));
    }
    members[0].say("only up here");
    members[MEMBERS - 1].say("only down here");
    for member in &mut members[1..MEMBERS / 2] {
        member.hears_at_last("[m0] only up here");
    }
    for member in &mut members[MEMBERS / 2..MEMBERS - 1] {
        member.hears_at_last("[m19] only down here");
    }
}

#[test]
fn a_name_has_one_member() {
    let server = workers(&["-v"]).start();
    // All claim the same name at once.
    let mut claimants: Vec<Guest> = (0..MEMBERS).map(|_| Guest::knock(server.tcp())).collect();
    until_several_workers_have_members(&server);
    for claimant in &claimants {
        claimant.say("ada");
    }
    let told: Vec<String> = claimants.iter_mut().map(Guest::next).collect();
    let has_joined = |told: &&String| told.starts_with("* The room ");
    assert_eq!(told.iter().filter(has_joined).count(), 1, "{told:?}");
    let refused = told.iter().filter(|told| told.contains("taken")).count();
    assert_eq!(refused, MEMBERS - 1, "{told:?}");
    // The name is free again on all workers when its member has left.
    drop(claimants);
    for _ in 0..MEMBERS {
        until("the name is free", || {
            let mut guest = Guest::knock(server.tcp());
            guest.say("ada");
            guest.next().starts_with("* The room ")
        });
    }
}

#[test]
fn the_operator_is_heard_by_all_and_keeps_members_out_of_all_workers() {
    let mut server = workers(&["--operator", "-v"]).stdin(Stdio::piped()).start();
    let mut operator = server.stdin();
    let mut members = members(server.tcp());
    until_several_workers_have_members(&server);
    let mut type_in = |line: &str| writeln!(operator, "{line}").expect("it reads");
    type_in("tea is at five");
    for member in &mut members {
        member.hears("* operator: tea is at five");
    }
    for (number, member) in members.iter().enumerate() {
        member.say(format!("line {number}"));
        server.prints(&format!("lobby [m{number}] line {number}"));
    }
    for (number, member) in members.iter_mut().enumerate() {
        let last = if number == MEMBERS - 1 { 18 } else { 19 };
        member.hears_at_last(&format!("[m{last}] line {last}"));
    }
    type_in("/kick m5");
    type_in("/ban m6");
    for number in [5, 6] {
        let rest = members[number].rest();
        assert!(!rest.is_empty(), "a word of farewell");
    }
    for (number, member) in members.iter_mut().enumerate() {
        if ![5, 6].contains(&number) {
            member.hears_at_last("* m6 has left the room");
        }
    }
    for name in ["m5", "m6"] {
        for _ in 0..MEMBERS {
            let mut guest = Guest::knock(server.tcp());
            guest.say(name);
            let told = guest.next();
            assert!(!told.starts_with("* The room "), "{told}");
        }
    }
    type_in("/unban m6");
    server.prints("m6 may come in");
    for _ in 0..3 {
        until("m6 may come in", || {
            let mut guest = Guest::knock(server.tcp());
            guest.say("m6");
            guest.next().starts_with("* The room ")
        });
    }
}

#[test]
fn one_transcript_has_each_line_once() {
    let directory = tempdir().expect("a temporary directory");
    let file = directory.path().join("transcript");
    let log = directory.path().join("log");
    let path = |path: &std::path::Path| path.to_str().expect("a path in UTF-8").to_owned();
    let options = ["--transcript", &path(&file), "--log-file", &path(&log)];
    let content = |path: &std::path::Path| fs::read_to_string(path).unwrap_or_default();
    let mut server = workers(&options).start();
    let members = members(server.tcp());
    for (number, member) in members.iter().enumerate() {
        member.say(format!("before {number}"));
    }
    until("all is written", || {
        content(&file).matches("] before ").count() == MEMBERS
    });
    let moved = directory.path().join("moved");
    let moved_log = directory.path().join("moved log");
    fs::rename(&file, &moved).expect("rename");
    fs::rename(&log, &moved_log).expect("rename");
    server.signal(Signal::SIGHUP);
    until("the files are opened anew", || {
        file.exists() && log.exists()
    });
    for (number, member) in members.iter().enumerate() {
        member.say(format!("after {number}"));
    }
    until("all is written again", || {
        content(&file).matches("] after ").count() == MEMBERS
    });
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    let (before, after) = (content(&moved), content(&file));
    for number in 0..MEMBERS {
        for (text, line) in [
            (&before, format!(" lobby [m{number}] before {number}\n")),
            (&after, format!(" lobby [m{number}] after {number}\n")),
        ] {
            assert_eq!(text.matches(&line).count(), 1, "{line:?} in {text}");
        }
    }
    assert!(!before.contains("] after ") && !after.contains("] before "));
    let logs = content(&moved_log) + &content(&log);
    assert_eq!(logs.matches("SIGHUP").count(), 1, "{logs}");
}

#[test]
fn all_workers_read_the_message_of_the_day_again() {
    let directory = tempdir().expect("a temporary directory");
    let file = directory.path().join("motd");
    fs::write(&file, "before\n").expect("write");
    let server = workers(&["--motd", file.to_str().expect("UTF-8")]).start();
    let shown = |number: usize| {
        let mut guest = Guest::join(server.tcp(), &format!("m{number}"));
        guest.next()
    };
    for number in 0..MEMBERS {
        assert_eq!(shown(number), "* before");
    }
    fs::write(&file, "after\n").expect("write");
    server.signal(Signal::SIGHUP);
    // Many in a row: so all workers have read it.
    let mut in_a_row = 0;
    let mut number = MEMBERS;
    until("all workers show the new message", || {
        number += 1;
        in_a_row = if shown(number) == "* after" {
            in_a_row + 1
        } else {
            0
        };
        in_a_row == 2 * MEMBERS
    });
}

#[test]
fn a_stop_ends_all_workers_without_a_word() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = workers(&[]).start();
        let mut members = members(server.tcp());
        server.signal(signal);
        for member in &mut members {
            assert_eq!(member.rest(), [""; 0]);
        }
        assert_eq!(server.exit_code(), 0);
    }
}

#[test]
fn the_limits_hold_for_all_workers_together() {
    let server = workers(&["--max-connections", "20"]).start();
    let (members, mut guests) = (members(server.tcp()), Vec::new());
    for _ in 0..10 {
        let refused = TcpStream::connect(server.tcp()).expect("connect");
        assert!(tests::client::is_closed(refused));
    }
    assert_eq!(server.stats().get("refused_limit"), 10);
    drop(members);
    server.stats_until("all have left", |stats| stats.get("connections") == 0);
    // The names are free a moment later.
    for number in 0..MEMBERS {
        let again = Guest::join(server.tcp(), &format!("n{number}"));
        guests.push(again);
    }
}

#[test]
fn each_worker_serves_the_page() {
    let launch = Launch::new("chat", &["127.0.0.1:0", "http://127.0.0.1:0"]);
    let server = launch.args(&["--workers", "4"]).start();
    for _ in 0..MEMBERS {
        let answer = ask(server.http(), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

/// The terminal is the first worker's: it is restored at the end, and drawn again when the process goes
/// on.
#[test]
fn an_operator_types_undisturbed() {
    let tmux = Tmux::new();
    let host = tmux.window(80, 24);
    host.run("edgeloop chat 127.0.0.1:0 --operator --workers 3");
    let hint = host.shows("try it: nc ");
    let (_, at) = hint.split_once("try it: nc ").expect("a hint");
    let at = at.replace(' ', ":").parse().expect("an address");
    let mut guests: Vec<Guest> = (0..6)
        .map(|number| Guest::join(at, &format!("m{number}")))
        .collect();
    host.shows("m5 has joined from ");
    host.type_in("the room closes");
    for (number, guest) in guests.iter().enumerate() {
        guest.say(format!("line {number}"));
    }
    host.shows("lobby [m5] line 5");
    host.shows("the room closes");
    host.enter(" at ten");
    for guest in &mut guests {
        guest.hears_at_last("* operator: the room closes at ten");
    }
    host.type_in("half a line");
    host.press(&["C-c"]);
    host.shows("stopping");
    host.enter("echo still here");
    host.shows("still here");
}
