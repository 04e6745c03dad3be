//! One standard output for several workers.
//!
//! Each worker writes to a pipe of its own, and the printer, a thread that has nothing else to do,
//! copies whole lines from all pipes. So no line is torn, and while standard output is full, the
//! pipes fill up: to a worker, its pipe is standard output.

use std::io::{self, PipeReader, Read, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::{ending, print};

/// Default capacity of a pipe in bytes (pipe(7)).
const PIPE_SIZE: usize = 64 * 1024;

/// The thread that prints.
pub(super) struct Printer {
    thread: JoinHandle<io::Result<()>>,
    /// Written when the thread ends.
    end: Arc<EventFd>,
}

impl Printer {
    /// Starts a printer that reads from `count` pipes, and returns the pipes' write ends.
    pub(super) fn start(count: usize) -> io::Result<(Printer, Vec<OwnedFd>)> {
        let pipes = (0..count).map(|_| pipe()).collect::<io::Result<Vec<_>>>()?;
        let (readers, writers): (Vec<_>, Vec<_>) = pipes
            .into_iter()
            .map(|(reader, writer)| (Source::new(reader), OwnedFd::from(writer)))
            .unzip();
        let end = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        let bell = Arc::clone(&end);
        let thread = thread::Builder::new().name("printer".into());
        let thread = thread.spawn(move || {
            let printed = copy_lines(readers);
            let _ = bell.write(1);
            printed
        })?;
        Ok((Printer { thread, end }, writers))
    }

    /// Waits until everything is printed, for as long as [`ending`] allows.
    pub(super) fn finish(self) -> Result<(), String> {
        if !ending::wait(self.end.as_fd(), PollFlags::POLLIN) {
            log::warn!("the grace period is over; standard output took no more");
            return Ok(());
        }
        let printed = self.thread.join().unwrap_or(Ok(()));
        printed.map_err(|error| print::failure(&error))
    }
}

/// A pipe, and the bytes that were read from it after the last line end.
struct Source {
    pipe: PipeReader,
    tail: Vec<u8>,
}

impl Source {
    fn new(pipe: PipeReader) -> Source {
        Source {
            pipe,
            tail: Vec::with_capacity(2 * PIPE_SIZE),
        }
    }

    /// Reads once and prints the complete lines; false at the end of the pipe.
    fn copy(&mut self) -> io::Result<bool> {
        let start = self.tail.len();
        self.tail.resize(start + PIPE_SIZE, 0);
        let count = self.pipe.read(&mut self.tail[start..])?;
        self.tail.truncate(start + count);
        if let Some(end) = self.tail.iter().rposition(|&byte| byte == b'\n') {
            print::print(&self.tail[..=end])?;
            self.tail.drain(..=end);
        }
        Ok(count > 0)
    }
}

fn copy_lines(mut sources: Vec<Source>) -> io::Result<()> {
    while !sources.is_empty() {
        let mut asked: Vec<PollFd> = sources
            .iter()
            .map(|source| PollFd::new(source.pipe.as_fd(), PollFlags::POLLIN))
            .collect();
        match poll(&mut asked, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> = asked.iter().map(|fd| fd.any() == Some(true)).collect();
        for index in (0..ready.len()).rev().filter(|&index| ready[index]) {
            if !sources[index].copy()? {
                sources.swap_remove(index);
            }
        }
    }
    Ok(())
}
