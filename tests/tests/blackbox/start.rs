//! A start during which a system call fails: the server either serves without what it could not have,
//! or says in a line why it does not, and ends with status 1.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use tests::PATIENCE;
use tests::chat::Guest;
use tests::client::{dial, ping_and_end};
use tests::program::{Program, command};
use tests::server::{Launch, binary};
use tests::sockets::where_it_listens;
use tests::strace::Trace;

use super::ends;

/// The calls that a start makes for itself. Those of the C library and the dynamic linker before
/// `main` are not among them.
const CALLS: [(&str, &str); 12] = [
    ("socket", "EMFILE"),
    ("socket", "ENOBUFS"),
    ("bind", "EADDRNOTAVAIL"),
    ("listen", "EADDRINUSE"),
    ("setsockopt", "ENOBUFS"),
    ("getsockname", "ENOBUFS"),
    ("epoll_create1", "ENFILE"),
    ("epoll_ctl", "ENOSPC"),
    ("eventfd2", "EMFILE"),
    ("signalfd4", "EMFILE"),
    ("fcntl", "EMFILE"),
    ("pipe2", "EMFILE"),
];

/// The ways to start.
const WAYS: [&[&str]; 7] = [
    &["echo", "127.0.0.1:0", "udp://127.0.0.1:0"],
    &["echo", "127.0.0.1:0", "--workers", "2"],
    &["echo", "127.0.0.1:0", "--model", "fork"],
    &["echo", "127.0.0.1:0", "--model", "thread"],
    &["sink", "127.0.0.1:0"],
    &["sink", "127.0.0.1:0", "--workers", "2"],
    &["chat", "127.0.0.1:0"],
];

fn start(words: &[&str], trace: &Trace, options: &[&str]) -> Launch {
    Launch::new(words[0], &[])
        .args(&words[1..])
        .under(&trace.wrapper(options))
}

/// The number of times that a start makes each of the [`CALLS`].
fn counted(words: &[&str]) -> BTreeMap<&'static str, usize> {
    let trace = Trace::new();
    let names: Vec<&str> = CALLS.iter().map(|(call, _)| *call).collect();
    let only = format!("trace={}", names.join(","));
    let server = start(words, &trace, &["-e", &only]).spawn();
    let banner = server
        .stderr()
        .wait_for(PATIENCE, |line| line.contains("listening on"));
    assert!(banner.is_some(), "{words:?} does not start");
    ends(server);
    let text = trace.text();
    let count = |call: &&'static str| (*call, text.matches(&format!(" {call}(")).count());
    names.iter().map(count).collect()
}

#[test]
fn every_call_of_a_start_may_fail() {
    let each_call_fails = |words| {
        let counts = counted(words);
        for (call, errno) in CALLS {
            for when in 1..=counts[call] {
                fails_or_serves(words, call, errno, when);
            }
        }
        counts
    };
    let counts: Vec<_> = thread::scope(|scope| {
        let starts = WAYS.map(|words| scope.spawn(move || each_call_fails(words)));
        let counts = starts.map(|start| start.join().expect("a start"));
        counts.into()
    });
    for (call, _) in CALLS {
        let made = counts.iter().any(|counts| counts[call] > 0);
        assert!(made, "no start calls {call}");
    }
}

/// Call number `when` fails. The trace counts the calls of each thread by themselves.
fn fails_or_serves(words: &[&str], call: &str, errno: &str, when: usize) {
    let trace = Trace::new();
    let inject = format!("inject={call}:error={errno}:when={when}");
    let mut server = start(
        words,
        &trace,
        &["-e", &format!("trace={call}"), "-e", &inject],
    )
    .spawn();
    let what = format!("{words:?}: {call} number {when}: {errno}");
    let banner = server
        .stderr()
        .wait_for(PATIENCE, |line| line.contains("listening on"));
    if banner.is_some() && server.wait(Duration::ZERO).is_none() {
        // A call after the banner belongs to the loop, which may end for it, too.
        server.signal(Signal::SIGTERM);
    }
    let ended = server.finish();
    assert!(matches!(ended.code, 0 | 1), "{what}: {ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{what}: {ended:?}");
    if ended.code == 1 {
        let complaint = ended.complaint();
        assert!(complaint.len() < 200, "{what}: {complaint}");
    }
}

/// However few descriptors a program may have, it works or says why not. The dynamic linker itself
/// needs a fourth one.
#[test]
fn a_start_with_few_descriptors() {
    let server = Launch::echo().start();
    let address = server.tcp().to_string();
    for limit in 4..20 {
        for words in [
            &["edgeloop", "echo", "127.0.0.1:0"][..],
            &["edgeloop", "echo", "127.0.0.1:0", "--model", "fork"],
            &["edgeloop", "echo", "127.0.0.1:0", "--workers", "2"],
            &["edgeloop", "chat", "127.0.0.1:0"],
            &["edgecall", "echo", &address],
            &["edgecall", "talk", &address],
            &[
                "edgecall",
                "load",
                &address,
                "-c",
                "1",
                "-d",
                "100ms",
                "--warm-up",
                "0",
            ],
        ] {
            let mut limited = command("prlimit");
            limited.arg(format!("--nofile={limit}:{limit}"));
            limited.arg(command(words[0]).get_program());
            limited.args(&words[1..]).stdin(Stdio::null());
            let mut program = Program::spawn(limited);
            let is_listening = words[0] == "edgeloop" && program.stderr().wait_for("listening on ");
            // A server that has started goes on, a client ends.
            if is_listening {
                program.signal(Signal::SIGTERM);
            }
            let ended = program.wait();
            let what = format!("{limit} descriptors: {words:?}: {ended:?}");
            assert!(matches!(ended.code, Some(0 | 1)), "{what}");
            if ended.code == Some(1) {
                let last = ended.stderr.lines().next_back().unwrap_or_default();
                let names_it =
                    last.contains("Too many open files") || last.contains("RLIMIT_NOFILE");
                assert!(last.contains(": cannot ") && names_it, "{what}");
            }
        }
    }
}

/// Without standard streams: no socket must take the place of one of them, where a log line would go
/// to a client.
#[test]
fn without_standard_streams() {
    for closed in ["<&-", "2>&-", "<&- 2>&-", "<&- >&- 2>&-"] {
        for (name, model) in [
            ("echo", "reactor"),
            ("echo", "fork"),
            ("echo", "thread"),
            ("chat", "reactor"),
        ] {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("exec \"$0\" \"$@\" {closed}")]);
            shell
                .arg(binary())
                .args([name, "127.0.0.1:0", "--model", model, "-v"]);
            let program = Program::spawn(shell);
            let address = where_it_listens(program.pid());
            match name {
                "chat" => drop(Guest::join(address, "ann")),
                _ => ping_and_end(&dial(address), b"hello"),
            }
        }
    }
}
