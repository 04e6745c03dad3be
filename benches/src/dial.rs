//! How all clients connect, and how long they wait.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The time after which a client calls an answer missing. No answer takes that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A connection on which a wait ends.
pub(crate) fn dial(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Names the kernel's error "try again" when the patience is over (socket(7), `SO_RCVTIMEO`).
pub(crate) fn named(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => io::Error::other(format!("nothing for {} s", PATIENCE.as_secs())),
        ErrorKind::UnexpectedEof => io::Error::other("the connection has ended"),
        _ => error,
    }
}
