//! What the benchmarks over real connections share: two echo servers, and clients that drive
//! either.
//!
//! [`EchoServer`] runs in a thread of its own, on the reactor or as a thread per connection.
//! [`Clients`] keeps connections open and sends on all of them before it receives on any; [`visit`]
//! connects, exchanges one message and closes. Whatever goes wrong is an error, a wrong byte in an
//! answer too: a benchmark that does not check measures how fast its server is wrong.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use edgeloop_reactor::{Address, ConnId, Data, Limits, Outbox, Protocol, Reactor, Waker};

/// How long a client waits for an answer before it calls it missing. No answer takes that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// As large as the reactor's read buffer, so that a large message takes both servers as few calls.
const BUFFER_BYTES: usize = 64 * 1024;

/// An echo server on a TCP port of its own at 127.0.0.1. It ends when this value is dropped.
#[derive(Debug)]
pub struct EchoServer {
    address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// How to make a server's thread return.
#[derive(Debug)]
enum Stop {
    Wake(Waker),
    /// Set the flag, then connect, so that accept(2) returns.
    Flag(Arc<AtomicBool>),
}

impl EchoServer {
    /// Starts a server on the reactor: one thread for all connections, with the timeouts of a real
    /// one.
    pub fn on_reactor() -> io::Result<EchoServer> {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            // The reactor belongs to the thread that turns it, so it is made there.
            match listening_reactor() {
                Ok((mut reactor, address, waker)) => {
                    let _ = sender.send((address, waker));
                    reactor.run()
                }
                Err(error) => Err(error),
            }
        });
        match receiver.recv() {
            Ok((address, waker)) => Ok(EchoServer {
                address,
                stop: Stop::Wake(waker),
                thread: Some(thread),
            }),
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error),
                _ => Err(io::Error::other("the server's thread has ended")),
            },
        }
    }

    /// Starts a server with a thread for each connection, which is as far as the standard library
    /// goes.
    pub fn on_threads() -> io::Result<EchoServer> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let flag = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&flag);
        let thread = thread::spawn(move || {
            loop {
                let (stream, _) = listener.accept()?;
                if stopped.load(Ordering::Relaxed) {
                    return Ok(());
                }
                thread::spawn(move || echo(stream));
            }
        });
        Ok(EchoServer {
            address,
            stop: Stop::Flag(flag),
            thread: Some(thread),
        })
    }

    /// Where to connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn ask_to_stop(&self) -> io::Result<()> {
        match &self.stop {
            Stop::Wake(waker) => waker.wake()?,
            Stop::Flag(flag) => {
                flag.store(true, Ordering::Relaxed);
                TcpStream::connect(self.address)?;
            }
        }
        Ok(())
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        let thread = self.thread.take();
        let ended = self.ask_to_stop().and_then(|()| {
            // A panic has been printed where it happened.
            thread.map_or(Ok(()), |thread| thread.join().unwrap_or(Ok(())))
        });
        if let Err(error) = ended {
            eprintln!("an echo server ended badly: {error}");
        }
    }
}

/// Sends back what it is given, until it is woken.
struct Echo;

impl Protocol for Echo {
    fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
        out.send_back(data);
    }

    fn on_wake(&mut self, out: &mut Outbox) {
        out.stop();
    }
}

fn listening_reactor() -> io::Result<(Reactor<Echo>, SocketAddr, Waker)> {
    let limits = Limits {
        idle_timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    let mut reactor = Reactor::new(Echo, limits)?;
    let port = "0".parse::<Address>().map_err(io::Error::other)?;
    let address = match &reactor.listen(&port, 0)?[..] {
        [bound] => bound.resolve()?.first().copied(),
        _ => None,
    };
    let address = address.ok_or_else(|| io::Error::other("not one address"))?;
    let waker = reactor.waker()?;
    Ok((reactor, address, waker))
}

/// One connection's thread. An error ends the connection, of which the client will complain.
fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count])?,
        }
    }
}

/// Connections to an echo server that stay open, driven in lockstep.
#[derive(Debug)]
pub struct Clients {
    streams: Vec<TcpStream>,
    message: Vec<u8>,
    answer: Vec<u8>,
}

impl Clients {
    /// Opens `count` connections on which messages of `message_bytes` will be exchanged.
    pub fn connect(to: SocketAddr, count: usize, message_bytes: usize) -> io::Result<Clients> {
        let streams: io::Result<Vec<_>> = (0..count).map(|_| connect(to)).collect();
        Ok(Clients {
            streams: streams?,
            message: message(message_bytes),
            answer: vec![0; message_bytes],
        })
    }

    /// Sends a message on every connection, then receives on every connection what comes back.
    pub fn round_trip(&mut self) -> io::Result<()> {
        for stream in &mut self.streams {
            stream.write_all(&self.message)?;
        }
        for stream in &mut self.streams {
            receive(stream, &self.message, &mut self.answer)?;
        }
        Ok(())
    }
}

/// A message of this length, in which no two neighbours are the same.
#[must_use]
pub fn message(bytes: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(bytes).collect()
}

/// The whole life of a short connection: connect, exchange `message`, end, see the server's end,
/// close.
pub fn visit(to: SocketAddr, message: &[u8], answer: &mut [u8]) -> io::Result<()> {
    let mut stream = connect(to)?;
    stream.write_all(message)?;
    receive(&mut stream, message, answer)?;
    stream.shutdown(Shutdown::Write)?;
    match stream.read(answer)? {
        0 => Ok(()),
        _ => Err(io::Error::other("more came back than was sent")),
    }
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn receive(stream: &mut TcpStream, message: &[u8], answer: &mut [u8]) -> io::Result<()> {
    stream.read_exact(answer)?;
    if answer == message {
        Ok(())
    } else {
        Err(io::Error::other("not what was sent came back"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_servers_echo_and_stop() {
        for start in [EchoServer::on_reactor, EchoServer::on_threads] {
            let server = start().unwrap();
            let mut clients = Clients::connect(server.address(), 3, 100_000).unwrap();
            clients.round_trip().unwrap();
            visit(server.address(), &message(64), &mut [0; 64]).unwrap();
            // Waits for the server's thread: it has heard that it is to stop.
            drop(server);
        }
    }
}
