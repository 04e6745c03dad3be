//! The records that the core keeps of connects under way; `racing.rs` has the rules.

use super::timers::Millis;
use crate::id::ConnId;
use crate::protocol::Opened;
use crate::sources::address::Address;

/// A connection whose connect is under way.
pub(super) struct Connecting {
    /// The argument of `on_open` if the connect succeeds.
    pub(super) opened: Opened,
    /// The id that was promised for the connection. Its race may be over.
    pub(super) race: ConnId,
}

/// All attempts to make one connection. A race is known by the id that the connection will have.
pub(super) struct Race {
    /// The tag of the connection, for `on_open` or `on_connect_error`.
    pub(super) tag: u64,
    /// The addresses that were not tried yet; `None` if there are none, or none yet.
    pub(super) rest: Option<Address>,
    /// The attempts that have neither succeeded nor failed.
    pub(super) under_way: Vec<ConnId>,
    /// The start of the first attempt. The connect timeout of all attempts counts from it.
    pub(super) began: Millis,
    /// Milliseconds between the starts of two attempts.
    pub(super) delay: Millis,
    /// The time at which the first address of `rest` is tried.
    pub(super) next_at: Millis,
}
