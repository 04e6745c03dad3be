//! The sockets of a process, read from `/proc`, as `ss -tlnp` and `netstat -apn` show them.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;

use crate::process::is_asleep;
use crate::until;

/// The states of a TCP socket that the tests distinguish. The numbers are those of the kernel's
/// `include/net/tcp_states.h`; proc_net_tcp.rst calls the field "st".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Both sides can send.
    Established,
    /// This end closed first: the kernel keeps the five-tuple for a minute.
    TimeWait,
    /// A listener.
    Listen,
    /// Any other state, including that of a UDP socket.
    Other,
}

/// One line of `/proc/net/tcp` and its relatives.
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    /// This end.
    pub local: SocketAddr,
    /// The other end; port 0 if there is none.
    pub remote: SocketAddr,
    /// Its state.
    pub state: State,
    /// Bytes that the other end has not acknowledged.
    pub unacknowledged: usize,
    /// Whether some of those bytes are on their way, rather than waiting for the peer's window.
    pub in_flight: bool,
    /// Bytes that have arrived and that the program has not read.
    pub unread: usize,
    inode: u64,
}

/// All TCP sockets of the system.
#[must_use]
pub fn tcp_sockets() -> Vec<Socket> {
    [table("tcp"), table("tcp6")].concat()
}

/// Waits until a server has accepted this connection.
pub fn until_accepted(stream: &TcpStream) {
    let (here, there) = ends(stream);
    // A connection in the backlog has no file, and so no inode, yet.
    until("the connection is accepted", || {
        has(there, here, |theirs| theirs.inode != 0)
    });
}

/// Waits until the peer of a connection has read all bytes that were sent to it.
pub fn until_read(stream: &TcpStream) {
    let (here, there) = ends(stream);
    // One after the other: the table is not a snapshot of a single moment.
    until("everything has arrived", || {
        has(here, there, |ours| ours.unacknowledged == 0)
    });
    until("everything is read", || {
        has(there, here, |theirs| {
            theirs.inode != 0 && theirs.unread == 0
        })
    });
}

/// Whether the peer of a connection has stopped reading: its process sleeps although unread bytes
/// wait for it.
#[must_use]
pub fn is_left_unread(stream: &TcpStream) -> bool {
    let theirs = || both_ends(stream).map(|[_, theirs]| theirs);
    let Some(before) = theirs().filter(|theirs| theirs.inode != 0 && theirs.unread > 0) else {
        return false;
    };
    // The bytes must wait before and after: a reader may have slept only because they had not come.
    holders(before.inode).into_iter().all(is_asleep)
        && theirs().is_some_and(|after| after.unread == before.unread)
}

/// The local socket of a connection and its peer's; `None` if one of them is closed.
#[must_use]
pub fn both_ends(stream: &TcpStream) -> Option<[Socket; 2]> {
    let (here, there) = (stream.local_addr().ok()?, stream.peer_addr().ok()?);
    let sockets = tcp_sockets();
    let find = |local, remote| {
        let mut sockets = sockets.iter();
        let found = sockets.find(|socket| socket.local == local && socket.remote == remote);
        found.copied()
    };
    Some([find(here, there)?, find(there, here)?])
}

/// The processes that have a socket open.
fn holders(inode: u64) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| socket_inodes(*pid).contains(&inode))
        .collect()
}

/// The local and the peer address of a connection.
fn ends(stream: &TcpStream) -> (SocketAddr, SocketAddr) {
    let here = stream.local_addr().expect("getsockname");
    let there = stream.peer_addr().expect("getpeername");
    (here, there)
}

/// Whether there is a TCP socket with these ends for which `condition` holds.
fn has(local: SocketAddr, remote: SocketAddr, condition: fn(&Socket) -> bool) -> bool {
    let is_it = |socket: &Socket| socket.local == local && socket.remote == remote;
    let sockets = tcp_sockets();
    sockets
        .iter()
        .any(|socket| is_it(socket) && condition(socket))
}

/// The addresses on which a process listens for TCP connections.
#[must_use]
pub fn tcp_listeners(pid: u32) -> Vec<SocketAddr> {
    let listens = |socket: &Socket| socket.state == State::Listen;
    of_process(pid, tcp_sockets())
        .filter(listens)
        .map(|socket| socket.local)
        .collect()
}

/// The TCP connections of a process.
#[must_use]
pub fn tcp_connections(pid: u32) -> Vec<Socket> {
    let connected = |socket: &Socket| socket.state == State::Established;
    of_process(pid, tcp_sockets()).filter(connected).collect()
}

/// The addresses to which the UDP sockets of a process are bound.
#[must_use]
pub fn udp_addresses(pid: u32) -> Vec<SocketAddr> {
    of_process(pid, [table("udp"), table("udp6")].concat())
        .map(|socket| socket.local)
        .collect()
}

/// Waits until a process listens, and returns its address.
///
/// Programs that do not print their address can so be given port 0, and no test takes a port that
/// another test is about to use.
#[must_use]
pub fn where_it_listens(pid: u32) -> SocketAddr {
    first(pid, tcp_listeners)
}

/// Waits until a process has a bound UDP socket, and returns its address.
#[must_use]
pub fn where_it_receives(pid: u32) -> SocketAddr {
    first(pid, udp_addresses)
}

/// Whether a Unix socket at this path accepts connections.
#[must_use]
pub fn is_listening_at(path: &Path) -> bool {
    /// `__SO_ACCEPTCON` of the kernel's `include/uapi/linux/net.h`.
    const ACCEPTS_CONNECTIONS: &str = "00010000";
    let path = path.to_str().expect("a path in UTF-8");
    let text = fs::read_to_string("/proc/net/unix").expect("/proc/net/unix");
    text.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(7) == Some(&path) && fields[3] == ACCEPTS_CONNECTIONS
    })
}

fn first(pid: u32, addresses: fn(u32) -> Vec<SocketAddr>) -> SocketAddr {
    let mut found = Vec::new();
    until("the program listens", || {
        found = addresses(pid);
        !found.is_empty()
    });
    found[0]
}

fn of_process(pid: u32, sockets: Vec<Socket>) -> impl Iterator<Item = Socket> {
    let inodes = socket_inodes(pid);
    sockets
        .into_iter()
        .filter(move |socket| inodes.contains(&socket.inode))
}

/// The inodes of the sockets that a process has open; empty if it has ended.
fn socket_inodes(pid: u32) -> BTreeSet<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"));
    let links = entries.into_iter().flatten().filter_map(|entry| {
        let link = fs::read_link(entry.ok()?.path()).ok()?;
        let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        inode.parse().ok()
    });
    links.collect()
}

/// The lines of `/proc/net/NAME`, described in proc_pid_net(5).
fn table(name: &str) -> Vec<Socket> {
    let text = fs::read_to_string(format!("/proc/net/{name}")).expect("/proc/net");
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (to_send, received) = fields[4].split_once(':').expect("two queues");
        Socket {
            local: address(fields[1]),
            remote: address(fields[2]),
            state: match fields[3] {
                "01" => State::Established,
                "06" => State::TimeWait,
                "0A" => State::Listen,
                _ => State::Other,
            },
            unacknowledged: number(to_send),
            // The retransmission timer runs.
            in_flight: fields[5].starts_with("01:"),
            unread: number(received),
            inode: fields[9].parse().expect("an inode"),
        }
    };
    text.lines().skip(1).map(socket).collect()
}

fn number(text: &str) -> usize {
    usize::from_str_radix(text, 16).expect("hexadecimal")
}

/// `0100007F:1F90`: the address as words in the byte order of the machine, the port as a number.
fn address(text: &str) -> SocketAddr {
    let (ip, port) = text.split_once(':').expect("ADDRESS:PORT");
    let words = ip.as_bytes().chunks(8).map(|word| {
        let word = str::from_utf8(word).expect("hexadecimal");
        u32::from_str_radix(word, 16).expect("hexadecimal")
    });
    let bytes: Vec<u8> = words.flat_map(u32::to_ne_bytes).collect();
    let ip = if let Ok(bytes) = <[u8; 4]>::try_from(&bytes[..]) {
        Ipv4Addr::from(bytes).into()
    } else {
        let bytes: [u8; 16] = bytes.try_into().expect("IPv4 or IPv6");
        IpAddr::from(Ipv6Addr::from(bytes))
    };
    SocketAddr::new(ip, u16::from_str_radix(port, 16).expect("hexadecimal"))
}
