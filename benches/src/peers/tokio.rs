//! The common parts of the peers on tokio: one thread, a task for each client, one read buffer.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;

use super::buffer::BUFFER_BYTES;

thread_local! {
    /// One buffer for all tasks: each is done with it before it lets go of the thread.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_BYTES]);
}

/// Serves each client by a task of its own, until accepting fails.
pub(super) fn serve<C>(
    listener: net::TcpListener,
    client: impl Fn(TcpStream) -> C,
) -> io::Result<Infallible>
where
    C: Future<Output = io::Result<()>> + Send + 'static,
{
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            match listener.accept().await {
                // An error ends the connection, and the client complains of it.
                Ok((stream, _)) => drop(tokio::spawn(client(stream))),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    })
}

/// Receives once, and hands the bytes to `take` at once; none at the end of the stream.
///
/// Waiting here, and not in `AsyncReadExt::read`, keeps the buffer out of the task: a task that
/// waits owns none. `poll_read` knows that a short read has emptied the socket; `try_read` does
/// not.
pub(super) fn receive<S: AsyncRead + Unpin, T>(
    stream: &mut S,
    context: &mut Context<'_>,
    take: impl FnOnce(&mut S, &[u8]) -> io::Result<T>,
) -> Poll<io::Result<T>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut received = ReadBuf::new(buffer);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut received))?;
        Poll::Ready(take(stream, received.filled()))
    })
}
