//! Words of the simulated kernel.

/// Bits of epoll(7).
pub(crate) type Bits = u32;
/// An errno.
pub(crate) type Errno = i32;

/// Nanoseconds in a millisecond.
pub(crate) const MS: u64 = 1_000_000;

/// A moment: the number of the turn, and the time in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) turn: u64,
    pub(crate) ns: u64,
}

/// An entry of the interest list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    pub(crate) token: u64,
    pub(crate) interest: Bits,
    pub(crate) is_pending: bool,
    /// For how many waits the event was held back.
    pub(crate) held_back: u8,
}

/// The progress of a run. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The clients do what they have planned.
    Scripts,
    /// All clients read, and nothing new is said.
    Settling { until: u64 },
    /// The clients end their connections.
    Closing { until: u64 },
    /// The server was told to stop.
    Stopping { until: u64 },
}
