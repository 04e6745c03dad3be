//! Programs as jobs of a shell or of an init system: in the background, with ignored signals, and
//! with children that they did not start, they work as other programs do.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use tests::chat::Guest;
use tests::client::{dial, expect_end, ping};
use tests::door::Door;
use tests::process::{children, state};
use tests::program::Program;
use tests::server::{Launch, Server, edgecall};
use tests::sockets::{until_accepted, where_it_listens};
use tests::tmux::{Tmux, Window};
use tests::until;

const WAYS: [&[&str]; 4] = [
    &["--model", "reactor"],
    &["--model", "fork"],
    &["--model", "thread"],
    &["--workers", "2"],
];

/// Starts a program with ignored signals.
const IGNORING: [&str; 3] = ["sh", "-c", "trap '' INT HUP USR1; exec \"$0\" \"$@\""];

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).expect("kill");
}

/// The program under test that a window's shell has started.
fn job(window: &Window<'_>) -> u32 {
    let mut found = None;
    until("the shell has a job", || {
        let is_ours = |pid: &u32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| ["edgeloop\n", "edgecall\n"].contains(&name.as_str()))
        };
        found = children(window.shell()).into_iter().find(is_ours);
        found.is_some()
    });
    found.expect("found")
}

fn until_stopped(pid: u32) {
    until("it is stopped", || state(pid) == 'T');
}

/// Starts a chat with an operator in the background of a shell.
fn chat_in_background(window: &Window<'_>) -> (u32, SocketAddr) {
    window.run("edgeloop chat --operator 127.0.0.1:0 &");
    let server = job(window);
    (server, where_it_listens(server))
}

/// A server in the background leaves the terminal to other programs and goes on serving. In the
/// foreground it uses the terminal again.
#[test]
fn an_operator_in_the_background() {
    let tmux = Tmux::new();
    let window = tmux.window(80, 24);
    let (server, at) = chat_in_background(&window);
    let mut alice = Guest::join(at, "alice");
    // The shell reads a line itself, and the server must not take it.
    window.read_line();
    window.enter("/kick alice");
    window.shows("read /kick alice");
    let mut bob = Guest::join(at, "bob");
    alice.hears("* bob has entered the room");
    assert_ne!(state(server), 'T');
    bob.say("not for the shell");
    alice.hears("[bob] not for the shell");
    // `fg` sends no signal to a running job.
    window.enter("fg");
    window.enter("to all");
    window.shows("lines that were not shown: 1");
    alice.hears("* operator: to all");
    bob.hears("* operator: to all");
    // The user stops the server and continues it in the background.
    window.press(&["C-z"]);
    window.shows("Stopped");
    window.enter("bg");
    until("it goes on", || state(server) != 'T');
    window.read_line();
    window.enter("nothing");
    window.shows("read nothing");
    bob.say("still there");
    alice.hears("[bob] still there");
    window.enter("kill %1");
    alice.hears_the_end();
    until("it has ended", || children(window.shell()).is_empty());
}

/// Under `stty tostop`, a program that writes from the background is stopped; the server is not.
#[test]
fn an_operator_may_be_forbidden_to_write() {
    let tmux = Tmux::new();
    let window = tmux.window(80, 24);
    window.enter("stty tostop");
    let (server, at) = chat_in_background(&window);
    let alice = Guest::join(at, "alice");
    send(server, Signal::SIGUSR1);
    window.shows("stats: ");
    drop(alice);
    let _bob = Guest::join(at, "bob");
    assert_ne!(state(server), 'T');
    window.enter("kill %1");
    until("it has ended", || children(window.shell()).is_empty());
}

/// `talk` in the background is stopped when it uses the terminal. A signal can end it at any time.
#[test]
fn a_conversation_in_the_background() {
    let tmux = Tmux::new();
    for (server, number) in [(true, 0), (false, 1)] {
        let window = tmux.window(80, 24);
        let door = Door::tcp();
        let start = |window: &Window<'_>| match server {
            true => window.run("edgeloop talk 127.0.0.1:0 &"),
            false => window.run(&format!("edgecall talk {} &", door.address())),
        };
        let meet = |program: u32| match server {
            true => dial(where_it_listens(program)),
            false => door.accept(),
        };
        // The program stops at once, since it edits lines.
        start(&window);
        let program = job(&window);
        until_stopped(program);
        window.enter("fg");
        let mut peer = meet(program);
        peer.write_all(b"hello\n").expect("write");
        window.shows("hello");
        window.enter("good evening");
        tests::client::expect(&peer, b"good evening\n");
        // In the background it runs until it has a line to show.
        window.press(&["C-z"]);
        until_stopped(program);
        window.enter("bg");
        until("it goes on", || state(program) != 'T');
        peer.write_all(b"are you there?\n").expect("write");
        until_stopped(program);
        window.enter("fg");
        window.shows("are you there?");
        window.enter("yes");
        tests::client::expect(&peer, b"yes\n");
        // A stopped program ends, in whichever order the signals come.
        window.press(&["C-z"]);
        until_stopped(program);
        let (first, second) = match number {
            0 => (Signal::SIGTERM, Signal::SIGCONT),
            _ => (Signal::SIGCONT, Signal::SIGTERM),
        };
        send(program, first);
        send(program, second);
        until("it has ended", || children(window.shell()).is_empty());
        expect_end(&peer, b"");
        // The terminal is in the shell's mode again.
        window.read_line();
        window.type_in("ty");
        window.press(&["BSpace"]);
        window.enter("yped");
        window.shows("read typed");
    }
}

/// Checks that a server started by `starter` goes on serving after the `ignored` signals, and stops
/// in order upon `last`. Its stderr must not contain `unsaid`.
fn serves_on(starter: &[&str], ignored: impl Fn(&Server), last: Signal, unsaid: &str) {
    for way in WAYS {
        let mut server = Launch::echo().args(way).under(starter).start();
        let client = dial(server.tcp());
        ping(&client, b"before\n");
        ignored(&server);
        ping(&client, b"after\n");
        ping(dial(server.tcp()), b"a new one\n");
        server.signal(last);
        expect_end(&client, b"");
        let finished = server.finish();
        assert_eq!(finished.code, 0, "{way:?}: {finished:?}");
        assert!(!finished.stderr.contains(unsaid), "{way:?}: {finished:?}");
    }
}

/// `nohup`, and a script that starts a command with `&`, set these signals to be ignored.
#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let ignored = |server: &Server| {
        for signal in [Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
            server.signal(signal);
            children(server.pid())
                .into_iter()
                .for_each(|child| send(child, signal));
        }
    };
    serves_on(&IGNORING, ignored, Signal::SIGTERM, "stats: ");
}

/// SIGINT also stops the server's child processes, which ignore SIGTERM as the server does.
#[test]
fn sigint_stops_a_server_that_ignores_sigterm() {
    const NOT_TERM: [&str; 3] = ["sh", "-c", "trap '' TERM; exec \"$0\" \"$@\""];
    let ignored = |server: &Server| server.signal(Signal::SIGTERM);
    serves_on(&NOT_TERM, ignored, Signal::SIGINT, "cut off");
}

#[test]
fn clients_keep_ignored_signals_ignored() {
    let edgecall = edgecall().to_str().expect("a path in UTF-8");
    for words in [&["talk"][..], &["echo"]] {
        let door = Door::tcp();
        let program = [&IGNORING[..], &[edgecall], words, &[door.address()]].concat();
        let mut program = Program::start(&program);
        let mut stream = door.accept();
        program.signal(Signal::SIGINT);
        program.signal(Signal::SIGHUP);
        program.say("after\n");
        tests::client::expect(&stream, b"after\n");
        stream.write_all(b"after\n").expect("write");
        program.shows("after\n");
        program.end_input();
        expect_end(&stream, b"");
        drop(stream);
        assert_eq!(program.finish().code, Some(0), "{words:?}");
    }
}

/// As process 1 of a container a server inherits the children of other processes. Here they are
/// children of the shell that becomes the server by exec(2).
#[test]
fn children_of_others_are_reaped() {
    const WITH_CHILDREN: [&str; 3] = [
        "sh",
        "-c",
        "sleep 1000 & sleep 1000 & true & exec \"$0\" \"$@\"",
    ];
    for way in WAYS {
        let mut server = Launch::echo().args(way).under(&WITH_CHILDREN).start();
        let pid = server.pid();
        until("the child that has ended before is reaped", || {
            children(pid).len() == 2
        });
        children(pid)
            .into_iter()
            .for_each(|child| send(child, Signal::SIGKILL));
        until("the others are reaped", || children(pid).is_empty());
        // The fork model's own children are still reaped after that.
        let clients: Vec<TcpStream> = (0..3).map(|_| dial(server.tcp())).collect();
        clients.iter().for_each(|client| ping(client, b"hello\n"));
        drop(clients);
        until("its own are reaped", || children(pid).is_empty());
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0, "{way:?}");
    }
    for name in ["sink", "chat", "talk"] {
        let mut server = Launch::new(name, &["127.0.0.1:0"])
            .under(&WITH_CHILDREN)
            .start();
        let pid = server.pid();
        until("the child that has ended before is reaped", || {
            children(pid).len() == 2
        });
        children(pid)
            .into_iter()
            .for_each(|child| send(child, Signal::SIGKILL));
        until("the others are reaped", || children(pid).is_empty());
        until_accepted(&dial(server.tcp()));
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0, "{name}");
    }
}
