//! Rung 0: a TCP echo server on bare system calls, in one file.
//!
//! An edge says, once, that something *changed*. A program that does not act on it until
//! the kernel answers `EAGAIN` ("no more for now") is not told again. Three habits follow, and this
//! program is made of them:
//!
//! 1. Accept until `EAGAIN`, read until `EAGAIN`, write until `EAGAIN`.
//! 2. Keep what the kernel refuses to send, and read no more until it is gone: TCP then slows the
//!    client down, and no memory grows. Once it is gone, go on reading *at once*. The edge for the
//!    bytes that wait is long past, and no other will come for them.
//! 3. Take an event for a hint. What it says is not even looked at here: trying to write and then
//!    to read finds out all of it, and in the right order, for data may stand in front of a FIN.
//!
//! Try it, in two terminals:
//!
//! ```sh
//! cargo run -p edgeloop-reactor --example raw_epoll
//! nc -N 127.0.0.1 9876
//! ```
//!
//! Still missing, with the rung that adds it:
//!
//! - *Fairness* (next, `on_poll`): a client that sends and reads without a pause has the loop to
//!   itself, and so has a storm of new clients.
//! - *Out of descriptors* (`on_poll`): clients that wait when `accept` fails are stranded. Only
//!   another client is an edge on the listener; a descriptor that becomes free is not.
//! - *Stale events* (`with_generations`): the token is the descriptor, and the number of a closed
//!   descriptor is reused. It does no harm while a handler closes no connection but its own. In a
//!   chat, where one member may end another, a later event of the same batch could reach a stranger.
//! - *A queue* (`with_queue`): one refused byte stops all reading from that client.
//! - *Timers* (`with_timers`): a client that is silent, or never reads its replies, stays for ever.
//! - *A protocol* (`with_protocol`): echo is welded into the loop.
//! - *An orderly end* (`on_reactor`): Ctrl-C drops the replies that are under way. And *a limit* on
//!   connections: each keeps one read at most, but their number has no bound.

#![allow(unsafe_code)] // System calls are what this file is about. They stand together at its end.
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)] // C counts with signed numbers.

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::{env, io, mem, ptr};

type Event = libc::epoll_event;
type Connections = HashMap<RawFd, Connection>;

/// The name that system calls have for it.
const EAGAIN: io::ErrorKind = io::ErrorKind::WouldBlock;

/// Asked for once in a connection's life: with edges there is nothing to switch off and on again.
const ALL_EDGES: i32 = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;

fn main() -> io::Result<()> {
    let address = env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:9876"))?;
    listener.set_nonblocking(true)?;
    let epoll = create_epoll()?;
    add(&epoll, &listener, libc::EPOLLIN | libc::EPOLLET)?;
    eprintln!("listening on tcp://{}", listener.local_addr()?);

    let mut connections = Connections::new();
    let mut batch = [Event { events: 0, u64: 0 }; 256];
    let mut buffer = vec![0; 64 * 1024];
    loop {
        for event in wait(&epoll, &mut batch)? {
            let fd = event.u64 as RawFd;
            if fd == listener.as_raw_fd() {
                accept_all(&listener, &epoll, &mut connections);
            } else if let Some(connection) = connections.get_mut(&fd) {
                // An error, most often a reset, ends this connection and concerns no other.
                let open = connection.echo(&mut buffer).unwrap_or(false);
                if !open {
                    // Dropped is closed, and epoll forgets a socket with its last descriptor.
                    connections.remove(&fd);
                }
            }
        }
    }
}

/// Takes every client that waits: one edge may stand for many.
fn accept_all(listener: &TcpListener, epoll: &OwnedFd, connections: &mut Connections) {
    loop {
        match accept(listener) {
            Ok(socket) => {
                // Bytes that came before this call are reported too, so no first read is needed.
                if add(epoll, &socket, ALL_EDGES).is_ok() {
                    let unsent = Vec::new();
                    connections.insert(socket.as_raw_fd(), Connection { socket, unsent });
                }
            }
            Err(error) if error.kind() == EAGAIN => return,
            // One client gave up while it waited; those behind it have not.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return eprintln!("cannot accept: {error}"),
        }
    }
}

struct Connection {
    socket: OwnedFd,
    /// Bytes that the kernel refused: one read at most, and no allocation while the client keeps up.
    unsent: Vec<u8>,
}

impl Connection {
    /// Sends back what arrives until the kernel stops us, in whichever direction. False: all is
    /// answered, and nothing more will come.
    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let kept = mem::take(&mut self.unsent);
        let mut flushed = self.send_or_keep(&kept)?;
        while flushed {
            match receive(&self.socket, buffer) {
                // Nothing is left unread, so to close is to send a FIN after the last answer. With
                // unread bytes it would be a reset, which destroys answers on their way.
                Ok(0) => return Ok(false),
                Ok(length) => flushed = self.send_or_keep(&buffer[..length])?,
                Err(error) if error.kind() == EAGAIN => break,
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// True: all is sent. False: the kernel's buffer is full, and the rest is kept.
    fn send_or_keep(&mut self, mut bytes: &[u8]) -> io::Result<bool> {
        while !bytes.is_empty() {
            match send(&self.socket, bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == EAGAIN => {
                    self.unsent = bytes.to_vec();
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

// The system calls. CLOEXEC: a program started from here would otherwise keep our sockets open.

fn create_epoll() -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let fd = retry(|| unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the descriptor is new, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn add(epoll: &OwnedFd, source: &impl AsRawFd, edges: i32) -> io::Result<()> {
    let (epoll, fd) = (epoll.as_raw_fd(), source.as_raw_fd());
    let mut event = Event {
        events: edges as u32,
        u64: fd as u64,
    };
    // SAFETY: the kernel copies `event`, and keeps no pointer to it.
    retry(|| unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
    Ok(())
}

fn wait<'a>(epoll: &OwnedFd, batch: &'a mut [Event]) -> io::Result<&'a [Event]> {
    let (start, capacity) = (batch.as_mut_ptr(), batch.len() as i32);
    // SAFETY: `start` points to `capacity` events that are ours to overwrite.
    let count = retry(|| unsafe { libc::epoll_wait(epoll.as_raw_fd(), start, capacity, -1) })?;
    Ok(&batch[..count as usize])
}

fn accept(listener: &TcpListener) -> io::Result<OwnedFd> {
    let listener = listener.as_raw_fd();
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null says that the client's address is not wanted.
    let fd = retry(|| unsafe { libc::accept4(listener, ptr::null_mut(), ptr::null_mut(), flags) })?;
    // SAFETY: the descriptor is new, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    let (start, capacity) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: `start` points to `capacity` bytes that are ours to overwrite.
    let length = retry(|| unsafe { libc::recv(socket.as_raw_fd(), start, capacity, 0) })?;
    Ok(length as usize)
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    // To write to a peer that is gone raises SIGPIPE, which ends a program; an error is enough.
    let (start, flags) = (bytes.as_ptr().cast(), libc::MSG_NOSIGNAL);
    // SAFETY: `start` points to `bytes.len()` bytes, which the kernel only reads.
    let length = retry(|| unsafe { libc::send(socket.as_raw_fd(), start, bytes.len(), flags) })?;
    Ok(length as usize)
}

/// Turns C's -1 and `errno` into an error; calls again what a signal interrupted (`EINTR`).
fn retry<N: From<i8> + PartialEq>(mut call: impl FnMut() -> N) -> io::Result<N> {
    loop {
        let result = call();
        if result != N::from(-1) {
            return Ok(result);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
