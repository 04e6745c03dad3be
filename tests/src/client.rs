//! Client connections: deadlines, resets, and filling the buffers on the way.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::linger;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, connect, send, setsockopt,
    socket, sockopt,
};

use crate::server::Server;
use crate::sockets::is_left_unread;
use crate::{PATIENCE, until};

/// Connects to `server`. Reads and writes fail after [`PATIENCE`].
#[must_use]
pub fn dial(server: SocketAddr) -> TcpStream {
    with_deadlines(TcpStream::connect_timeout(&server, PATIENCE).expect("connect"))
}

/// Sends a request, and returns all that the server sends until it ends the connection.
#[must_use]
pub fn ask(server: SocketAddr, request: &[u8]) -> String {
    let mut stream = dial(server);
    stream.write_all(request).expect("write");
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    read.expect("an answer and an end");
    answer
}

/// A socket that is not connected yet, so that the caller can set options first.
fn tcp_socket() -> OwnedFd {
    let kind = SockType::Stream;
    socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None).expect("socket")
}

/// Connects from the address `source`: each source address has its own 28,000 ports.
#[must_use]
pub fn dial_from(source: Ipv4Addr, server: SocketAddr) -> TcpStream {
    let socket = tcp_socket();
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true).expect("IP_BIND_ADDRESS_NO_PORT");
    let source = SockaddrStorage::from(SocketAddr::new(IpAddr::V4(source), 0));
    bind(socket.as_raw_fd(), &source).expect("bind");
    connect(socket.as_raw_fd(), &SockaddrStorage::from(server)).expect("connect");
    with_deadlines(TcpStream::from(socket))
}

/// Connects with a receive buffer of about `bytes`, so that the server's replies soon have to wait.
#[must_use]
pub fn dial_narrow(server: SocketAddr, bytes: usize) -> TcpStream {
    with_deadlines(connect_narrow(server, bytes).expect("connect"))
}

/// As [`dial_narrow`], to a server that may refuse, and without deadlines.
pub(crate) fn connect_narrow(server: SocketAddr, bytes: usize) -> nix::Result<TcpStream> {
    let socket = tcp_socket();
    setsockopt(&socket, sockopt::RcvBuf, &bytes)?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(server))?;
    Ok(TcpStream::from(socket))
}

pub(crate) fn with_deadlines(stream: TcpStream) -> TcpStream {
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("SO_RCVTIMEO");
    stream
        .set_write_timeout(Some(PATIENCE))
        .expect("SO_SNDTIMEO");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    stream
}

/// Limits a pipe to 64 KiB, whatever the page size of the machine.
pub fn narrow(pipe: impl AsFd) {
    // The call fails only where the pipe is smaller and must not grow.
    let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(64 * 1024));
}

/// Connects to a Unix socket. Reads and writes fail after [`PATIENCE`].
#[must_use]
pub fn dial_unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("connect");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("SO_RCVTIMEO");
    stream
        .set_write_timeout(Some(PATIENCE))
        .expect("SO_SNDTIMEO");
    stream
}

/// Requested receive buffer of a UDP socket, in bytes. The kernel may allow less.
pub(crate) const DATAGRAM_BUFFER: usize = 256 * 1024;

/// A UDP socket connected to `server`. Receiving fails after [`PATIENCE`].
#[must_use]
pub fn dial_udp(server: SocketAddr) -> UdpSocket {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).expect("bind");
    socket.connect(server).expect("connect");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("SO_RCVTIMEO");
    setsockopt(&socket, sockopt::RcvBuf, &DATAGRAM_BUFFER).expect("SO_RCVBUF");
    socket
}

/// Sends `message` and checks that the server echoes it.
pub fn ping(mut stream: impl Read + AsFd, message: &[u8]) {
    let begun = say(&mut stream, message);
    let mut rest = vec![0; message.len() - begun.len()];
    stream.read_exact(&mut rest).expect("the server answers");
    assert_same(&[begun, rest].concat(), message);
}

/// Sends `message` and returns the replies that arrive meanwhile. The kernel may buffer less than
/// `message`, so a client that does not read could block for ever.
fn say(stream: &mut (impl Read + AsFd), message: &[u8]) -> Vec<u8> {
    let (mut sent, mut answer, mut block) = (0, Vec::new(), [0; 4096]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    while sent < message.len() {
        let fd = stream.as_fd().as_raw_fd();
        match send(fd, &message[sent..], flags) {
            Ok(count) => sent += count,
            Err(Errno::EAGAIN) => {
                let events = PollFlags::POLLIN | PollFlags::POLLOUT;
                let goes_on = ready(&*stream, events, 30_000);
                assert!(goes_on, "the server does not take the message");
                let wanted = block.len().min(message.len() - answer.len());
                if ready(&*stream, PollFlags::POLLIN, 0) {
                    let count = stream.read(&mut block[..wanted]).expect("an answer");
                    assert!(count > 0, "the server has ended the stream");
                    answer.extend_from_slice(&block[..count]);
                }
            }
            Err(errno) => panic!("the server does not take the message: {errno}"),
        }
    }
    answer
}

/// [Pings](ping) each connection in turn.
pub fn ping_all<'a>(streams: impl IntoIterator<Item = &'a TcpStream>, message: &[u8]) {
    for stream in streams {
        ping(stream, message);
    }
}

/// Checks that the next bytes are `message`.
pub fn expect(mut stream: impl Read, message: &[u8]) {
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer).expect("the server answers");
    assert_same(&answer, message);
}

/// Checks that `rest` and then the end of the stream come next.
pub fn expect_end(mut stream: impl Read, rest: &[u8]) {
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .expect("the server ends the stream in order");
    assert_same(&answer, rest);
}

fn assert_same(answer: &[u8], message: &[u8]) {
    assert!(
        answer == message,
        "not what was sent: {}",
        difference(answer, message)
    );
}

/// Sends `message`, half-closes the stream, and checks that the server echoes all of it and then
/// closes its half.
pub fn ping_and_end(mut stream: &TcpStream, message: &[u8]) {
    let begun = say(&mut stream, message);
    stream.shutdown(Shutdown::Write).expect("shutdown");
    let (answered, rest) = message.split_at(begun.len());
    assert_same(&begun, answered);
    expect_end(stream, rest);
}

/// Describes where two byte strings begin to differ.
#[must_use]
pub fn difference(answer: &[u8], expected: &[u8]) -> String {
    let common = answer
        .iter()
        .zip(expected)
        .take_while(|(a, b)| a == b)
        .count();
    format!(
        "{} bytes instead of {}, the same up to byte {common}",
        answer.len(),
        expected.len()
    )
}

/// Whether the server has closed the connection. Waits for the next event on it, which must not be
/// data.
pub fn is_closed(mut stream: impl Read) -> bool {
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        // SIGCHLD: a child of another test has ended.
        Err(error) if error.kind() == ErrorKind::Interrupted => is_closed(stream),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            true
        }
    }
}

/// Closes the connection with an RST.
pub fn reset(stream: TcpStream) {
    setsockopt(
        &stream,
        sockopt::Linger,
        &linger {
            l_onoff: 1,
            l_linger: 0,
        },
    )
    .expect("SO_LINGER");
    drop(stream);
}

/// Waits up to `patience_ms` for `events` on a descriptor; false if none came.
pub fn ready(descriptor: impl AsFd, events: PollFlags, patience_ms: u16) -> bool {
    let mut descriptors = [PollFd::new(descriptor.as_fd(), events)];
    poll(&mut descriptors, PollTimeout::from(patience_ms)).expect("poll") > 0
}

/// More bytes than any kernel buffers for one connection: a program that reads this many has no
/// limit.
pub const ENDLESS: usize = 1 << 30;

/// Sends `block` over and over until the peer has stopped reading and leaves bytes in its kernel
/// buffer. Fails if the peer never stops. Returns how many bytes were sent.
#[must_use]
pub fn fill(mut stream: &TcpStream, block: &[u8]) -> usize {
    stream.set_nonblocking(true).expect("O_NONBLOCK");
    let mut sent = 0;
    until("the server has stopped reading", || {
        while ready(stream, PollFlags::POLLOUT, 20) {
            match stream.write(&block[sent % block.len()..]) {
                Ok(count) => sent += count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
            assert!(sent < ENDLESS, "the server never stops reading");
        }
        is_left_unread(stream)
    });
    stream.set_nonblocking(false).expect("O_NONBLOCK");
    sent
}

/// Sends without reading the replies, until the server takes no more for now or has cut the
/// connection.
pub fn send_all_it_takes(mut stream: &TcpStream) {
    let block = vec![b'x'; 64 * 1024];
    stream.set_nonblocking(true).expect("O_NONBLOCK");
    let error = loop {
        if let Err(error) = stream.write_all(&block) {
            break error;
        }
    };
    let is_expected = matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    );
    assert!(is_expected, "{error}");
}

/// Sends without end and reads nothing, until the server cuts the connection.
pub fn until_cut_off(mut stream: &TcpStream) {
    let block = vec![b'x'; 65_536];
    let is_cut = (0..ENDLESS / block.len()).any(|_| stream.write_all(&block).is_err());
    assert!(is_cut, "the server never cuts the connection");
}

/// A client that sends block by block and reads no replies, until the server itself holds `pending`
/// bytes of pending output. Returned with the number of bytes sent.
#[must_use]
pub fn pile_up(server: &Server, block: &[u8], pending: usize) -> (TcpStream, usize) {
    let mut stream = dial_narrow(server.tcp(), 64 * 1024);
    let mut sent = 0;
    while sent < ENDLESS {
        let written = stream.write_all(block);
        written.expect("the server reads below its high-water mark");
        sent += block.len();
        let stats = server.stats_until("the server has read all", |stats| {
            stats.get("bytes_in") == sent as u64
        });
        if sent as u64 - stats.get("bytes_out") >= pending as u64 {
            return (stream, sent);
        }
    }
    panic!("the kernel buffers every reply");
}

/// Outcome for a client that connected when the server may have been full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// The server answered.
    Served,
    /// The server closed the connection.
    Refused,
    /// Neither: the connection is still in the backlog.
    Waiting,
}

/// A client with one question, which the server must answer exactly or not at all.
#[derive(Debug)]
pub struct Probe {
    /// The connection; non-blocking.
    pub stream: TcpStream,
    question: Vec<u8>,
    answered: usize,
    /// Its outcome so far.
    pub fate: Fate,
}

impl Probe {
    /// Connects and asks.
    #[must_use]
    pub fn ask(server: SocketAddr, question: &str) -> Self {
        let mut stream = dial(server);
        // An error means that the server has refused already; the next read reports it.
        let _ = stream.write_all(question.as_bytes());
        stream.set_nonblocking(true).expect("O_NONBLOCK");
        Self {
            stream,
            question: question.into(),
            answered: 0,
            fate: Fate::Waiting,
        }
    }

    /// Repeats the question on the same connection, and waits for the answer.
    pub fn ask_again(&self) {
        self.stream.set_nonblocking(false).expect("O_NONBLOCK");
        ping(&self.stream, &self.question);
    }

    fn look(&mut self) {
        let mut answer = [0; 256];
        match self.stream.read(&mut answer) {
            Ok(0) => self.fate = Fate::Refused,
            Ok(count) => {
                let expected = &self.question[self.answered..];
                assert!(expected.starts_with(&answer[..count]), "not what was sent");
                self.answered += count;
                if self.answered == self.question.len() {
                    self.fate = Fate::Served;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                self.fate = Fate::Refused;
            }
        }
    }
}

/// Watches `probes` until all are served or refused, or none has changed for `quiet_ms`.
pub fn watch(probes: &mut [Probe], quiet_ms: u16) {
    loop {
        let mut waiting: Vec<_> = probes
            .iter_mut()
            .filter(|probe| probe.fate == Fate::Waiting)
            .collect();
        if waiting.is_empty() {
            return;
        }
        let mut descriptors: Vec<_> = waiting
            .iter()
            .map(|probe| PollFd::new(probe.stream.as_fd(), PollFlags::POLLIN))
            .collect();
        if poll(&mut descriptors, PollTimeout::from(quiet_ms)).expect("poll") == 0 {
            return;
        }
        for probe in &mut waiting {
            probe.look();
        }
    }
}

/// How many of `probes` have this outcome.
#[must_use]
pub fn count(probes: &[Probe], fate: Fate) -> usize {
    probes.iter().filter(|probe| probe.fate == fate).count()
}
