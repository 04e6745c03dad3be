//! The attempts to connect to a name with several addresses: what the core keeps of them.

use super::timers::Millis;
use crate::id::ConnId;
use crate::protocol::Opened;
use crate::sources::address::Address;

/// An attempt that is under way.
pub(super) struct Connecting {
    /// For `on_open`.
    pub(super) opened: Opened,
    /// `None` if another attempt has won.
    pub(super) race: Option<RaceId>,
}

/// Which race, as long as it is not decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RaceId(pub(super) usize);

/// All attempts to make one connection.
pub(super) struct Race {
    pub(super) tag: u64,
    /// Addresses whose turn has not come.
    pub(super) rest: Option<Address>,
    pub(super) under_way: Vec<ConnId>,
    pub(super) began: Millis,
    pub(super) delay: Millis,
    /// When the next of the rest has its turn.
    pub(super) next_at: Millis,
}
