//! The record of all lines: a file, written once a second.

use std::mem;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;

use crate::recorder::{MARK, Record, Recorder};

/// Most bytes that wait to be written. If the file takes nothing, further lines are lost, and counted.
const WAITING_MAX: usize = 4 * 1024 * 1024;
/// Bytes that are written at once, without waiting for the end of the second.
const WRITE_AT: usize = 256 * 1024;

const TRANSCRIPT: Record = Record {
    name: "transcript",
    gap: |lines| {
        let now = format_rfc3339_seconds(SystemTime::now());
        format!("{now} * lines missing from the transcript: {lines}\n")
    },
    complain: |why| log::error!("{why}"),
    resumed: |lines| log::error!("lines missing from the transcript: {lines}"),
};

/// Lines with their times and rooms, on their way to a file.
#[derive(Debug)]
pub struct Transcript {
    recorder: Recorder,
    /// Lines that were not written yet.
    waiting: Vec<u8>,
    /// Length of `waiting` at which the next write is attempted.
    write_at: usize,
}

impl Transcript {
    /// A record that is appended to this file. Errors: in one line, why it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, String> {
        Recorder::open(path, &TRANSCRIPT).map(Transcript::new)
    }

    pub(super) fn new(recorder: Recorder) -> Self {
        Transcript {
            recorder,
            waiting: Vec::new(),
            write_at: WRITE_AT,
        }
    }

    /// Appends a line, which has been made harmless and ends with a newline.
    /// `millis`: its time, in milliseconds since 1970.
    pub(super) fn note(&mut self, millis: u64, room: &str, line: &[u8]) {
        let time = UNIX_EPOCH + Duration::from_millis(millis);
        let time = format_rfc3339_seconds(time).to_string();
        let parts = [time.as_bytes(), b" ", room.as_bytes(), b" ", line];
        if self.waiting.len() + parts.iter().map(|part| part.len()).sum::<usize>() > WAITING_MAX {
            return self.recorder.lose(1);
        }
        parts
            .iter()
            .for_each(|part| self.waiting.extend_from_slice(part));
        if self.waiting.len() >= self.write_at {
            self.flush();
        }
    }

    /// Writes as many waiting bytes as the recorder takes.
    pub(super) fn flush(&mut self) {
        let count = self.recorder.write(&self.waiting);
        self.waiting.drain(..count);
        self.write_at = self.waiting.len() + WRITE_AT;
    }

    /// Whether bytes wait to be written.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Opens the file anew. Lines that were noted before go to the old file.
    pub(super) fn reopen(&mut self) {
        self.waiting.extend_from_slice(MARK);
        self.flush();
        self.recorder.reopen_at_mark();
    }
}

impl Drop for Transcript {
    fn drop(&mut self) {
        if !self.recorder.finish(&mem::take(&mut self.waiting)) {
            log::error!("the grace period is over; the transcript lacks its last lines");
        }
    }
}
