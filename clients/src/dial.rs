//! Reaching a server, and trying again.

use std::fmt::Display;
use std::time::Duration;

use edgeloop_reactor::process::reason;
use edgeloop_reactor::{Address, Closed, Outbox};

/// The tag of the connection to the server.
pub(crate) const SERVER: u64 = 2;

/// Time from a failed attempt to the next one.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// A server to connect to, and the number of attempts left.
///
/// One attempt covers all addresses of the server's name, which was resolved before.
#[derive(Debug)]
pub(crate) struct Dial {
    server: Address,
    retries: u32,
    retried: u32,
}

impl Dial {
    /// `server` is resolved; `retries` attempts follow the first.
    pub(crate) fn new(server: Address, retries: u32) -> Self {
        Dial {
            server,
            retries,
            retried: 0,
        }
    }

    /// Begins to connect; called at the start, and by the service timer.
    pub(crate) fn connect(&self, out: &mut Outbox) {
        out.connect(self.server.clone(), SERVER);
    }

    /// An attempt has failed. Sets the service timer for the next one; after the last one returns
    /// the error.
    pub(crate) fn failed(&mut self, why: Closed, out: &mut Outbox) -> Result<(), String> {
        let failure = cannot_reach(&self.server, why);
        let retries = self.retries;
        if self.retried == retries {
            return Err(failure);
        }
        self.retried += 1;
        log::info!("{failure}; trying again ({} of {retries})", self.retried);
        out.set_service_timer(PAUSE);
        Ok(())
    }
}

/// Looks up the server's name, if it has one.
pub(crate) fn resolve(server: &Address) -> Result<Address, String> {
    let resolved = server.resolved();
    resolved.map_err(|error| cannot_reach(server, reason(&error)))
}

/// The failure of a server that cannot be reached.
pub(crate) fn cannot_reach(server: &impl Display, why: impl Display) -> String {
    format!("cannot reach {server}: {why}")
}
