//! Printing that may wait: in threads and processes that have nothing else to do, and in a program
//! before it serves and after it has served.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process;

use edgeloop_reactor::process::reason;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{stderr, sys};

/// Ends the program after a command line that was not understood, or that asked for `--help` or
/// `--version`: prints the reason, or the text that was asked for.
pub fn explain(program: &str, error: &clap::Error) -> ! {
    if error.use_stderr() {
        error.exit();
    }
    let printed = check().and_then(|()| error.print());
    match judge(printed.and_then(|()| io::stdout().flush())) {
        Ok(()) => process::exit(0),
        Err(failure) => {
            stderr::say(&format!("{program}: {failure}"));
            process::exit(1)
        }
    }
}

/// Prints a whole text. An error is a message for the user.
pub fn print_text(text: &[u8]) -> Result<(), String> {
    judge(check().and_then(|()| print(text)))
}

/// A reader that has enough, as in `--help | head -1`, is no failure.
fn judge(printed: io::Result<()>) -> Result<(), String> {
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failure(&error)),
        _ => Ok(()),
    }
}

/// An error if there is no standard output.
pub fn check() -> io::Result<()> {
    if sys::is_stdout_closed() {
        return Err(io::Error::other("it is closed"));
    }
    Ok(())
}

/// Writes all of it to standard output, however long that takes.
pub(crate) fn print(mut bytes: &[u8]) -> io::Result<()> {
    let stdout = io::stdout();
    while !bytes.is_empty() {
        match nix::unistd::write(&stdout, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => {}
            // Another program that shares standard output has made it non-blocking.
            Err(Errno::EAGAIN) => {
                let mut asked = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
                let _ = poll(&mut asked, PollTimeout::NONE);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// The message for the user when that failed.
pub(crate) fn failure(error: &io::Error) -> String {
    format!("cannot write to standard output: {}", reason(error))
}
