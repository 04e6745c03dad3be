//! A process for each client: fork(2), as in the oldest of servers.
//!
//! The child is a copy of the server. It closes the server's descriptors at once, as the server
//! closes the client's socket: a connection ends when its last descriptor is closed. A crash of one
//! child affects no other.
//!
//! A child that has ended is a zombie until its parent asks for its status. SIGCHLD says that there
//! is at least one: pending signals are merged, so the server asks until no zombie is left. SIGCHLD
//! is read from a signalfd, by the loop that also starts the children, so the two never overlap.
//!
//! Signals of the terminal reach the children too; the server passes on signals that were sent to
//! it alone. In the child, a handler ends the wait in recv(2): see [`blocking`]. SIGUSR1 and SIGHUP
//! stay blocked there, as they are in the server.

use std::collections::HashMap;
use std::io;
use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::os::fd::AsRawFd;
use std::time::Instant;

use edgeloop_reactor::RateLimitedLog;
use edgeloop_reactor::process::is_ignored;
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid};

use super::client::Client;
use super::conversation::Conversation;
use super::crowd::Ticket;
use super::doors::Doors;
use super::workers::Workers;
use super::{blocking, sys};
use crate::logging;

/// A child's exit status after a failure of standard output without an errno. With an errno, that
/// is the status.
const FAILED: i32 = 255;

/// The processes that serve the clients.
pub(super) struct Processes<C> {
    server: Pid,
    /// The client that each child serves: its number, and its ticket.
    children: HashMap<Pid, (u64, Option<Ticket>)>,
    /// Tickets of clients that have gone.
    gone: Vec<Ticket>,
    /// The read buffer of the children; the server never touches it. A child that reads into it
    /// gets pages of its own from the kernel, as many as it uses.
    buffer: Box<[MaybeUninit<u8>]>,
    is_cut_off: bool,
    /// The log of children that were killed, as the kernel may do for want of memory.
    killings: RateLimitedLog,
    started: Instant,
    conversation: PhantomData<C>,
}

impl<C> Processes<C> {
    /// Gets ready for children.
    pub(super) fn new() -> Result<Self, String> {
        // The handler is for the children, which inherit it: in the server these signals are
        // blocked.
        sys::keep_zombies()
            .and_then(|()| sys::handle_stop_signals())
            .map_err(|errno| format!("cannot handle signals: {}", errno.desc()))?;
        Ok(Processes {
            server: getpid(),
            children: HashMap::new(),
            gone: Vec::new(),
            buffer: Box::new_uninit_slice(blocking::READ_BUFFER),
            is_cut_off: false,
            killings: RateLimitedLog::default(),
            started: Instant::now(),
            conversation: PhantomData,
        })
    }

    fn signal_all(&self, signal: Signal) {
        for &child in self.children.keys() {
            // No other process can have this id by now: it is given back by reaping.
            let _ = kill(child, signal);
        }
    }

    /// A child that has ended; `None` if no other has.
    fn next_ended(options: Option<WaitPidFlag>) -> Option<WaitStatus> {
        loop {
            match waitpid(None, options) {
                Err(Errno::EINTR) => {}
                Ok(WaitStatus::StillAlive) | Err(_) => return None,
                Ok(status) => return Some(status),
            }
        }
    }
}

impl<C: Conversation> Workers for Processes<C> {
    const KIND: &str = "process";
    type Name = Pid;

    fn start(&mut self, client: Client, doors: &Doors) -> nix::Result<Pid> {
        let child = sys::fork(|| {
            doors.close_in_child();
            logging::close_in_child();
            serve_in_child::<C>(self.server, &client, &mut self.buffer)
        })?;
        self.children.insert(child, (client.number, client.ticket));
        // The client's socket is the child's alone when `client` is dropped here.
        Ok(child)
    }

    fn open(&self) -> usize {
        self.children.len()
    }

    fn reap(&mut self) -> io::Result<()> {
        while let Some(status) = Self::next_ended(Some(WaitPidFlag::WNOHANG)) {
            let client = status.pid().and_then(|child| self.children.remove(&child));
            // A process that became this server by exec(2) may have had other children.
            let Some((number, ticket)) = client else {
                continue;
            };
            self.gone.extend(ticket);
            match status {
                WaitStatus::Exited(_, 0) => {}
                WaitStatus::Exited(_, FAILED) => return Err(io::Error::other("unknown error")),
                WaitStatus::Exited(_, errno) => return Err(io::Error::from_raw_os_error(errno)),
                WaitStatus::Signaled(child, signal, _) if !self.is_cut_off => {
                    let now_ms = self.started.elapsed().as_millis() as u64;
                    self.killings.log(
                        now_ms,
                        format_args!("connection {number}: process {child} was killed by {signal}"),
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take_gone(&mut self) -> Vec<Ticket> {
        mem::take(&mut self.gone)
    }

    fn displace(&mut self, child: Pid) {
        // A child that was reaped is no longer in the list, and its id may be another process's.
        if self.children.contains_key(&child) {
            let _ = kill(child, stop_signal());
        }
    }

    fn stop(&mut self) {
        self.signal_all(stop_signal());
    }

    fn cut_off(&mut self) {
        self.is_cut_off = true;
        self.signal_all(Signal::SIGKILL);
    }
}

impl<C> Drop for Processes<C> {
    /// Leaves no child behind, also when the server ends by an error.
    fn drop(&mut self) {
        self.signal_all(Signal::SIGKILL);
        while !self.children.is_empty()
            && let Some(status) = Self::next_ended(None)
        {
            if let Some(child) = status.pid() {
                self.children.remove(&child);
            }
        }
    }
}

/// A signal that ends the input of a child: one that it does not ignore. A server that ignores both
/// is never stopped, and can only kill a child.
fn stop_signal() -> Signal {
    let handled = [Signal::SIGTERM, Signal::SIGINT].into_iter();
    let mut handled = handled.filter(|signal| !is_ignored(*signal as i32));
    handled.next().unwrap_or(Signal::SIGKILL)
}

/// The child's main function; returns its exit status.
fn serve_in_child<C: Conversation>(
    server: Pid,
    client: &Client,
    buffer: &mut [MaybeUninit<u8>],
) -> i32 {
    // The kernel kills the child when the server dies. The server may have died before this call.
    if set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != server {
        return 0;
    }
    sys::set_socket_to_stop(client.socket.as_raw_fd());
    let stop: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    let _ = stop.thread_unblock();
    match blocking::serve_client::<C>(client, buffer) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(FAILED),
    }
}
