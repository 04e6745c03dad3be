//! The thread's end: reads lines from the pipe and writes them to the target.

use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use memchr::memrchr;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::stat::fstat;
use nix::unistd::{dup3, read, write};

use super::lines::{MARK, line_count, line_start, piece_len};
use super::record::Record;
use super::request::Requests;
use super::target::{Target, open_target, why_not};

/// Bytes read from the pipe at once.
const READ_SIZE: usize = 64 * 1024;

/// The thread's end of the pipe, and the target.
pub(super) struct Writer {
    pipe: OwnedFd,
    target: Target,
    record: &'static Record,
    lost: Arc<EventFd>,
    bell: Arc<EventFd>,
    answer: Arc<EventFd>,
    buffer: Box<[u8]>,
    /// Lines read and not yet written, and the beginning of a line.
    tail: Vec<u8>,
    asked: Requests,
    /// Number of lost lines that the record does not mention yet.
    missing: u64,
    /// Lines are being lost, and the complaint was made.
    is_troubled: bool,
    /// The last write failed: the next one is an attempt.
    is_failing: bool,
    /// The target ends in the middle of a line.
    is_torn: bool,
}

/// A failed write: the cause, and the number of lines that were not written to their end.
#[derive(Clone, Copy)]
struct Failure {
    errno: Errno,
    lines: u64,
}

impl Writer {
    /// The far end of `pipe`, whose loop shares these descriptors.
    pub(super) fn new(
        pipe: OwnedFd,
        target: Target,
        record: &'static Record,
        lost: &Arc<EventFd>,
        bell: &Arc<EventFd>,
        answer: &Arc<EventFd>,
    ) -> Writer {
        Writer {
            pipe,
            target,
            record,
            lost: Arc::clone(lost),
            bell: Arc::clone(bell),
            answer: Arc::clone(answer),
            buffer: vec![0; READ_SIZE].into(),
            tail: Vec::with_capacity(READ_SIZE),
            asked: Requests::default(),
            missing: 0,
            is_troubled: false,
            is_failing: false,
            is_torn: false,
        }
    }

    /// Writes until the last writer has gone.
    pub(super) fn run(mut self) {
        while let Some(count) = self.read() {
            if count > 0 {
                self.look_for_losses();
                self.write_tail();
            } else {
                self.rest();
            }
        }
        self.missing += self.lost.read().unwrap_or(0);
        self.tell_gap();
    }

    /// Reads once, and returns the number of bytes: 0 if the pipe is empty, `None` at its end.
    fn read(&mut self) -> Option<usize> {
        match read(&self.pipe, &mut self.buffer) {
            Ok(0) => None,
            Ok(count) => {
                self.tail.extend_from_slice(&self.buffer[..count]);
                Some(count)
            }
            // EAGAIN or EINTR.
            Err(_) => Some(0),
        }
    }

    /// The pipe is empty: meets the requests, and waits for more.
    fn rest(&mut self) {
        if self.asked.reopen {
            self.reopen();
        }
        self.missing += self.lost.read().unwrap_or(0);
        if self.missing > 0 && !self.is_failing {
            // The count is complete only when the target takes it.
            self.wait_for_target();
            if !self.is_empty() || !self.tell_gap() || self.missing > 0 {
                return;
            }
        }
        if mem::take(&mut self.asked.answer) {
            let _ = self.answer.write(1);
        }
        let mut asked = [
            PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.bell.as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut asked, PollTimeout::NONE);
        self.hear_bell();
    }

    fn is_empty(&self) -> bool {
        let mut asked = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        poll(&mut asked, PollTimeout::ZERO) == Ok(0)
    }

    /// Takes note of requests. They are met when the pipe is empty: lines that were written before
    /// come first.
    fn hear_bell(&mut self) {
        self.asked.note(self.bell.read().unwrap_or(0));
    }

    /// Opens the file anew, unless that was done already.
    fn obey_mark(&mut self) {
        self.asked.marks -= 1;
        if self.asked.obeyed > 0 {
            self.asked.obeyed -= 1;
        } else {
            self.reopen();
        }
    }

    /// Complains of lines lost on the loop's side.
    fn look_for_losses(&mut self) {
        self.missing += self.lost.read().unwrap_or(0);
        if self.missing > 0 {
            self.complain("it takes no more for now; lines are dropped");
        }
    }

    /// Complains of trouble, once.
    fn complain(&mut self, why: &str) {
        if !mem::replace(&mut self.is_troubled, true) {
            (self.record.complain)(&format!("cannot write the {}: {why}", self.record.name));
        }
    }

    /// Writes the complete lines.
    fn write_tail(&mut self) {
        let Some(last) = memrchr(b'\n', &self.tail) else {
            return;
        };
        let mut lines = mem::take(&mut self.tail);
        let mut rest = &lines[..=last];
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(MARK) {
                self.obey_mark();
                rest = after;
            } else {
                let (piece, after) = rest.split_at(piece_len(rest));
                self.write_piece(piece);
                rest = after;
            }
        }
        lines.drain(..=last);
        self.tail = lines;
    }

    fn write_piece(&mut self, lines: &[u8]) {
        if self.is_failing && !self.tell_gap() {
            self.missing += line_count(lines);
        } else if let Err(failure) = self.put(lines) {
            self.fail(failure);
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.missing += failure.lines;
        self.is_failing = true;
        self.complain(failure.errno.desc());
    }

    /// Writes the number of lines that are missing here, if any are; false if the write fails.
    fn tell_gap(&mut self) -> bool {
        if self.missing == 0 {
            return true;
        }
        let told = self.missing;
        match self.put((self.record.gap)(told).as_bytes()) {
            Ok(()) => {
                (self.record.resumed)(told);
                self.missing -= told;
                self.is_troubled = self.missing > 0;
                self.is_failing = false;
                true
            }
            Err(Failure { errno, .. }) => {
                self.fail(Failure { errno, lines: 0 });
                false
            }
        }
    }

    /// Writes whole lines, however long that takes.
    fn put(&mut self, lines: &[u8]) -> Result<(), Failure> {
        let mut done = 0;
        while done < lines.len() {
            let piece = if self.is_torn { b"\n" } else { &lines[done..] };
            match write(&self.target, piece) {
                Ok(_) if self.is_torn => self.is_torn = false,
                Ok(count @ 1..) => done += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    if self.wait_for_target() {
                        done = line_start(lines, done);
                    }
                }
                failed => {
                    self.is_torn |= line_start(lines, done) < done;
                    return Err(Failure {
                        errno: failed.err().unwrap_or(Errno::EIO),
                        lines: line_count(&lines[done..]),
                    });
                }
            }
        }
        Ok(())
    }

    /// Waits until the target takes more; true if it is another file by then. A request to open the
    /// file anew is met at once here, because the target's reader may never go on.
    fn wait_for_target(&mut self) -> bool {
        loop {
            // The bell may have been heard before the target was full.
            if self.asked.reopen || self.asked.marks > self.asked.obeyed {
                self.asked.obeyed = self.asked.marks.max(0);
                return self.reopen();
            }
            let mut asked = vec![
                PollFd::new(self.target.as_fd(), PollFlags::POLLOUT),
                PollFd::new(self.bell.as_fd(), PollFlags::POLLIN),
            ];
            if !self.is_troubled {
                asked.push(PollFd::new(self.lost.as_fd(), PollFlags::POLLIN));
            }
            let _ = poll(&mut asked, PollTimeout::NONE);
            let takes_more = asked[0].any() == Some(true);
            self.look_for_losses();
            self.hear_bell();
            if takes_more {
                return false;
            }
        }
    }

    /// Opens the path anew, if there is one; false if the target is still the one it was.
    fn reopen(&mut self) -> bool {
        self.asked.reopen = false;
        let Target::File(file, path) = &mut self.target else {
            return false;
        };
        let identity = |fd: &OwnedFd| fstat(fd).map(|it| (it.st_dev, it.st_ino));
        let opened = open_target(path).and_then(|new| {
            let is_same = identity(&new) == identity(file);
            // The descriptor keeps its number, which forked children close.
            dup3(&new, file, OFlag::O_CLOEXEC).map(|()| is_same)
        });
        match opened {
            Ok(is_same) => {
                self.is_torn &= is_same;
                true
            }
            Err(errno) => {
                let (name, why) = (self.record.name, why_not(path, errno));
                (self.record.complain)(&format!(
                    "cannot open the {name} anew: {}: {why}; it goes on as before",
                    path.display()
                ));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use nix::fcntl::{FcntlArg, fcntl};
    use nix::sys::eventfd::EfdFlags;
    use nix::sys::stat::Mode;
    use nix::unistd::{mkfifo, pipe2};

    use super::super::request::REOPEN_AT_MARK;
    use super::*;

    const RECORD: Record = Record {
        name: "test",
        gap: |lines| format!("missing: {lines}\n"),
        complain: |_| (),
        resumed: |_| (),
    };

    /// The bell rang while the pipe was empty, and the lines before the mark have no room in the
    /// FIFO. The writer once waited for the bell again, for good.
    #[test]
    fn a_request_that_was_heard_before_the_target_was_full_is_met() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("full");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let fifo = File::options().read(true).write(true).open(&path).unwrap();
        fcntl(&fifo, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        let target = Target::File(open_target(&path).unwrap(), path.clone());
        fs::rename(&path, directory.path().join("old")).unwrap();
        let (pipe, end) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
        let event = || Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap());
        let bell = event();
        let mut writer = Writer::new(pipe, target, &RECORD, &event(), &bell, &event());
        bell.write(REOPEN_AT_MARK).unwrap();
        writer.hear_bell();
        for text in ["before\n".repeat(1000).as_bytes(), MARK, b"after\n"] {
            assert_eq!(write(&end, text), Ok(text.len()));
        }
        drop(end);
        let (done, is_done) = channel();
        thread::spawn(move || {
            writer.run();
            done.send(()).unwrap();
        });
        is_done.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(fs::read_to_string(path).unwrap().ends_with("after\n"));
    }
}
