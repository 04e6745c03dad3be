//! Standard error, without waiting: a pager that pauses or a terminal that was stopped must not
//! stop a program. A line that is not taken at once is dropped and counted; the count stands before
//! the next line that is taken.
//!
//! Standard error is shared with other programs, such as the shell, so it may not be made
//! non-blocking. But a pipe or a terminal can be opened once more, and no program shares the mode
//! of this new open file description. A write to a regular file does not wait. A descriptor that
//! cannot be opened once more, such as a socket or the pipe of another user, gets a thread: see
//! `recorder.rs`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::write as write_to;

use crate::ending;
use crate::recorder::{Record, Recorder, cut};

const MESSAGES: Record = Record {
    name: "messages",
    gap: missing,
    // There is no other place for a complaint.
    complain: |_| {},
    resumed: |_| {},
};

/// Lost lines are counted in an eventfd(2), which forked processes share. From this bit on it
/// counts the lost lines of which a part was written.
const TORN: u64 = 1 << 32;

/// The way chosen for the first line; `None` if there were no descriptors for one.
static WAY: OnceLock<Option<Way>> = OnceLock::new();

/// A way to write to standard error.
enum Way {
    /// A descriptor that does not wait, and the count of lines that it did not take.
    Direct(OwnedFd, EventFd),
    /// A thread that waits.
    Thread(Recorder),
}

/// Writes one line, whose end is added.
pub fn say(line: &str) {
    write(format!("{line}\n").as_bytes());
}

/// Draws on a terminal. The picture may be lost in part or whole: the next one begins anew.
pub fn draw(picture: &[u8]) {
    if let Some(Way::Direct(stderr, _)) = way() {
        let _ = put(stderr, picture);
    }
}

/// Writes a line, its end included.
pub(crate) fn write(line: &[u8]) {
    match way() {
        Some(Way::Direct(stderr, lost)) => write_directly(stderr, lost, &cut(line)),
        Some(Way::Thread(recorder)) => recorder.line(line),
        None => write_unless_it_waits(&cut(line)),
    }
}

/// Writes without a descriptor of our own: the message that there are none left must get through. A
/// pipe or terminal that is ready takes a line that has been cut without waiting (pipe(7)).
fn write_unless_it_waits(line: &[u8]) {
    let stderr = io::stderr();
    let mut asked = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
        // There is no other place for a complaint.
        let _ = write_to(&stderr, line);
    }
}

/// Chooses the way before the first line does. To be called before the process forks.
pub(crate) fn start() {
    let _ = way();
}

/// At the end of the program: waits until all is written, for as long as [`ending`] allows.
pub fn finish() {
    if let Some(Way::Thread(recorder)) = way() {
        let _ = recorder.finish(&[]);
    }
}

fn way() -> Option<&'static Way> {
    WAY.get_or_init(|| choose().ok()).as_ref()
}

fn choose() -> io::Result<Way> {
    let stderr = io::stderr();
    let kind = SFlag::from_bits_truncate(fstat(&stderr)?.st_mode) & SFlag::S_IFMT;
    let direct = match kind {
        // A duplicate shares the file offset with other writers.
        SFlag::S_IFREG => stderr.as_fd().try_clone_to_owned().ok(),
        SFlag::S_IFCHR | SFlag::S_IFIFO => {
            let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
            open("/proc/self/fd/2", flags, Mode::empty()).ok()
        }
        _ => None,
    };
    let lost = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
    match direct {
        Some(stderr) => Ok(Way::Direct(stderr, lost)),
        None => Recorder::of_stderr(&MESSAGES).map(Way::Thread),
    }
}

/// Writes a line, after the number of lines that are missing before it.
fn write_directly(stderr: &OwnedFd, lost: &EventFd, line: &[u8]) {
    let before = lost.read().unwrap_or(0);
    if before > 0 {
        let end = if before >= TORN { "\n" } else { "" };
        let gap = format!("{end}{}", missing(before % TORN));
        if !put(stderr, gap.as_bytes()).is_ok_and(|count| count == gap.len()) {
            let _ = lost.write(before + 1);
            return;
        }
    }
    let count = put(stderr, line).unwrap_or(0);
    if count < line.len() {
        let _ = lost.write(if count > 0 { TORN + 1 } else { 1 });
    }
}

/// Writes once without waiting; at the end of the program, waits as long as [`ending`] allows.
fn put(stderr: &OwnedFd, bytes: &[u8]) -> nix::Result<usize> {
    loop {
        match write_to(stderr, bytes) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN)
                if ending::has_begun() && ending::wait(stderr.as_fd(), PollFlags::POLLOUT) => {}
            done => return done,
        }
    }
}

fn missing(lines: u64) -> String {
    format!("lines missing here: {lines}\n")
}
