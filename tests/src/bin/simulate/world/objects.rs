//! The open files of the server.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::conn::{Conn, Family};
use super::words::Moment;

/// An open file of the server.
#[derive(Debug)]
pub(crate) enum Object {
    /// `/dev/null`.
    Null,
    Epoll,
    /// The pending signals.
    Signals(VecDeque<i32>),
    /// A socket that has no part yet.
    Socket(Family),
    Listener(Listener),
    /// A connect is under way.
    Connecting(Connecting),
    Conn(Conn),
    Udp(Udp),
}

/// A socket whose connect was not answered yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connecting {
    /// The client that is called.
    pub(crate) client: usize,
    /// When the answer comes, in nanoseconds, and whether the client accepts.
    pub(crate) answer: Option<(u64, bool)>,
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) family: Family,
    pub(crate) address: Address,
    pub(crate) backlog: usize,
    /// Connections that were not accepted yet.
    pub(crate) queue: VecDeque<usize>,
    /// The server was last told that there are clients, and has not accepted since.
    pub(crate) waiting_since: Option<Moment>,
}

/// A UDP socket.
#[derive(Debug)]
pub(crate) struct Udp {
    pub(crate) address: Address,
    pub(crate) inbound: VecDeque<(usize, Vec<u8>)>,
    pub(crate) dropped: u32,
    /// A send was refused, and there is room again at this time.
    pub(crate) room_at_ns: Option<u64>,
    pub(crate) waiting_since: Option<Moment>,
}

/// A local address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Inet(SocketAddr),
    Unix,
}
