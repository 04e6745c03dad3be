//! What is written besides the connections: the log's file, the transcript, and standard error where
//! `stderr.rs` finds no other way.
//!
//! A write to a file, a FIFO or a terminal waits for as long as its reader pauses, and the loop must
//! not. So each of them has a thread that does the waiting, and a pipe that leads to it. The loop's
//! end of the pipe never waits: while the pipe is full, lines are dropped and counted.
//!
//! A line of up to [`LINE_MAX`] bytes enters the pipe whole or not at all (pipe(7), `PIPE_BUF`), so
//! several threads and processes may share it without a lock. Lines that were lost are counted in
//! an eventfd(2), which they share as well.
//!
//! | what goes wrong | what happens |
//! |---|---|
//! | the reader pauses, the disk is slow | the pipe fills up, further lines are lost |
//! | the reader has gone, the disk is full, the file may not grow | lines are lost; each following one is another attempt |
//!
//! Trouble is complained of once, when it begins. When it is over, the number of lines that were
//! lost stands where they are missing.
//!
//! The thread takes no lock and uses nothing of the standard library that has one, because a
//! process may be forked at any moment of its life (see `models/sys.rs`).

use std::borrow::Cow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{io, thread};

use memchr::{memchr_iter, memrchr};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::stat::{Mode, SFlag, fstat, stat};
use nix::unistd::{close, dup3, pipe2, read, write};

use crate::ending;

/// The longest line that several may write at once, its end included: `PIPE_BUF` of Linux.
pub(crate) const LINE_MAX: usize = 4096;
/// How much a pipe shall hold. As much as any user may ask for (pipe(7), `pipe-max-size`).
const PIPE_SIZE: i32 = 1024 * 1024;
/// Bytes read from the pipe at once.
const READ_SIZE: usize = 64 * 1024;
/// The thread runs a few small functions; formatting a complaint takes the stack deepest.
const STACK_SIZE: usize = 128 * 1024;

/// A line of the pipe that is none of the record's: lines before it go to the file that is open,
/// lines after it to the one that the path names now. No other line begins with NUL.
pub(crate) const MARK: &[u8] = b"\0\n";

/// What the bell asks for, each so often: to open the file anew at a [`MARK`], which is on its way;
/// to do so without one; to answer.
const REOPEN_AT_MARK: u64 = 1;
const REOPEN: u64 = 1 << 20;
const ANSWER: u64 = 1 << 40;

/// What is recorded, and how its troubles are told.
#[derive(Debug)]
pub(crate) struct Record {
    /// Its name in a complaint.
    pub(crate) name: &'static str,
    /// The line that stands for so many lost ones, its end included.
    pub(crate) gap: fn(u64) -> String,
    /// Where complaints go, which must be elsewhere than here.
    pub(crate) complain: fn(&str),
    /// Hears how many lines were lost when that is over, and written.
    pub(crate) resumed: fn(u64),
}

/// The loop's end.
#[derive(Debug)]
pub(crate) struct Recorder {
    pipe: OwnedFd,
    /// Lines that were lost on this side.
    lost: Arc<EventFd>,
    bell: Arc<EventFd>,
    /// Rung by the thread when it was asked for an answer, and all is written.
    answer: Arc<EventFd>,
    /// The file, whose number stays when it is opened anew.
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
        let writer = Writer {
            pipe: reader,
            target,
            record,
            lost: Arc::clone(&recorder.lost),
            bell: Arc::clone(&recorder.bell),
            answer: Arc::clone(&recorder.answer),
            buffer: vec![0; READ_SIZE].into(),
            tail: Vec::with_capacity(READ_SIZE),
            asked: Asked::default(),
            missing: 0,
            is_troubled: false,
            is_failing: false,
            is_torn: false,
        };
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
            // There is no thread to ask: whatever is asked is answered.
            answer: Arc::new(EventFd::from_value(1).unwrap()),
            file: None,
        };
        (recorder, reader, lost)
    }

    /// Records a line, its end included. One that is too long to be written in one piece is cut.
    pub(crate) fn line(&self, line: &[u8]) {
        let line = cut(line);
        if self.write(&line) < line.len() {
            self.lose(1);
        }
    }

    /// Takes as many of these bytes as there is room for. A line that is longer than [`LINE_MAX`]
    /// may be taken in parts: then it must be the only writer that goes on with it.
    pub(crate) fn write(&self, bytes: &[u8]) -> usize {
        loop {
            match write(&self.pipe, bytes) {
                Err(Errno::EINTR) => {}
                written => return written.unwrap_or(0),
            }
        }
    }

    /// So many lines were lost before they came here.
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

    /// The same for a writer whose lines may be cut: it writes the [`MARK`] itself, between two of
    /// them.
    pub(crate) fn reopen_at_mark(&self) {
        let _ = self.bell.write(REOPEN_AT_MARK);
    }

    /// At the end of the program: writes `rest`, which had no room so far, and waits until all is
    /// written, as long as [`ending`] allows; false if that was too short.
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

    /// In a forked child: gives up the child's copy of the file. It would keep a deleted file's
    /// disk space, and a reader from hearing of the end.
    pub(crate) fn close_in_child(&self) {
        if let Some(file) = self.file {
            let _ = close(file);
        }
    }
}

/// A line, or as much of it as can be written in one piece.
pub(crate) fn cut(line: &[u8]) -> Cow<'_, [u8]> {
    const CUT: &[u8] = b" [...]\n";
    match line.len() {
        ..=LINE_MAX => line.into(),
        _ => [&line[..LINE_MAX - CUT.len()], CUT].concat().into(),
    }
}

/// Opens what is to be appended to. It never waits: not for a FIFO's reader here (`ENXIO`), nor for
/// a FIFO's or a terminal's in a later write. The open file description is ours alone.
fn open_target(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY
        | OFlag::O_APPEND
        | OFlag::O_CREAT
        | OFlag::O_CLOEXEC
        | OFlag::O_NOCTTY
        | OFlag::O_NONBLOCK;
    open(path, flags, Mode::from_bits_truncate(0o666))
}

/// Why a path could not be opened, in words that fit a FIFO as well.
fn why_not(path: &Path, errno: Errno) -> &'static str {
    let is_fifo = || stat(path).is_ok_and(|it| file_type(it.st_mode) == SFlag::S_IFIFO);
    match errno {
        Errno::ENXIO if is_fifo() => "no process reads this FIFO",
        errno => errno.desc(),
    }
}

fn file_type(mode: u32) -> SFlag {
    SFlag::from_bits_truncate(mode) & SFlag::S_IFMT
}

/// What the thread writes to.
#[derive(Debug)]
enum Target {
    /// Non-blocking, and where it was opened.
    File(OwnedFd, PathBuf),
    /// Shared with other programs, so it stays blocking if it is.
    Stderr(io::Stderr),
}

impl Target {
    fn file(&self) -> Option<RawFd> {
        match self {
            Target::File(file, _) => Some(file.as_raw_fd()),
            Target::Stderr(_) => None,
        }
    }
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Target::File(file, _) => file.as_fd(),
            Target::Stderr(stderr) => stderr.as_fd(),
        }
    }
}

/// What the bell has asked for, and was not done yet.
#[derive(Debug, Default)]
struct Asked {
    /// Marks on their way; -1 if one was read before the bell that goes with it.
    marks: i64,
    /// Those of them that were obeyed already, while the target took nothing.
    obeyed: i64,
    reopen: bool,
    answer: bool,
}

/// The thread's end.
struct Writer {
    pipe: OwnedFd,
    target: Target,
    record: &'static Record,
    lost: Arc<EventFd>,
    bell: Arc<EventFd>,
    answer: Arc<EventFd>,
    buffer: Box<[u8]>,
    /// Lines that were read, and the beginning of one whose end was not.
    tail: Vec<u8>,
    asked: Asked,
    /// Lines that were lost and are not told of yet.
    missing: u64,
    /// Lines are being lost, which was complained of.
    is_troubled: bool,
    /// The last write failed: the next one is an attempt.
    is_failing: bool,
    /// The target ends in the middle of a line.
    is_torn: bool,
}

/// How a write failed: the cause, and how many lines were not written to their end.
#[derive(Clone, Copy)]
struct Failure {
    errno: Errno,
    lines: u64,
}

impl Writer {
    /// Writes until the last writer has gone.
    fn run(mut self) {
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

    /// Reads what there is, which is nothing if the pipe is empty. `None` at its end.
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

    /// The pipe is empty: does what was asked for, and waits for more.
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
        if std::mem::take(&mut self.asked.answer) {
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

    /// Takes note of what the bell asks for. It is done when the pipe is empty: lines that were
    /// written before come first.
    fn hear_bell(&mut self) {
        let asked = self.bell.read().unwrap_or(0);
        self.asked.marks += (asked % REOPEN) as i64;
        self.asked.reopen |= asked % ANSWER >= REOPEN;
        self.asked.answer |= asked >= ANSWER;
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

    /// Complains of lines that are lost on the loop's side.
    fn look_for_losses(&mut self) {
        self.missing += self.lost.read().unwrap_or(0);
        if self.missing > 0 {
            self.complain("it takes no more for now; lines are dropped");
        }
    }

    /// Complains of trouble that begins.
    fn complain(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_troubled, true) {
            (self.record.complain)(&format!("cannot write the {}: {why}", self.record.name));
        }
    }

    /// Writes the lines that are whole.
    fn write_tail(&mut self) {
        let Some(last) = memrchr(b'\n', &self.tail) else {
            return;
        };
        let mut lines = std::mem::take(&mut self.tail);
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

    /// Writes how many lines are missing here, if there are any; false if that is not possible.
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

    /// Waits until the target takes more, or is another: then true. Here the bell is obeyed at
    /// once, because what waits may be a reader that never goes on.
    fn wait_for_target(&mut self) -> bool {
        loop {
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
            if self.asked.reopen || self.asked.marks > self.asked.obeyed {
                self.asked.obeyed = self.asked.marks.max(0);
                return self.reopen();
            }
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

/// How many bytes are written together: whole lines, as many as stay in one piece among several
/// writers, but one in any case.
fn piece_len(lines: &[u8]) -> usize {
    let mut len = 0;
    for newline in memchr_iter(b'\n', lines) {
        if len > 0 && (newline >= LINE_MAX || lines[len..].starts_with(MARK)) {
            break;
        }
        len = newline + 1;
    }
    len
}

/// Where the line begins to which the byte at `at` belongs.
fn line_start(lines: &[u8], at: usize) -> usize {
    memrchr(b'\n', &lines[..at]).map_or(0, |newline| newline + 1)
}

fn line_count(lines: &[u8]) -> u64 {
    memchr_iter(b'\n', lines).count() as u64
}

/// All tests of a process have the same end, which is to be later than the last of them.
#[cfg(test)]
fn end_late() {
    ending::begin(std::time::Duration::from_secs(3600));
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{BufRead, BufReader, Read};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use nix::unistd::mkfifo;

    use super::*;

    static COMPLAINTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

    const TEST: Record = Record {
        name: "test",
        gap: |lines| format!("missing: {lines}\n"),
        complain: |why| complaints().push(why.into()),
        resumed: |_| {},
    };

    fn complaints() -> MutexGuard<'static, Vec<String>> {
        COMPLAINTS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(path: &Path) -> Recorder {
        end_late();
        Recorder::open(path, &TEST).unwrap()
    }

    /// Records lines with these numbers.
    fn record(recorder: &Recorder, numbers: impl IntoIterator<Item = usize>) {
        for number in numbers {
            recorder.line(format!("{number}\n").as_bytes());
        }
    }

    /// A FIFO of a page, with both its ends open so that it stays.
    fn fifo(path: &Path) -> File {
        mkfifo(path, Mode::S_IRWXU).unwrap();
        let both_ends = File::options().read(true).write(true).open(path).unwrap();
        fcntl(&both_ends, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        both_ends
    }

    #[test]
    fn pieces_are_whole_lines() {
        let long = "x".repeat(5000) + "\n";
        let short = "y".repeat(1000) + "\n";
        for (lines, expected) in [
            (&b"one\ntwo\n"[..], 8),
            (b"one\n\0\ntwo\n", 4),
            (long.as_bytes(), 5001),
            ((long.clone() + &short).as_bytes(), 5001),
            (short.repeat(6).as_bytes(), 4 * 1001),
        ] {
            assert_eq!(piece_len(lines), expected);
        }
        let lines = b"one\ntwo\n";
        assert_eq!([0, 3, 4, 6].map(|at| line_start(lines, at)), [0, 0, 4, 4]);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_one_that_has_no_room_is_lost() {
        let (recorder, reader, lost) = Recorder::for_test(4096);
        recorder.line("x".repeat(5000).as_bytes());
        recorder.line(b"no room\n");
        assert_eq!(lost.read(), Ok(1));
        let mut text = vec![0; 5000];
        let count = read(&reader, &mut text).unwrap();
        assert_eq!(count, LINE_MAX);
        assert!(text[..count].ends_with(b"xx [...]\n"));
    }

    #[test]
    fn lines_before_a_reopening_go_to_the_old_file_and_lines_after_it_to_the_new() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let old = |number: usize| directory.path().join(number.to_string());
        let recorder = open(&path);
        for round in 0..100 {
            record(&recorder, [2 * round]);
            fs::rename(&path, old(round)).unwrap();
            recorder.reopen();
            record(&recorder, [2 * round + 1]);
            assert!(recorder.finish(&[]));
        }
        let content = |path| fs::read_to_string(path).unwrap();
        assert_eq!(content(old(0)), "0\n");
        for round in 1..100 {
            let expected = format!("{}\n{}\n", 2 * round - 1, 2 * round);
            assert_eq!(content(old(round)), expected);
        }
        assert_eq!(content(path), "199\n");
    }

    #[test]
    fn a_reader_that_pauses_costs_lines_that_are_counted_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("paused");
        let reader = fifo(&path);
        let recorder = open(&path);
        fcntl(&recorder.pipe, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        record(&recorder, 0..10_000);
        let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
        let (mut kept, mut missing) = (0, None);
        while missing.is_none() {
            let line = lines.next().unwrap();
            missing = line.strip_prefix("missing: ").map(str::to_owned);
            if missing.is_none() {
                let number: usize = line.parse().unwrap();
                assert!(number >= kept, "in order, and whole");
                kept += 1;
            }
        }
        assert_eq!(missing.unwrap().parse(), Ok(10_000 - kept));
        record(&recorder, [10_000]);
        assert_eq!(lines.next().unwrap(), "10000");
    }

    #[test]
    fn a_reopening_helps_where_the_reader_has_stopped_for_good() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stopped");
        let mut reader = fifo(&path);
        let recorder = open(&path);
        record(&recorder, 0..2000);
        fs::rename(&path, directory.path().join("old")).unwrap();
        recorder.reopen();
        record(&recorder, [2000]);
        assert!(recorder.finish(&[]));
        drop(recorder);
        let mut first = vec![0; 4096];
        let count = reader.read(&mut first).unwrap();
        first.truncate(count);
        let all = String::from_utf8(first).unwrap() + &fs::read_to_string(path).unwrap();
        let numbers: Vec<usize> = all.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, (0..=2000).collect::<Vec<_>>());
    }

    #[test]
    fn what_cannot_be_opened_is_told_and_does_not_wait() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let complaint = |path: &Path| Recorder::open(path, &TEST).unwrap_err();
        assert!(complaint(&path).ends_with("/fifo: no process reads this FIFO"));
        assert!(complaint(directory.path()).ends_with(": Is a directory"));
    }

    #[test]
    fn a_failure_is_complained_of_once_and_the_file_stays_if_there_is_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vanished");
        let reader = fifo(&path);
        let recorder = open(&path);
        drop(reader);
        for number in 0..10 {
            record(&recorder, [number]);
            assert!(recorder.finish(&[]));
        }
        recorder.reopen();
        assert!(recorder.finish(&[]));
        let about_it = |why: &&String| why.contains("Broken pipe") || why.contains("vanished");
        let complaints = complaints();
        let complaints: Vec<&String> = complaints.iter().filter(about_it).collect();
        assert_eq!(complaints[0], "cannot write the test: Broken pipe");
        assert!(complaints[1].starts_with("cannot open the test anew: "));
        assert_eq!(complaints.len(), 2, "{complaints:?}");
    }
}
