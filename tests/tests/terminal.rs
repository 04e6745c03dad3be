//! A user at a real terminal (a shell in `tmux`) can type while lines come in, and keeps a usable
//! terminal.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::tempdir;

use tests::client::{dial, fill};
use tests::process::{children, resident_bytes};
use tests::program::needs;
use tests::sockets::until_accepted;
use tests::tmux::{Tmux, Window};
use tests::{MIB, until};

/// Starts a server in a window, and returns the address in its hint.
fn serve(window: &Window<'_>, line: &str) -> SocketAddr {
    window.run(line);
    let hint = window.shows("try it: nc ");
    let (_, at) = hint.split_once("try it: nc ").expect("a hint");
    at.replace(' ', ":").parse().expect("an address")
}

/// Two windows with a connected `talk` server and client.
fn talk(tmux: &Tmux) -> (Window<'_>, Window<'_>) {
    let (host, guest) = (tmux.window(80, 24), tmux.window(80, 24));
    let at = serve(&host, "edgeloop talk 127.0.0.1:0");
    guest.run(&format!("edgecall talk -v {at}"));
    guest.shows("connected to ");
    host.shows("peer connected from ");
    (host, guest)
}

/// A line being typed stays whole, below the lines that come in.
#[test]
fn both_sides_type_at_once() {
    let tmux = Tmux::new();
    let (host, guest) = talk(&tmux);
    // Both type letter by letter, in turns.
    let (one, other) = ("how are you today?", "what a fine day it");
    for (left, right) in one.chars().zip(other.chars()) {
        host.type_in(&left.to_string());
        guest.type_in(&right.to_string());
    }
    host.ends_in(&[one]);
    guest.ends_in(&[other]);
    // Lines come in while the guest has typed half a line.
    host.press(&["Enter"]);
    guest.ends_in(&[one, other]);
    host.enter("and the family?");
    guest.ends_in(&[one, "and the family?", other]);
    guest.enter(" is");
    host.ends_in(&[one, "and the family?", "what a fine day it is"]);
    guest.ends_in(&[one, "and the family?", "what a fine day it is"]);
}

/// Editing continues at the cursor while lines come in above.
#[test]
fn a_line_is_edited_while_others_come_in() {
    let tmux = Tmux::new();
    let (host, guest) = talk(&tmux);
    host.type_in("I like caf\u{e9}s and \u{4f60}\u{597d}");
    host.press(&["Left", "Left", "BSpace", "C-w", "Home"]);
    guest.enter("what do you like?");
    host.ends_in(&["what do you like?", "I like caf\u{e9}s \u{4f60}\u{597d}"]);
    host.type_in("Yes, ");
    guest.enter("are you there?");
    host.ends_in(&["are you there?", "Yes, I like caf\u{e9}s \u{4f60}\u{597d}"]);
    host.press(&["End", "!", "Enter"]);
    let line = "Yes, I like caf\u{e9}s \u{4f60}\u{597d}!";
    host.ends_in(&["are you there?", line]);
    guest.ends_in(&[line]);
    // The line is sent again from the history.
    host.press(&["Up", "?", "Enter"]);
    guest.ends_in(&[line, &format!("{line}?")]);
}

/// Ctrl-Z returns the terminal to the shell in its original mode, and `fg` restores the line.
#[test]
fn stopped_and_continued() {
    let tmux = Tmux::new();
    let (host, guest) = talk(&tmux);
    host.type_in("unfinished");
    // Wait until the line is shown: Ctrl-Z discards unread input (termios(3), NOFLSH).
    host.ends_in(&["unfinished"]);
    host.press(&["C-z"]);
    host.shows("Stopped");
    // The terminal is in the shell's mode: the kernel edits and echoes lines.
    host.read_line();
    host.type_in("ty");
    host.press(&["BSpace"]);
    host.enter("yped");
    host.ends_in(&["typed", "read typed", "$"]);
    guest.enter("are you there?");
    host.enter("fg");
    host.ends_in(&["are you there?", "unfinished"]);
    host.enter(" business");
    host.ends_in(&["are you there?", "unfinished business"]);
    guest.ends_in(&["are you there?", "unfinished business"]);
    guest.press(&["C-z"]);
    guest.shows("Stopped");
    guest.enter("fg");
    guest.enter("back");
    host.ends_in(&["unfinished business", "back"]);
}

/// A line longer than the window is wide is drawn on one row and cut, also after a resize.
#[test]
fn the_window_changes_its_size() {
    let tmux = Tmux::new();
    let (host, guest) = talk(&tmux);
    let words: Vec<String> = (0..12).map(|number| format!("[{number:07}]")).collect();
    let line = words.concat();
    host.type_in(&line);
    let last_row = || host.rows().last().cloned().unwrap_or_default();
    until("the line is cut on the left", || {
        let row = last_row();
        row.starts_with('<') && row.ends_with("[0000011]") && row.len() < 80
    });
    host.resize(40, 24);
    until("it is cut to 40 columns", || {
        let row = last_row();
        row.starts_with('<') && row.ends_with("[0000011]") && row.len() < 40
    });
    host.press(&["Home"]);
    until("it is cut on the right", || {
        let row = last_row();
        row.starts_with("[0000000][0000001]") && row.ends_with('>') && row.len() < 40
    });
    host.resize(130, 24);
    host.ends_in(&[&line]);
    guest.resize(130, 24);
    host.press(&["Enter"]);
    guest.ends_in(&[&line]);
    host.ends_in(&[&line]);
}

/// When a window becomes narrower, the terminal wraps the row; the program erases the wrapped rows.
#[test]
fn a_window_becomes_narrower_and_narrower() {
    let tmux = Tmux::new();
    let (host, guest) = talk(&tmux);
    guest.enter("what do you see?");
    let words: Vec<String> = (0..7).map(|number| format!("[{number:07}]")).collect();
    host.type_in(&words.concat());
    host.ends_in(&["what do you see?", &words.concat()]);
    for columns in [33, 20, 17, 80, 25] {
        host.resize(columns, 24);
        until("the line is on one row, below the other's", || {
            let rows = host.rows();
            let [.., above, row] = &rows[..] else {
                return false;
            };
            above == "what do you see?" && row.ends_with("[0000006]")
        });
    }
    host.press(&["Enter"]);
    guest.ends_in(&["what do you see?", &words.concat()]);
}

/// Pasted characters are text: tabs stay, and no character acts as a key.
#[test]
fn text_is_pasted() {
    let tmux = Tmux::new();
    let (host, guest) = talk(&tmux);
    host.paste("one\ttwo\u{4}\u{15}three\nfour\tfive");
    guest.ends_in(&["one     twothree"]);
    host.ends_in(&["one     twothree", "four five"]);
    host.press(&["C-a"]);
    host.enter("three\t");
    guest.ends_in(&["one     twothree", "three four      five"]);
    // After the program, bracketed paste is off again.
    host.press(&["C-c"]);
    host.ends_in(&["$"]);
    host.read_line();
    host.paste("plain");
    host.press(&["Enter"]);
    host.ends_in(&["plain", "read plain", "$"]);
}

/// Keys for words delete, restore and move by words.
#[test]
fn words_are_deleted_and_come_back() {
    let tmux = Tmux::new();
    let (host, guest) = talk(&tmux);
    host.type_in("one two, three/four");
    host.press(&["M-BSpace", "C-w", "M-b", "M-b", "C-Right"]);
    host.type_in(" and a half");
    host.ends_in(&["one and a half two,"]);
    // Words deleted by two keys in a row come back together.
    host.press(&["C-e", "C-y", "C-Left", "C-Left", "M-f"]);
    host.type_in("!");
    host.press(&["Enter"]);
    guest.ends_in(&["one and a half two, three!/four"]);
}

/// Control sequences from the peer are shown, never executed.
#[test]
fn hostile_text_in_a_conversation() {
    let tmux = Tmux::new();
    let window = tmux.window(80, 24);
    let title = window.variable("pane_title");
    let at = serve(&window, "edgeloop talk 127.0.0.1:0");
    let mut peer = dial(at);
    window.shows("peer connected from ");
    window.type_in("typing");
    peer.write_all(b"\x1b[2J\x1b[31m\x1b]0;owned\x07\x1b[1Aabove\rover\x9b2J\n")
        .expect("write");
    let shown = "\\x1b[2J\\x1b[31m\\x1b]0;owned\\x07\\x1b[1Aabove\\rover\\x9b2J";
    window.ends_in(&[shown, "typing"]);
    window.shows("peer connected from ");
    assert_eq!(window.variable("pane_title"), title);
}

/// Ctrl-D half-closes the connection, and Ctrl-C ends the program. The shell gets status 0 either
/// way.
#[test]
fn a_user_leaves() {
    let tmux = Tmux::new();
    let (host, guest) = talk(&tmux);
    guest.enter("goodbye");
    host.shows("goodbye");
    guest.press(&["C-d"]);
    host.shows("peer closed");
    guest.ends_in(&[
        "goodbye",
        "peer closed",
        "sent 8 bytes, received 0 bytes",
        "$",
    ]);
    guest.enter("echo \"status $?\"");
    guest.ends_in(&["status 0", "$"]);
    // The host still waits for the next peer.
    host.type_in("nobody hears this");
    host.press(&["Enter"]);
    host.shows("nobody is there to read this");
    host.press(&["C-c"]);
    host.ends_in(&["$"]);
    host.enter("echo \"status $?\"");
    host.ends_in(&["status 0", "$"]);
}

/// A program whose window is closed ends, because no user could end it any more.
#[test]
fn a_window_is_closed() {
    let tmux = Tmux::new();
    let (host, guest) = talk(&tmux);
    let programs = [children(host.shell()), children(guest.shell())].concat();
    assert_eq!(programs.len(), 2);
    host.close();
    guest.shows("peer closed");
    guest.ends_in(&["$"]);
    let another = tmux.window(80, 24);
    until("the server has ended", || {
        programs
            .iter()
            .all(|pid| !fs::exists(format!("/proc/{pid}")).expect("/proc"))
    });
    let at = serve(&another, "edgeloop talk 127.0.0.1:0");
    let programs = children(another.shell());
    another.close();
    until("the server without a peer has ended", || {
        programs
            .iter()
            .all(|pid| !fs::exists(format!("/proc/{pid}")).expect("/proc"))
    });
    assert!(TcpStream::connect(at).is_err());
}

#[test]
fn hostile_text_in_a_sink() {
    let tmux = Tmux::new();
    let window = tmux.window(80, 24);
    let title = window.variable("pane_title");
    let at = serve(&window, "edgeloop sink 127.0.0.1:0");
    let mut client = dial(at);
    window.shows("client 0 connected from ");
    client
        .write_all(b"\x1b[2J\x1b[31m\x1b]0;owned\x07\x1b[1Aabove\rover\n")
        .expect("write");
    window.shows("client 0: \\x1b[2J\\x1b[31m\\x1b]0;owned\\x07\\x1b[1Aabove\\rover");
    window.shows("client 0 connected from ");
    assert_eq!(window.variable("pane_title"), title);
    drop(client);
    window.ends_in(&["client 0 closed"]);
}

/// `less` reads only as much as it shows. Clients are paused until the user scrolls.
#[test]
fn a_sink_into_a_pager() {
    needs("less");
    let directory = tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (log, copy) = (path("log"), path("copy"));
    let tmux = Tmux::new();
    let window = tmux.window(80, 24);
    window.run(&format!(
        "edgeloop sink 127.0.0.1:0 2>{log} | less -O{copy}"
    ));
    let mut at = None;
    until("the server listens", || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        at = log.split_once("listening on tcp://").and_then(|(_, rest)| {
            let (at, _) = rest.split_once('\n')?;
            at.parse().ok()
        });
        at.is_some()
    });
    let client = dial(at.expect("it listens"));
    until_accepted(&client);
    let is_sink = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name == "edgeloop\n")
    };
    let sink = children(window.shell()).into_iter().find(is_sink);
    let sink = sink.expect("a child of the shell");
    let before = resident_bytes(sink);
    let lines = (0..2000).map(|number| format!("{number} {}\n", "z".repeat(number % 100)));
    let block = lines.collect::<String>().into_bytes();
    let sent = fill(&client, &block);
    let growth = resident_bytes(sink).saturating_sub(before);
    assert!(growth < 4 * MIB, "{growth} bytes in memory");
    window.shows("client 0: 3 zzz");
    // `G` makes `less` read to the end of its input, which comes when the server ends.
    window.press(&["G"]);
    drop(client);
    until("all is read", || {
        fs::read_to_string(&copy).is_ok_and(|copy| copy.ends_with("client 0 closed\n"))
    });
    kill(Pid::from_raw(sink.cast_signed()), Signal::SIGTERM).expect("kill");
    window.shows("client 0 closed");
    window.shows("(END)");
    window.press(&["q"]);
    window.ends_in(&["$"]);
    let said: Vec<u8> = block.iter().copied().cycle().take(sent).collect();
    let said = String::from_utf8(said).expect("ASCII");
    let printed = fs::read_to_string(&copy).expect("a copy");
    let heard = printed
        .lines()
        .filter_map(|line| line.strip_prefix("client 0: "));
    assert!(heard.eq(said.lines()), "not what was said");
}
