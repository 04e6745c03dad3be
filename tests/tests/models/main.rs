//! The models with a process or a thread per client keep the reactor's promises as far as they can
//! ([`promises`]), and have some of their own ([`workers`]).

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use tests::client::{dial_narrow, fill};
use tests::process::state;
use tests::server::{Launch, Server};
use tests::strace::Trace;

/// Makes a test of each function for each of its models: all three, the two blocking ones, or fork
/// alone.
macro_rules! for_each_model {
    (all: $($all:ident)*) => {
        for_each_model!(@ reactor: $($all)*);
        for_each_model!(@ fork: $($all)*);
        for_each_model!(@ thread: $($all)*);
    };
    (blocking: $($blocking:ident)*; fork: $($fork:ident)*) => {
        for_each_model!(@ fork: $($blocking)* $($fork)*);
        for_each_model!(@ thread: $($blocking)*);
    };
    (@ $model:ident: $($test:ident)*) => {
        mod $model {
            $(#[test]
            fn $test() {
                super::$test(stringify!($model));
            })*
        }
    };
}

mod promises;
mod workers;

fn echo(model: &str) -> Launch {
    Launch::echo().args(&["--model", model])
}

/// The children of a process's main thread, including zombies.
fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(path).expect("/proc/PID/task/TID/children");
    let children = children.split_whitespace().map(str::parse);
    children.map(|child| child.expect("a number")).collect()
}

fn threads(pid: u32) -> usize {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    threads.expect("/proc/PID/task").count()
}

fn is_gone(pid: u32) -> bool {
    // On a machine whose init does not reap orphans, they stay zombies.
    !Path::new(&format!("/proc/{pid}")).exists() || state(pid) == 'Z'
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).expect("kill");
}

fn end(mut server: Server) {
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

/// A client that never reads, so that the server has pending output for it.
fn stalled_client(server: &Server) -> TcpStream {
    let stream = dial_narrow(server.tcp(), 16 * 1024);
    let _ = fill(&stream, &vec![b'x'; 65_536]);
    stream
}

/// An echo server whose system calls `calls` fail as `how` says, in the syntax of `strace -e
/// inject`.
fn with_faults(model: &str, calls: &str, how: &str) -> (Trace, Server) {
    let trace = Trace::new();
    let options = [format!("trace={calls}"), format!("inject={calls}:{how}")];
    let wrapper = trace.wrapper(&["-e", &options[0], "-e", &options[1]]);
    let server = echo(model).under(&wrapper).start();
    (trace, server)
}
