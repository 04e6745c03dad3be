//! Reaching a server, and trying again.

use std::time::Duration;

use edgeloop_reactor::{Address, Closed, Outbox};

/// The tag of the connection to the server.
pub(crate) const SERVER: u32 = 2;

/// How long after a failed attempt the next one comes.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// A server to connect to, and the attempts that are left.
///
/// One attempt is all addresses of the server's name, which is resolved once, before.
#[derive(Debug)]
pub(crate) struct Dial {
    server: Address,
    retries: u32,
    retried: u32,
}

impl Dial {
    /// `server` is resolved; `retries` attempts follow upon the first.
    pub(crate) fn new(server: Address, retries: u32) -> Self {
        Dial {
            server,
            retries,
            retried: 0,
        }
    }

    /// Begins to connect; to be called at the start, and by the service timer.
    pub(crate) fn connect(&self, out: &mut Outbox) {
        out.connect(self.server.clone(), SERVER);
    }

    /// An attempt has failed: the service timer is set for the next one, or this was the last, and
    /// the error says so.
    pub(crate) fn failed(&mut self, why: Closed, out: &mut Outbox) -> Result<(), String> {
        let (server, retries) = (&self.server, self.retries);
        let failure = format!("cannot reach {server}: {why}");
        if self.retried == retries {
            return Err(failure);
        }
        self.retried += 1;
        log::info!("{failure}; trying again ({} of {retries})", self.retried);
        out.set_service_timer(PAUSE);
        Ok(())
    }
}
