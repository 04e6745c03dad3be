//! The operator at the server's terminal sees the members' lines, can speak, kick and ban.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use nix::sys::signal::Signal;
use nix::unistd::pipe;

use tests::chat::{Guest, chat};
use tests::client::dial_unix;
use tests::link::Link;
use tests::process::resident_bytes;
use tests::server::Launch;
use tests::tmux::Tmux;
use tests::{MIB, PATIENCE};

#[test]
fn an_operator_sees_all_lines_and_types_undisturbed() {
    let tmux = Tmux::new();
    let host = tmux.window(80, 24);
    host.run("edgeloop chat 127.0.0.1:0 --operator");
    let hint = host.shows("try it: nc ");
    let (_, at) = hint.split_once("try it: nc ").expect("a hint");
    let at = at.replace(' ', ":").parse().expect("an address");
    let mut ann = Guest::join(at, "ann");
    host.ends_in(&[&format!(
        "ann has joined from {}",
        ann.stream().local_addr().expect("an address")
    )]);
    host.type_in("the room closes");
    ann.say("is there \x1b[2Jtea?");
    host.ends_in(&["lobby [ann] is there [2Jtea?", "the room closes"]);
    ann.say("/nick Anna");
    host.ends_in(&["ann is now Anna", "the room closes"]);
    host.enter(" at ten");
    ann.hears("* you are now known as Anna");
    ann.hears("* operator: the room closes at ten");
    host.enter("/join attic");
    host.shows("you speak to attic (0):");
    ann.say("in the lobby");
    ann.say("/join Attic");
    ann.hears_at_last("* The room is empty");
    ann.say("in the attic");
    host.ends_in(&[
        "you speak to attic (0):",
        "* Anna has entered the room",
        "[Anna] in the attic",
    ]);
    host.enter("hello up there");
    ann.hears("* operator: hello up there");
    host.type_in("half a line");
    drop(ann);
    host.ends_in(&["* Anna has left the room", "half a line"]);
    // After the end of input, the terminal still shows the chat.
    host.press(&["C-u", "C-d"]);
    let _bob = Guest::join(at, "bob");
    host.shows("bob has joined from ");
    host.press(&["C-c"]);
    host.shows("stopping");
    host.enter("echo still here");
    host.shows("still here");
}

/// Members do not wait for a suspended terminal, and the server keeps no lines for it. When the
/// terminal resumes, it shows how many lines it has missed.
#[test]
fn a_suspended_terminal_delays_no_member() {
    let (reader, writer) = pipe().expect("pipe");
    let options = ["--operator", "--rate", "0", "--stall-timeout", "100ms"];
    let server = chat(&options).stdin(Stdio::piped()).stdout(writer).start();
    let [mut ann, bob] = Guest::join_all(server.tcp(), ["ann", "bob"]);
    let before = resident_bytes(server.pid());
    let line = "x".repeat(1000);
    let said = 8 * MIB / line.len();
    for _ in 0..said {
        bob.say(&line);
        ann.hears(&format!("[bob] {line}"));
    }
    let growth = resident_bytes(server.pid()).saturating_sub(before);
    assert!(growth < 4 * MIB, "{growth} bytes");
    let mut shown = 0;
    for line in BufReader::new(File::from(reader)).lines() {
        let line = line.expect("UTF-8");
        match line.strip_prefix("lines that were not shown: ") {
            Some(missing) => {
                assert_eq!(missing.parse(), Ok(said - shown));
                break;
            }
            None => shown += 1,
        }
    }
    assert!(shown > 0 && shown < said, "{shown} of {said}");
}

#[test]
fn kicks_and_bans() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("chat.sock");
    let address = format!("unix:{}", path.display());
    let mut server = Launch::new("chat", &["127.0.0.1:0", &address])
        .args(&["--operator"])
        .stdin(Stdio::piped())
        .start();
    let terminal = server.stdin();
    let type_line = |line: &str| writeln!(&terminal, "{line}").expect("it is read");
    let [mut ann, mut eve] = Guest::join_all(server.tcp(), ["ann", "eve"]);
    type_line("/kick EVE");
    eve.hears("* you were asked to leave");
    eve.hears_the_end();
    ann.hears("* eve has left the room");
    server.prints("banned: eve for 5m");
    let refused = |name: &str| {
        let mut guest = Guest::knock(server.tcp());
        guest.say(name);
        guest.hears("* this name or your address is banned");
        guest.hears_the_end();
    };
    refused("Eve");
    type_line("/ban mal 1h");
    server.prints("banned: mal for 1h");
    refused("MAL");
    // All members share the loopback address, so it is not banned.
    let mut zoe = Guest::join(server.tcp(), "zoe");
    ann.hears("* zoe has entered the room");
    type_line("/ban zoe");
    zoe.hears("* you are banned");
    zoe.hears_the_end();
    ann.hears("* zoe has left the room");
    refused("zoe");
    let local = dial_unix(&path);
    (&local).write_all(b"zoe\n").expect("it is read");
    let mut told = String::new();
    (&local)
        .read_to_string(&mut told)
        .expect("a reason and the end");
    assert!(told.ends_with("\n* this name or your address is banned\n"));
    type_line("/who");
    let line = server
        .stdout()
        .wait_for(PATIENCE, |line| line.starts_with("banned: zoe, mal"));
    assert!(line.expect("the list").contains(", eve for 4m"));
    type_line("/unban Zoe");
    server.prints("zoe may come in");
    let _zoe = Guest::join(server.tcp(), "zoe");
    ann.hears("* zoe has entered the room");
    type_line("/kick nobody");
    server.prints("nobody has this name");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

/// A ban also covers an address that is not loopback.
#[test]
fn a_ban_by_address() {
    let Some(link) = Link::shaped("100mbit") else {
        return;
    };
    let mut server = Launch::new("chat", &["0.0.0.0:0"])
        .args(&["--operator"])
        .under(&link.wrapper())
        .stdin(Stdio::piped())
        .start();
    let (terminal, port) = (server.stdin(), server.tcp().port());
    let mut eve = Guest::on(link.dial_far(port)).joined("eve");
    writeln!(&terminal, "/ban eve 1h").expect("it is read");
    server.prints("banned: eve (192.0.2.2) for 1h");
    eve.hears("* you are banned");
    eve.hears_the_end();
    let mut zoe = Guest::on(link.dial_far(port));
    zoe.say("zoe");
    zoe.hears("* this name or your address is banned");
    zoe.hears_the_end();
    let _zoe = Guest::on(link.dial_near(port)).joined("zoe");
    writeln!(&terminal, "/unban eve").expect("it is read");
    server.prints("eve may come in");
    let _eve = Guest::on(link.dial_far(port)).joined("eve");
}

/// The bound of the history is logged at the start.
#[test]
fn history_says_its_bound_and_a_long_line_does_not_wipe_it() {
    let server = chat(&["--history", "5000", "--max-line", "100KiB"]).start();
    server.logs("history: the last 5000 lines of a room, 64 KiB of them at the most");
    let [ann, mut bob] = Guest::join_all(server.tcp(), ["ann", "bob"]);
    for number in 0..1000 {
        ann.say(number.to_string());
    }
    let long = "x".repeat(90 * 1024);
    ann.say(&long);
    bob.hears_at_last(&format!("[ann] {long}"));
    let mut carol = Guest::join(server.tcp(), "carol");
    let past = |number: usize| format!(" ago [ann] {number}");
    for number in 0..1000 {
        let line = carol.next();
        assert!(line.ends_with(&past(number)), "{line}");
    }
    let line = carol.next();
    assert!(line.contains(" ago [ann] xxx") && line.ends_with("x…"));
}
