//! Sockets that are bound to an address and do not serve yet.
//!
//! Binding and serving are two steps, because a server has work to do between them: it binds, gives
//! up its privileges or starts threads, and only then lets clients come. A [`Bound`] is the state
//! in between. It can be made in one thread and served in another
//! ([`Reactor::serve`](crate::Reactor::serve)).
//!
//! # Several sockets for one address
//!
//! A reactor lives on one thread, so a server for several cores runs several reactors.
//! [`Bound::shares`] makes a socket for each of them, all bound to the same port with
//! `SO_REUSEPORT` (socket(7)): the kernel spreads connections and datagrams by a hash of both
//! addresses, and the reactors share nothing. `SO_REUSEPORT` is set on the first socket only after
//! its bind(2). Otherwise a second server of the same user could bind the port too, and take half
//! of the clients, where an error was due.
//!
//! # Options are inherited
//!
//! An accepted socket inherits the options of its listener. Options that every connection needs are
//! set on the listener, once, which saves a system call for each connection.
//!
//! # Stale socket files
//!
//! The file of a Unix socket stays when its server is killed, and bind(2) to it fails with
//! `EADDRINUSE`. The next server must remove the file, but neither a file of another kind nor the
//! socket of a server that runs: so it tries to connect first, and only `ECONNREFUSED` shows that
//! no process listens. At the end a server removes its own file, unless another file has taken its
//! place since.

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
    AddressFamily, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, connect, getsockname,
    setsockopt, socket, sockopt,
};

use crate::reason::reason;
use crate::sources::address::{Address, abstract_name, is_wildcard, to_socket_addr, unix_addr};
use crate::sys;

/// Bytes that are asked for as the receive buffer of a UDP socket (`SO_RCVBUF`), so that a burst
/// waits rather than is dropped. The kernel gives `/proc/sys/net/core/rmem_max` at most.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// Unsent bytes that the kernel holds for one TCP peer (`TCP_NOTSENT_LOWAT`).
///
/// Without this bound the kernel takes megabytes for a peer that reads nothing, and raises no `OUT`
/// edge until a third of them are gone. A bound of the whole send buffer (`SO_SNDBUF`) would also
/// bound the bytes that are on their way to the peer, and with them the throughput of a link with a
/// long round trip.
const NOTSENT_LOWAT: u32 = 16 * 1024;

/// A socket that is bound to an address, and either listens already or not yet.
///
/// Options that are set on it by its descriptor ([`AsFd`]) are inherited by the connections that
/// are accepted later. Dropping it closes the socket; the file of a Unix socket is removed with the
/// last share.
///
/// ```
/// use edgeloop_reactor::{Address, Bound};
///
/// let mut bound = Bound::new(&"127.0.0.1:0".parse::<Address>()?, 128)?;
/// println!("clients may come to {}", bound[0].address());
/// bound[0].listen()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    /// The address with the port that the kernel chose.
    address: Address,
    /// The backlog for listen(2).
    backlog: i32,
    /// listen(2) was called.
    listens: bool,
}

/// The socket of a [`Bound`], by kind.
#[derive(Debug)]
pub(crate) enum Socket {
    /// TCP or Unix. The file of a Unix socket is shared by all that accept from it.
    Stream(OwnedFd, Option<Arc<SocketFile>>),
    /// UDP.
    Datagram(OwnedFd),
}

impl Bound {
    /// Binds to an address: one socket for each number of its host, all with the same port.
    /// `backlog` is the number of completed handshakes that the kernel queues for accept(2), and at
    /// most `/proc/sys/net/core/somaxconn` (listen(2)). The sockets do not listen yet.
    ///
    /// Numbers that this machine does not have are left out with a warning, as long as one is left:
    /// with IPv6 off, `localhost` is 127.0.0.1 only.
    ///
    /// Errors: those of the resolver, of socket(2) and of bind(2), among them `EADDRINUSE`;
    /// `EADDRINUSE` or `AlreadyExists` if the path of a Unix socket is taken by anything but a
    /// stale socket.
    pub fn new(address: &Address, backlog: usize) -> io::Result<Vec<Bound>> {
        let mut shares = Bound::shares(address, backlog, 1)?;
        Ok(shares.pop().unwrap_or_default())
    }

    /// Binds `count` times to the same address. Returns `count` shares for as many threads; each is
    /// a list of sockets as [`Bound::new`] makes it.
    ///
    /// The kernel spreads clients and senders over the shares (socket(7), `SO_REUSEPORT`) without
    /// regard to their load: clients of a share that no reactor serves wait for ever, so a share
    /// that is not served must be dropped. After a share is dropped, as by the stop of its reactor,
    /// new clients go to the others. Clients that wait in its queue are reset, unless
    /// `net.ipv4.tcp_migrate_req` is set: the kernel then moves them to another share.
    ///
    /// Two kinds of addresses are different. The shares of a Unix path are copies of one listener
    /// with one queue: each client goes to the first reactor that accepts, and the queue lasts
    /// until the last share is dropped. A multicast group has one socket, in the first share, since
    /// every socket of a group would get a copy of each datagram. Errors: as for [`Bound::new`].
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

    /// The address, with the port that the kernel chose if port 0 was asked for.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Lets clients connect (listen(2)). Does nothing for UDP, and when called again. Errors: those
    /// of listen(2).
    pub fn listen(&mut self) -> io::Result<()> {
        if let Socket::Stream(fd, _) = &self.socket
            && !self.listens
        {
            sys::listen(fd.as_fd(), self.backlog)?;
            self.listens = true;
        }
        Ok(())
    }

    /// Turns on keepalive probes for the TCP connections that are accepted later (tcp(7),
    /// `SO_KEEPALIVE`): a peer that vanished is found `after` it was last heard. The time is
    /// rounded down to whole seconds, and is at least 2 s and at most 32,767 s; zero turns nothing
    /// on. Does nothing for UDP and Unix sockets. Errors: those of setsockopt(2).
    pub fn keep_alive(&self, after: Duration) -> io::Result<()> {
        match (&self.socket, &self.address) {
            (Socket::Stream(fd, _), Address::Tcp(_)) => Ok(keep_alive(fd, after)?),
            _ => Ok(()),
        }
    }

    /// The listener as a type of the standard library, for a program that accepts without a
    /// reactor. It listens and is non-blocking. Errors: those of listen(2); `EINVAL` if the address
    /// is not TCP.
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

/// The sockets of one socket address, and that address with the port that the kernel chose.
type Shared = (Vec<Socket>, SocketAddr);

/// Makes `count` sockets bound to one socket address; one for a multicast group, of which every
/// socket would get a copy of each datagram.
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
        // After the first bind, which must fail if another program has the port.
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

/// Makes one Unix listener with `count` descriptors. A name in the abstract namespace has no file,
/// and ends with the last descriptor.
fn unix_sockets(path: &Path, count: usize) -> io::Result<Vec<Socket>> {
    let is_file = abstract_name(path).is_none();
    if is_file {
        remove_stale(path)?;
    }
    let fd = new_socket(AddressFamily::Unix, SockType::Stream)?;
    bind(fd.as_raw_fd(), &unix_addr(path)?)?;
    let file = is_file.then(|| SocketFile::new(path).map(Arc::new));
    let file = file.transpose()?;
    let copies = (1..count).map(|_| fd.try_clone());
    let copies = copies.collect::<io::Result<Vec<_>>>()?;
    let all = std::iter::once(fd).chain(copies);
    Ok(all.map(|fd| Socket::Stream(fd, file.clone())).collect())
}

/// A TCP socket with the options of all its connections. For `[::]` it serves both families
/// (ipv6(7), `IPV6_V6ONLY`).
fn tcp_socket(at: SocketAddr) -> Result<OwnedFd> {
    let fd = inet_socket(&at, SockType::Stream)?;
    // Accepted connections inherit these options. Nagle's algorithm would delay a short answer
    // while another is unacknowledged, and the reactor gathers the writes of a turn itself.
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    sys::set_notsent_lowat(fd.as_fd(), NOTSENT_LOWAT)?;
    // Urgent data stays in the stream: an echo server must return it in its place.
    setsockopt(&fd, sockopt::OobInline, &true)?;
    // Connections in TIME_WAIT must not keep a server from binding its port again after a restart.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    Ok(fd)
}

/// A UDP socket that reports with each datagram what its answer needs: local address and time to
/// live.
fn udp_socket(at: SocketAddr) -> Result<OwnedFd> {
    let fd = inet_socket(&at, SockType::Datagram)?;
    if is_wildcard(&at) {
        // Without the local address of the question, the routing table would choose the address
        // that the answer comes from, and the client would not recognise it.
        if at.is_ipv4() {
            setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
        } else {
            setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
    }
    // An answer leaves with the rest of its question's time to live (`udp.rs`). A dual-stack socket
    // reports that of IPv4 datagrams by the option for IPv4.
    setsockopt(&fd, sockopt::Ipv4RecvTtl, &true)?;
    if at.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6RecvHopLimit, &true)?;
    }
    // A refusal is no reason to fail: the socket works with any size.
    let _ = setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER);
    join_group(fd, at)
}

/// Joins the multicast group that the socket is about to be bound to, if `at` is one: on the
/// interface of its zone, or on the one that the routing table has for the group.
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

/// A socket that is non-blocking and close-on-exec.
pub(crate) fn new_socket(family: AddressFamily, kind: SockType) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socket(family, kind, flags, None)
}

/// A socket of the address's family, non-blocking and close-on-exec; for `[::]` it is dual-stack.
/// Errors: those of socket(2), among them `EAFNOSUPPORT` where IPv6 is off.
pub(crate) fn inet_socket(address: &SocketAddr, kind: SockType) -> Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let fd = new_socket(family, kind)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &!is_wildcard(address))?;
    }
    Ok(fd)
}

/// Binds the local end of a future connection to the address `source`. The port is left open until
/// connect(2), when the kernel knows the peer: one local port can then serve connections to several
/// peers (ip(7), `IP_BIND_ADDRESS_NO_PORT`).
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

/// Turns on keepalive (tcp(7), `SO_KEEPALIVE`): the first probe is sent after half of the time,
/// then up to three until its end. The kernel counts in whole seconds. A time of zero leaves
/// keepalive off.
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

/// The local address of an IPv4 or IPv6 socket (getsockname(2)); `None` for any other descriptor.
pub(crate) fn local_address(fd: BorrowedFd) -> Option<SocketAddr> {
    to_socket_addr(&getsockname(fd.as_raw_fd()).ok()?)
}

/// Removes the socket file at `path` if no process listens on it. Errors: `EADDRINUSE` if one does,
/// `AlreadyExists` if the file is not a socket.
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
    // A listener whose queue is full would let a blocking connect wait. Non-blocking, it is EAGAIN,
    // which shows as well that a server is there.
    let probe = new_socket(AddressFamily::Unix, SockType::Stream)?;
    match connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path),
        Ok(()) | Err(Errno::EAGAIN) => Err(Errno::EADDRINUSE.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// The file of a Unix socket. Dropping this removes the file, unless another file has taken its
/// place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// The identity of the file, which a path alone is not.
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
        assert!(!path.exists(), "a server removes its own file at the end");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the standard library leaves a stale file");
        let second = unix(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(second);
        assert_eq!(
            fs::read(&path).unwrap(),
            b"precious",
            "a file that replaced the socket is left alone"
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

    /// Binding to the address fails, whether one socket is asked for or several.
    fn assert_taken(address: &Address) {
        for count in [1, 2] {
            let refusal = Bound::shares(address, 16, count).unwrap_err();
            assert_eq!(refusal.raw_os_error(), Some(libc::EADDRINUSE));
        }
    }

    #[test]
    fn clients_are_spread_over_two_listeners_and_a_third_cannot_bind() {
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
    fn senders_are_spread_over_two_udp_sockets_and_a_third_cannot_bind() {
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
    fn the_socket_file_is_removed_with_the_last_share() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sock");
        let [first, second] = two(path.to_str().unwrap());
        drop(first);
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
        drop(second);
        assert!(!path.exists());
    }
}
