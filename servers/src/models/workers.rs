//! The processes or threads, as the acceptor sees them.

use std::io;

use super::client::Client;
use super::crowd::Ticket;
use super::doors::Doors;

/// The processes or threads that serve the clients.
pub(super) trait Workers {
    /// Name of one of them, for log lines.
    const KIND: &str;

    /// Names one of them until it has ended.
    type Name: Copy;

    /// Starts one for this client. After an error the client is gone.
    fn start(&mut self, client: Client, doors: &Doors) -> nix::Result<Self::Name>;

    /// Number of processes or threads that have not ended.
    fn open(&self) -> usize;

    /// Takes note of those that have ended. An error is a failure of standard output.
    fn reap(&mut self) -> io::Result<()>;

    /// The tickets of the clients that have gone since the last call, of those that are counted.
    fn take_gone(&mut self) -> Vec<Ticket>;

    /// Wakes one whose client is displaced, so that it ends, and SIGCHLD reports its end.
    fn displace(&mut self, name: Self::Name);

    /// From now on, SIGCHLD reports each end.
    fn report_ends(&mut self) {}

    /// Lets each of them end as soon as its pending output is sent.
    fn stop(&mut self);

    /// Ends all of them at once.
    fn cut_off(&mut self);
}
