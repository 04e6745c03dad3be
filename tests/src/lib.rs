//! What the tests of the servers share.
//!
//! The servers are tested as their users meet them: as processes, over real sockets, with real
//! `nc`, and with the faults that a kernel can produce. Nothing here links against the reactor;
//! what is known about the servers is what their interface promises.
//!
//! | module | what it is for |
//! |---|---|
//! | [`server`] | start a server, learn its addresses, read its log and its counters, end it |
//! | [`call`] | `edgecall`, the client under test |
//! | [`chat`] | people in a chat, one at a time or hundreds whom one thread keeps talking |
//! | [`client`] | connections with deadlines, resets, filling a connection up |
//! | [`command`] | the programs under test, and others by their names |
//! | [`door`] | where the test itself is the server, or nobody is |
//! | [`program`] | any program that runs: spoken to, its output collected |
//! | [`foreign`] | `nc`, `ncat`, `socat` and `telnet`, in the place of our programs |
//! | [`link`] | a slow link, between two network namespaces |
//! | [`namespace`] | names of hosts, or a network, of a test's own |
//! | [`netcat`] | the real `nc`, fed from a file |
//! | [`process`] | what `/proc` says about a process; limits; waiting with a deadline |
//! | [`sockets`] | the sockets of a process, as `ss` and `netstat` show them |
//! | [`strace`] | let system calls fail, or count them |
//! | [`terminal`] | a terminal, and what it shows |
//! | [`tmux`] | the same with real programs around it: shells in windows of a `tmux` |
//! | [`random`] | numbers and bytes that a seed repeats |
//!
//! Three rules keep these tests honest. No test sleeps and hopes: each waits for the event it
//! needs, and [`PATIENCE`] is only how long until it calls that event missing. No test says how
//! fast something is, but for a stop that must not sit out a timeout of seconds. Every server ends
//! with its [`server::Server`], also when the test fails.
//!
//! Nor does a test depend on the machine: how much its kernel keeps in a socket or a pipe, or what
//! is installed. A test that needs full buffers sets their sizes where it can and waits until the
//! other side has stopped ([`client::fill`], [`client::pile_up`]). A program that is missing is
//! named by [`command::command`]; what a machine may forbid, such as namespaces, is skipped aloud
//! ([`skip`]).
//!
//! The programs under test are built once per run by `cargo build`; set `EDGELOOP_BIN` or
//! `EDGECALL_BIN` to the path of a program to test that one instead.

#![allow(
    clippy::missing_panics_doc,
    reason = "a test harness reports by panicking"
)]

pub mod call;
pub mod chat;
pub mod client;
pub mod command;
pub mod door;
pub mod foreign;
pub mod link;
pub mod namespace;
pub mod netcat;
pub mod process;
pub mod program;
pub mod random;
pub mod server;
pub mod sockets;
pub mod strace;
pub mod terminal;
pub mod tmux;

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

/// How long a test waits for something that must happen before it fails.
///
/// Long, because it is never reached by a server that works, however slow the machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Numbers that no option is meant for: 0, 1, 2^31, 2^63 and 2^64 - 1.
pub const ABSURD_NUMBERS: [&str; 5] = [
    "0",
    "1",
    "2147483648",
    "9223372036854775808",
    "18446744073709551615",
];

/// A mebibyte.
pub const MIB: usize = 1024 * 1024;

/// Waits until `condition` holds, and fails with `what` if it does not within [`PATIENCE`].
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    assert!(
        within(PATIENCE, condition),
        "still not so after {PATIENCE:?}: {what}"
    );
}

/// Waits until `condition` holds; false if it does not within this time.
pub fn within(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Says that the running test cannot be made here, and why.
pub fn skip(why: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    // Not by `eprintln!`: the harness would keep that to itself, since the test does not fail.
    writeln!(std::io::stderr(), "skipped: {name}: {why}").expect("stderr");
}

/// Lets one test at a time through, of all that ask, in whatever process they run.
///
/// For the tests that open thousands of connections: side by side they would only starve each
/// other. The turn ends when the returned value is dropped.
#[must_use]
pub fn one_at_a_time() -> Flock<File> {
    let path = std::env::temp_dir().join("edgeloop-tests.lock");
    let file = File::create(&path).expect("the lock file cannot be created");
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .expect("flock")
}

/// Lowers a flag when dropped, also by a test that fails: whoever works until then ends, and is not
/// waited for in vain.
#[derive(Debug)]
pub struct LowerOnDrop<'a>(pub &'a AtomicBool);

impl Drop for LowerOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
