//! The real `nc`, fed from a file.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::process::{Child, Stdio};

use tempfile::tempfile;

use crate::PATIENCE;
use crate::process::wait_for_exit;
use crate::program::command;

/// An `nc` that runs.
///
/// Its input is a file and its output another, so that many can run at once and none waits for us.
#[derive(Debug)]
pub struct Netcat {
    child: Child,
    output: File,
}

impl Netcat {
    /// Starts `nc` with these arguments and this text on stdin.
    #[must_use]
    pub fn start(arguments: &[&str], input: &[u8]) -> Self {
        let mut stdin = tempfile().expect("a temporary file");
        stdin.write_all(input).expect("a temporary file");
        stdin.rewind().expect("a temporary file");
        let output = tempfile().expect("a temporary file");
        let child = command("nc")
            .args(arguments)
            .stdin(stdin)
            .stdout(output.try_clone().expect("dup"))
            .stderr(Stdio::inherit())
            .spawn()
            .expect("nc starts");
        Self { child, output }
    }

    /// Waits for its end and returns what it printed. It must have ended with status 0.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let status = wait_for_exit(&mut self.child, PATIENCE).expect("nc ends");
        assert!(status.success(), "nc: {status}");
        let mut output = Vec::new();
        // The file has one offset for nc and for us.
        self.output.rewind().expect("a temporary file");
        self.output
            .read_to_end(&mut output)
            .expect("a temporary file");
        output
    }
}

impl Drop for Netcat {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `nc` to its end: what it prints for this text on stdin.
#[must_use]
pub fn nc(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    Netcat::start(arguments, input).finish()
}
