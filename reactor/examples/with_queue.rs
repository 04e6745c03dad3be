//! Rung 3: the echo server of rung 2 (`with_generations`), with a queue for pending output.
//!
//! This rung adds: the bytes that the kernel refuses wait in a *queue*, and the connection goes on
//! reading until more than the *high-water mark* is in it. Then it reads nothing, TCP slows the client
//! down, and no memory grows: backpressure. On the rung before, one refused byte stopped the reading.
//! That is enough for an echo, but not where a reply is longer than its request, or comes from elsewhere.
//! The price is a state: the end of the input may be read while output is pending, and is remembered
//! (`eof`) until all of that is sent.
//!
//! Try it: this client reads nothing for ten seconds, and loses nothing.
//!
//! ```sh
//! cargo run -p edgeloop-reactor --example with_queue
//! head -c 100M /dev/zero | nc -N 127.0.0.1 9876 | (sleep 10; wc -c)
//! ```
//!
//! Still missing: *timers* (next, `with_timers`). A silent client stays for ever, and so does a
//! client that never reads its replies, with a full queue.

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
/// Pending output, in bytes, above which nothing is read. One read may go beyond it.
const HIGH_WATER: usize = 256 * 1024;
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
    connections: Table,
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
            connections: Table::default(),
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
        // A source has one turn, even if it is on the list and has an edge.
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
        let turn = if token == LISTENER {
            self.accept()
        } else if let Some(connection) = self.connections.get_mut(token) {
            // An error, most often a reset, ends this connection and concerns no other.
            let turn = connection.echo(&mut self.buffer);
            turn.unwrap_or(Turn::Ended)
        } else {
            return; // The token is stale.
        };
        match turn {
            Turn::Blocked => {}
            Turn::BudgetSpent => self.ready.push(token),
            // Dropped is closed, and epoll forgets a socket with its last descriptor.
            Turn::Ended => self.connections.remove(token),
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
        let token = self.connections.next_token();
        let interest = Interest::IN | Interest::OUT | Interest::RDHUP;
        // Bytes that are there already are an edge, too.
        self.poll.add(&socket, token, interest)?;
        let connection = Connection {
            socket,
            pending: Vec::new(),
            eof: false,
        };
        self.connections.insert(token, connection);
        Ok(())
    }
}

/// Connections by slot, each with its token.
#[derive(Default)]
struct Table {
    slots: Slab<(Token, Connection)>,
    /// The generation of the next connection. It repeats after 2³² connections.
    generation: u32,
}

impl Table {
    /// The token of the next connection: generation and slot.
    fn next_token(&self) -> Token {
        Token(u64::from(self.generation) << 32 | self.slots.vacant_key() as u64)
    }

    fn insert(&mut self, token: Token, connection: Connection) {
        self.slots.insert((token, connection));
        self.generation = self.generation.wrapping_add(1);
    }

    /// The connection with this token, unless it has ended.
    fn get_mut(&mut self, token: Token) -> Option<&mut Connection> {
        let (tenant, connection) = self.slots.get_mut(token.0 as u32 as usize)?;
        (*tenant == token).then_some(connection)
    }

    fn remove(&mut self, token: Token) {
        if self.get_mut(token).is_some() {
            self.slots.remove(token.0 as u32 as usize);
        }
    }
}

struct Connection {
    socket: TcpStream,
    /// Pending output: what the kernel refused.
    pending: Vec<u8>,
    /// The client has ended its side; it may still read.
    eof: bool,
}

impl Connection {
    /// Sends back what arrives, until the kernel has no more or the budget is spent.
    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<Turn> {
        // If this makes room, the reading goes on at once: the edge for the bytes that wait is past.
        self.flush()?;
        for _ in 0..READ_BUDGET {
            if self.eof && self.pending.is_empty() {
                return Ok(Turn::Ended);
            }
            if self.eof || self.pending.len() > HIGH_WATER {
                return Ok(Turn::Blocked);
            }
            match self.socket.read(buffer) {
                Ok(0) => self.eof = true,
                Ok(length) => self.send(&buffer[..length])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Turn::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Turn::BudgetSpent)
    }

    /// Sends, and queues what the kernel refuses. No byte overtakes those that wait.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let waits = !self.pending.is_empty();
        let taken = if waits { 0 } else { self.offer(bytes)? };
        self.pending.extend(&bytes[taken..]);
        Ok(())
    }

    /// Sends what is pending; an empty queue owns no memory.
    fn flush(&mut self) -> io::Result<()> {
        let mut pending = mem::take(&mut self.pending);
        pending.drain(..self.offer(&pending)?);
        if !pending.is_empty() {
            self.pending = pending;
        }
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

#[cfg(test)]
#[path = "../tests/ladder/pending.rs"]
mod pending;
#[cfg(test)]
#[path = "../tests/ladder/stale.rs"]
mod stale;
