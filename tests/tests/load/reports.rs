//! The command line of `edgecall load`, its reports, and the ways in which a run ends.

use std::io::Read;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tests::call::Call;
use tests::program;
use tests::server::{Server, edgecall};
use tests::{PATIENCE, until};

use crate::faulty::{self, Faulty};
use crate::run::{command, finish, number, serve};

#[test]
fn descriptors_that_are_not_enough() {
    let server = serve("echo", "127.0.0.1:0");
    let mut command = program::command("prlimit");
    command.args(["--nofile=100:100", "--"]).arg(edgecall());
    command.args(["load", &server.tcp().to_string(), "-c", "200"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let run = finish(command);
    assert_eq!(run.code, Some(1));
    let reason = "edgecall: cannot open 200 connections: RLIMIT_NOFILE is 100, which leaves ";
    assert!(run.stderr.starts_with(reason), "{run:?}");
    let most = run
        .stderr
        .trim_start_matches(reason)
        .split_whitespace()
        .next();
    let most = most.expect("a number").to_owned();
    // The number in the message can be opened.
    let mut command = program::command("prlimit");
    command.args(["--nofile=100:100", "--"]).arg(edgecall());
    let words = ["--json", "-d", "100ms", "--warm-up", "0", "-c", &most];
    command
        .args(["load", &server.tcp().to_string()])
        .args(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    finish(command).good();
}

#[test]
fn reports_for_people_and_plots() {
    let server = serve("echo", "127.0.0.1:0");
    let address = server.tcp().to_string();
    let short = [
        &address,
        "-d",
        "200ms",
        "--warm-up",
        "0",
        "-c",
        "3",
        "--rate",
        "200",
    ];
    let run = finish(command(&short));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let options =
        format!("echo tcp://{address}: 3 connections, 64 bytes, depth 1, planned 200/s, 0.2 s\n");
    assert!(run.stdout.starts_with(&options), "{run:?}");
    for word in [
        "messages ",
        "/s",
        "latency ",
        "p99.9 ",
        "generator ",
        " of CPU a message",
    ] {
        assert!(run.stdout.contains(word), "no {word} in {run:?}");
    }
    let run = finish(command(&[&short[..], &["--hgrm"]].concat()));
    assert_eq!(run.code, Some(0));
    assert!(run.stderr.starts_with(&options), "{run:?}");
    let head = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n";
    assert!(run.stdout.starts_with(head), "{run:?}");
    assert!(run.stdout.contains("\n#[Mean "), "{run:?}");
}

/// The beginnings of a report's lines, without the notes, which depend on the load of the machine.
fn beginnings(report: &str) -> Vec<&str> {
    let lines = report.lines().filter(|line| !line.starts_with("note "));
    lines
        .filter_map(|line| line.split(|letter: char| letter.is_ascii_digit()).next())
        .collect()
}

/// The README's example has the lines that its command prints.
#[test]
fn the_readme_shows_a_report_as_it_is() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).expect("README.md");
    let example = readme.split("<!-- load:example -->\n```text\n").nth(1);
    let example = example.and_then(|rest| rest.split("\n```\n").next());
    let server = serve("echo", "127.0.0.1:0");
    let (address, pid) = (server.tcp().to_string(), server.pid().to_string());
    let words = "--connections 1000 --duration 5s --server-pid";
    assert!(readme.contains(&format!("\nedgecall load 9876 {words} $!\n")));
    let words = format!("{address} {words} {pid}").replace("5s", "300ms");
    let run = finish(command(&words.split(' ').collect::<Vec<_>>()));
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(example.map(beginnings), Some(beginnings(&run.stdout)));
}

/// Starts a run whose log names its phases.
fn logged(words: &[&str]) -> Call {
    let mut command = command(words);
    command.args(["-v", "-c", "2", "--warm-up", "0", "--timeout", "10m"]);
    Call::spawn(command)
}

/// Waits until a run has reached this phase, and interrupts it.
fn interrupt(call: &Call, phase: &str) {
    signal(call, phase, Signal::SIGINT);
}

fn signal(call: &Call, phase: &str, signal: Signal) {
    until(phase, || call.stderr().text().contains(phase));
    kill(Pid::from_raw(call.pid().cast_signed()), signal).expect("kill");
}

fn read_all(call: &mut Call) -> String {
    let mut stdout = String::new();
    call.stdout().read_to_string(&mut stdout).expect("UTF-8");
    stdout
}

#[test]
fn a_signal_ends_it_with_the_report_so_far() {
    let server = Faulty::start(faulty::right);
    let mut call = logged(&["--json", "-d", "10m", &server.address()]);
    interrupt(&call, "measuring");
    let json: Value = serde_json::from_str(&read_all(&mut call)).expect("JSON");
    assert_eq!(json["interrupted"], true);
    assert!(number(&json, "/elapsed_s") < PATIENCE.as_secs_f64());
    assert_eq!(call.finish().0, Some(0));
}

/// A run of this duration whose server is stopped, so that no further message is answered.
fn unanswered(duration: &str) -> (Server, Call) {
    let server = serve("echo", "127.0.0.1:0");
    let call = logged(&["-d", duration, &server.tcp().to_string()]);
    server.stats_until("messages go to and fro", |stats| stats.get("reads") > 100);
    server.stop();
    (server, call)
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (server, mut call) = unanswered("10m");
    interrupt(&call, "measuring");
    interrupt(&call, "waiting for the last answers");
    assert_eq!(read_all(&mut call), "");
    let (code, stderr) = call.finish();
    assert_eq!(code, Some(1));
    assert!(stderr.ends_with("\nedgecall: interrupted\n"), "{stderr}");
    server.resume();
}

/// When a terminal closes, the kernel and then the shell send SIGHUP.
#[test]
fn a_terminal_that_closes_ends_it_with_the_report_so_far() {
    let (server, mut call) = unanswered("10m");
    signal(&call, "measuring", Signal::SIGHUP);
    signal(&call, "waiting for the last answers", Signal::SIGHUP);
    server.resume();
    let report = read_all(&mut call);
    assert!(report.contains("interrupted"), "{report}");
    let (code, stderr) = call.finish();
    assert_eq!(code, Some(0), "{stderr}");
}

/// A signal during the wait for the last replies ends the run with a report without them.
#[test]
fn a_signal_ends_the_waiting_for_the_last_answers() {
    let (server, mut call) = unanswered("2s");
    interrupt(&call, "waiting for the last answers");
    let report = read_all(&mut call);
    assert!(report.contains("no answer in time: 2\n"), "{report}");
    assert!(report.contains("interrupted"), "{report}");
    assert_eq!(call.finish().0, Some(1));
    server.resume();
}

/// The duration and the timeout are longer than any clock runs.
#[test]
fn a_run_without_end() {
    let server = serve("echo", "127.0.0.1:0");
    let address = server.tcp().to_string();
    let ages = "18446744073709551615s";
    let mut command = command(&[&address, "--json", "--duration", ages, "--timeout", ages]);
    command.args(["--warm-up", "0"]);
    let mut call = Call::spawn(command);
    server.stats_until("messages go to and fro", |stats| stats.get("reads") > 100);
    kill(Pid::from_raw(call.pid().cast_signed()), Signal::SIGINT).expect("kill");
    let json: Value = serde_json::from_str(&read_all(&mut call)).expect("JSON");
    assert_eq!(json["interrupted"], true);
    assert_eq!(call.finish(), (Some(0), String::new()));
}

#[test]
fn wrong_command_lines() {
    let wrong: &[&[&str]] = &[
        &["--kind", "flood"],
        &["--connections", "0"],
        &["--rate", "fast"],
        &["--sources", "255"],
        &["--json", "--hgrm"],
        &["--kind", "sink", "udp://127.0.0.1:9"],
        &["--kind", "chat", "--size", "10"],
        &["--duration", "0"],
        &["--kind", "connect", "--depth", "2"],
    ];
    for words in wrong {
        let run = finish(command(words));
        assert_eq!(run.code, Some(2), "{words:?}: {run:?}");
        assert!(
            run.stderr.contains("Usage: edgecall load") || run.stderr.contains("--help"),
            "{run:?}"
        );
    }
}

#[test]
fn help_says_all_and_fits() {
    let mut command = command(&["--help"]);
    command.env("COLUMNS", "80");
    let help = finish(command).stdout;
    for word in [
        "--kind",
        "--connections",
        "--size",
        "--depth",
        "--duration",
        "--warm-up",
        "--rate",
        "--connect-rate",
        "--sources",
        "--threads",
        "--talkers",
        "--server-pid",
        "--timeout",
        "--json",
        "--hgrm",
        "EDGECALL_",
        "Example:\n  edgeloop echo",
    ] {
        assert!(help.contains(word), "no {word} in\n{help}");
    }
    for line in help.lines() {
        assert!(line.chars().count() <= 80, "too long: {line}");
    }
}
