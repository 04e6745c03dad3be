//! A thread for each client, detached.
//!
//! Threads share everything, so the list of open sockets, by which a stop reaches threads that wait
//! in a system call, has a lock. A thread takes its own socket off the list before it closes it:
//! the kernel gives the number of a closed descriptor to the next client, which must not be
//! mistaken for the last one.
//!
//! A detached thread leaves no zombie, and its end is not reported. When the acceptor has to know
//! of it, the thread sends SIGCHLD, as the kernel does for a child.

use std::collections::HashMap;
use std::io;
use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::getpid;

use super::client::Client;
use super::conversation::Conversation;
use super::crowd::Ticket;
use super::doors::Doors;
use super::workers::Workers;
use super::{blocking, sys};

/// Stack of a thread in bytes. A log line goes deepest, and needs far less. The kernel provides
/// only the pages that are touched; the usual 8 MiB would count in full against a limit of address
/// space.
const STACK_BYTES: usize = 64 * 1024;

/// The threads that serve the clients.
pub(super) struct Threads<C> {
    registry: Arc<Mutex<Registry>>,
    conversation: PhantomData<C>,
}

/// The state that the acceptor and all threads share.
#[derive(Default)]
struct Registry {
    /// The socket of each open connection, by the client's number.
    sockets: HashMap<u64, RawFd>,
    /// Tickets of clients that have gone.
    gone: Vec<Ticket>,
    /// Each thread that ends is to send SIGCHLD.
    reports_ends: bool,
    /// The first failure of standard output.
    failure: Option<io::Error>,
}

impl Registry {
    fn shut_down_all(&self, how: Shutdown) {
        for &socket in self.sockets.values() {
            // An error says that the connection was reset, and so is shut down already.
            let _ = shutdown(socket, how);
        }
    }
}

/// Locks the registry. A panic ends the process, so no thread finds the registry half changed.
fn lock(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<C> Threads<C> {
    pub(super) fn new() -> Self {
        Threads {
            registry: Arc::default(),
            conversation: PhantomData,
        }
    }
}

impl<C: Conversation> Workers for Threads<C> {
    const KIND: &str = "thread";
    /// The client's number.
    type Name = u64;

    fn start(&mut self, client: Client, _: &Doors) -> nix::Result<u64> {
        // On the heap: the compiler touches each page of a large array on the stack.
        let mut buffer = Vec::new();
        let room = buffer.try_reserve_exact(blocking::READ_BUFFER);
        room.map_err(|_| Errno::ENOMEM)?;
        let (number, socket) = (client.number, client.socket.as_raw_fd());
        lock(&self.registry).sockets.insert(number, socket);
        let registry = Arc::clone(&self.registry);
        let body = move || serve_in_thread::<C>(&client, &registry, buffer.spare_capacity_mut());
        let started = sys::spawn_detached(STACK_BYTES, body);
        if started.is_err() {
            lock(&self.registry).sockets.remove(&number);
        }
        started.map(|()| number)
    }

    fn open(&self) -> usize {
        lock(&self.registry).sockets.len()
    }

    fn reap(&mut self) -> io::Result<()> {
        lock(&self.registry).failure.take().map_or(Ok(()), Err)
    }

    fn take_gone(&mut self) -> Vec<Ticket> {
        mem::take(&mut lock(&self.registry).gone)
    }

    fn displace(&mut self, number: u64) {
        if let Some(&socket) = lock(&self.registry).sockets.get(&number) {
            let _ = shutdown(socket, Shutdown::Read);
        }
    }

    fn report_ends(&mut self) {
        lock(&self.registry).reports_ends = true;
    }

    fn stop(&mut self) {
        sys::STOPPING.store(true, Ordering::Release);
        lock(&self.registry).shut_down_all(Shutdown::Read);
    }

    fn cut_off(&mut self) {
        lock(&self.registry).shut_down_all(Shutdown::Both);
    }
}

/// The thread's main function.
fn serve_in_thread<C: Conversation>(
    client: &Client,
    registry: &Mutex<Registry>,
    buffer: &mut [MaybeUninit<u8>],
) {
    let result = blocking::serve_client::<C>(client, buffer);
    let mut registry = lock(registry);
    registry.sockets.remove(&client.number);
    registry.gone.extend(client.ticket);
    if registry.reports_ends || client.is_displaced() || result.is_err() {
        let _ = kill(getpid(), Signal::SIGCHLD);
    }
    registry.failure = registry.failure.take().or(result.err());
    // The descriptor is closed after this, when the thread drops `client`.
}
