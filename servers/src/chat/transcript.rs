//! The record of what was said: a file, written once a second.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::time::SystemTime;

use humantime::format_rfc3339_seconds;

/// What waits to be written is no more than this; the rest of a second's lines is lost, and
/// counted.
const WAITING_MAX: usize = 4 * 1024 * 1024;

/// Lines with their times and rooms, on their way to a file.
pub struct Transcript {
    file: Box<dyn Write + Send>,
    waiting: Vec<u8>,
    lost: usize,
    /// The last attempt to write failed, and was complained about.
    failing: bool,
}

impl fmt::Debug for Transcript {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Transcript").finish_non_exhaustive()
    }
}

impl Transcript {
    /// A record that goes to this file, or whatever else can be written.
    #[must_use]
    pub fn new(file: impl Write + Send + 'static) -> Self {
        Transcript {
            file: Box::new(file),
            waiting: Vec::new(),
            lost: 0,
            failing: false,
        }
    }

    /// Takes down a line, which is harmless and has its end.
    pub(super) fn note(&mut self, room: &str, line: &[u8]) {
        if self.waiting.len() + line.len() > WAITING_MAX {
            self.lost += 1;
            return;
        }
        let now = format_rfc3339_seconds(SystemTime::now());
        self.waiting
            .extend_from_slice(format!("{now} {room} ").as_bytes());
        self.waiting.extend_from_slice(line);
    }

    /// Writes what waits. A failure is complained about once, until there is a success.
    pub(super) fn flush(&mut self) {
        while !self.waiting.is_empty() {
            match self.file.write(&self.waiting) {
                Ok(count @ 1..) => {
                    self.waiting.drain(..count);
                    self.failing = false;
                }
                Ok(0) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        log::error!("cannot write the transcript: {error}");
                    }
                    break;
                }
            }
        }
        if self.lost > 0 && !self.failing {
            log::error!("lines missing from the transcript: {}", self.lost);
            self.lost = 0;
        }
    }

    /// Whether there is more to write.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl Drop for Transcript {
    fn drop(&mut self) {
        self.flush();
    }
}
