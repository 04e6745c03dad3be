//! Against a server of another kind, or none, a run ends with a reason and a complete JSON report.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::thread;

use serde_json::Value;
use tests::door::{ClosedDoor, closed_udp_door, udp_door};
use tests::server::{Launch, Server};

use crate::faulty::{self, Faulty};
use crate::run::{Finished, command, finish, serve};

const KINDS: [&str; 5] = ["echo", "upper", "chat", "sink", "connect"];

/// The names of all fields of a report.
fn fields(report: &Value) -> BTreeSet<&str> {
    let object = report.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

/// Runs loads of all kinds, and returns their results. Each failed run must give a reason, and each
/// report must have all fields.
fn loads(address: &str) -> Vec<(&'static str, Finished)> {
    let usual = command(&["--kind", "connect", "-c", "1", "-d", "1ms", "--json"]);
    let usual = finish(usual).json();
    let load = |kind| {
        let words = ["--kind", kind, address, "-c", "3", "--timeout", "500ms"];
        let mut command = command(&words);
        command.args(["-d", "200ms", "--warm-up", "0", "--json"]);
        let run = finish(command);
        // The command line refuses UDP for some kinds (status 2).
        if run.code != Some(2) {
            let json = run.json();
            assert_eq!(fields(&json), fields(&usual), "{kind}: {run:?}");
            match json["error"].as_str() {
                None => assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{kind}"),
                Some(why) => {
                    assert_eq!(run.stderr, format!("edgecall: {why}\n"), "{kind}");
                    assert!(!why.ends_with(": ") && !why.is_empty(), "{kind}: {why:?}");
                    assert_eq!(run.code, Some(1), "{kind}: {run:?}");
                }
            }
        }
        (kind, run)
    };
    KINDS.into_iter().map(load).collect()
}

/// Checks that all kinds but the suited ones fail. The suited ones may fail, too, on a machine that
/// stands still.
fn only(suited: &[&str], runs: &[(&str, Finished)]) {
    for (kind, run) in runs.iter().filter(|(kind, _)| !suited.contains(kind)) {
        assert_eq!(run.code, Some(1), "{kind}: {run:?}");
    }
}

#[test]
fn our_servers_of_other_kinds() {
    let servers = ["echo", "upper", "sink", "chat", "talk"];
    let suited: [&[&str]; 5] = [&["echo", "connect"], &["upper"], &["sink"], &["chat"], &[]];
    thread::scope(|scope| {
        for (name, suited) in servers.into_iter().zip(suited) {
            scope.spawn(move || {
                let server = serve(name, "127.0.0.1:0");
                let runs = loads(&server.tcp().to_string());
                only(suited, &runs);
                for (kind, run) in &runs {
                    let json = run.json();
                    let (wrong, right) = (json["mismatches"].as_u64(), &json["messages"]);
                    if wrong > Some(0) && right == 0 {
                        let notes = json["notes"].to_string();
                        let question = format!("is it one for --kind {kind}?");
                        assert!(notes.contains(&question), "{name}: {json}");
                    }
                }
            });
        }
    });
}

/// Answers any request as a web server would.
fn speaks_http(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    if stream.read(&mut bytes).is_ok_and(|count| count > 0) {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    }
    // A close with unread input would send an RST and destroy the reply.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    faulty::never_answers(stream);
}

/// Sends unrequested lines.
fn babbles(mut stream: TcpStream) {
    while stream.write_all(b"* \x1b[2J\xff\0\r\n[x] y\n").is_ok() {}
}

fn closes_at_once(stream: TcpStream) {
    drop(stream);
}

#[test]
fn strange_servers() {
    type Treatment = fn(TcpStream);
    let treatments: [(Treatment, &[&str]); 4] = [
        (speaks_http, &[]),
        (babbles, &[]),
        (closes_at_once, &[]),
        // This server reads to the end, and then closes: a correct sink.
        (faulty::never_answers, &["sink"]),
    ];
    thread::scope(|scope| {
        for (treat, suited) in treatments {
            scope.spawn(move || {
                let server = Faulty::start(treat);
                only(suited, &loads(&server.address()));
            });
        }
    });
}

#[test]
fn no_server_at_all() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("file"), "").expect("a file");
    let _datagrams = UnixDatagram::bind(path("datagrams")).expect("bind");
    let closed = ClosedDoor::new();
    let unix = |name| format!("unix:{}", path(name).display());
    let addresses = [
        closed.at().to_string(),
        unix("file"),
        unix("."),
        unix("missing"),
        unix("datagrams"),
        "edgeloop.invalid:9".to_owned(),
    ];
    for address in &addresses {
        for (kind, run) in loads(address) {
            let is_told = run.stderr.contains("cannot reach") || kind == "connect";
            assert!(run.code == Some(1) && is_told, "{address}, {kind}: {run:?}");
        }
    }
    let (_closed, refusing) = closed_udp_door();
    let (_silent, silent) = udp_door();
    for address in [refusing, silent] {
        for (kind, run) in loads(&address) {
            let code = if ["echo", "upper"].contains(&kind) {
                1
            } else {
                2
            };
            assert_eq!(run.code, Some(code), "{address}, {kind}: {run:?}");
        }
    }
}

#[test]
fn a_run_that_cannot_begin() {
    for words in [
        &["-c", "4000000"][..],
        &["--server-pid", "2147483647"],
        &["--sources", "2", "[::1]:9"],
    ] {
        let run = finish(command(&[words, &["--json"]].concat()));
        let json = run.bad();
        assert!(json["error"].as_str().is_some_and(|why| !why.is_empty()));
        assert_eq!(json["messages"], 0);
    }
}

/// A chat whose members may say `rate` lines a second.
fn limited_chat(rate: &str) -> Server {
    let limits = ["--quiet", "--rate", rate, "--burst", "1"];
    Launch::new("chat", &["127.0.0.1:0"]).args(&limits).start()
}

/// A chat run, long enough for the generator's probes.
fn chat(server: &Server, duration: &str, words: &[&str]) -> Value {
    let address = server.tcp().to_string();
    let mut command = command(&["--kind", "chat", &address, "-c", "20", "-d", duration]);
    command.args(["--warm-up", "100ms", "--json"]).args(words);
    finish(command).good()
}

#[test]
fn the_limit_of_a_chat_is_told_from_its_speed() {
    let limited = limited_chat("8");
    for words in [&[][..], &["--rate", "1000", "-t", "2"]] {
        // On a machine that stands still now and then, it takes more than one try.
        let is_told = |_| {
            let json = chat(&limited, "3s", words);
            let note = json["notes"].to_string().contains("--rate 0");
            assert_eq!(json["held_back"], note, "{json}");
            note
        };
        assert!((0..5).any(is_told), "{words:?}");
    }
    let unlimited = limited_chat("0");
    for words in [
        &[][..],
        &["--rate", "1000000"],
        &["--depth", "8", "-t", "2"],
    ] {
        let json = chat(&unlimited, "2s", words);
        assert_eq!(json["held_back"], false, "{json}");
    }
    // A rate below the limit is not held back.
    let json = chat(&limited, "2s", &["--rate", "20"]);
    assert_eq!(json["held_back"], false, "{json}");
}

/// Sends garbled lines in the talker's name, and never reads the talker's lines.
fn garbles_without_reading(mut stream: TcpStream) {
    let mut bytes = [0; 100];
    let _ = stream.write_all(b"name?\n");
    let Ok(count @ 1..) = stream.read(&mut bytes) else {
        return;
    };
    let name = String::from_utf8_lossy(&bytes[..count]);
    let talker = format!("[{}0] x\n", name.trim_end().trim_end_matches(['0', '1']));
    let _ = stream.write_all(b"* nobody is here\n");
    while stream.write_all(talker.repeat(100).as_bytes()).is_ok() {}
}

/// The garbled lines count as the talker's own, so it goes on sending to a server that does not
/// read. The generator's pending output must stay bounded.
#[test]
fn pending_output_to_a_chat_is_bounded() {
    let server = Faulty::start(garbles_without_reading);
    let words = ["--kind", "chat", &server.address(), "-c", "2", "-d", "1m"];
    let mut command = command(&[&words[..], &["--talkers", "1", "-s", "64KiB"]].concat());
    command.args(["--warm-up", "0", "--json"]);
    let json = finish(command).bad();
    assert_eq!(
        json["errors"]["closed early: too slow a reader"], 1,
        "{json}"
    );
}
