//! The two system calls of this peer that only `unsafe` code can make.

#![allow(
    unsafe_code,
    reason = "the border to the kernel: every other file of the crate is safe Rust"
)]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;

use nix::Result;
use nix::errno::Errno;
use nix::libc::{STDERR_FILENO, c_uint, close_range};
use nix::unistd::{ForkResult, Pid};

/// `fork(2)`: a new process runs `child` and ends. Only to be called while this process has one
/// thread.
pub(super) fn fork(child: impl FnOnce()) -> Result<Pid> {
    // SAFETY: there is no other thread, which the child would lack together with the locks that it
    // may hold.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            // The child is a copy of its parent, and must not return into the parent's work.
            let ended = catch_unwind(AssertUnwindSafe(child));
            process::exit(i32::from(ended.is_err()))
        }
    }
}

/// `close_range(2)`: closes all descriptors but the standard ones and these two. Only to be called
/// in a new process that uses nothing else that its parent had open.
pub(super) fn close_others(kept: [BorrowedFd<'_>; 2]) {
    let mut kept = kept.map(|fd| fd.as_raw_fd() as c_uint);
    kept.sort_unstable();
    let [low, high] = kept;
    let gaps = [
        (STDERR_FILENO as c_uint + 1, low - 1),
        (low + 1, high - 1),
        (high + 1, c_uint::MAX),
    ];
    for (first, last) in gaps.into_iter().filter(|(first, last)| first <= last) {
        // SAFETY: the owner of these descriptors was the parent. In this process nothing uses them,
        // and none is dropped: it ends by _exit(2), or as good as.
        let result = unsafe { close_range(first, last, 0) };
        debug_assert_eq!(Errno::result(result), Ok(0));
    }
}
