//! Output besides the connections: the log's file, the transcript, and standard error where
//! `stderr.rs` finds no other way.
//!
//! A write to a file, a FIFO or a terminal waits for as long as its reader pauses, and the loop
//! must not. So each of them has a thread that does the waiting, and a pipe that leads to it. The
//! loop's end of the pipe never waits: while the pipe is full, lines are dropped and counted.
//!
//! A line of up to [`LINE_MAX`](lines::LINE_MAX) bytes enters the pipe whole or not at all
//! (pipe(7), `PIPE_BUF`), so several threads and processes may share it without a lock. Lost lines
//! are counted in an eventfd(2), which they share as well.
//!
//! | trouble | consequence |
//! |---|---|
//! | the reader pauses, the disk is slow | the pipe fills up, further lines are lost |
//! | the reader has gone, the disk is full, the file may not grow | lines are lost; each following one is another attempt |
//!
//! The recorder complains of trouble once, when it begins. When it is over, the number of lost
//! lines stands where they are missing.
//!
//! The thread takes no lock and uses nothing of the standard library that has one, because a
//! process may be forked at any moment of its life (see `models/sys.rs`).
//!
//! This file is the loop's end of the pipe, `writer.rs` the thread's; `lines.rs` and `request.rs`
//! are what they agree on.

mod lines;
mod record;
mod request;
mod target;
#[cfg(test)]
mod tests;
mod writer;

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::{io, thread};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollFlags;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{close, pipe2, write};

pub(crate) use self::lines::{MARK, cut};
pub(crate) use self::record::Record;
use self::request::{ANSWER, REOPEN, REOPEN_AT_MARK};
use self::target::{Target, open_target, why_not};
use self::writer::Writer;
use crate::ending;

/// Capacity of the pipe in bytes: the most that any user may ask for (pipe(7), `pipe-max-size`).
const PIPE_SIZE: i32 = 1024 * 1024;
/// Stack of the thread in bytes. It runs a few small functions; formatting a complaint goes
/// deepest.
const STACK_SIZE: usize = 128 * 1024;

/// The loop's end of the pipe.
#[derive(Debug)]
pub(crate) struct Recorder {
    pipe: OwnedFd,
    /// Number of lines lost on this side.
    lost: Arc<EventFd>,
    /// Carries requests to the thread: see `request.rs`.
    bell: Arc<EventFd>,
    /// Written by the thread in reply to [`ANSWER`], when all is written.
    answer: Arc<EventFd>,
    /// The file's descriptor, whose number stays when it is opened anew.
    file: Option<RawFd>,
}

impl Recorder {
    /// Appends to the file, FIFO or terminal at `path`. Errors: in one line, why it cannot be
    /// opened.
    pub(crate) fn open(path: &Path, record: &'static Record) -> Result<Recorder, String> {
        let failed = |errno| format!("{}: {}", path.display(), why_not(path, errno));
        let target = Target::File(open_target(path).map_err(failed)?, path.into());
        Recorder::start(target, record).map_err(|error| error.to_string())
    }

    /// Writes to standard error.
    pub(crate) fn of_stderr(record: &'static Record) -> io::Result<Recorder> {
        Recorder::start(Target::Stderr(io::stderr()), record)
    }

    fn start(target: Target, record: &'static Record) -> io::Result<Recorder> {
        let (reader, pipe) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // A refusal leaves the size that a pipe has anyway.
        let _ = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
        let event = || EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC);
        let recorder = Recorder {
            pipe,
            lost: Arc::new(event()?),
            bell: Arc::new(event()?),
            answer: Arc::new(event()?),
            file: target.file(),
        };
        let Recorder {
            lost, bell, answer, ..
        } = &recorder;
        let writer = Writer::new(reader, target, record, lost, bell, answer);
        // The thread inherits that all signals are blocked, so it interrupts nothing and takes no
        // signal that is another thread's to handle.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let thread = thread::Builder::new().name(record.name.into());
        let started = thread.stack_size(STACK_SIZE).spawn(move || writer.run());
        before.thread_set_mask()?;
        started.map(|_| recorder)
    }

    /// A recorder without a thread, the far end of its pipe, and the count of lost lines.
    #[cfg(test)]
    pub(crate) fn for_test(pipe_size: i32) -> (Recorder, OwnedFd, Arc<EventFd>) {
        end_late();
        let (reader, pipe) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(pipe_size)).unwrap();
        let event = || Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap());
        let (lost, bell) = (event(), event());
        let recorder = Recorder {
            pipe,
            lost: Arc::clone(&lost),
            bell,
            // Without a writer thread every request counts as answered.
            answer: Arc::new(EventFd::from_value(1).unwrap()),
            file: None,
        };
        (recorder, reader, lost)
    }

    /// Records a line, its end included. A line that is too long for one write is cut.
    pub(crate) fn line(&self, line: &[u8]) {
        let line = cut(line);
        if self.write(&line) < line.len() {
            self.lose(1);
        }
    }

    /// Takes as many of these bytes as there is room for, and returns their number. A line longer
    /// than [`LINE_MAX`](lines::LINE_MAX) may be taken in part: then no other writer may use the
    /// recorder before this one has written the rest.
    pub(crate) fn write(&self, bytes: &[u8]) -> usize {
        loop {
            match write(&self.pipe, bytes) {
                Err(Errno::EINTR) => {}
                written => return written.unwrap_or(0),
            }
        }
    }

    /// Counts lines that were lost before they came here.
    pub(crate) fn lose(&self, lines: u64) {
        let _ = self.lost.write(lines);
    }

    /// Lets the lines that follow go to the file that the path names by then.
    pub(crate) fn reopen(&self) {
        if self.write(MARK) == MARK.len() {
            self.reopen_at_mark();
        } else {
            let _ = self.bell.write(REOPEN);
        }
    }

    /// As [`Recorder::reopen`], for a writer whose lines may be taken in part: it writes the
    /// [`MARK`] itself, between two lines.
    pub(crate) fn reopen_at_mark(&self) {
        let _ = self.bell.write(REOPEN_AT_MARK);
    }

    /// At the end of the program: writes `rest`, which had no room so far, and waits until all is
    /// written, for as long as [`ending`] allows; false if that was too short.
    pub(crate) fn finish(&self, mut rest: &[u8]) -> bool {
        loop {
            rest = &rest[self.write(rest)..];
            if rest.is_empty() {
                break;
            }
            if !ending::wait(self.pipe.as_fd(), PollFlags::POLLOUT) {
                return false;
            }
        }
        let _ = self.bell.write(ANSWER);
        let is_written = ending::wait(self.answer.as_fd(), PollFlags::POLLIN);
        if is_written {
            let _ = self.answer.read();
        }
        is_written
    }

    /// In a forked child: closes the child's copy of the file. The copy would keep a deleted file's
    /// disk space in use, and a FIFO's reader from seeing its end.
    pub(crate) fn close_in_child(&self) {
        if let Some(file) = self.file {
            let _ = close(file);
        }
    }
}

/// All tests of a process have the same end, which is to be later than the last of them.
#[cfg(test)]
fn end_late() {
    ending::begin(std::time::Duration::from_secs(3600));
}
