//! Programs by name: the two under test, or an installed one.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The program of that name: `edgeloop` and `edgecall` are those under test, any other one
/// [must be installed](needs).
#[must_use]
pub fn command(name: &str) -> Command {
    Command::new(match name {
        "edgeloop" => binary().clone(),
        "edgecall" => edgecall().clone(),
        _ => {
            needs(name);
            PathBuf::from(name)
        }
    })
}

/// Fails if this program is not installed, and says how to install it.
pub fn needs(name: &str) {
    let path = env::var_os("PATH").unwrap_or_default();
    // If `name` is an absolute path, `join` returns it as it is.
    let is_there = env::split_paths(&path).any(|directory| directory.join(name).is_file());
    assert!(is_there, "needs `{name}`: run tests/run, which installs it");
}

/// The server under test. The first call builds it, in the profile of the tests.
pub fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| find("edgeloop", "EDGELOOP_BIN"))
}

/// The client under test, found or built like the server.
pub fn edgecall() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| find("edgecall", "EDGECALL_BIN"))
}

/// The program that the environment variable names, or else the freshly built package.
fn find(package: &str, variable: &str) -> PathBuf {
    env::var_os(variable).map_or_else(|| build(package), PathBuf::from)
}

fn build(package: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--quiet",
        "--package",
        package,
        "--message-format=json",
    ]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo cannot be started");
    assert!(output.status.success(), "{package} does not build");
    let messages = String::from_utf8(output.stdout).expect("cargo speaks UTF-8");
    let path = messages.lines().filter_map(executable_in).next_back();
    PathBuf::from(path.expect("cargo named no executable"))
}

/// The path in one of cargo's messages, if that message is about an executable.
fn executable_in(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("\"executable\":\"")?;
    rest.split('"').next()
}
