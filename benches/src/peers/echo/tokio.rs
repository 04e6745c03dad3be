//! An echo server on tokio, with all tasks on one thread.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::TcpListener;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::peers::tokio::{self as common, receive};

/// Serves until accepting fails.
pub fn serve(listener: TcpListener) -> io::Result<Infallible> {
    common::serve(listener, echo)
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    while let Some(unsent) = poll_fn(|context| receive(&mut stream, context, answer)).await? {
        stream.write_all(&unsent).await?;
    }
    Ok(())
}

/// Sends bytes back, as far as the kernel takes them, and returns the rest. `None`: nothing more
/// will come.
fn answer(stream: &mut TcpStream, received: &[u8]) -> io::Result<Option<Vec<u8>>> {
    if received.is_empty() {
        return Ok(None);
    }
    let sent = match stream.try_write(received) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        sent => sent?,
    };
    // Empty, and so without an allocation, while the client keeps up.
    Ok(Some(received[sent..].to_vec()))
}
