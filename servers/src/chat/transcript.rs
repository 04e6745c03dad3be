//! The record of what was said: a file, written once a second.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::time::SystemTime;

use humantime::format_rfc3339_seconds;

/// What waits to be written is no more than this. If the file takes nothing, further lines are
/// lost, and counted.
const WAITING_MAX: usize = 4 * 1024 * 1024;
/// So much is written at once, without waiting for the end of the second.
const WRITE_AT: usize = 256 * 1024;

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
        let now = format_rfc3339_seconds(SystemTime::now());
        let before = self.waiting.len();
        // To write to memory does not fail.
        let _ = write!(self.waiting, "{now} {room} ");
        self.waiting.extend_from_slice(line);
        if self.waiting.len() > WAITING_MAX {
            self.waiting.truncate(before);
            self.lost += 1;
        } else if self.waiting.len() >= WRITE_AT && !self.failing {
            self.flush();
        }
    }

    /// Writes what waits. A failure is complained about once, until there is a success.
    pub(super) fn flush(&mut self) {
        let written = self.write_all();
        if let Err(error) = written {
            if !std::mem::replace(&mut self.failing, true) {
                log::error!("cannot write the transcript: {error}");
            }
            return;
        }
        self.failing = false;
        if self.lost > 0 {
            log::error!("lines missing from the transcript: {}", self.lost);
            self.lost = 0;
        }
    }

    /// Writes until all is written, or nothing more can be.
    fn write_all(&mut self) -> io::Result<()> {
        let mut done = 0;
        let mut result = Ok(());
        while result.is_ok() && done < self.waiting.len() {
            match self.file.write(&self.waiting[done..]) {
                Ok(0) => result = Err(ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => result = Err(error),
            }
        }
        self.waiting.drain(..done);
        result
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
