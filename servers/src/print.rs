//! Printing for those who may wait: threads and processes that have nothing else to do.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Writes all of it to standard output, however long that takes.
pub(crate) fn print(mut bytes: &[u8]) -> io::Result<()> {
    let stdout = io::stdout();
    while !bytes.is_empty() {
        match nix::unistd::write(&stdout, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => {}
            // Whoever shares it with us has made it non-blocking.
            Err(Errno::EAGAIN) => {
                let mut asked = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
                let _ = poll(&mut asked, PollTimeout::NONE);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// What to say when that failed.
pub(crate) fn failure(error: &io::Error) -> String {
    format!(
        "cannot write to standard output: {}",
        edgeloop_reactor::reason(error)
    )
}
