//! Servers as black boxes in a hostile environment: system calls that fail, a start that cannot
//! succeed, full disks, little memory, strangers that speak other protocols, and bad networks.
//!
//! Each test holds the same: the server lives on, serves the next client exactly, loses no byte of a
//! connection that was not harmed, says what happened in a line, and does not spin. The other files
//! of tests are about one promise each; these are about one kind of fault each.

mod calls;
mod memory;
mod network;
mod signals;
mod slow_link;
mod start;
mod storage;
mod strangers;

use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::Signal;

use tests::PATIENCE;
use tests::chat::Guest;
use tests::client::{dial, expect_end, ping_and_end};
use tests::server::{Launch, MODELS, Server};
use tests::strace::Trace;

/// A server, as words of its command line before the addresses.
type Way = (&'static str, &'static [&'static str]);

/// Every server that many clients can call, in every model that it has.
const WAYS: [Way; 10] = [
    ("echo", &[]),
    ("echo", &["--workers", "2"]),
    ("echo", &["--model", "fork"]),
    ("echo", &["--model", "thread"]),
    ("upper", &[]),
    ("upper", &["--model", "fork"]),
    ("sink", &[]),
    ("sink", &["--model", "fork"]),
    ("sink", &["--model", "thread"]),
    ("chat", &[]),
];

/// One of the [`WAYS`] on a TCP port that the kernel picks.
fn launch((name, options): Way) -> Launch {
    Launch::new(name, &["127.0.0.1:0"]).args(options)
}

/// One of the models of the echo server.
fn echo(model: &str) -> Launch {
    Launch::echo().model(model)
}

/// Starts a server whose system calls `calls` fail as `how` says, in the syntax of `strace -e
/// inject`.
fn with_fault(launch: Launch, calls: &str, how: &str) -> (Trace, Server) {
    with_faults(launch, &[(calls, how)])
}

/// Starts a server with several faults at once: see [`with_fault`].
fn with_faults(launch: Launch, faults: &[(&str, &str)]) -> (Trace, Server) {
    let trace = Trace::new();
    let calls: Vec<&str> = faults.iter().map(|(calls, _)| *calls).collect();
    let mut options = vec!["-e".to_owned(), format!("trace={}", calls.join(","))];
    for (calls, how) in faults {
        options.extend(["-e".to_owned(), format!("inject={calls}:{how}")]);
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let server = launch.under(&trace.wrapper(&options)).start();
    (trace, server)
}

/// Checks that a server serves a new client exactly, in the way that its kind does.
fn serves(name: &str, server: &Server) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let address = server.tcp();
    let line = format!("the client number {number}\n");
    match name {
        "echo" => ping_and_end(&dial(address), line.as_bytes()),
        "upper" => {
            let client = dial(address);
            let capitals = line.to_uppercase();
            (&client).write_all(line.as_bytes()).expect("write");
            client.shutdown(Shutdown::Write).expect("shutdown");
            expect_end(&client, capitals.as_bytes());
        }
        "sink" => {
            (&dial(address)).write_all(line.as_bytes()).expect("write");
            let line = line.trim_end();
            let said = server.stdout().wait_for(PATIENCE, |it| it.ends_with(line));
            assert!(said.is_some(), "no {line:?} in {}", server.stdout().text());
        }
        "chat" => {
            let [mut hearer, author] =
                ["hearer", "author"].map(|role| Guest::join(address, &format!("{role}{number}")));
            author.say(&line);
            let heard = format!("[author{number}] {}", line.trim_end());
            let _ = hearer.hears_at_last(&heard);
        }
        _ => panic!("{name} is no server"),
    }
}

/// Checks that a server stops in order.
fn ends(mut server: Server) {
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

/// Runs a test for every model, all at once.
fn in_every_model(test: impl Fn(&str) + Sync) {
    let this = thread::current();
    // A skip reports the name of its thread.
    let name = this.name().unwrap_or_default();
    thread::scope(|scope| {
        for model in MODELS {
            let test = &test;
            let thread = thread::Builder::new().name(format!("{name} ({model})"));
            thread
                .spawn_scoped(scope, move || test(model))
                .expect("a thread");
        }
    });
}
