//! A client with a process or a thread of its own.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A client that was accepted.
pub(super) struct Client {
    /// How many were served before it.
    pub(super) number: u64,
    pub(super) peer: SocketAddr,
    /// Closed when this is dropped.
    pub(super) socket: TcpStream,
    /// What a recv(2) that times out means.
    pub(super) silence: Silence,
}

/// What it means that a client sends nothing for as long as its socket's `SO_RCVTIMEO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// The idle timeout is over.
    Idle,
    /// The client may have vanished with bytes under way to it: if they are still under way after
    /// another such time, in which it acknowledged nothing, it has.
    Suspicious(Duration),
}
