//! An echo server on mio.

use std::convert::Infallible;
use std::io::{self, ErrorKind, Read, Write};
use std::net;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Poll, Token};
use slab::Slab;

use crate::peers::buffer::BUFFER_BYTES;
use crate::peers::mio::{INTEREST, LISTENER, accept, poll, wait};

/// Serves until accepting or waiting fails.
pub fn serve(listener: net::TcpListener) -> io::Result<Infallible> {
    let (mut poll, listener, mut events) = poll(listener)?;
    let mut connections = Slab::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        wait(&mut poll, &mut events)?;
        for event in &events {
            match event.token() {
                LISTENER => accept_all(&listener, &poll, &mut connections)?,
                // A slot that is used again has no event in this batch: a connection ends only in
                // the one event that it has.
                Token(slot) => {
                    let connection: &mut Connection = &mut connections[slot];
                    if !connection.serve(event, &mut buffer).unwrap_or(false) {
                        connections.remove(slot);
                    }
                }
            }
        }
    }
}

fn accept_all(
    listener: &TcpListener,
    poll: &Poll,
    connections: &mut Slab<Connection>,
) -> io::Result<()> {
    while let Some(mut socket) = accept(listener)? {
        let slot = connections.vacant_entry();
        poll.registry()
            .register(&mut socket, Token(slot.key()), INTEREST)?;
        slot.insert(Connection::new(socket));
    }
    Ok(())
}

struct Connection {
    socket: TcpStream,
    /// Bytes that the kernel refused: one read at most.
    unsent: Vec<u8>,
    /// The end of the client's stream is near, and no other event will announce it.
    read_closed: bool,
}

impl Connection {
    fn new(socket: TcpStream) -> Self {
        Connection {
            socket,
            unsent: Vec::new(),
            read_closed: false,
        }
    }

    /// Sends back what arrives until the kernel refuses bytes. False: all is answered, and nothing
    /// more will come.
    fn serve(&mut self, event: &Event, buffer: &mut [u8]) -> io::Result<bool> {
        self.read_closed |= event.is_read_closed() || event.is_error();
        let kept = std::mem::take(&mut self.unsent);
        if !self.send_or_keep(&kept)? {
            return Ok(true);
        }
        // Data that came while we did not read has no event of its own: it is looked for at once.
        loop {
            let length = match self.socket.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let sent = self.send_or_keep(&buffer[..length])?;
            // A short read has taken all there was (epoll(7)), but for the end of the stream.
            let drained = length < buffer.len() && !self.read_closed;
            if !sent || drained {
                return Ok(true);
            }
        }
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
