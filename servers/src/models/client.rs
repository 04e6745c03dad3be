//! A client with a process or a thread of its own.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use edgeloop_reactor::AddressKey;

/// A client that was accepted.
pub(super) struct Client {
    /// Number of clients that were served before this one.
    pub(super) number: u64,
    pub(super) peer: SocketAddr,
    /// The address under which it is counted, if it is.
    pub(super) counted: Option<AddressKey>,
    /// Closed when the client is dropped.
    pub(super) socket: TcpStream,
    /// The meaning of a recv(2) that times out.
    pub(super) silence: Silence,
}

/// The meaning of a client's silence for the time of its socket's `SO_RCVTIMEO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// The idle timeout is over.
    Idle,
    /// The client may have vanished with bytes under way to it. If they are still under way after
    /// another such time without any acknowledgement, it counts as vanished.
    Suspicious(Duration),
}
