//! The figures of the server are plausible, and a message costs the generator two calls.

use std::io::Read;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::call::Call;
use tests::one_at_a_time;
use tests::program;
use tests::server::{Launch, edgecall};
use tests::strace::Trace;

use crate::run::{command, finish, load, number, serve};

#[test]
fn the_server_is_measured_in_all_its_models() {
    for (model, processes, threads) in [("reactor", 1, 1), ("fork", 21, 21), ("thread", 1, 21)] {
        let server = Launch::echo().args(&["--model", model, "--quiet"]).start();
        let (address, pid) = (server.tcp().to_string(), server.pid().to_string());
        let words = [&address, "-c", "20", "--server-pid", &pid];
        let json = load(&words).good();
        assert_eq!(json["server"]["processes"], processes, "{model}: {json}");
        // The accepting thread may count, too.
        let found = number(&json, "/server/threads");
        assert!(
            (f64::from(threads)..=f64::from(threads + 2)).contains(&found),
            "{json}"
        );
        assert!(number(&json, "/server/cpu_us_per_message") > 0.0, "{json}");
        assert!(number(&json, "/server/cpu_share") > 0.0, "{json}");
        assert!(number(&json, "/server/pss_bytes") > 100e3, "{json}");
        let switches = number(&json, "/server/voluntary_switches_per_message")
            + number(&json, "/server/involuntary_switches_per_message");
        assert!(switches > 0.0, "{json}");
        assert_eq!(json["server"]["switches_complete"], true, "{json}");
        let memory = number(&json, "/server/pss_bytes_per_connection");
        match model {
            "reactor" => assert!(memory < 20e3, "{json}"),
            _ => assert!((4e3..1e6).contains(&memory), "{model}: {json}"),
        }
        // The processor time of children that have ended counts, too.
        let words = [
            "--kind",
            "connect",
            &address,
            "-c",
            "5",
            "--server-pid",
            &pid,
        ];
        let json = load(&words).good();
        assert!(number(&json, "/server/cpu_us_per_message") > 0.0, "{json}");
        assert!(json["server"]["pss_bytes_per_connection"].is_null());
    }
    let run = load(&["--server-pid", "2147483647"]);
    let expected = "edgecall: cannot measure process 2147483647: No such file or directory\n";
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), expected));
}

#[test]
fn two_thousand_connections() {
    let _turn = one_at_a_time();
    let server = serve("echo", "127.0.0.1:0");
    let pid = server.pid().to_string();
    let words = [
        &server.tcp().to_string(),
        "-c",
        "2000",
        "--server-pid",
        &pid,
    ];
    let json = load(&words).good();
    assert_eq!(json["connected"], 2000);
    assert!(
        number(&json, "/server/pss_bytes_per_connection") < 4096.0,
        "{json}"
    );
    server.stats_until("all connections are closed", |stats| {
        stats.get("connections") == 0
    });
}

/// The measured process is a shell that has started the generator: the figures exclude the
/// generator itself.
#[test]
fn the_generator_is_not_a_part_of_the_server() {
    let server = serve("echo", "127.0.0.1:0");
    let mut shell = Command::new("sh");
    // With a single command the shell would become the generator by `exec`.
    let words = "load \"$1\" --json -d 300ms --warm-up 0 --server-pid $$; exit $?";
    shell.args(["-c", &format!("\"$0\" {words}")]);
    shell.arg(edgecall()).arg(server.tcp().to_string());
    shell.stdin(Stdio::null()).stdout(Stdio::piped());
    let json = finish(shell).good();
    assert_eq!(json["server"]["processes"], 1, "{json}");
}

/// The server is killed during the measurement.
#[test]
fn a_server_that_ends_has_no_figures() {
    let server = serve("echo", "127.0.0.1:0");
    let (address, pid) = (server.tcp().to_string(), server.pid().to_string());
    let mut call = Call::spawn(command(&[
        &address,
        "-d",
        "60s",
        "--server-pid",
        &pid,
        "--json",
    ]));
    server.stats_until("messages go to and fro", |stats| stats.get("reads") > 1000);
    server.signal(Signal::SIGKILL);
    let mut stdout = String::new();
    call.stdout().read_to_string(&mut stdout).expect("UTF-8");
    assert_eq!(call.finish().0, Some(1));
    let json: Value = serde_json::from_str(&stdout).expect("JSON");
    let closed = json["errors"].as_object().expect("an object").iter();
    assert!(
        closed
            .clone()
            .all(|(error, _)| error.starts_with("closed early: ")),
        "{json}"
    );
    assert_eq!(
        closed.filter_map(|(_, count)| count.as_u64()).sum::<u64>(),
        64
    );
    assert!(json["server"].is_null(), "{json}");
    let notes = json["notes"].to_string();
    assert!(notes.contains("the server's process has ended"), "{json}");
}

/// `strace` counts one call to send and one to receive per message, and one more per stream that
/// finds its end.
#[test]
fn two_calls_for_a_message() {
    const CONNECTIONS: u64 = 64;
    let server = serve("echo", "127.0.0.1:0");
    let trace = Trace::new();
    let wrapper = trace.wrapper(&["-c"]);
    let mut command = program::command(&wrapper[0]);
    command.args(&wrapper[1..]).arg(edgecall()).arg("load");
    command.args([
        &server.tcp().to_string(),
        "--json",
        "-d",
        "300ms",
        "--warm-up",
        "0",
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let messages = number(&finish(command).good(), "/messages") as u64;
    let _ = trace.total_calls();
    let [sends, receives] = ["sendto", "recvfrom"].map(|call| calls(&trace.text(), call));
    // Some messages are sent after the end of the measurement.
    assert!(
        (messages..2 * messages).contains(&sends),
        "{sends} for {messages}"
    );
    assert_eq!(receives, sends + CONNECTIONS);
    // The timeouts of the waits have fractions of a millisecond.
    let waits = calls(&trace.text(), "epoll_pwait2");
    assert!(waits < sends / 5, "{waits} waits for {sends} messages");
}

/// The count of a system call in a summary of `strace -c`.
fn calls(summary: &str, name: &str) -> u64 {
    let line = summary
        .lines()
        .find(|line| line.ends_with(&format!(" {name}")));
    let count = line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    count.unwrap_or_else(|| panic!("no {name} in {summary}"))
}
