//! Sockets that are bound, before anybody serves them.
//!
//! [`Bound`] is what [`Reactor::serve`](crate::Reactor::serve) takes. It can be made in one thread
//! and served in another, and there can be several of one address, so that several reactors share
//! the clients and nothing else.

mod names;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::Result;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind, connect,
    getsockname, setsockopt, socket, sockopt,
};

use crate::reason::reason;
use crate::sources::address::{Address, abstract_name, is_wildcard, to_socket_addr, unix_addr};
use crate::sys;

/// Asked for as receive buffer of a UDP socket, to ride out bursts; the kernel gives
/// `/proc/sys/net/core/rmem_max` at most.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// Unsent bytes that the kernel keeps for one TCP peer. Without a bound it takes megabytes for a peer
/// that reads nothing, and gives no edge until a third of them are gone. A bound of the whole send
/// buffer (`SO_SNDBUF`) would also bound what is under way, and so the throughput of a long link.
const NOTSENT_LOWAT: u32 = 16 * 1024;

/// A socket that is bound to an address. Until it listens, options can be set that the sockets of
/// its clients inherit.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    address: Address,
    /// What is asked of listen(2).
    backlog: i32,
    listens: bool,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Stream(OwnedFd, Option<Arc<SocketFile>>),
    Datagram(OwnedFd),
}

impl Bound {
    /// Binds to an address, to every one that a name stands for, all with the same port.
    ///
    /// Of a name that stands for several, those that this machine does not have are left out, and
    /// logged: with IPv6 off, `localhost` is 127.0.0.1.
    ///
    /// Errors: those of socket(2) and bind(2); a Unix path that is taken by anything but a
    /// stale socket.
    pub fn new(address: &Address, backlog: usize) -> io::Result<Vec<Bound>> {
        let mut shares = Bound::shares(address, backlog, 1)?;
        Ok(shares.pop().unwrap_or_default())
    }

    /// Binds `count` times to the same address, for as many threads to serve: a list for each.
    ///
    /// The kernel spreads clients and senders over them (socket(7), `SO_REUSEPORT`), without asking
    /// who is busy, or whether anybody is there: a share that is not served is to be dropped, or
    /// those who are dealt to it wait for ever. When a share is dropped, as by the stop of a
    /// reactor, the others get all who come later; clients that wait in its queue are reset, unless
    /// `net.ipv4.tcp_migrate_req` has them moved to another.
    ///
    /// Clients of a Unix path have one queue, from which whoever is first takes the next, and which
    /// lasts until the last share is dropped.
    pub fn shares(address: &Address, backlog: usize, count: usize) -> io::Result<Vec<Vec<Bound>>> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        let mut shares: Vec<Vec<Bound>> = (0..count).map(|_| Vec::new()).collect();
        let mut deal = |sockets: Vec<Socket>, bound: &Address| {
            for (share, socket) in shares.iter_mut().zip(sockets) {
                let address = bound.clone();
                share.push(Bound {
                    socket,
                    address,
                    backlog,
                    listens: false,
                });
            }
        };
        for (sockets, at) in names::bind(address, |at| inet_sockets(address, at, count))? {
            match address {
                Address::Udp(_) => deal(sockets, &Address::Udp(at.into())),
                _ => deal(sockets, &Address::Tcp(at.into())),
            }
        }
        if let Address::Unix(path) = address {
            deal(unix_sockets(path, count)?, address);
        }
        Ok(shares)
    }

    /// The address, with the port that the kernel chose.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Lets clients come: listen(2), if it is a socket of streams and does not listen yet.
    pub fn listen(&mut self) -> io::Result<()> {
        if let Socket::Stream(fd, _) = &self.socket
            && !self.listens
        {
            sys::listen(fd.as_fd(), self.backlog)?;
            self.listens = true;
        }
        Ok(())
    }

    /// Lets the kernel ask TCP clients that are silent whether they are still there, so that one
    /// which vanished is found this long after it was last heard. Zero: not at all.
    pub fn keep_alive(&self, after: Duration) -> io::Result<()> {
        match (&self.socket, &self.address) {
            (Socket::Stream(fd, _), Address::Tcp(_)) => Ok(keep_alive(fd, after)?),
            _ => Ok(()),
        }
    }

    /// The listener of a TCP address, non-blocking, for who accepts by other means than a reactor.
    /// Any other address is an error, `EINVAL`.
    pub fn into_tcp_listener(mut self) -> io::Result<TcpListener> {
        self.listen()?;
        match (self.socket, self.address) {
            (Socket::Stream(fd, _), Address::Tcp(_)) => Ok(TcpListener::from(fd)),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    pub(crate) fn into_socket(self) -> Socket {
        self.socket
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Stream(fd, _) | Socket::Datagram(fd) => fd.as_fd(),
        }
    }
}

/// Sockets of one address, and what it is once the kernel has chosen the port.
type Shared = (Vec<Socket>, SocketAddr);

/// `count` sockets of one address.
///
/// Each socket would get a copy of what is sent to a multicast group: it has one.
fn inet_sockets(address: &Address, at: SocketAddr, count: usize) -> Result<Shared> {
    let datagrams = matches!(address, Address::Udp(_));
    let make = |at| match datagrams {
        true => udp_socket(at),
        false => tcp_socket(at),
    };
    let is_group = datagrams && at.ip().is_multicast();
    let count = if is_group { 1 } else { count };
    let first = make(at)?;
    bind(first.as_raw_fd(), &SockaddrStorage::from(at))?;
    let at = local_address(first.as_fd()).unwrap_or(at);
    let mut sockets = vec![first];
    if count > 1 {
        // Only after the first bind, which is to fail if anybody else has the port.
        setsockopt(&sockets[0], sockopt::ReusePort, &true)?;
    }
    for _ in 1..count {
        let another = make(at)?;
        setsockopt(&another, sockopt::ReusePort, &true)?;
        bind(another.as_raw_fd(), &SockaddrStorage::from(at))?;
        sockets.push(another);
    }
    let kind = |fd| match datagrams {
        true => Socket::Datagram(fd),
        false => Socket::Stream(fd, None),
    };
    Ok((sockets.into_iter().map(kind).collect(), at))
}

/// One listener, known by as many descriptors. A name in the abstract namespace is no file, and
/// goes with the last of them.
fn unix_sockets(path: &Path, count: usize) -> io::Result<Vec<Socket>> {
    let is_file = abstract_name(path).is_none();
    if is_file {
        remove_stale(path)?;
    }
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    bind(fd.as_raw_fd(), &unix_addr(path)?)?;
    let file = match is_file {
        true => Some(Arc::new(SocketFile::new(path)?)),
        false => None,
    };
    let copies = (1..count)
        .map(|_| fd.try_clone())
        .collect::<io::Result<Vec<_>>>()?;
    let all = std::iter::once(fd).chain(copies);
    Ok(all.map(|fd| Socket::Stream(fd, file.clone())).collect())
}

/// For a TCP address: for both families if that is `[::]` (ipv6(7), `IPV6_V6ONLY`).
fn tcp_socket(at: SocketAddr) -> Result<OwnedFd> {
    let fd = inet_socket(&at, SockType::Stream)?;
    // What is set here, every accepted connection inherits: no call for each of them.
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    sys::set_notsent_lowat(fd.as_fd(), NOTSENT_LOWAT)?;
    // Urgent data stays in the stream, where a peer that echoes is expected to find it.
    setsockopt(&fd, sockopt::OobInline, &true)?;
    // Addresses of connections that ended a moment ago are in TIME_WAIT, and shall not keep us from
    // restarting.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    Ok(fd)
}

fn udp_socket(at: SocketAddr) -> Result<OwnedFd> {
    let fd = inet_socket(&at, SockType::Datagram)?;
    if is_wildcard(&at) {
        // Without it, the routing table would choose the address that an answer comes from.
        if at.is_ipv4() {
            setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
        } else {
            setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
    }
    // An answer leaves with what is left of its question's time to live. A dual-stack socket tells
    // it of IPv4 datagrams as an IPv4 socket does.
    setsockopt(&fd, sockopt::Ipv4RecvTtl, &true)?;
    if at.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6RecvHopLimit, &true)?;
    }
    // Larger is better, but what the system gives will do.
    let _ = setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER);
    join_group(fd, at)
}

/// Joins the multicast group that a socket is about to be bound to, if its address is one: on the
/// interface of its zone, or where the routing table sends what is for the group.
fn join_group(fd: OwnedFd, at: SocketAddr) -> Result<OwnedFd> {
    let socket = UdpSocket::from(fd);
    let joined = match at {
        SocketAddr::V4(at) if at.ip().is_multicast() => {
            socket.join_multicast_v4(at.ip(), &Ipv4Addr::UNSPECIFIED)
        }
        SocketAddr::V6(at) if at.ip().is_multicast() => {
            socket.join_multicast_v6(at.ip(), at.scope_id())
        }
        _ => Ok(()),
    };
    let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EINVAL));
    joined.map_err(errno).map(|()| socket.into())
}

/// A socket of the address's family, non-blocking and close-on-exec, open to both families where
/// that can be.
pub(crate) fn inet_socket(address: &SocketAddr, kind: SockType) -> Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let fd = socket(
        family,
        kind,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &!is_wildcard(address))?;
    }
    Ok(fd)
}

/// Chooses the address of our end of a connection that is yet to be made, and leaves the port to the
/// kernel until it knows the other end: then one port can serve for several peers (ip(7),
/// `IP_BIND_ADDRESS_NO_PORT`).
pub(crate) fn bind_source(fd: &OwnedFd, source: Option<IpAddr>) -> Result<()> {
    let Some(source) = source else {
        return Ok(());
    };
    setsockopt(fd, sockopt::IpBindAddressNoPort, &true)?;
    let any_port = SocketAddr::new(source, 0);
    bind(fd.as_raw_fd(), &SockaddrStorage::from(any_port))
}

/// The longest wait that the kernel takes for `TCP_KEEPIDLE` and `TCP_KEEPINTVL`, in seconds.
const KEEPALIVE_MAX_S: u64 = 32_767;

/// Asks a silent peer (tcp(7), `SO_KEEPALIVE`) after half of the time, then up to three times until
/// its end. The kernel counts in seconds.
pub(crate) fn keep_alive(fd: &OwnedFd, after: Duration) -> Result<()> {
    if after.is_zero() {
        return Ok(());
    }
    let after = after.as_secs().clamp(2, KEEPALIVE_MAX_S) as u32;
    let interval = (after / 6).max(1);
    let count = ((after - 1) / interval).min(3);
    setsockopt(fd, sockopt::KeepAlive, &true)?;
    setsockopt(fd, sockopt::TcpKeepIdle, &(after - count * interval))?;
    setsockopt(fd, sockopt::TcpKeepInterval, &interval)?;
    setsockopt(fd, sockopt::TcpKeepCount, &count)
}

pub(crate) fn local_address(fd: BorrowedFd) -> Option<SocketAddr> {
    let address = getsockname::<SockaddrStorage>(fd.as_raw_fd()).ok()?;
    if address.family() == Some(AddressFamily::Unix) {
        None
    } else {
        to_socket_addr(&address)
    }
}

/// Makes way for a new socket file, if what is there is a socket on which nobody listens any more.
fn remove_stale(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "File exists and is not a socket",
        ));
    }
    // Whoever listens there may be too busy to answer: we do not wait for that.
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path),
        Ok(()) | Err(Errno::EAGAIN) => Err(Errno::EADDRINUSE.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// The file of a Unix socket, ours to remove as long as nobody has put another in its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<SocketFile> {
        let metadata = fs::symlink_metadata(path)?;
        // The working directory may change before the file is removed.
        let path = std::path::absolute(path)?;
        Ok(SocketFile {
            path,
            device_and_inode: (metadata.dev(), metadata.ino()),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path).map(|metadata| (metadata.dev(), metadata.ino()));
        if now.is_ok_and(|now| now == self.device_and_inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("cannot remove {}: {}", self.path.display(), reason(&error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(path: &Path) -> io::Result<Bound> {
        let mut bound = Bound::new(&Address::Unix(path.to_owned()), 16)?;
        assert_eq!(bound.len(), 1);
        let mut bound = bound.remove(0);
        bound.listen()?;
        Ok(bound)
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sock");
        let first = unix(&path).unwrap();
        let in_use = unix(&path).unwrap_err();
        assert_eq!(in_use.raw_os_error(), Some(libc::EADDRINUSE));
        drop(first);
        assert!(!path.exists(), "our own file is removed at the end");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the standard library leaves a stale file");
        let second = unix(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(second);
        assert_eq!(
            fs::read(&path).unwrap(),
            b"precious",
            "another's file is left alone"
        );
        assert!(unix(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    fn two(address: &str) -> [Bound; 2] {
        let shares = Bound::shares(&address.parse().unwrap(), 64, 2).unwrap();
        let mut both: Vec<Bound> = shares.into_iter().flatten().collect();
        both.iter_mut().for_each(|bound| bound.listen().unwrap());
        both.try_into().unwrap()
    }

    /// A port that somebody else shares with nobody but himself.
    fn assert_taken(address: &Address) {
        for count in [1, 2] {
            let stranger = Bound::shares(address, 16, count).unwrap_err();
            assert_eq!(stranger.raw_os_error(), Some(libc::EADDRINUSE));
        }
    }

    #[test]
    fn each_of_two_listeners_has_its_share_and_a_stranger_has_none() {
        let both = two("127.0.0.1:0");
        assert_eq!(both[0].address(), both[1].address());
        assert_taken(both[0].address());
        let at = both[0].address().numbers()[0];
        let listeners = both.map(|bound| bound.into_tcp_listener().unwrap());
        let _clients: Vec<_> = (0..64)
            .map(|_| std::net::TcpStream::connect(at).unwrap())
            .collect();
        let shares =
            listeners.map(|listener| std::iter::from_fn(|| listener.accept().ok()).count());
        assert_eq!(shares[0] + shares[1], 64);
        assert!(shares[0] > 0 && shares[1] > 0, "{shares:?}");
    }

    #[test]
    fn each_of_two_udp_sockets_has_its_share_and_a_stranger_has_none() {
        let both = two("udp://127.0.0.1:0");
        assert_taken(both[0].address());
        let at = both[0].address().numbers()[0];
        for _ in 0..64 {
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            sender.send_to(b"x", at).unwrap();
        }
        let shares = both.map(|bound| {
            let Socket::Datagram(fd) = bound.into_socket() else {
                panic!("a stream")
            };
            let socket = UdpSocket::from(fd);
            std::iter::from_fn(|| socket.recv(&mut [0; 8]).ok()).count()
        });
        assert_eq!(shares[0] + shares[1], 64);
        assert!(shares[0] > 0 && shares[1] > 0, "{shares:?}");
    }

    #[test]
    fn the_file_of_a_socket_lives_as_long_as_anybody_serves_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sock");
        let [first, second] = two(path.to_str().unwrap());
        drop(first);
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
        drop(second);
        assert!(!path.exists());
    }
}
