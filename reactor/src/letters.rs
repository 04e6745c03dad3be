//! Datagrams of a protocol's own, until their sockets send them.
//!
//! Their bytes lie one after another in one vector, so that many leave in one system call and none has
//! memory of its own.

use std::net::SocketAddr;
use std::ops::Range;

/// The memory that is kept when no datagram waits.
const KEEP_BYTES: usize = 64 * 1024;

/// Datagrams in the order in which they were said, each with its destination.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    list: Vec<(SocketAddr, Range<usize>)>,
    bytes: Vec<u8>,
}

impl Letters {
    pub(crate) fn push(&mut self, to: SocketAddr, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.list.push((to, start..self.bytes.len()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The destination of datagram number `index`.
    pub(crate) fn to(&self, index: usize) -> SocketAddr {
        self.list[index].0
    }

    /// The bytes of datagram number `index`.
    pub(crate) fn bytes(&self, index: usize) -> &[u8] {
        &self.bytes[self.list[index].1.clone()]
    }

    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEEP_BYTES);
    }
}
