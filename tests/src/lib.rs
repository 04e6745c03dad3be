//! The harness that the tests of the servers and clients share.
//!
//! The tests run the servers as their users do: as processes, over real sockets, with the real
//! `nc`, and with the faults that a kernel can produce. The harness does not use the reactor's
//! code; it knows only what the command line and the wire promise. The one exception is the program
//! `simulate` (`src/bin/simulate/`), which runs the servers on a simulated kernel.
//!
//! | module | purpose |
//! |---|---|
//! | [`server`] | start a server, learn its addresses, read its log and its counters, end it |
//! | [`browser`] | a real browser: open pages, type into them, look at them |
//! | [`call`] | `edgecall`, the client under test |
//! | [`chat`] | members of a chat: one at a time, or hundreds driven by one thread |
//! | [`client`] | client connections: deadlines, resets, filling the buffers on the way |
//! | [`command`] | the programs under test, and others by their names |
//! | [`door`] | listeners of the test itself, and ports on which no server listens |
//! | [`program`] | a running program: write to its stdin, collect its output |
//! | [`foreign`] | `nc`, `ncat`, `socat` and `telnet` in the place of our programs |
//! | [`link`] | a slow link, between two network namespaces |
//! | [`slow_link`] | a slow link without namespaces: a proxy that delays, limits and cuts |
//! | [`namespace`] | a test's own host names, or its own network |
//! | [`netcat`] | the real `nc`, fed from a file |
//! | [`package`] | packages of Python's index |
//! | [`page`] | a browser's page, as far as the server knows it |
//! | [`process`] | a process in `/proc`: memory, descriptors, state; limits; waiting with a deadline |
//! | [`sockets`] | the sockets of a process, as `ss` and `netstat` show them |
//! | [`source`] | the source files of the project |
//! | [`strace`] | make system calls fail, or count them |
//! | [`terminal`] | a pseudo-terminal: type on it, read its output |
//! | [`tmux`] | a real terminal: a shell in a window of `tmux` |
//! | [`redis`] | a real `redis-server`: end it, start it again, stop it |
//! | [`random`] | reproducible random numbers and bytes |
//!
//! Three rules keep these tests honest. No test sleeps and hopes: each test waits for the event
//! that it needs, and [`PATIENCE`] only bounds that wait. No test asserts a speed, except that a
//! stop must not wait for a timeout of seconds. Every server ends with its [`server::Server`], also
//! when the test fails.
//!
//! No test depends on the machine, that is on the kernel's buffer sizes or on the installed
//! programs. A test that needs full buffers sets their sizes where it can, and waits until the peer
//! has stopped reading ([`client::fill`], [`client::pile_up`]). [`command::command`] names a
//! missing program. A test that needs something that a machine may forbid, such as namespaces, says
//! that it is skipped ([`skip`]).
//!
//! `cargo build` builds the programs under test once per run. Set `EDGELOOP_BIN` or `EDGECALL_BIN`
//! to the path of a program to test that one instead.

#![allow(
    clippy::missing_panics_doc,
    reason = "a test harness reports by panicking"
)]

pub mod browser;
pub mod call;
pub mod chat;
pub mod client;
pub mod command;
pub mod door;
pub mod foreign;
pub mod link;
pub mod namespace;
pub mod netcat;
pub mod package;
pub mod page;
pub mod process;
pub mod program;
pub mod random;
pub mod redis;
pub mod server;
pub mod slow_link;
pub mod sockets;
pub mod source;
pub mod strace;
pub mod terminal;
pub mod tmux;

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

/// How long a test waits for an event before it fails.
///
/// The time is long, so that a working server never reaches it, however slow the machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Extreme values for numeric options: 0, 1, 2^31, 2^63 and 2^64 - 1.
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

/// Waits until `condition` holds; false if it does not within `patience`.
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

/// Reports that the running test is skipped, and why.
pub fn skip(why: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    // Not `eprintln!`: the test harness captures that, and shows it only if the test fails.
    writeln!(std::io::stderr(), "skipped: {name}: {why}").expect("stderr");
}

/// A lock between tests, also between those of different processes; dropping it releases it.
///
/// It is for the tests that open thousands of connections: run in parallel they would only starve
/// each other.
#[must_use]
pub fn one_at_a_time() -> Flock<File> {
    let path = std::env::temp_dir().join("edgeloop-tests.lock");
    let file = File::create(&path).expect("the lock file cannot be created");
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .expect("flock")
}

/// Clears a flag when dropped, also when the test fails, so that the threads that run while it is
/// set end and can be joined.
#[derive(Debug)]
pub struct LowerOnDrop<'a>(pub &'a AtomicBool);

impl Drop for LowerOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
