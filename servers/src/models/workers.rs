//! What the acceptor asks of the processes or threads.

use std::io;

use super::client::Client;
use super::doors::Doors;

/// The processes or threads that serve the clients.
pub(super) trait Workers {
    /// What one of them is called.
    const KIND: &str;

    /// Gives a client one of its own. After an error the client is gone.
    fn start(&mut self, client: Client, doors: &Doors) -> nix::Result<()>;

    /// How many there are.
    fn open(&self) -> usize;

    /// Takes note of those that have ended. An error is the one with which standard output failed.
    fn reap(&mut self) -> io::Result<()>;

    /// From now on, SIGCHLD is to say when one has ended.
    fn report_ends(&mut self) {}

    /// Lets each of them end as soon as it has sent what is pending.
    fn stop(&mut self);

    /// Ends all that there still are.
    fn cut_off(&mut self);
}
