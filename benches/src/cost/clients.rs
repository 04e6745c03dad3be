//! The clients of each load. They send at the gate, so that the server finds all messages at once,
//! then read all answers, and compare every byte.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use super::gate::Gate;
use crate::dial::{PATIENCE, named};
use crate::echo::Echo;
use crate::message;
use crate::room::Room;

const MESSAGE_BYTES: usize = 64;

/// The clients of one load.
pub(super) trait Clients {
    /// One round, until the last answer is read.
    fn round(&mut self, gate: Gate) -> io::Result<()>;
}

/// Connections that stay open.
pub(super) struct Speakers(Echo);

impl Speakers {
    pub(super) fn connect(to: SocketAddr, connections: usize) -> io::Result<Speakers> {
        Echo::connect(to, connections, MESSAGE_BYTES).map(Speakers)
    }
}

impl Clients for Speakers {
    fn round(&mut self, gate: Gate) -> io::Result<()> {
        gate.at_once(|| self.0.send())?;
        self.0.receive()
    }
}

/// Connections that end after a message.
pub(super) struct Callers {
    to: SocketAddr,
    count: usize,
}

impl Callers {
    pub(super) fn new(to: SocketAddr, count: usize) -> Callers {
        Callers { to, count }
    }
}

impl Clients for Callers {
    fn round(&mut self, gate: Gate) -> io::Result<()> {
        let mut clients = gate.at_once(|| {
            let mut clients = Echo::connect(self.to, self.count, MESSAGE_BYTES)?;
            clients.send()?;
            Ok(clients)
        })?;
        clients.receive()?;
        gate.at_once(|| clients.half_close())?;
        clients.expect_end()
    }
}

/// A socket that sends datagrams.
pub(super) struct Senders {
    socket: UdpSocket,
    count: usize,
}

impl Senders {
    pub(super) fn new(to: SocketAddr, count: usize) -> io::Result<Senders> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Senders { socket, count })
    }
}

impl Clients for Senders {
    fn round(&mut self, gate: Gate) -> io::Result<()> {
        let message = message(MESSAGE_BYTES);
        gate.at_once(|| (0..self.count).try_for_each(|_| self.socket.send(&message).map(drop)))?;
        for _ in 0..self.count {
            let mut answer = [0; MESSAGE_BYTES + 1];
            let length = self.socket.recv(&mut answer).map_err(named)?;
            if answer[..length] != message {
                return Err(io::Error::other("not what was sent came back"));
            }
        }
        Ok(())
    }
}

/// Members of a chat.
pub(super) struct Party(Room);

impl Party {
    /// All enter together, so that what is announced does not depend on how fast they come.
    pub(super) fn enter(at: SocketAddr, members: usize, gate: Gate) -> io::Result<Party> {
        let mut room = gate.at_once(|| Room::knock(at, members))?;
        room.are_asked()?;
        gate.at_once(|| room.give_names())?;
        room.are_told_the_members()?;
        room.first_hears_of_all()?;
        Ok(Party(room))
    }
}

impl Clients for Party {
    fn round(&mut self, gate: Gate) -> io::Result<()> {
        gate.at_once(|| self.0.talk())?;
        self.0.listen_to_all()
    }
}
