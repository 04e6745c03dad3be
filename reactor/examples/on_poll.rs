//! Rung 1: the echo server of rung 0 (`raw_epoll`), on [`Poll`].
//!
//! What this rung adds: the system calls have become methods, so there is no `unsafe` left. Sockets
//! are those of the standard library, set not to wait. A token is no longer a descriptor but a
//! place in a slab, our own affair. And no client can keep the others waiting: each has a budget a
//! turn, and who has more to do stands on a list.
//!
//! Try it, in two terminals:
//!
//! ```sh
//! cargo run -p edgeloop-reactor --example on_poll
//! nc -N 127.0.0.1 9876
//! ```
//!
//! What is still missing, and what `on_reactor` gets from the floor above:
//!
//! - *Limits* on connections, *timers* against silent clients, a way on when *descriptors* run out.
//! - *Stale events.* A slot is used again as a descriptor is; a token needs a generation.
//! - *An orderly end*, counters, other kinds of sockets.
//! - *Anything but echo.* The protocol is still welded into the loop.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use std::{env, mem};

use edgeloop_reactor::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(u64::MAX);
/// Reads for one client before the others have their turn.
const BUDGET: usize = 4;

/// How a client's turn ended.
enum Turn {
    /// The kernel will tell when there is more to do.
    Blocked,
    /// There is more to do, and no edge will tell.
    BudgetSpent,
    /// All is answered, and nothing more will come.
    Ended,
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:9876"))?;
    listener.set_nonblocking(true)?;
    let poll = Poll::new()?;
    poll.add(&listener, LISTENER, Interest::IN)?;
    eprintln!("listening on tcp://{}", listener.local_addr()?);

    let mut connections = Slab::new();
    let mut events = Events::with_capacity(256);
    let mut buffer = vec![0; 64 * 1024];
    let mut ready: Vec<usize> = Vec::new();
    loop {
        // Who has more to do has no edge to wait for.
        poll.wait(&mut events, (!ready.is_empty()).then_some(Duration::ZERO))?;
        let mut turns = mem::take(&mut ready);
        for event in events.iter() {
            match event.token {
                LISTENER => accept_all(&listener, &poll, &mut connections),
                Token(slot) => turns.push(slot as usize),
            }
        }
        turns.sort_unstable();
        turns.dedup();
        for slot in turns {
            // An error, most often a reset, ends this connection and concerns no other.
            match connections[slot].echo(&mut buffer).unwrap_or(Turn::Ended) {
                Turn::Blocked => {}
                Turn::BudgetSpent => ready.push(slot),
                Turn::Ended => drop(connections.remove(slot)),
            }
        }
    }
}

/// Takes every client that waits: one edge may stand for many.
fn accept_all(listener: &TcpListener, poll: &Poll, connections: &mut Slab<Connection>) {
    loop {
        match listener.accept() {
            Ok((socket, _)) => {
                let slot = connections.vacant_entry();
                let interest = Interest::IN | Interest::OUT | Interest::RDHUP;
                let watched = poll.add(&socket, Token(slot.key() as u64), interest);
                if watched.is_ok() && socket.set_nonblocking(true).is_ok() {
                    slot.insert(Connection {
                        socket,
                        unsent: Vec::new(),
                    });
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return eprintln!("cannot accept: {error}"),
        }
    }
}

struct Connection {
    socket: TcpStream,
    /// What the kernel refused: one read at most.
    unsent: Vec<u8>,
}

impl Connection {
    /// Sends back what arrives, until the kernel stops us or the budget is spent.
    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<Turn> {
        let kept = mem::take(&mut self.unsent);
        if !self.send_or_keep(&kept)? {
            return Ok(Turn::Blocked);
        }
        for _ in 0..BUDGET {
            match self.socket.read(buffer) {
                Ok(0) => return Ok(Turn::Ended),
                Ok(length) if self.send_or_keep(&buffer[..length])? => {}
                Ok(_) => return Ok(Turn::Blocked),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Turn::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Turn::BudgetSpent)
    }

    /// True: all is sent. False: the kernel's buffer is full, and the rest is kept.
    fn send_or_keep(&mut self, mut bytes: &[u8]) -> io::Result<bool> {
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.unsent = bytes.to_vec();
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
