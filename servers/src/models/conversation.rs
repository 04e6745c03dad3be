//! One client's conversation, as a process or a thread holds it.

use std::io;
use std::net::SocketAddr;

/// What one process or thread does for its one client: the counterpart of a
/// [`Protocol`](edgeloop_reactor::Protocol), which is there for all of them.
///
/// An error is standard output's, and ends the server.
pub(crate) trait Conversation: Sized {
    /// Whether it begins by printing. Then a client that goes before standard output takes anything
    /// has no conversation, and is counted instead: see [`take_unannounced`](super::take_unannounced).
    const PRINTS: bool = false;

    /// Begins, in the process or thread of its own; `number` counts the clients from 0.
    fn begin(number: u64, peer: SocketAddr) -> io::Result<Self>;

    /// Bytes arrived, at least one, which may be changed in place.
    fn on_data(&mut self, data: &mut [u8]) -> io::Result<Answer>;

    /// The conversation is over. Not heard by those who are cut off, or killed.
    fn on_close(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What becomes of the bytes that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// They go back, as they are now.
    SendBack,
    /// Nothing is sent.
    Nothing,
}
