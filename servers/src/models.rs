//! The servers without a reactor: a process or a thread for each client, as the classic notes on
//! socket programming have it.
//!
//! | | reactor | fork | thread |
//! |---|---|---|---|
//! | a client is | an entry in a table | a process | a thread |
//! | waiting for its next byte | epoll_wait(2), for all | recv(2) | recv(2) |
//! | what is remembered of it | fields of a [`Protocol`] | a stack | a stack |
//! | system calls for a message | 2, and a share of a wait | 2 | 2 |
//! | a client that does not read | has its input paused | blocks its process | blocks its thread |
//! | clients reach each other | in a callback | through the kernel | with locks |
//! | a crash ends | the server | one connection | the server |
//!
//! [`Protocol`]: edgeloop_reactor::Protocol
//!
//! A connection that was answered and is silent occupies 32 bytes of memory in the reactor, 13 KiB
//! with a thread, 43 KiB with a process. To that the kernel adds, besides the socket, 24 KiB for a
//! thread and 90 KiB for a process, half of them page tables (Linux 6.18 on x86-64).
//!
//! Read [`blocking`] first: the conversation, which is the same in both. Then [`fork`] and
//! [`thread`], who hold such conversations, and [`acceptor`], the loop that starts them.

mod acceptor;
mod blocking;
mod doors;
mod fork;
mod sys;
mod thread;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use edgeloop_reactor::{Address, Errno, raise_descriptor_limit, reason};

use self::acceptor::Acceptor;
pub(crate) use self::blocking::take_unannounced;
use self::doors::Doors;
use self::fork::Processes;
use self::thread::Threads;
use crate::cli::Options;
use crate::serve::max_connections;

/// What each client is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocking {
    /// A process.
    Fork,
    /// A thread.
    Thread,
}

/// What one process or thread does for its one client: the counterpart of a
/// [`Protocol`](edgeloop_reactor::Protocol), which is there for all of them.
///
/// An error is standard output's, and ends the server.
pub(crate) trait Conversation: Sized {
    /// Whether it begins by printing. Then a client that goes before standard output takes anything
    /// has no conversation, and is counted instead: see [`take_unannounced`].
    const PRINTS: bool = false;

    /// Begins, in the process or thread of its own; `number` counts the clients from 0.
    fn begin(number: u64, peer: SocketAddr) -> io::Result<Self>;

    /// Bytes arrived, at least one, which may be changed in place.
    fn on_data(&mut self, data: &mut [u8]) -> io::Result<Answer>;

    /// The conversation is over. Not heard by those who are cut off, or killed.
    fn on_close(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What becomes of the bytes that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// They go back, as they are now.
    SendBack,
    /// Nothing is sent.
    Nothing,
}

/// A client that was accepted.
struct Client {
    /// How many were served before it.
    number: u64,
    peer: SocketAddr,
    /// Closed when this is dropped.
    socket: TcpStream,
    /// What a recv(2) that times out means.
    silence: Silence,
}

/// What it means that a client sends nothing for as long as its socket's `SO_RCVTIMEO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    /// The idle timeout is over.
    Idle,
    /// The client may have vanished with bytes under way to it: if they are still under way after
    /// another such time, in which it acknowledged nothing, it has.
    Suspicious(Duration),
}

/// The processes or threads that serve the clients.
trait Workers {
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

/// Listens on these addresses and serves until a signal, or until `--once` is fulfilled.
pub(crate) fn serve<C: Conversation>(
    model: Blocking,
    options: &Options,
    addresses: &[Address],
) -> Result<(), String> {
    let descriptors = raise_descriptor_limit()
        .map_err(|error| format!("cannot raise RLIMIT_NOFILE: {}", reason(&error)))?;
    if C::PRINTS {
        blocking::count_unannounced().map_err(Errno::desc)?;
    }
    let doors = Doors::open(addresses, options)?;
    match model {
        Blocking::Fork => {
            // A client takes no descriptor of the server's. What else there may be too few of,
            // fork(2) will say.
            let max_connections = options.max_connections.unwrap_or(usize::MAX);
            Acceptor::new(doors, Processes::<C>::new()?, options, max_connections).run()
        }
        Blocking::Thread => {
            let max_connections = max_connections(options, descriptors);
            log::info!("up to {max_connections} connections (RLIMIT_NOFILE is {descriptors})");
            Acceptor::new(doors, Threads::<C>::new(), options, max_connections).run()
        }
    }
}
