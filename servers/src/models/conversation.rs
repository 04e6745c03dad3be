//! One client's conversation, as a process or a thread holds it.

use std::io;
use std::net::SocketAddr;

/// A server in one process or thread, for one client: the counterpart of a
/// [`Protocol`](edgeloop_reactor::Protocol), which serves all clients.
///
/// An error of any method is standard output's, and ends the server.
pub(crate) trait Conversation: Sized {
    /// Whether a conversation begins by printing. Then a client that goes before standard output
    /// takes anything has no conversation, and is counted instead: see
    /// [`take_unannounced`](super::take_unannounced).
    const PRINTS: bool = false;

    /// Begins, in a process or thread of its own; `number` counts the clients from 0.
    fn begin(number: u64, peer: SocketAddr) -> io::Result<Self>;

    /// Bytes arrived, at least one, which may be changed in place.
    fn on_data(&mut self, data: &mut [u8]) -> io::Result<Answer>;

    /// The conversation is over. Not called if the client is cut off, or the process is killed.
    fn on_close(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reply to bytes that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The bytes, as they are now.
    SendBack,
    /// No reply.
    Nothing,
}
