//! The step of starting a server that the standard library calls unsafe.

#![allow(
    unsafe_code,
    reason = "the border to the kernel: the code that starts a server is safe Rust"
)]

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// Lets the kernel kill the program when the thread that starts it has ended, in whatever way
/// (prctl(2), `PR_SET_PDEATHSIG`).
pub(crate) fn end_with_us(command: &mut Command) {
    // SAFETY: between fork and exec there is one system call, which allocates nothing and takes no
    // lock.
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
}
