//! System calls that no crate wraps as the two models need them: one of the two files of the
//! servers with `unsafe` code.

#![allow(
    unsafe_code,
    reason = "the border to the kernel: every other file of the crate is safe Rust"
)]

use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;
use std::{process, ptr, slice};

use edgeloop_reactor::process::is_ignored;
use libc::{c_int, c_void};
use nix::Result;
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction, signal};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::{ForkResult, Pid};

/// `recv(2)`: bytes that have arrived, as many as `buffer` has room for. Empty at the end of the
/// stream.
///
/// The buffer need not be initialised: to fill it with zeroes first would be to touch, and so to
/// own, pages of memory that most clients never need.
pub(super) fn recv<'a>(
    socket: BorrowedFd,
    buffer: &'a mut [MaybeUninit<u8>],
) -> Result<&'a mut [u8]> {
    let start: *mut u8 = buffer.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `buffer.len()` bytes to `start`.
    let count = unsafe { libc::recv(socket.as_raw_fd(), start.cast(), buffer.len(), 0) };
    let count = Errno::result(count)? as usize;
    // SAFETY: the kernel has written these `count` bytes, which are lent to us for as long.
    Ok(unsafe { slice::from_raw_parts_mut(start, count) })
}

/// `ioctl(2)` `SIOCOUTQ`: bytes sent that the peer has not acknowledged (tcp(7)).
pub(super) fn unacknowledged(socket: BorrowedFd) -> Result<usize> {
    nix::ioctl_read_bad!(outq, libc::TIOCOUTQ, c_int);
    let mut bytes = 0;
    // SAFETY: the kernel writes one int, and `bytes` is one.
    unsafe { outq(socket.as_raw_fd(), &raw mut bytes) }.map(|_| bytes as usize)
}

/// `getsockopt(2)` `TCP_INFO`: the time since the client's last acknowledgement (tcp(7)).
pub(super) fn unheard(socket: BorrowedFd) -> Result<Duration> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`.
    Errno::result(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    // SAFETY: all zeroes is a valid tcp_info, which is numbers only.
    let info = unsafe { info.assume_init() };
    Ok(Duration::from_millis(info.tcpi_last_ack_recv.into()))
}

/// `ioctl(2)` `FIONREAD`: bytes received and not read (tcp(7)).
pub(super) fn unread(socket: BorrowedFd) -> Result<usize> {
    nix::ioctl_read_bad!(inq, libc::FIONREAD, c_int);
    let mut bytes = 0;
    // SAFETY: the kernel writes one int, and `bytes` is one.
    unsafe { inq(socket.as_raw_fd(), &raw mut bytes) }.map(|_| bytes as usize)
}

/// Number of words that [`shared_words`] returns: a page of memory.
const WORDS: usize = 512;

/// `mmap(2)`: words that this process shares with all processes that it forks from now on, all 0.
pub(super) fn shared_words() -> Result<&'static [AtomicU64; WORDS]> {
    const LENGTH: NonZeroUsize = NonZeroUsize::new(size_of::<[AtomicU64; WORDS]>()).unwrap();
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: the memory is new, wherever the kernel puts it.
    let memory = unsafe { mmap_anonymous(None, LENGTH, access, MapFlags::MAP_SHARED) }?;
    // SAFETY: it begins a page, is zeroed, and is never unmapped.
    Ok(unsafe { memory.cast().as_ref() })
}

/// `fork(2)`: a new process runs `child` and ends with the status that it returns. Only to be
/// called while this process has no threads but this one and those of recorders.
///
/// The child leaves by `_exit(2)`. It is a copy of its parent down to the stack frames: to return
/// through them would end what the parent has begun, twice.
pub(super) fn fork(child: impl FnOnce() -> i32) -> Result<Pid> {
    // SAFETY: the child lacks the other threads, so a lock that one of them holds now is never
    // released there. They are those of recorders, `recorder::writer::Writer::run`, and take no
    // lock that the child may want: they call the kernel on descriptors of their own, share
    // eventfds and no memory with the loop, and what they say on standard error is a write as well.
    // The allocator is theirs, too, and glibc's fork(3) leaves it usable in the child.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let status = catch_unwind(AssertUnwindSafe(child));
            let status = status.unwrap_or_else(|_| process::abort());
            // SAFETY: it takes a number, and does not return.
            unsafe { libc::_exit(status) }
        }
    }
}

/// The server stops: clients get the replies to the input that was read, and no more. Set before
/// the input of their sockets is shut down.
pub(super) static STOPPING: AtomicBool = AtomicBool::new(false);

/// The socket whose input ends with SIGTERM and SIGINT.
static SOCKET: AtomicI32 = AtomicI32::new(-1);

/// Names the socket whose input is to end when a handled stop signal arrives.
pub(super) fn set_socket_to_stop(socket: RawFd) {
    SOCKET.store(socket, Ordering::Relaxed);
}

/// Lets SIGTERM and SIGINT, where they are neither blocked nor ignored, end the input of the socket
/// that [`set_socket_to_stop`] names.
pub(super) fn handle_stop_signals() -> Result<()> {
    let handler = SigHandler::Handler(end_input);
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    let signals = [Signal::SIGTERM, Signal::SIGINT].into_iter();
    for signal in signals.filter(|signal| !is_ignored(*signal as i32)) {
        // SAFETY: the handler stores to an atomic and calls shutdown(2), which a handler may
        // (signal-safety(7)), and leaves errno as it was.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

extern "C" fn end_input(_: c_int) {
    let errno = Errno::last_raw();
    STOPPING.store(true, Ordering::Release);
    let _ = shutdown(SOCKET.load(Ordering::Relaxed), Shutdown::Read);
    Errno::set_raw(errno);
}

/// Makes sure that children that end wait to be reaped: the program that started this one may have
/// set SIGCHLD to be ignored, and then waitpid(2) would not report them (see its notes).
pub(super) fn keep_zombies() -> Result<()> {
    // SAFETY: SIG_DFL runs no code of ours.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map(drop)
}

/// `pthread_create(3)`, detached: a new thread runs `body` on a stack of so many bytes. A panic in
/// it ends the process.
///
/// The standard library gives each of its threads a second stack for the handler that reports an
/// overflow: four memory mappings for a thread rather than two, and six more system calls.
pub(super) fn spawn_detached<F: FnOnce() + Send + 'static>(
    stack_bytes: usize,
    body: F,
) -> Result<()> {
    extern "C" fn run<F: FnOnce()>(body: *mut c_void) -> *mut c_void {
        // SAFETY: `body` is the box that `spawn_detached` gave away, of this very type.
        let body = *unsafe { Box::from_raw(body.cast::<F>()) };
        body();
        ptr::null_mut()
    }

    let body = Box::into_raw(Box::new(body));
    let mut attributes = MaybeUninit::uninit();
    let mut thread = MaybeUninit::uninit();
    // SAFETY: `attributes` is initialised by the first call and not used after the last one, which
    // keeps nothing of it; `run` is given the box, of its own type, and F may go to other threads.
    let error = unsafe {
        libc::pthread_attr_init(attributes.as_mut_ptr());
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), stack_bytes);
        libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
        let error = libc::pthread_create(
            thread.as_mut_ptr(),
            attributes.as_ptr(),
            run::<F>,
            body.cast(),
        );
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        error
    };
    if error == 0 {
        return Ok(());
    }
    // SAFETY: no thread was made, so the box is still ours.
    drop(unsafe { Box::from_raw(body) });
    Err(Errno::from_raw(error))
}
