//! The real `nc`, fed from a file.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::process::{Child, Stdio};

use tempfile::tempfile;

use crate::PATIENCE;
use crate::process::wait_for_exit;
use crate::program::command;

/// A running `nc`.
///
/// Its input and its output are files, so that many can run at once and none waits for the test.
#[derive(Debug)]
pub struct Netcat {
    child: Child,
    output: File,
}

impl Netcat {
    /// Starts `nc` with these arguments and this input.
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

    /// Waits for its end, which must have status 0, and returns its output.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let status = wait_for_exit(&mut self.child, PATIENCE).expect("nc ends");
        assert!(status.success(), "nc: {status}");
        let mut output = Vec::new();
        // The file's offset is shared with `nc`, which has left it at the end.
        self.output.rewind().expect("a temporary file");
        self.output
            .read_to_end(&mut output)
            .expect("a temporary file");
        output
    }
}

impl Drop for Netcat {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `nc` with this input to its end, and returns its output.
#[must_use]
pub fn nc(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    Netcat::start(arguments, input).finish()
}
