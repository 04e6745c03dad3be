//! The things that the chat as a whole waits for: times, and a log that is out of reach.

use std::time::Duration;

use edgeloop_reactor::ConnId;

/// Time for which a newcomer waits for its name.
pub(super) const NEWCOMER_WAIT: Duration = Duration::from_secs(30);

/// When the service timer is due for each of the two that it serves.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) tick: Option<Duration>,
    pub(super) log: Option<Duration>,
}

/// The log is out of reach.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Number of outages of which members were told.
    pub(super) number: u32,
    /// They were told of this one.
    pub(super) is_told: bool,
    /// Members whose lines wait for the log.
    pub(super) waiting: Vec<ConnId>,
}
