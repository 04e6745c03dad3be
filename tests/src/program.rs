//! A running program, ours or a third party's: write to its stdin, collect its output.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use crate::command::{command, needs};

use crate::PATIENCE;
use crate::process::wait_for_exit;

/// A running program. Its stdin is a pipe unless the caller chose otherwise. Dropping it kills the
/// process.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Arc<Output>,
    stderr: Arc<Output>,
}

impl Program {
    /// Starts a command: words with spaces between them, without quotes.
    #[must_use]
    pub fn line(line: &str) -> Self {
        Self::start(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Starts `words[0]` with the other words as arguments.
    #[must_use]
    pub fn start(words: &[&str]) -> Self {
        Self::start_with(words, Stdio::piped())
    }

    /// As [`start`](Self::start), with this as standard input.
    #[must_use]
    pub fn start_with(words: &[&str], stdin: impl Into<Stdio>) -> Self {
        let mut command = command(words[0]);
        command.args(&words[1..]).stdin(stdin);
        Self::spawn(command)
    }

    /// Starts a command whose standard input the caller has set.
    #[must_use]
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            name: format!("{command:?}"),
            stdin: child.stdin.take(),
            stdout: Output::collect(child.stdout.take().expect("piped")),
            stderr: Output::collect(child.stderr.take().expect("piped")),
            child,
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its input.
    pub fn say(&mut self, text: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("input that has not ended");
        stdin.write_all(text.as_ref()).expect("it reads its input");
    }

    /// Ends its input.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Its stdout so far.
    #[must_use]
    pub fn stdout(&self) -> &Output {
        &self.stdout
    }

    /// Its stderr so far.
    #[must_use]
    pub fn stderr(&self) -> &Output {
        &self.stderr
    }

    /// Waits until its stdout contains this text.
    pub fn shows(&self, text: &str) {
        let shown = self.stdout.wait_for(text);
        assert!(shown, "no {text:?} on stdout of {self:?}");
    }

    /// Waits until its stderr contains this text.
    pub fn complains(&self, text: &str) {
        let shown = self.stderr.wait_for(text);
        assert!(shown, "no {text:?} on stderr of {self:?}");
    }

    /// Writes the question to its input, and waits for the answer on its stdout.
    pub fn ask(&mut self, question: &str, answer: &str) {
        self.say(question);
        self.shows(answer);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).expect("kill");
    }

    /// Whether it has ended within this time.
    pub fn has_ended(&mut self, within: Duration) -> bool {
        wait_for_exit(&mut self.child, within).is_some()
    }

    /// Waits for its end without closing its input, and returns its status and output.
    #[must_use]
    pub fn wait(&mut self) -> Ended {
        let status = wait_for_exit(&mut self.child, PATIENCE)
            .unwrap_or_else(|| panic!("it does not end: {self:?}"));
        self.stdout.wait_for_end();
        self.stderr.wait_for_end();
        Ended {
            code: status.code(),
            stdout: self.stdout.bytes(),
            stderr: self.stderr.text(),
        }
    }

    /// Closes its input, waits for its end, and returns its status and output.
    #[must_use]
    pub fn finish(mut self) -> Ended {
        self.end_input();
        self.wait()
    }

    /// As [`finish`](Self::finish), but the status must be 0; returns its stdout.
    #[must_use]
    pub fn prints(self) -> String {
        let name = self.name.clone();
        let ended = self.finish();
        assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
        ended.text()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end with this input.
#[must_use]
pub fn run(words: &[&str], input: impl AsRef<[u8]>) -> Ended {
    Program::start_with(words, file_of(input.as_ref())).finish()
}

/// As [`run`], but the status must be 0; returns its stdout.
#[must_use]
pub fn output_of(words: &[&str], input: impl AsRef<[u8]>) -> String {
    Program::start_with(words, file_of(input.as_ref())).prints()
}

/// A file that holds `bytes`, open at its start.
fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("a temporary file");
    file.rewind().expect("a temporary file");
    file
}

/// The status and output of a program that has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ended {
    /// Its exit status; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its whole stdout.
    pub stdout: Vec<u8>,
    /// Its whole stderr.
    pub stderr: String,
}

impl Ended {
    /// Its stdout, as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// The output of a process, collected while it runs.
#[derive(Debug, Default)]
pub struct Output {
    state: Mutex<OutputState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct OutputState {
    bytes: Vec<u8>,
    ended: bool,
}

impl Output {
    /// Collects until the end, in a thread of its own.
    #[must_use]
    pub fn collect(mut source: impl Read + Send + 'static) -> Arc<Self> {
        let output = Arc::new(Self::default());
        let collector = Arc::clone(&output);
        thread::spawn(move || {
            let mut block = vec![0; 64 * 1024];
            // A terminal that no process has open any more ends with an error (EIO).
            while let Ok(count @ 1..) = source.read(&mut block) {
                collector.change(|state| state.bytes.extend_from_slice(&block[..count]));
            }
            collector.change(|state| state.ended = true);
        });
        output
    }

    fn change(&self, change: impl FnOnce(&mut OutputState)) {
        change(&mut self.state.lock().expect("no test panics in here"));
        self.changed.notify_all();
    }

    /// The bytes so far.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.state
            .lock()
            .expect("no test panics in here")
            .bytes
            .clone()
    }

    /// The bytes so far, as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// Waits until the output contains `text`; false if it ends or [`PATIENCE`] is over first.
    #[must_use]
    pub fn wait_for(&self, text: &str) -> bool {
        let text = text.as_bytes();
        self.wait_until(|bytes| {
            text.is_empty() || bytes.windows(text.len()).any(|window| window == text)
        })
    }

    /// Waits until the output satisfies `condition`; false if it ends or [`PATIENCE`] is over
    /// first.
    #[must_use]
    pub fn wait_until(&self, mut condition: impl FnMut(&[u8]) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state.lock().expect("no test panics in here");
        loop {
            if condition(&state.bytes) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return false;
            }
            (state, _) = self
                .changed
                .wait_timeout(state, left)
                .expect("no test panics in here");
        }
    }

    /// Waits for the end of the output.
    pub fn wait_for_end(&self) {
        let state = self.state.lock().expect("no test panics in here");
        let (state, _) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !state.ended)
            .expect("no test panics in here");
        assert!(state.ended, "the output does not end");
    }
}
