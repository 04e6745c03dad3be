//! `edgecall` at a terminal: it makes the server's bytes harmless, and shows the progress of large
//! transfers.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use tests::call::{content, file_of};
use tests::client::{expect, expect_end};
use tests::door::{Door, udp_door};
use tests::process::wait_for_exit;
use tests::random::Random;
use tests::server::{Launch, edgecall};
use tests::terminal::Terminal;
use tests::{MIB, PATIENCE};

const HOSTILE: &[u8] = b"\x1b[2Jcaf\xc3\xa9\x9b1A\r\n";
const HARMLESS: &str = "\\x1b[2Jcafé\\x9b1A\n";

/// Starts `edgecall`. The `Command` is dropped, so that it does not keep the terminal open.
fn start(
    arguments: &[&str],
    stdin: impl Into<Stdio>,
    stdout: impl Into<Stdio>,
    stderr: impl Into<Stdio>,
) -> Child {
    let mut command = Command::new(edgecall());
    command.args(arguments);
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    command.spawn().expect("edgecall can be started")
}

fn succeeds(mut child: Child) {
    let status = wait_for_exit(&mut child, PATIENCE).expect("edgecall ends");
    assert!(status.success(), "{status}");
}

fn fails(mut child: Child) {
    let status = wait_for_exit(&mut child, PATIENCE).expect("edgecall ends");
    assert_eq!(status.code(), Some(1));
}

#[test]
fn bytes_are_made_harmless_for_a_terminal() {
    for arguments in [&["echo"][..], &["upper", "--addr"]] {
        let terminal = Terminal::new();
        let door = Door::tcp();
        let arguments = [arguments, &[door.address()]].concat();
        let question = [b'x'; HOSTILE.len()];
        let child = start(
            &arguments,
            file_of(&question),
            terminal.line(),
            Stdio::inherit(),
        );
        let mut stream = door.accept();
        expect_end(&stream, &question);
        // Each byte arrives alone, so that every sequence is split.
        for part in HOSTILE.chunks(1) {
            stream.write_all(part).expect("write");
        }
        drop(stream);
        succeeds(child);
        assert_eq!(terminal.finish(), HARMLESS);
    }
}

#[test]
fn datagrams_are_made_harmless_for_a_terminal() {
    let terminal = Terminal::new();
    let (server, address) = udp_door();
    let stdin = file_of(b"hello\n");
    let child = start(
        &["echo", &address],
        stdin,
        terminal.line(),
        Stdio::inherit(),
    );
    let mut question = [0; 100];
    let (_, from) = server.recv_from(&mut question).expect("a datagram");
    // A character that begins in this datagram cannot continue in the next one.
    server.send_to(b"\x1b[2J\xc3", from).expect("send");
    succeeds(child);
    assert_eq!(terminal.finish(), "\\x1b[2J\\xc3\n");
}

#[test]
fn a_user_types_and_reads() {
    let server = Launch::echo().start();
    let mut terminal = Terminal::new();
    let arguments = ["echo", &server.tcp().to_string()];
    let child = start(
        &arguments,
        terminal.line(),
        terminal.line(),
        Stdio::inherit(),
    );
    for line in ["one\n", "two\n"] {
        terminal.type_in(line);
        terminal.shows(line);
    }
    // Ctrl-D at the beginning of a line ends the input.
    terminal.type_in("\x04");
    succeeds(child);
    assert_eq!(terminal.finish(), "one\ntwo\n");
}

/// Starts a transfer of a file, with `terminal` as stderr and `stdout` for the reply. Returns once
/// the server has read the first MiB.
fn begin(
    client: &str,
    door: &Door,
    data: &[u8],
    terminal: &Terminal,
    stdout: Stdio,
) -> (Child, TcpStream) {
    let arguments = [client, door.address()];
    let child = start(&arguments, file_of(data), stdout, terminal.line());
    let stream = door.accept();
    expect(&stream, &data[..MIB]);
    (child, stream)
}

/// The visible text after this output, for a terminal that knows only carriage returns and "erase
/// line" (console_codes(4)).
fn left(shown: &str) -> String {
    let mut lines = vec![String::new()];
    for part in shown.split_inclusive(['\r', '\n']) {
        let erased = part.replace("\x1b[2K", "\r");
        let visible = erased.rsplit('\r').next().unwrap_or_default();
        let line = lines.last_mut().expect("a line");
        if part.ends_with('\r') || part.contains("\x1b[2K") {
            line.clear();
        }
        line.push_str(visible.trim_end_matches('\n'));
        if part.ends_with('\n') {
            lines.push(String::new());
        }
    }
    lines.join("\n")
}

#[test]
fn a_large_file_has_a_progress_bar_until_it_is_sent() {
    let data = Random::new(1).bytes(32 * MIB);
    for (client, printed) in [("echo", false), ("send", false), ("send", true)] {
        let (terminal, door) = (Terminal::new(), Door::tcp());
        let stdout = if printed {
            terminal.line()
        } else {
            Stdio::null()
        };
        let (child, stream) = begin(client, &door, &data, &terminal, stdout);
        terminal.shows(" of 32.00 MiB");
        terminal.shows(" left");
        expect_end(&stream, &data[MIB..]);
        drop(stream);
        succeeds(child);
        let shown = terminal.finish();
        assert_eq!(left(&shown), "", "{shown:?}");
    }
}

#[test]
fn the_progress_bar_is_erased_when_the_transfer_fails() {
    let data = Random::new(2).bytes(32 * MIB);
    let (terminal, door) = (Terminal::new(), Door::tcp());
    let (child, stream) = begin("echo", &door, &data, &terminal, Stdio::null());
    terminal.shows(" of 32.00 MiB");
    drop(stream);
    fails(child);
    let shown = terminal.finish();
    assert_eq!(
        left(&shown),
        "edgecall: server closed the connection\n",
        "{shown:?}"
    );
}

/// There is no bar for a small file, for a pipe, or if the reply goes to the same terminal.
#[test]
fn there_is_no_progress_bar_where_it_would_not_help() {
    let (small, large) = (vec![b'x'; 8 * MIB - 1], vec![b'x'; 9 * MIB]);
    for (data, at_terminal) in [(&small, false), (&large, true)] {
        let (terminal, door) = (Terminal::new(), Door::tcp());
        let stdout = if at_terminal {
            terminal.line()
        } else {
            Stdio::null()
        };
        let (child, stream) = begin("echo", &door, data, &terminal, stdout);
        expect_end(&stream, &data[MIB..]);
        drop(stream);
        succeeds(child);
        assert_eq!(terminal.finish(), "");
    }
    // With a message, a large file on stdin is not sent.
    let (terminal, door) = (Terminal::new(), Door::tcp());
    let arguments = ["upper", "--addr", door.address(), "hello"];
    let child = start(&arguments, file_of(&large), Stdio::null(), terminal.line());
    expect_end(door.accept(), b"hello");
    succeeds(child);
    assert_eq!(terminal.finish(), "");
    // The size of a pipe's content is unknown.
    let (terminal, door) = (Terminal::new(), Door::tcp());
    let mut cat = Command::new("cat")
        .stdin(file_of(&large))
        .stdout(Stdio::piped())
        .spawn()
        .expect("cat");
    let stdin = cat.stdout.take().expect("piped");
    let child = start(
        &["send", door.address()],
        stdin,
        Stdio::null(),
        terminal.line(),
    );
    expect_end(door.accept(), &large);
    succeeds(child);
    succeeds(cat);
    assert_eq!(terminal.finish(), "");
}

/// The progress bar does not change the copied bytes.
#[test]
fn a_watched_copy_is_exact() {
    let server = Launch::echo().start();
    let data = Random::new(3).bytes(20 * MIB);
    let (terminal, copy) = (
        Terminal::new(),
        tempfile::tempfile().expect("a temporary file"),
    );
    let arguments = ["echo", "-v", &server.tcp().to_string()];
    let stdout = copy.try_clone().expect("dup");
    let child = start(&arguments, file_of(&data), stdout, terminal.line());
    succeeds(child);
    assert!(content(&copy) == data, "not the same bytes");
    let at = server.tcp();
    let expected = format!(
        "connected to tcp://{at} ({at})\nsent {0} bytes, received {0} bytes\n",
        data.len()
    );
    let shown = terminal.finish();
    assert_eq!(left(&shown), expected, "{shown:?}");
}
