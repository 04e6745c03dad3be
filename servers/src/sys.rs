//! The state of standard output at the start of the program: one of the two files of the servers
//! with `unsafe` code.

#![allow(
    unsafe_code,
    reason = "the border to the kernel: every other file of the crate is safe Rust"
)]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT_IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Run by the dynamic linker before the standard library is ready. The library opens `/dev/null` in
/// the place of a closed standard stream, and output to it would be lost quietly.
// SAFETY: the section is a table of functions like this one (ELF gABI, "Initialization and
// Termination Functions").
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = look_at_stdout;

extern "C" fn look_at_stdout() {
    // SAFETY: no pointers.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    STDOUT_IS_CLOSED.store(flags < 0, Ordering::Relaxed);
}

/// Whether the program was started without a standard output.
pub(crate) fn is_stdout_closed() -> bool {
    // A table that nothing refers to might not be linked.
    black_box(&AT_START);
    STDOUT_IS_CLOSED.load(Ordering::Relaxed)
}
