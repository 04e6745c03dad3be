//! Make system calls fail, or count them, with `strace`.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::until;

/// A log that `strace` writes about one server.
#[derive(Debug)]
pub struct Trace {
    directory: TempDir,
}

impl Trace {
    /// An empty log.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it creates a directory")]
    pub fn new() -> Self {
        Self {
            directory: TempDir::new().expect("a temporary directory"),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// The words to put before the server's command line.
    ///
    /// `-D` makes the server the child of the test and `strace` a grandchild, so that signals and
    /// exit status are the server's.
    #[must_use]
    pub fn wrapper(&self, options: &[&str]) -> Vec<String> {
        let path = self.path();
        let path = path.to_str().expect("a path in UTF-8");
        ["strace", "-D", "-f", "-qq", "-o", path]
            .iter()
            .chain(options)
            .map(|&word| word.to_owned())
            .collect()
    }

    /// The log so far.
    #[must_use]
    pub fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap_or_default()
    }

    /// How many calls were made to fail so far.
    #[must_use]
    pub fn injected(&self) -> usize {
        self.text().matches("(INJECTED)").count()
    }

    /// Waits for the summary of `-c`, which `strace` writes when the server has ended, and returns
    /// the total number of system calls.
    #[must_use]
    pub fn total_calls(&self) -> u64 {
        until("strace has written its summary", || {
            self.text().ends_with(" total\n")
        });
        let text = self.text();
        // "% time, seconds, usecs/call, calls, errors, syscall"; errors may be blank.
        let total = text.lines().next_back().expect("the last line");
        let calls = total
            .split_whitespace()
            .nth(3)
            .and_then(|calls| calls.parse().ok());
        calls.unwrap_or_else(|| panic!("not a summary of strace: {text}"))
    }
}
