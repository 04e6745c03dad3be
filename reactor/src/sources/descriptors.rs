//! Descriptors run out: how many a process may have, and one that is kept in reserve.
//!
//! A connection costs a descriptor, and at the limit accept(2) fails with `EMFILE` (the process's
//! limit) or `ENFILE` (the system's). The connection then stays in the listener's queue, and an
//! edge-triggered listener gets no new edge when descriptors become free: accepting is put off, and
//! tried again by a timer and whenever a connection closes (`reactor/accepting.rs`).

use std::fs::{self, File};
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of open descriptors to the hard limit (getrlimit(2), `RLIMIT_NOFILE`), and
/// returns it. The usual soft limit of 1024 exists for programs that use select(2), which cannot
/// name a higher descriptor. Errors: those of getrlimit(2) and setrlimit(2).
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// The number of descriptors that the process has open, from `/proc/self/fd` (proc(5)). The kernel
/// makes the directory's entries as they are read, so this costs time in proportion to their
/// number. An error where `/proc` is not mounted or no descriptor is free.
pub fn open_descriptors() -> io::Result<usize> {
    // The directory that is being read is itself an open descriptor.
    Ok(fs::read_dir("/proc/self/fd")?.count().saturating_sub(1))
}

/// A descriptor held in reserve for the moment when the process has no other left.
///
/// A client that cannot be accepted stays in the kernel's queue: its connect has succeeded, and it
/// waits for an answer that does not come. Once the spare is closed, one client can be accepted and
/// closed, which tells it at once that it is refused; then the spare is taken again.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    file: Option<File>,
}

impl Spare {
    /// Opens the spare if it is not open. Without a free descriptor there is no spare until a later
    /// call.
    pub(crate) fn hold(&mut self) {
        if self.file.is_none() {
            self.file = File::open("/dev/null").ok();
        }
    }

    /// Closes the spare. Returns false if it was not open.
    pub(crate) fn release(&mut self) -> bool {
        self.file.take().is_some()
    }
}
