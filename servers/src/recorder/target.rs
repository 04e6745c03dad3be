//! Targets: what a recorder's thread writes to.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, stat};

/// What the thread writes to.
#[derive(Debug)]
pub(super) enum Target {
    /// Non-blocking, and where it was opened.
    File(OwnedFd, PathBuf),
    /// Shared with other programs, so it stays blocking if it is.
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

/// Opens what is to be appended to. It never waits: not for a FIFO's reader here (`ENXIO`), nor for
/// a FIFO's or a terminal's in a later write. The open file description is ours alone.
pub(super) fn open_target(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY
        | OFlag::O_APPEND
        | OFlag::O_CREAT
        | OFlag::O_CLOEXEC
        | OFlag::O_NOCTTY
        | OFlag::O_NONBLOCK;
    open(path, flags, Mode::from_bits_truncate(0o666))
}

/// Why a path could not be opened, in words that fit a FIFO as well.
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
