//! The WebSocket echo before an independent judge: kosoku, which has the cases of Autobahn's test suite.
//!
//! It is a package of Python's index, installed once into the target directory. The tests are skipped,
//! and say so, where Python or the index is missing.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::tempdir;
use tests::command::command;
use tests::package::python_package;
use tests::program::Program;
use tests::server::Launch;
use tests::until;

/// The package, at a version whose cases were looked at.
const PACKAGE: &str = "kosoku==0.1.0";
/// All cases but those of compression, which the server does not offer, and those with large messages.
const ALL_BUT_LARGE: [&str; 6] = ["-x", "9.*", "-x", "12.*", "-x", "13.*"];

/// The directory of the package; `None` if it cannot be installed.
fn package() -> Option<&'static Path> {
    static PACKAGE: OnceLock<Option<PathBuf>> = OnceLock::new();
    PACKAGE.get_or_init(install).as_deref()
}

fn install() -> Option<PathBuf> {
    python_package(PACKAGE, Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// Whether the server at this port passes the cases that the judge's options name, and the judge's words.
fn judge(package: &Path, port: u16, cases: &[&str]) -> (bool, String) {
    let reports = tempdir().expect("a directory");
    let main = "import sys; from kosoku._cli import main; sys.exit(main())";
    let verdict = command("python3")
        .args(["-c", main, "-m", "fuzzingclient", "-p", "4", "-o"])
        .arg(reports.path())
        .args(cases)
        .arg(format!("127.0.0.1:{port}"))
        .env("PYTHONPATH", package)
        .output()
        .expect("the judge");
    let words = [verdict.stdout, verdict.stderr].concat();
    let words = String::from_utf8_lossy(&words).into_owned();
    (verdict.status.success(), words)
}

/// Runs these cases against an echo with these options: all of them must pass.
fn passes(cases: &[&str], expected: usize, options: &[&str]) {
    let Some(package) = package() else { return };
    let server = Launch::new("echo", &["http://127.0.0.1:0"]);
    let server = server.args(options).start();
    let (has_passed, words) = judge(package, server.http().port(), cases);
    let count = format!("{expected} cases passed");
    assert!(has_passed && words.contains(&count), "{words}");
}

#[test]
fn the_echo_passes_every_case() {
    passes(&ALL_BUT_LARGE, 247, &[]);
}

/// The judge writes a whole message before it reads, so all of it has to wait in the server.
#[test]
fn the_echo_passes_the_cases_with_large_messages() {
    passes(&["-i", "9.*"], 54, &["--high-water", "64MiB"]);
}

#[test]
fn an_echo_that_checks_nothing_does_not_pass() {
    let Some(package) = package() else { return };
    let naive = concat!(env!("CARGO_MANIFEST_DIR"), "/src/naive_websocket.py");
    let naive = Program::start(&["python3", naive]);
    until("it listens", || naive.stdout().text().contains('\n'));
    let port = naive.stdout().text();
    let port = port.trim().parse().expect("a port");
    let (has_passed, words) = judge(package, port, &ALL_BUT_LARGE);
    let failed = words.matches("behavior=FAILED").count();
    assert!(!has_passed && failed > 50, "{failed} cases failed: {words}");
}
