//! `edgeloop talk` and `edgecall talk` copy both directions at once, exactly on pipes and
//! harmlessly on terminals. `terminal.rs` tests the display of typed lines.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::{tempdir, tempfile};

use tests::MIB;
use tests::call::{Call, content, file_of};
use tests::client::{dial, difference, expect, expect_end, fill, narrow, reset};
use tests::door::{ClosedDoor, Door};
use tests::process::resident_bytes;
use tests::program::{Program, command, run};
use tests::random::Random;
use tests::server::{Launch, Server, edgecall};
use tests::terminal::Terminal;

fn talk() -> Launch {
    Launch::new("talk", &["127.0.0.1:0"])
}

/// A server with a pipe as its keyboard.
fn talk_with_keyboard(options: &[&str]) -> (Server, ChildStdin) {
    let mut server = talk().args(options).stdin(Stdio::piped()).start();
    let keyboard = server.stdin();
    (server, keyboard)
}

fn call(server: &Server) -> Program {
    Program::start(&["edgecall", "talk", &server.addresses()[0]])
}

fn new_file() -> (File, File) {
    let file = tempfile().expect("a temporary file");
    let copy = file.try_clone().expect("dup");
    (file, copy)
}

/// Neither side waits for the other one, so full buffers cannot deadlock.
#[test]
fn large_files_both_ways_at_once() {
    let directory = tempdir().expect("a temporary directory");
    let unix = format!("unix:{}", directory.path().join("talk.sock").display());
    let (question, answer) = (
        Random::new(1).bytes(20 * MIB),
        Random::new(2).bytes(20 * MIB + 7),
    );
    for address in ["127.0.0.1:0", &unix] {
        let (heard, output) = new_file();
        let mut server = Launch::new("talk", &[address])
            .args(&["--once"])
            .stdin(file_of(&answer))
            .stdout(output)
            .start();
        let (returned, output) = new_file();
        let arguments = ["talk", &server.addresses()[0]];
        let (code, told) = Call::start(&arguments, file_of(&question), output).finish();
        assert_eq!((code, told.as_str()), (Some(0), "peer closed\n"));
        assert_eq!(server.exit_code(), 0);
        let (heard, returned) = (content(&heard), content(&returned));
        assert!(heard == question, "{}", difference(&heard, &question));
        assert!(returned == answer, "{}", difference(&returned, &answer));
    }
}

/// Pipes have the smallest buffers on the way, and must not deadlock either.
#[test]
fn long_streams_both_ways_at_once() {
    let (question, answer) = (
        Random::new(3).bytes(9 * MIB),
        Random::new(4).bytes(9 * MIB + 7),
    );
    let (reader, writer) = std::io::pipe().expect("pipe");
    let launch = talk().args(&["--once"]).stdin(Stdio::piped());
    let mut server = launch.stdout(writer).start();
    let mut keyboard = server.stdin();
    let arguments = ["talk", &server.addresses()[0]];
    let mut client = Call::start(&arguments, Stdio::piped(), Stdio::piped());
    let (mut stdin, stdout) = (client.stdin(), client.stdout());
    let (question, answer) = (&question, &answer);
    thread::scope(|scope| {
        scope.spawn(move || expect_end(reader, question));
        scope.spawn(move || expect_end(stdout, answer));
        scope.spawn(move || keyboard.write_all(answer).expect("write"));
        stdin.write_all(question).expect("write");
        drop(stdin);
    });
    assert_eq!(client.finish().0, Some(0));
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_second_caller_is_refused_as_busy() {
    let (server, mut keyboard) = talk_with_keyboard(&[]);
    let mut first = call(&server);
    first.say("I am first\n");
    server.prints("I am first");
    for _ in 0..3 {
        expect_end(dial(server.tcp()), b"busy\n");
        server.logs(" called meanwhile");
    }
    // A caller that sends before it reads is refused as well, and its bytes are discarded.
    let mut second = call(&server);
    second.say("let me in\n");
    let ended = second.wait();
    assert_eq!((ended.code, ended.text().as_str()), (Some(1), "busy\n"));
    keyboard.write_all(b"where were we?\n").expect("write");
    first.shows("where were we?\n");
    drop(first);
    is_alone(&server);
    let mut third = call(&server);
    third.ask("my turn\n", "");
    server.prints("my turn");
    assert_eq!(server.stdout().text(), "I am first\nmy turn\n");
}

/// With `--once` the server ends with its first peer; otherwise it serves one peer after another.
#[test]
fn once_ends_with_the_first_peer() {
    let (mut server, _keyboard) = talk_with_keyboard(&["--once"]);
    let address = server.tcp();
    let mut peer = dial(address);
    peer.write_all(b"hello\n").expect("write");
    server.prints("hello");
    assert!(TcpStream::connect(address).is_err(), "it still listens");
    drop(peer);
    assert_eq!(server.exit_code(), 0);

    let (mut server, mut keyboard) = talk_with_keyboard(&[]);
    for caller in ["first", "second", "third"] {
        let mut peer = dial(server.tcp());
        writeln!(peer, "{caller}").expect("write");
        server.prints(caller);
        writeln!(keyboard, "hello {caller}").expect("write");
        expect(&peer, format!("hello {caller}\n").as_bytes());
        reset(peer);
        is_alone(&server);
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

/// Lines typed without a peer wait for the next one.
#[test]
fn words_wait_for_a_peer() {
    let (server, mut keyboard) = talk_with_keyboard(&[]);
    keyboard.write_all(b"is anybody there?\n").expect("write");
    let _ = server.stats();
    expect(dial(server.tcp()), b"is anybody there?\n");
}

/// Either side may half-close first, and still prints all lines of the other one.
#[test]
fn halves_end_one_by_one() {
    let (server, mut keyboard) = talk_with_keyboard(&[]);
    let mut client = call(&server);
    client.ask("a question\n", "");
    client.end_input();
    server.logs("peer closed");
    for number in 0..5 {
        writeln!(keyboard, "answer {number}").expect("write");
        client.shows(&format!("answer {number}\n"));
    }
    drop(keyboard);
    let ended = client.wait();
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), "peer closed\n")
    );

    let (mut server, keyboard) = talk_with_keyboard(&["--once"]);
    let mut client = call(&server);
    drop(keyboard);
    client.complains("peer closed\n");
    for number in 0..5 {
        client.say(format!("answer {number}\n"));
        server.prints(&format!("answer {number}"));
    }
    client.end_input();
    assert_eq!(client.wait().code, Some(0));
    assert_eq!(server.exit_code(), 0);
}

/// Once the peer has ended, a program no longer waits for a silent pipe as its input.
#[test]
fn a_silent_pipe_does_not_delay_the_end_when_the_peer_has_ended() {
    let (server, _keyboard) = talk_with_keyboard(&[]);
    let mut client = call(&server);
    let door = Door::tcp();
    let mut caller = Program::start(&["edgecall", "talk", door.address()]);
    let stream = door.accept();
    stream.shutdown(Shutdown::Write).expect("shutdown");
    client.end_input();
    // The server waits for the next caller, and the client ends.
    assert_eq!(client.wait().code, Some(0));
    let ended = caller.wait();
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.stderr,
        "peer closed\nedgecall: server closed the connection\n"
    );
    is_alone(&server);
}

/// Waits until a server is free for the next peer.
fn is_alone(server: &Server) {
    server.stats_until("it is alone", |stats| stats.get("connections") == 0);
}

/// A way to start a program with these arguments.
type Start<'a> = &'a dyn Fn(&str, &[&str]) -> Command;

/// Without input (`/dev/null`, a closed descriptor, an empty file) a program half-closes at once
/// and prints the peer's lines.
#[test]
fn without_input_a_program_only_listens() {
    let closed = |program: &str, arguments: &[&str]| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$@\" <&-", "sh"]);
        shell.arg(command(program).get_program()).args(arguments);
        shell
    };
    let null = |program: &str, arguments: &[&str]| {
        let mut command = command(program);
        command.args(arguments).stdin(Stdio::null());
        command
    };
    let empty = |program: &str, arguments: &[&str]| {
        let mut command = command(program);
        command.args(arguments).stdin(file_of(b""));
        command
    };
    let ways: [Start<'_>; 3] = [&closed, &null, &empty];
    for start in ways {
        let mut server = Program::spawn(start("edgeloop", &["talk", "127.0.0.1:0", "--once"]));
        server.complains("listening on ");
        let at = tests::sockets::where_it_listens(server.pid());
        let stream = dial(at);
        // The server half-closes at once.
        expect_end(&stream, b"");
        (&stream).write_all(b"I see\n").expect("write");
        server.shows("I see\n");
        drop(stream);
        assert_eq!(server.wait().code, Some(0));

        let door = Door::tcp();
        let client = Program::spawn(start("edgecall", &["talk", door.address()]));
        let stream = door.accept();
        expect_end(&stream, b"");
        (&stream).write_all(b"I see\n").expect("write");
        drop(stream);
        assert_eq!(client.prints(), "I see\n");
    }
}

#[test]
fn exit_statuses_of_the_caller() {
    // If all input is sent, the peer may go.
    let door = Door::tcp();
    let call = || Call::start(&["talk", door.address()], file_of(b"all"), Stdio::null());
    let client = call();
    expect_end(door.accept(), b"all");
    assert_eq!(client.finish(), (Some(0), "peer closed\n".into()));
    // If the peer goes before the end of the input, by a close or a reset, that is a failure.
    for leave in [drop as fn(TcpStream), reset] {
        let mut client = Program::start(&["edgecall", "talk", door.address()]);
        client.say("begin");
        let stream = door.accept();
        expect(&stream, b"begin");
        leave(stream);
        let ended = client.wait();
        assert_eq!(ended.code, Some(1));
        assert_eq!(
            ended.stderr,
            "peer closed\nedgecall: server closed the connection\n"
        );
    }
    // No server listens.
    let closed = ClosedDoor::new();
    let ended = run(&["edgecall", "talk", &closed.at().to_string()], "");
    assert_eq!(ended.code, Some(1));
    let expected = format!(
        "edgecall: cannot reach tcp://{}: Connection refused\n",
        closed.at()
    );
    assert_eq!(ended.stderr, expected);
    // These command lines are wrong.
    for wrong in [
        &["edgecall", "talk", "udp://127.0.0.1:9"][..],
        &["edgecall", "talk", "--no-such-option"],
        &["edgecall", "talk", "127.0.0.1:1", "127.0.0.1:2"],
        &["edgeloop", "talk", "udp://127.0.0.1:0"],
        &["edgeloop", "talk", "127.0.0.1:0", "127.0.0.1:0"],
        &["edgeloop", "talk", "--model", "fork", "127.0.0.1:0"],
    ] {
        let ended = run(wrong, "");
        assert_eq!(ended.code, Some(2), "{wrong:?}: {ended:?}");
        assert_eq!(ended.stdout, b"");
    }
}

/// A signal ends a program with status 0.
#[test]
fn a_signal_ends_either_side() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (mut server, _keyboard) = talk_with_keyboard(&[]);
        let mut client = call(&server);
        client.say("hello\n");
        server.prints("hello");
        client.signal(signal);
        let ended = client.wait();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        is_alone(&server);
        let stream = dial(server.tcp());
        tests::sockets::until_accepted(&stream);
        server.signal(signal);
        expect_end(&stream, b"");
        drop(stream);
        assert_eq!(server.exit_code(), 0);
    }
}

#[test]
fn a_caller_tries_again_if_told_to() {
    let closed = ClosedDoor::new();
    let address = closed.at().to_string();
    let mut client = Program::start(&["edgecall", "talk", "-v", "--retry", "20", &address]);
    client.complains("trying again");
    let listener = closed.open();
    let (stream, _) = listener.accept().expect("a caller");
    client.say("at last\n");
    client.end_input();
    expect_end(&stream, b"at last\n");
    drop(stream);
    assert_eq!(client.wait().code, Some(0));
}

/// A reader that closes stdout, as in `edgecall talk | head`, is no failure.
#[test]
fn a_reader_that_has_enough_is_a_quiet_end() {
    let door = Door::tcp();
    let mut client = Call::start(&["talk", door.address()], Stdio::piped(), Stdio::piped());
    let _stdin = client.stdin();
    let stream = door.accept();
    (&stream).write_all(b"enough\n").expect("write");
    let mut stdout = client.stdout();
    expect(&mut stdout, b"enough\n");
    drop(stdout);
    assert_eq!(client.finish(), (Some(0), String::new()));

    let (reader, writer) = std::io::pipe().expect("pipe");
    let mut server = talk().stdin(Stdio::piped()).stdout(writer).start();
    let _keyboard = server.stdin();
    let mut stream = dial(server.tcp());
    stream.write_all(b"enough\n").expect("write");
    expect(&reader, b"enough\n");
    drop(reader);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = || {
        File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full")
    };
    let failure = "cannot write to standard output: No space left on device";
    let door = Door::tcp();
    let client = Call::start(&["talk", door.address()], Stdio::null(), full());
    let stream = door.accept();
    (&stream).write_all(b"hello\n").expect("write");
    client.fails(failure);

    let mut server = talk().stdout(full()).start();
    dial(server.tcp()).write_all(b"hello\n").expect("write");
    let finished = server.finish();
    assert_eq!(finished.code, 1);
    assert_eq!(finished.complaint(), format!("edgeloop: {failure}"));
}

/// While stdout is not read, the peer is paused, memory does not grow, and no byte is lost.
#[test]
fn a_peer_waits_while_stdout_is_not_read() {
    let (reader, writer) = std::io::pipe().expect("pipe");
    narrow(&writer);
    let server = talk().stdin(Stdio::piped()).stdout(writer).start();
    let block = Random::new(5).bytes(100_003);
    let stream = dial(server.tcp());
    let before = resident_bytes(server.pid());
    let sent = fill(&stream, &block);
    let growth = resident_bytes(server.pid()).saturating_sub(before);
    assert!(growth < 4 * MIB, "{growth} bytes in memory");
    let data: Vec<u8> = block.iter().copied().cycle().take(sent).collect();
    expect(&reader, &data);
}

const HOSTILE: &[u8] = b"\x1b[2J\x1b]0;title\x07 caf\xc3\xa9 \x9b1A \xe2\x80\xae\rover\x08\n";
const HARMLESS: &str = "\\x1b[2J\\x1b]0;title\\x07 caf\u{e9} \\x9b1A \\u{202e}\\rover\\x08\n";

/// On a terminal, control bytes are shown as escapes; a file or a pipe gets them unchanged.
#[test]
fn hostile_text_is_harmless_on_a_terminal_and_exact_elsewhere() {
    let calling = |stdin: Stdio, stdout: Stdio| {
        let door = Door::tcp();
        let mut command = Command::new(edgecall());
        command.args(["talk", door.address()]).env("TERM", "xterm");
        command.stdin(stdin).stdout(stdout);
        let client = Call::spawn(command);
        let stream = door.accept();
        // Each byte arrives alone, so that every sequence is split.
        for byte in HOSTILE {
            (&stream).write_all(&[*byte]).expect("write");
        }
        drop(stream);
        assert_eq!(client.finish().0, Some(0));
    };
    let answering = |stdin: Stdio, stdout: Stdio| {
        let launch = talk().args(&["--once"]).env("TERM", "xterm");
        let mut server = launch.stdin(stdin).stdout(stdout).start();
        let mut stream = dial(server.tcp());
        for byte in HOSTILE {
            stream.write_all(&[*byte]).expect("write");
        }
        drop(stream);
        assert_eq!(server.exit_code(), 0);
    };
    let ways: [&dyn Fn(Stdio, Stdio); 2] = [&calling, &answering];
    for send in ways {
        let (file, copy) = new_file();
        send(Stdio::null(), copy.into());
        assert_eq!(content(&file), HOSTILE);

        let (mut reader, writer) = std::io::pipe().expect("pipe");
        send(Stdio::null(), writer.into());
        let mut piped = Vec::new();
        reader.read_to_end(&mut piped).expect("read");
        assert_eq!(piped, HOSTILE);

        let terminal = Terminal::new();
        send(Stdio::null(), terminal.line());
        assert_eq!(terminal.finish(), HARMLESS);

        // The user types at the same terminal.
        let terminal = Terminal::new();
        send(terminal.line(), terminal.line());
        let shown = terminal.finish().replace("\r\n", "\n");
        assert!(shown.contains(HARMLESS), "{shown:?}");
    }
}

/// A program that edits lines restores the terminal's mode, in whichever way it ends.
#[test]
fn the_terminal_is_left_as_it_was_found() {
    /// Ends the program, given its terminal and its peer.
    type End = fn(&mut Terminal, TcpStream);
    let ends: [(End, &str); 4] = [
        (
            |terminal, stream| {
                terminal.type_in("\x03");
                expect_end(&stream, b"");
            },
            "Ctrl-C",
        ),
        (|_, stream| drop(stream), "the peer closes"),
        (|_, stream| reset(stream), "the peer is gone"),
        (
            |terminal, stream| {
                terminal.type_in("good\x7f\x7fodbye\n\x04");
                expect_end(&stream, b"goodbye\n");
            },
            "Ctrl-D",
        ),
    ];
    for (end, what) in ends {
        let mut terminal = Terminal::new();
        let before = terminal.mode();
        let door = Door::tcp();
        let _session = terminal.run(&["edgecall", "talk", "-v", door.address()]);
        let stream = door.accept();
        terminal.shows("connected to ");
        assert!(terminal.is_edited());
        end(&mut terminal, stream);
        terminal.shows("status 0");
        assert_eq!(terminal.mode(), before, "{what}");

        let mut terminal = Terminal::new();
        let before = terminal.mode();
        let _session = terminal.run(&["edgeloop", "talk", "127.0.0.1:0", "--once"]);
        terminal.shows("try it: nc 127.0.0.1 ");
        let shown = terminal.shown();
        let port = shown
            .split("try it: nc 127.0.0.1 ")
            .nth(1)
            .and_then(|rest| rest.lines().next());
        let at = format!("127.0.0.1:{}", port.expect("a port").trim());
        let stream = dial(at.parse().expect("an address"));
        terminal.shows("peer connected from ");
        assert!(terminal.is_edited());
        end(&mut terminal, stream);
        terminal.shows("status 0");
        assert_eq!(terminal.mode(), before, "{what}");
    }
}

/// If the peer of a user at a terminal goes, the program says so and ends with status 0, without
/// waiting for a key.
#[test]
fn the_peer_of_a_user_at_a_terminal_may_go() {
    let terminal = Terminal::new();
    let door = Door::tcp();
    let mut command = Command::new(edgecall());
    command.args(["talk", door.address()]).env("TERM", "xterm");
    command.stdin(terminal.line()).stdout(terminal.line());
    let client = Call::spawn(command);
    drop(door.accept());
    assert_eq!(client.finish(), (Some(0), String::new()));
    let shown = terminal.finish();
    // In reverse video, as no text of a peer can be.
    assert!(shown.contains("\x1b[7mpeer closed\x1b[0m\r\n"), "{shown:?}");
}

/// On a terminal without cursor movement the program leaves line editing to the kernel.
#[test]
fn a_dumb_terminal_will_do() {
    let mut terminal = Terminal::new();
    let before = terminal.mode();
    let door = Door::tcp();
    let mut command = Command::new(edgecall());
    command.args(["talk", door.address()]).env("TERM", "dumb");
    command.stdin(terminal.line()).stdout(terminal.line());
    let client = Call::spawn(command);
    let stream = door.accept();
    terminal.type_in("hello\n");
    expect(&stream, b"hello\n");
    assert_eq!(terminal.mode(), before);
    (&stream)
        .write_all(b"hello \x1b yourself\n")
        .expect("write");
    terminal.shows("hello \\x1b yourself\n");
    // Ctrl-D at the beginning of a line ends the input.
    terminal.type_in("\x04");
    expect_end(&stream, b"");
    drop(stream);
    assert_eq!(client.finish(), (Some(0), "peer closed\n".into()));
}

/// A program must not set O_NONBLOCK on a descriptor that it shares: the shell's would be
/// non-blocking, too.
#[test]
fn shared_descriptors_are_left_blocking() {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let (ours, its) = std::os::unix::net::UnixStream::pair().expect("socketpair");
    let shared = its.try_clone().expect("dup");
    let terminal = Terminal::new();
    let line = terminal.mode();
    let door = Door::tcp();
    let client = Call::start(
        &["talk", door.address()],
        OwnedFd::from(its),
        terminal.line(),
    );
    let stream = door.accept();
    (&ours).write_all(b"hello").expect("write");
    expect(&stream, b"hello");
    let flags = OFlag::from_bits_retain(fcntl(&shared, FcntlArg::F_GETFL).expect("F_GETFL"));
    assert!(!flags.contains(OFlag::O_NONBLOCK));
    assert_eq!(terminal.mode(), line);
    ours.shutdown(Shutdown::Write).expect("shutdown");
    expect_end(&stream, b"");
    drop(stream);
    assert_eq!(client.finish().0, Some(0));
}

/// The timeout starts when all input is sent.
#[test]
fn a_peer_that_is_silent_for_too_long_is_a_failure() {
    let door = Door::tcp();
    let arguments = ["talk", "--timeout", "300ms", door.address()];
    let mut client = Call::start(&arguments, Stdio::piped(), Stdio::null());
    let stdin = client.stdin();
    let stream = door.accept();
    assert!(
        !client.has_ended(Duration::from_millis(600)),
        "the timeout started before the end of the input"
    );
    drop(stdin);
    expect_end(&stream, b"");
    client.fails(&format!("no answer from {} in time", door.address()));
}
