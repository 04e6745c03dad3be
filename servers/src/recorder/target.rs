//! Targets of a recorder's thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, stat};

/// The target of the thread's writes.
#[derive(Debug)]
pub(super) enum Target {
    /// A descriptor in non-blocking mode, and its path.
    File(OwnedFd, PathBuf),
    /// Standard error, shared with other programs: it stays in blocking mode if it is.
    Stderr(io::Stderr),
}

impl Target {
    pub(super) fn file(&self) -> Option<RawFd> {
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

/// Opens a file, FIFO or terminal to append to. The open does not wait for a FIFO's reader
/// (`ENXIO`), and no later write waits for a reader: the open file description is in non-blocking
/// mode, and no other program shares it.
pub(super) fn open_target(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY
        | OFlag::O_APPEND
        | OFlag::O_CREAT
        | OFlag::O_CLOEXEC
        | OFlag::O_NOCTTY
        | OFlag::O_NONBLOCK;
    open(path, flags, Mode::from_bits_truncate(0o666))
}

/// The reason why a path could not be opened, in words that fit a FIFO as well.
pub(super) fn why_not(path: &Path, errno: Errno) -> &'static str {
    let is_fifo = || stat(path).is_ok_and(|it| file_type(it.st_mode) == SFlag::S_IFIFO);
    match errno {
        Errno::ENXIO if is_fifo() => "no process reads this FIFO",
        errno => errno.desc(),
    }
}

fn file_type(mode: u32) -> SFlag {
    SFlag::from_bits_truncate(mode) & SFlag::S_IFMT
}
