//! Clients of an echo server.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::dial::{dial, named};
use crate::message;

/// Connections to an echo server that stay open, driven in lockstep.
#[derive(Debug)]
pub struct Echo {
    streams: Vec<TcpStream>,
    message: Vec<u8>,
    answer: Vec<u8>,
}

impl Echo {
    /// Opens `connections` for messages of `message_bytes`. A message has to fit into the kernel's
    /// socket buffers, since nothing is read while it is sent.
    pub fn connect(to: SocketAddr, connections: usize, message_bytes: usize) -> io::Result<Echo> {
        let streams: io::Result<Vec<_>> = (0..connections).map(|_| dial(to)).collect();
        Ok(Echo {
            streams: streams?,
            message: message(message_bytes),
            answer: vec![0; message_bytes],
        })
    }

    /// Sends a message on every connection, then receives the answer on every connection.
    pub fn round_trip(&mut self) -> io::Result<()> {
        self.send()?;
        self.receive()
    }

    /// Sends a message on every connection.
    pub fn send(&mut self) -> io::Result<()> {
        for stream in &mut self.streams {
            stream.write_all(&self.message).map_err(named)?;
        }
        Ok(())
    }

    /// Receives the answer on every connection.
    pub fn receive(&mut self) -> io::Result<()> {
        for stream in &mut self.streams {
            receive(stream, &self.message, &mut self.answer)?;
        }
        Ok(())
    }

    /// Sends the end of the stream on every connection.
    pub fn half_close(&mut self) -> io::Result<()> {
        let mut streams = self.streams.iter();
        streams.try_for_each(|stream| stream.shutdown(Shutdown::Write))
    }

    /// Receives the server's end on every connection.
    pub fn expect_end(&mut self) -> io::Result<()> {
        let mut streams = self.streams.iter_mut();
        streams.try_for_each(|stream| expect_end(stream, &mut self.answer))
    }
}

/// The whole life of a short connection: connect, exchange `message`, end, see the server's end,
/// close. `answer` is room for as many bytes.
pub fn visit(to: SocketAddr, message: &[u8], answer: &mut [u8]) -> io::Result<()> {
    let mut stream = dial(to)?;
    stream.write_all(message).map_err(named)?;
    receive(&mut stream, message, answer)?;
    stream.shutdown(Shutdown::Write)?;
    expect_end(&mut stream, answer)
}

fn receive(stream: &mut TcpStream, message: &[u8], answer: &mut [u8]) -> io::Result<()> {
    stream.read_exact(answer).map_err(named)?;
    if answer == message {
        Ok(())
    } else {
        Err(io::Error::other("not what was sent came back"))
    }
}

fn expect_end(stream: &mut TcpStream, answer: &mut [u8]) -> io::Result<()> {
    match stream.read(answer).map_err(named)? {
        0 => Ok(()),
        _ => Err(io::Error::other("more came back than was sent")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread::{self, JoinHandle};

    use super::*;

    /// A client whose 64 bytes the server answers with something else, and whose connection it then
    /// closes.
    fn answering(answer: &'static [u8]) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 64]).unwrap();
            stream.write_all(answer).unwrap();
        });
        (address, server)
    }

    fn complaint(answer: &'static [u8]) -> String {
        let (address, server) = answering(answer);
        let mut clients = Echo::connect(address, 1, 64).unwrap();
        let error = clients.round_trip().unwrap_err();
        server.join().unwrap();
        error.to_string()
    }

    #[test]
    fn a_wrong_byte_is_found() {
        let mut wrong = message(64);
        wrong[63] ^= 1;
        assert_eq!(complaint(wrong.leak()), "not what was sent came back");
    }

    #[test]
    fn a_missing_byte_is_found() {
        assert_eq!(complaint(message(63).leak()), "the connection has ended");
    }

    #[test]
    fn a_byte_too_many_is_found() {
        let mut long = message(64);
        long.push(0);
        let (address, server) = answering(long.leak());
        let error = visit(address, &message(64), &mut [0; 64]).unwrap_err();
        assert_eq!(error.to_string(), "more came back than was sent");
        server.join().unwrap();
    }
}
