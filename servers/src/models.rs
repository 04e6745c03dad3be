//! The servers without a reactor: a process or a thread for each client, as the classic notes on
//! socket programming have it.
//!
//! | | reactor | fork | thread |
//! |---|---|---|---|
//! | a client is | an entry in a table | a process | a thread |
//! | waiting for its next byte | epoll_wait(2), for all | recv(2) | recv(2) |
//! | its state | fields of a [`Protocol`] | a stack | a stack |
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
//! Read `blocking.rs` first: the conversation, which is the same in both models. Then `fork.rs` and
//! `thread.rs`, whose processes and threads hold such conversations, and `acceptor.rs`, the loop
//! that starts them, with `crowd.rs`, which says whom a full server lets in.

mod acceptor;
mod blocking;
mod capacity;
mod client;
mod conversation;
mod crowd;
mod doors;
mod fork;
mod sys;
mod thread;
mod workers;

use edgeloop_reactor::process::{raise_descriptor_limit, reason};
use nix::errno::Errno;

use self::acceptor::Acceptor;
pub(crate) use self::blocking::take_unannounced;
use self::capacity::Capacity;
pub(crate) use self::conversation::{Answer, Conversation};
use self::doors::Doors;
use self::fork::Processes;
use self::thread::Threads;
use crate::limits::{max_connections, say_limits};
use crate::options::Options;
use crate::place::Place;

/// Memory of a client's process and of a client's thread, in bytes: what the table above says, and
/// the socket with its buffers.
const PROCESS_BYTES: u64 = 256 * 1024;
const THREAD_BYTES: u64 = 128 * 1024;

/// Listens on these addresses and serves each client with a process, until a signal, or until
/// `--once` is fulfilled.
pub(crate) fn fork<C: Conversation>(options: &Options, places: &[Place]) -> Result<(), String> {
    raise_limit()?;
    // A client takes no descriptor of the server.
    let max_connections = affordable(options, usize::MAX, PROCESS_BYTES);
    let doors = open::<C>(options, places)?;
    Acceptor::new(doors, Processes::<C>::new()?, options, max_connections).run()
}

/// Listens on these addresses and serves each client with a thread, until a signal, or until
/// `--once` is fulfilled.
pub(crate) fn thread<C: Conversation>(options: &Options, places: &[Place]) -> Result<(), String> {
    let descriptors = raise_limit()?;
    let possible = max_connections(options, descriptors);
    let max_connections = affordable(options, possible, THREAD_BYTES);
    let doors = open::<C>(options, places)?;
    Acceptor::new(doors, Threads::<C>::new(), options, max_connections).run()
}

/// The user's limit of connections, or else the number of them that the machine can serve in this
/// way; in both cases at most `possible`.
fn affordable(options: &Options, possible: usize, client_bytes: u64) -> usize {
    let (clients, cause) = if let Some(wanted) = options.max_connections {
        (wanted, "--max-connections".to_owned())
    } else {
        let Capacity { clients, cause } = Capacity::of_this_machine(client_bytes);
        (clients, format!("a quarter of {cause}"))
    };
    let (clients, cause) = (clients, cause).min((possible, "RLIMIT_NOFILE".to_owned()));
    say_limits(options, clients, &cause);
    clients
}

fn raise_limit() -> Result<u64, String> {
    raise_descriptor_limit()
        .map_err(|error| format!("cannot raise RLIMIT_NOFILE: {}", reason(&error)))
}

fn open<C: Conversation>(options: &Options, places: &[Place]) -> Result<Doors, String> {
    if C::PRINTS {
        blocking::count_unannounced().map_err(Errno::desc)?;
    }
    Doors::open(places, options)
}
