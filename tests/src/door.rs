//! Where the test itself is the server, or nobody is.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use tempfile::{TempDir, tempdir};

use crate::PATIENCE;
use crate::client::DATAGRAM_BUFFER;

/// A listener of any kind, with an address for clients. Accepting fails after [`PATIENCE`].
#[derive(Debug)]
pub struct Door {
    listener: Listener,
    address: String,
    /// Where the Unix socket is; removed when dropped.
    _directory: Option<TempDir>,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Door {
    /// One of each kind: TCP, and a Unix socket.
    #[must_use]
    pub fn each() -> [Self; 2] {
        [Self::tcp(), Self::unix()]
    }

    /// On a TCP port of 127.0.0.1. What the kernel receives for it is less than any test sends that
    /// is to be seen while it sends.
    #[must_use]
    pub fn tcp() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        setsockopt(&listener, sockopt::RcvBuf, &(256 * 1024)).expect("SO_RCVBUF");
        let at = listener.local_addr().expect("getsockname");
        limit_patience(&listener);
        Self {
            listener: Listener::Tcp(listener),
            address: format!("tcp://{at}"),
            _directory: None,
        }
    }

    /// On a Unix socket.
    #[must_use]
    pub fn unix() -> Self {
        let directory = tempdir().expect("a temporary directory");
        let path = directory.path().join("door.sock");
        let listener = UnixListener::bind(&path).expect("bind");
        limit_patience(&listener);
        Self {
            listener: Listener::Unix(listener),
            address: format!("unix:{}", path.display()),
            _directory: Some(directory),
        }
    }

    /// As clients write it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The next client; reading from it and writing to it fail after [`PATIENCE`].
    #[must_use]
    pub fn accept(&self) -> TcpStream {
        let stream = match &self.listener {
            Listener::Tcp(listener) => listener.accept().expect("a client").0,
            // What this test does with it, the standard library does alike for both.
            Listener::Unix(listener) => {
                OwnedFd::from(listener.accept().expect("a client").0).into()
            }
        };
        limit_patience(&stream);
        stream
    }
}

/// Receiving, sending and accepting fail after [`PATIENCE`] (socket(7)).
fn limit_patience(socket: &impl AsFd) {
    let patience = TimeVal::seconds(PATIENCE.as_secs().cast_signed());
    setsockopt(socket, sockopt::ReceiveTimeout, &patience).expect("SO_RCVTIMEO");
    setsockopt(socket, sockopt::SendTimeout, &patience).expect("SO_SNDTIMEO");
}

/// A TCP port of 127.0.0.1 that is taken, so that nobody else listens there, and refuses.
#[derive(Debug)]
pub struct ClosedDoor(OwnedFd);

impl ClosedDoor {
    /// A port that the kernel picks.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it takes a port")]
    pub fn new() -> Self {
        let (family, kind) = (AddressFamily::Inet, SockType::Stream);
        let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).expect("socket");
        bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).expect("bind");
        Self(fd)
    }

    /// Where nobody is.
    #[must_use]
    pub fn at(&self) -> SocketAddr {
        let at: SockaddrIn = getsockname(self.0.as_raw_fd()).expect("getsockname");
        SocketAddr::new(at.ip().into(), at.port())
    }

    /// From now on somebody is.
    #[must_use]
    pub fn open(self) -> TcpListener {
        listen(&self.0, Backlog::new(16).expect("a small number")).expect("listen");
        limit_patience(&self.0);
        self.0.into()
    }
}

/// A UDP socket on 127.0.0.1, and its address as clients write it; receiving fails after
/// [`PATIENCE`].
#[must_use]
pub fn udp_door() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    limit_patience(&socket);
    setsockopt(&socket, sockopt::RcvBuf, &DATAGRAM_BUFFER).expect("SO_RCVBUF");
    let at = socket.local_addr().expect("getsockname");
    (socket, format!("udp://{at}"))
}

/// A UDP port that is taken and refuses: its socket talks to somebody else.
#[must_use]
pub fn closed_udp_door() -> (UdpSocket, String) {
    let (socket, address) = udp_door();
    let (elsewhere, _) = udp_door();
    let elsewhere = elsewhere.local_addr().expect("getsockname");
    socket.connect(elsewhere).expect("connect");
    (socket, address)
}
