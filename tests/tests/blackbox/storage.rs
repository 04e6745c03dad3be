//! A disk that is full, in truth: a tmpfs of a few pages, which needs a namespace of its own.

use std::fs;
use std::path::PathBuf;
use std::thread;

use tempfile::tempdir;

use tests::chat::Guest;
use tests::client::{dial, ping};
use tests::namespace::own_mount;
use tests::server::{Launch, Server};
use tests::strace::Trace;
use tests::until;

use super::{ends, in_every_model};

/// The mount point of the small disk in the server's namespace.
const DISK: &str = "/mnt";

/// A server whose `/mnt` holds 32 KiB; `None` where that is not allowed.
fn on_a_small_disk(launch: Launch) -> Option<Server> {
    let wrapper = own_mount("mount -t tmpfs -o size=32k none /mnt")?;
    Some(launch.under(&wrapper).start())
}

/// The path of a file on the disk of a server, as the test sees it.
fn on_disk(server: &Server, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{DISK}/{name}", server.pid()))
}

/// The log costs lines when the disk is full, and has a line with their number once there is room.
#[test]
fn a_log_on_a_full_disk() {
    in_every_model(|model| {
        let launch = Launch::echo().model(model);
        let launch = launch.args(&["-v", "--log-file", "/mnt/log"]);
        let Some(server) = on_a_small_disk(launch) else {
            return;
        };
        let bystander = dial(server.tcp());
        let ballast = on_disk(&server, "ballast");
        fs::write(&ballast, vec![0; 16 * 1024]).expect("room for half");
        let log = on_disk(&server, "log");
        let mut visits = 0;
        until("the disk is full", || {
            ping(dial(server.tcp()), b"a line for the log");
            visits += 1;
            server.stderr().text().contains("No space left on device")
        });
        for visit in 0..50 {
            ping(&bystander, format!("the disk is full {visit}").as_bytes());
            ping(dial(server.tcp()), b"a line that is missing");
        }
        let complaints = server.stderr().text();
        let complaints = complaints.matches("No space left on device").count();
        assert!(complaints <= 3, "{complaints} complaints");
        fs::remove_file(&ballast).expect("room again");
        until(
            "lines are written again, with the number of the others",
            || {
                ping(dial(server.tcp()), b"a line again");
                fs::read_to_string(&log)
                    .expect("the log")
                    .contains(" missing ")
            },
        );
        ends(server);
    });
}

/// All members hear every line, whether or not the transcript has room for it.
#[test]
fn a_transcript_on_a_full_disk() {
    let launch = Launch::new("chat", &["127.0.0.1:0"]);
    let options = ["--transcript", "/mnt/transcript", "--rate", "0"];
    let Some(server) = on_a_small_disk(launch.args(&options)) else {
        return;
    };
    let [mut ann, bob] = Guest::join_all(server.tcp(), ["ann", "bob"]);
    let line = "x".repeat(1000);
    for _ in 0..100 {
        bob.say(&line);
    }
    for _ in 0..100 {
        ann.hears(&format!("[bob] {line}"));
    }
    server.logs("No space left on device");
    let written = fs::metadata(on_disk(&server, "transcript")).expect("a transcript");
    assert!(written.len() <= 32 * 1024, "{}", written.len());
    ends(server);
}

/// Writes to the transcript fail now and then. It has the room's lines in their order, each whole and
/// once, and tells how many are missing; an interrupted write costs none.
#[test]
fn a_transcript_whose_writes_fail_now_and_then() {
    const LINES: usize = 400;
    thread::scope(|scope| {
        for (error, loses) in [
            ("EIO", true),
            ("ENOSPC", true),
            ("EINTR", false),
            ("EAGAIN", false),
        ] {
            scope.spawn(move || {
                let directory = tempdir().expect("a temporary directory");
                let path = directory.path().join("transcript");
                let path = path.to_str().expect("UTF-8");
                let (trace, inject) =
                    (Trace::new(), format!("inject=write:error={error}:when=2+3"));
                let options = ["-P", path, "-e", "trace=write", "-e", &inject];
                let launch = Launch::new("chat", &["127.0.0.1:0"]).under(&trace.wrapper(&options));
                let options = ["--transcript", path, "--rate", "0"];
                let server = launch.args(&options).start();
                let [mut ann, bob] = Guest::join_all(server.tcp(), ["ann", "bob"]);
                let said: Vec<String> = (0..LINES)
                    .map(|number| format!("[bob] {number} {}", "x".repeat(2000)))
                    .collect();
                for line in &said {
                    bob.say(line.trim_start_matches("[bob] "));
                    ann.hears(line);
                }
                let mut counts = (0, 0);
                until("all lines are written or counted", || {
                    // Each further line is another attempt.
                    bob.say("again");
                    let text = fs::read_to_string(path).expect("the transcript");
                    let written = text.lines().filter_map(|line| line.split_once(" lobby "));
                    let mut rest = said.iter();
                    let written = written.filter(|(_, line)| rest.any(|said| said == line));
                    counts = (written.count(), missing(&text));
                    counts.0 + counts.1 >= LINES
                });
                assert_eq!(loses, counts.1 > 0, "{error}: {counts:?}");
                assert!(trace.injected() > 2, "{error}");
                assert!(
                    counts.0 > 0 && loses || counts.0 == LINES,
                    "{error}: {counts:?}"
                );
                if loses {
                    server.logs("cannot write the transcript: ");
                    server.logs("lines missing from the transcript: ");
                }
                ends(server);
            });
        }
    });
}

/// The number of lines that a transcript says are missing.
fn missing(text: &str) -> usize {
    let counts = text.lines().filter_map(|line| {
        let (_, count) = line.split_once(" * lines missing from the transcript: ")?;
        count.parse::<usize>().ok()
    });
    counts.sum()
}
