//! Listeners of the test itself, and ports on which no server listens.

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

/// A TCP or Unix listener, and its address for clients. Accepting fails after [`PATIENCE`].
#[derive(Debug)]
pub struct Door {
    listener: Listener,
    address: String,
    /// The directory of the Unix socket; removed when dropped.
    _directory: Option<TempDir>,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Door {
    /// One listener of each kind.
    #[must_use]
    pub fn each() -> [Self; 2] {
        [Self::tcp(), Self::unix()]
    }

    /// A listener on a TCP port of 127.0.0.1. Its receive buffer is smaller than any transfer that
    /// a test has to observe while it runs.
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

    /// A listener on a Unix socket.
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

    /// Its address as clients write it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Accepts the next client. Reads and writes fail after [`PATIENCE`].
    #[must_use]
    pub fn accept(&self) -> TcpStream {
        let stream = match &self.listener {
            Listener::Tcp(listener) => listener.accept().expect("a client").0,
            // Reading, writing and `shutdown` are the same calls for both kinds.
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

/// A TCP port of 127.0.0.1 that is bound, so that no other process can listen on it, and refuses
/// connections.
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

    /// Its address, on which no server listens.
    #[must_use]
    pub fn at(&self) -> SocketAddr {
        let at: SockaddrIn = getsockname(self.0.as_raw_fd()).expect("getsockname");
        SocketAddr::new(at.ip().into(), at.port())
    }

    /// Starts listening on the port.
    #[must_use]
    pub fn open(self) -> TcpListener {
        listen(&self.0, Backlog::new(16).expect("a small number")).expect("listen");
        limit_patience(&self.0);
        self.0.into()
    }
}

/// A UDP socket on 127.0.0.1, and its address as clients write it. Receiving fails after
/// [`PATIENCE`].
#[must_use]
pub fn udp_door() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    limit_patience(&socket);
    setsockopt(&socket, sockopt::RcvBuf, &DATAGRAM_BUFFER).expect("SO_RCVBUF");
    let at = socket.local_addr().expect("getsockname");
    (socket, format!("udp://{at}"))
}

/// A UDP port that is bound and refuses datagrams, because its socket is connected to another peer.
#[must_use]
pub fn closed_udp_door() -> (UdpSocket, String) {
    let (socket, address) = udp_door();
    let (elsewhere, _) = udp_door();
    let elsewhere = elsewhere.local_addr().expect("getsockname");
    socket.connect(elsewhere).expect("connect");
    (socket, address)
}
