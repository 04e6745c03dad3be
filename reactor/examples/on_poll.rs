//! Rung 1: the echo server of rung 0 (`raw_epoll`), on [`Poll`].
//!
//! This rung adds: system calls have become methods, so no `unsafe` is left, and a token is no
//! longer a descriptor but a slot in a table. And the loop is *fair*: a source, which is a connection or
//! the listener, has a budget for each turn of the loop. A source that spends it has more to do, but the
//! edge that said so is past; the loop keeps its token on the *ready list* and comes back to it. The
//! same care brings the loop back to a listener that ran out of descriptors.
//!
//! Try it, in two terminals:
//!
//! ```sh
//! cargo run -p edgeloop-reactor --example on_poll
//! nc -N 127.0.0.1 9876
//! ```
//!
//! Still missing:
//!
//! - *Generations* (next, `with_generations`): a slot is reused as a descriptor is, and a token that
//!   outlives its connection would reach a stranger. Only the order of things in `turn` prevents it.
//! - *A queue* (`with_queue`): one refused byte stops all reading from that client.
//! - *Timers* (`with_timers`): a silent client stays for ever.
//! - *A protocol* (`with_protocol`): echo is welded into the loop.
//! - *An orderly end*, counters, a limit on connections, other kinds of sockets (`on_reactor`).

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use std::{env, mem};

use edgeloop_reactor::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(u64::MAX);
/// Reads from one client before the other sources have their turn.
const READ_BUDGET: usize = 4;
/// Accepts before the other sources have their turn.
const ACCEPT_BUDGET: usize = 64;
/// Longest wait before another try to accept when descriptors have run out.
const RETRY: Duration = Duration::from_millis(100);

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9876".into());
    let mut server = Server::new(&address)?;
    eprintln!("listening on tcp://{}", server.listener.local_addr()?);
    loop {
        server.turn()?;
    }
}

/// How a source's turn ended.
enum Turn {
    /// The kernel has no more for now: the next edge says when it has.
    Blocked,
    /// There is more to do, and no edge will say so.
    BudgetSpent,
    /// All is answered, and nothing more will come.
    Ended,
}

struct Server {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    /// The last accept failed. A descriptor that becomes free is no edge on the listener.
    starved: bool,
    connections: Slab<Connection>,
    /// Sources that have more to do.
    ready: Vec<Token>,
    buffer: Vec<u8>,
}

impl Server {
    fn new(address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let poll = Poll::new()?;
        poll.add(&listener, LISTENER, Interest::IN)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(256),
            listener,
            starved: false,
            connections: Slab::new(),
            ready: Vec::new(),
            buffer: vec![0; 64 * 1024],
        })
    }

    /// One turn of the loop: waits, then visits each source that has something to do.
    fn turn(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        self.poll.wait(&mut self.events, timeout)?;
        let mut tokens = mem::take(&mut self.ready);
        tokens.extend(self.events.iter().map(|event| event.token));
        tokens.extend(self.starved.then_some(LISTENER));
        // A source has one turn, even if it is on the list and has an edge. The listener is the
        // last: no slot that is freed here has a new tenant before the next wait.
        tokens.sort_unstable();
        tokens.dedup();
        for token in tokens {
            self.visit(token);
        }
        Ok(())
    }

    /// The longest that the next wait may take.
    fn timeout(&self) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        self.starved.then_some(RETRY)
    }

    fn visit(&mut self, token: Token) {
        let slot = token.0 as usize;
        let turn = if token == LISTENER {
            self.accept()
        } else {
            // An error, most often a reset, ends this connection and concerns no other.
            let turn = self.connections[slot].echo(&mut self.buffer);
            turn.unwrap_or(Turn::Ended)
        };
        match turn {
            Turn::Blocked => {}
            Turn::BudgetSpent => self.ready.push(token),
            // Dropped is closed, and epoll forgets a socket with its last descriptor.
            Turn::Ended => drop(self.connections.remove(slot)),
        }
    }

    /// Accepts clients that wait: one edge may stand for many.
    fn accept(&mut self) -> Turn {
        for _ in 0..ACCEPT_BUDGET {
            let accepted = self.listener.accept();
            let was_starved = mem::take(&mut self.starved);
            match accepted.and_then(|(socket, _)| self.open(socket)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Turn::Blocked,
                // One client gave up while it waited; those behind it have not.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !was_starved {
                        eprintln!("cannot accept, and tries again: {error}");
                    }
                    self.starved = true;
                    return Turn::Blocked;
                }
            }
        }
        Turn::BudgetSpent
    }

    fn open(&mut self, socket: TcpStream) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let slot = self.connections.vacant_entry();
        let interest = Interest::IN | Interest::OUT | Interest::RDHUP;
        // Bytes that are there already are an edge, too.
        self.poll.add(&socket, Token(slot.key() as u64), interest)?;
        let pending = Vec::new();
        slot.insert(Connection { socket, pending });
        Ok(())
    }
}

struct Connection {
    socket: TcpStream,
    /// Pending output: what the kernel refused of one read.
    pending: Vec<u8>,
}

impl Connection {
    /// Sends back what arrives, until the kernel has no more or the budget is spent.
    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<Turn> {
        let pending = mem::take(&mut self.pending);
        self.send(&pending)?;
        for _ in 0..READ_BUDGET {
            if !self.pending.is_empty() {
                return Ok(Turn::Blocked);
            }
            match self.socket.read(buffer) {
                Ok(0) => return Ok(Turn::Ended),
                Ok(length) => self.send(&buffer[..length])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Turn::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Turn::BudgetSpent)
    }

    /// Sends, and keeps what the kernel refuses.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let taken = self.offer(bytes)?;
        self.pending.extend(&bytes[taken..]);
        Ok(())
    }

    /// Offers bytes to the kernel until it refuses; returns how many it took.
    fn offer(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while taken < bytes.len() {
            // The standard library asks for an error in place of SIGPIPE.
            match self.socket.write(&bytes[taken..]) {
                Ok(length) => taken += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }
}
