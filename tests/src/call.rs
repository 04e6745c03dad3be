//! `edgecall`, the client under test.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::tempfile;

use crate::PATIENCE;
use crate::process::wait_for_exit;
use crate::server::{Lines, edgecall};

/// A running client. Dropping it kills the process.
#[derive(Debug)]
pub struct Call {
    child: Child,
    stderr: Arc<Lines>,
}

impl Call {
    /// `edgecall` with these arguments.
    #[must_use]
    pub fn start(arguments: &[&str], stdin: impl Into<Stdio>, stdout: impl Into<Stdio>) -> Self {
        let mut command = Command::new(edgecall());
        command.args(arguments).stdin(stdin).stdout(stdout);
        Self::spawn(command)
    }

    /// `edgecall echo` with these arguments.
    #[must_use]
    pub fn echo(arguments: &[&str], stdin: impl Into<Stdio>, stdout: impl Into<Stdio>) -> Self {
        Self::start(&[&["echo"], arguments].concat(), stdin, stdout)
    }

    /// Starts a command that is the client or becomes it by `exec`, and collects its stderr.
    #[must_use]
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stderr = Lines::collect(child.stderr.take().expect("piped"));
        Self { child, stderr }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, which must be a pipe.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("piped")
    }

    /// Its standard output, which must be a pipe.
    pub fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("piped")
    }

    /// Its stderr so far.
    #[must_use]
    pub fn stderr(&self) -> &Lines {
        &self.stderr
    }

    /// Whether it has ended within this time.
    pub fn has_ended(&mut self, within: Duration) -> bool {
        wait_for_exit(&mut self.child, within).is_some()
    }

    /// Waits for its end, and returns its exit status and its stderr.
    #[must_use]
    pub fn finish(mut self) -> (Option<i32>, String) {
        let status = wait_for_exit(&mut self.child, PATIENCE).expect("edgecall ends");
        self.stderr.wait_for_end();
        (status.code(), self.stderr.text())
    }

    /// Waits for its end: status 0, and nothing on stderr.
    pub fn succeeds(self) {
        assert_eq!(self.finish(), (Some(0), String::new()));
    }

    /// Waits for its end: status 1, and this reason on stderr.
    pub fn fails(self, reason: &str) {
        assert_eq!(self.finish(), (Some(1), format!("edgecall: {reason}\n")));
    }

    /// As [`succeeds`](Self::succeeds), and returns its stdout, which must be a pipe.
    #[must_use]
    pub fn prints(mut self) -> Vec<u8> {
        let mut printed = Vec::new();
        let mut stdout = self.stdout();
        stdout.read_to_end(&mut printed).expect("a pipe");
        self.succeeds();
        printed
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file that holds `bytes`, open at its start.
#[must_use]
pub fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile().expect("a temporary file");
    file.write_all(bytes).expect("a temporary file");
    file.rewind().expect("a temporary file");
    file
}

/// The whole content of a file.
#[must_use]
pub fn content(mut file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().expect("a temporary file");
    file.read_to_end(&mut bytes).expect("a temporary file");
    bytes
}
