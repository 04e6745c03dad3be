//! Descriptors run out: how many there are, and one kept in reserve.

use std::fs::{self, File};
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit of open descriptors to the most that the process may have (getrlimit(2),
/// `RLIMIT_NOFILE`), and returns it. The usual soft limit of 1024 is there for programs that use
/// select(2).
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// How many descriptors the process has open.
pub fn open_descriptors() -> io::Result<usize> {
    // Reading the directory takes one itself.
    Ok(fs::read_dir("/proc/self/fd")?.count().saturating_sub(1))
}

/// A descriptor held for the moment when there is none left.
///
/// A client that cannot be accepted would otherwise stay in the kernel's queue and learn nothing.
/// Giving up the spare makes room to accept it and close it at once.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    file: Option<File>,
}

impl Spare {
    /// Takes hold of a descriptor, if there is one to be had.
    pub(crate) fn hold(&mut self) {
        if self.file.is_none() {
            self.file = File::open("/dev/null").ok();
        }
    }

    /// Lets go of it; false if there was none.
    pub(crate) fn release(&mut self) -> bool {
        self.file.take().is_some()
    }
}
