//! Packages of Python's index.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};

use crate::skip;

/// Installs a package, `NAME==VERSION`, once into a directory below this one, and returns the directory
/// for `PYTHONPATH`. `None`, and a note that the test is skipped, where Python or the index is missing.
#[must_use]
pub fn python_package(package: &str, below: &Path) -> Option<PathBuf> {
    let (name, _) = package.split_once("==").expect("a version");
    let directory = below.join(package);
    let lock = File::create(below.join(format!("{name}.lock"))).expect("a lock");
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno);
    if directory.join(name).is_dir() {
        return Some(directory);
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--only-binary=:all:", "--retries", "1", "--timeout", "20"])
        .arg("--target")
        .arg(&directory)
        .arg(package);
    match pip.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Some(directory),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            skip(&format!("{package} cannot be installed: {why}"));
            None
        }
        Err(error) => {
            skip(&format!("python3 cannot be started: {error}"));
            None
        }
    }
}
