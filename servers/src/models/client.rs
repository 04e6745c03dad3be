//! A client with a process or a thread of its own.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::crowd::Ticket;

/// A client that was accepted.
pub(super) struct Client {
    /// Number of clients that were served before this one.
    pub(super) number: u64,
    pub(super) peer: SocketAddr,
    /// Its seat among those that are counted, if it is.
    pub(super) ticket: Option<Ticket>,
    /// Closed when the client is dropped.
    pub(super) socket: TcpStream,
    /// The meaning of a recv(2) that times out.
    pub(super) silence: Silence,
}

impl Client {
    /// Whether it is to end, for a newcomer.
    pub(super) fn is_displaced(&self) -> bool {
        self.ticket.is_some_and(|ticket| ticket.is_displaced())
    }
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
