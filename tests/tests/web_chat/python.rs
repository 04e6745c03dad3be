//! An ordinary client that is none of ours: Python's `websockets`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use tests::chat::Guest;
use tests::command::command;
use tests::package::python_package;
use tests::page::{WELCOME, room};
use tests::program::Program;

const PACKAGE: &str = "websockets==15.0.1";
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/websocket_client.py");

/// The directory of the package; `None` if it cannot be installed.
pub(crate) fn package() -> Option<&'static Path> {
    static PACKAGE_DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let install = || python_package(PACKAGE, Path::new(env!("CARGO_TARGET_TMPDIR")));
    PACKAGE_DIRECTORY.get_or_init(install).as_deref()
}

/// A client with these arguments.
pub(crate) fn start(package: &Path, arguments: &[&str]) -> Program {
    let mut python = command("python3");
    python.arg(CLIENT).args(arguments);
    python.env("PYTHONPATH", package).stdin(Stdio::piped());
    Program::spawn(python)
}

#[test]
fn a_client_of_python_is_a_member() {
    let Some(package) = package() else { return };
    let server = room(&[]).start();
    let mut guest = Guest::join(server.tcp(), "gus");
    let mut client = start(package, &[&format!("ws://{}/room", server.http())]);
    client.shows(WELCOME);
    client.say("pia\n");
    guest.hears("* pia has entered the room");
    client.say("hello\n");
    guest.hears("[pia] hello");
    guest.say("grüße, pia");
    client.shows("[gus] grüße, pia");
    client.end_input();
    guest.hears("* pia has left the room");
    client.shows("closed 1000");
}
