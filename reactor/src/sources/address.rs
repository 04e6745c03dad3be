//! Addresses that users write, and peers as logs show them.
//!
//! An address has three forms. A user writes a text, `localhost:80`; [`text`] parses it and refuses
//! what it does not understand, with a reason. The text names a host, which a resolver turns into
//! *numbers*, the socket addresses of the host: one for a number, several for a name with both IPv4
//! and IPv6. The kernel wants one number for each call.
//!
//! Resolving asks /etc/hosts or a server on the network and may wait for seconds, so it must not
//! happen within the loop. An [`Address`] therefore keeps its numbers once it has them:
//! [`Address::resolved`] is called before the reactor runs, and the loop uses only
//! [`Address::numbers`].
//!
//! Two details are often missed. A link-local IPv6 address exists on every link, so it needs a
//! *zone*, the name of an interface: `fe80::1%eth0` (RFC 4007). And a dual-stack socket shows an
//! IPv4 peer as an IPv6 address (`::ffff:127.0.0.1`); it is turned back into IPv4 wherever it
//! appears, so that logs and comparisons see one form.

mod text;

pub use self::text::ParseAddressError;

use std::fmt;
use std::io;
use std::iter;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::net::if_::{if_indextoname, if_nametoindex};
use nix::sys::socket::{SockaddrStorage, UnixAddr};

/// An address to listen at or to connect to: `[SCHEME]HOST:PORT`, `PORT` alone, or a path.
///
/// `tcp://` is the default scheme, and 127.0.0.1 the host of a port alone. A text with a slash and
/// no scheme is a Unix path, as is one after `unix:`. Parsing looks at the form only, and its error
/// is a sentence for the user; [`Address::resolve`] looks names up.
///
/// ```
/// use edgeloop_reactor::Address;
///
/// assert_eq!("9876".parse(), "tcp://127.0.0.1:9876".parse::<Address>());
/// assert!("::1:9876".parse::<Address>().unwrap_err().to_string().ends_with("write [::1]:9876"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A byte stream over IPv4 or IPv6.
    Tcp(HostPort),
    /// Datagrams over IPv4 or IPv6.
    Udp(HostPort),
    /// A Unix stream socket at this path, of at most 107 bytes; a path that begins with `@` is a
    /// name in the abstract namespace (unix(7)).
    Unix(PathBuf),
}

/// A host, by number or by name, and a port from 0 to 65535. Port 0 lets the kernel choose a free
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The host as it was written, without brackets.
    host: String,
    port: u16,
    /// The socket addresses of the host; empty until a name is resolved.
    numbers: Vec<SocketAddr>,
    /// The local address of a connection to the host; `None` leaves the choice to the kernel.
    source: Option<IpAddr>,
}

impl Address {
    /// The socket addresses of the host, in the resolver's order and each once: one for a number,
    /// perhaps several for a name, none for a Unix path. Asks the resolver (getaddrinfo(3)), which
    /// may wait for seconds, unless [`Address::resolved`] has done so before.
    ///
    /// Errors: those of the resolver, and `NotFound` for a zone that is no interface of this
    /// machine.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Address::Tcp(at) | Address::Udp(at) => at.resolve(),
            Address::Unix(_) => Ok(Vec::new()),
        }
    }

    /// A copy of the address that knows its socket addresses, so that the loop can use it without
    /// waiting for a resolver. Errors: as for [`Address::resolve`].
    pub fn resolved(&self) -> io::Result<Address> {
        let numbers = self.resolve()?;
        let mut resolved = self.clone();
        if let Address::Tcp(at) | Address::Udp(at) = &mut resolved {
            at.numbers = numbers;
        }
        Ok(resolved)
    }

    /// The host as it was written, without brackets; none of a Unix path.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host_port().map(HostPort::host)
    }

    /// The port; none of a Unix path.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.host_port().map(HostPort::port)
    }

    /// The socket address, if it is known without asking a resolver: that of a number, and of all that
    /// [`Reactor::listen`](crate::Reactor::listen) has bound over IP, with the port that the kernel
    /// chose. Of a name that was resolved it is the first one.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.numbers().first().copied()
    }

    fn host_port(&self) -> Option<&HostPort> {
        match self {
            Address::Tcp(at) | Address::Udp(at) => Some(at),
            Address::Unix(_) => None,
        }
    }

    /// Whether the address can be used without a resolver.
    pub(crate) fn is_resolved(&self) -> bool {
        matches!(self, Address::Unix(_)) || !self.numbers().is_empty()
    }

    /// The socket addresses that are known already.
    pub(crate) fn numbers(&self) -> &[SocketAddr] {
        self.host_port().map_or(&[], |at| &at.numbers)
    }

    /// The local address for a connection, if one was chosen.
    pub(crate) fn source(&self) -> Option<IpAddr> {
        self.host_port().and_then(|at| at.source)
    }

    /// The address with its numbers reordered: the two families take turns, beginning with the
    /// first number's. A family without a route then delays the other by one attempt at most (RFC
    /// 8305, section 4).
    pub(crate) fn interleaved(mut self) -> Address {
        if let Address::Tcp(at) | Address::Udp(at) = &mut self
            && let Some(first) = at.numbers.first()
        {
            let is_first = |at: &SocketAddr| at.is_ipv4() == first.is_ipv4();
            let (ours, others): (Vec<_>, Vec<_>) = at.numbers.iter().copied().partition(is_first);
            let (mut ours, mut others) = (ours.into_iter(), others.into_iter());
            let in_turn = iter::from_fn(|| {
                // After the swap `others` is the family whose turn it is.
                mem::swap(&mut ours, &mut others);
                others.next().or_else(|| ours.next())
            });
            at.numbers = in_turn.collect();
        }
        self
    }

    /// The address without its first number, for the next attempt; `None` if no number would be
    /// left.
    pub(crate) fn rest(mut self) -> Option<Address> {
        match &mut self {
            Address::Tcp(at) | Address::Udp(at) if at.numbers.len() > 1 => {
                at.numbers.remove(0);
                Some(self)
            }
            _ => None,
        }
    }
}

/// The name without its `@`, if `path` is a name in the abstract namespace.
pub(crate) fn abstract_name(path: &Path) -> Option<&[u8]> {
    path.as_os_str().as_bytes().strip_prefix(b"@")
}

/// The kernel's form of a path or of a name in the abstract namespace. Error: `ENAMETOOLONG`.
pub(crate) fn unix_addr(path: &Path) -> nix::Result<UnixAddr> {
    abstract_name(path).map_or_else(|| UnixAddr::new(path), UnixAddr::new_abstract)
}

impl HostPort {
    /// The host as it was written, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        if !self.numbers.is_empty() {
            return Ok(self.numbers.clone());
        }
        if let Some((ip, zone)) = zoned(&self.host) {
            let scope = if needs_zone(ip) { index_of(zone)? } else { 0 };
            return Ok(vec![SocketAddrV6::new(ip, self.port, 0, scope).into()]);
        }
        let mut numbers = Vec::new();
        for at in (self.host.as_str(), self.port).to_socket_addrs()? {
            let at = without_mapping(at);
            // The resolver may return a number twice, for instance when /etc/hosts has two lines
            // for it.
            if !numbers.contains(&at) {
                numbers.push(at);
            }
        }
        Ok(numbers)
    }

    /// The host with socket addresses from a resolver of the caller's own; they are tried in this
    /// order. With an empty list the host is resolved as usual.
    #[must_use]
    pub fn with_numbers(mut self, numbers: Vec<SocketAddr>) -> HostPort {
        self.numbers = numbers;
        self
    }

    /// The host with a local address for connections to it, which must be of the same family. A
    /// listener ignores it.
    ///
    /// One local address has ports for some 28,000 connections to one server
    /// (`/proc/sys/net/ipv4/ip_local_port_range`, ip(7)). A client that opens more uses several; on
    /// the loopback device, every address in 127.0.0.0/8 is local.
    #[must_use]
    pub fn with_source(mut self, source: IpAddr) -> HostPort {
        self.source = Some(source);
        self
    }
}

/// The IPv6 address and the zone of a host that has a zone (RFC 4007, section 11).
fn zoned(host: &str) -> Option<(Ipv6Addr, &str)> {
    let (ip, zone) = host.split_once('%')?;
    Some((ip.parse().ok()?, zone))
}

/// Whether an address means different hosts on different links, so that it needs a zone.
fn needs_zone(ip: Ipv6Addr) -> bool {
    // Interface-local or link-local (RFC 4291, section 2.7).
    let near = matches!(ip.segments()[0] & 0xff0f, 0xff01 | 0xff02);
    ip.is_unicast_link_local() || near
}

/// The index of an interface, given by its name or by that index.
fn index_of(zone: &str) -> io::Result<u32> {
    if let Ok(index) = zone.parse() {
        return Ok(index);
    }
    let unknown = |_| io::Error::new(io::ErrorKind::NotFound, format!("no interface {zone:?}"));
    if_nametoindex(zone).map_err(unknown)
}

/// The address, or the IPv4 address that is mapped into it: a socket with `IPV6_V6ONLY` could not
/// reach the mapped form (ipv6(7)).
fn without_mapping(at: SocketAddr) -> SocketAddr {
    match at.ip().to_canonical() {
        IpAddr::V4(ip) => (ip, at.port()).into(),
        IpAddr::V6(_) => at,
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> HostPort {
        let zone = match address {
            SocketAddr::V6(at) if at.scope_id() != 0 => {
                let name = if_indextoname(at.scope_id()).ok();
                let name = name.and_then(|name| name.into_string().ok());
                format!("%{}", name.unwrap_or_else(|| at.scope_id().to_string()))
            }
            _ => String::new(),
        };
        HostPort {
            host: address.ip().to_string() + &zone,
            port: address.port(),
            numbers: vec![address],
            source: None,
        }
    }
}

/// An address of TCP.
impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Tcp(address.into())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostPort { host, port, .. } = self;
        if host.contains(':') {
            write!(out, "[{host}]:{port}")
        } else {
            write!(out, "{host}:{port}")
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(at) => write!(out, "tcp://{at}"),
            Address::Udp(at) => write!(out, "udp://{at}"),
            Address::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP peer. An IPv4 peer of a dual-stack listener is shown as IPv4.
    Inet(SocketAddr),
    /// The peer of a Unix socket, which rarely has a name.
    Unix,
    /// An adopted descriptor: a terminal, a pipe, a file, or a socket that another program has
    /// made.
    Stream,
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Inet(address) => write!(out, "{address}"),
            Peer::Unix => out.write_str("unix"),
            Peer::Stream => out.write_str("stream"),
        }
    }
}

/// The standard library's form of a kernel address, with a mapped IPv4 address as IPv4; `None` for
/// another family.
pub(crate) fn to_socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddrV4::from(*v4).into());
    }
    let v6 = SocketAddrV6::from(*address.as_sockaddr_in6()?);
    Some(without_mapping(v6.into()))
}

/// Whether this is the wildcard address, `0.0.0.0` or `[::]`: the socket serves every interface, so
/// the local address of an answer has to be chosen.
pub(crate) fn is_wildcard(address: &SocketAddr) -> bool {
    matches!(
        address.ip(),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) | IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The socket addresses of a text.
    fn numbers(text: &str) -> io::Result<Vec<SocketAddr>> {
        text.parse::<Address>().unwrap().resolve()
    }

    #[test]
    fn a_zone_is_an_interface() {
        let lo = if_nametoindex("lo").unwrap();
        let near = |scope| SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 0, scope);
        for (text, at) in [
            ("[fe80::1%lo]:80", near(lo).into()),
            ("[fe80::1%7]:80", near(7).into()),
            // The loopback address needs no zone.
            ("[::1%lo]:80", (Ipv6Addr::LOCALHOST, 80).into()),
            ("[::ffff:127.0.0.1]:80", (Ipv4Addr::LOCALHOST, 80).into()),
        ] {
            assert_eq!(numbers(text).unwrap(), [at], "{text}");
        }
        let unknown = numbers("[fe80::1%nowhere]:80").unwrap_err();
        assert_eq!(unknown.to_string(), "no interface \"nowhere\"");
    }

    #[test]
    fn an_address_as_shown_can_be_parsed() {
        let lo = if_nametoindex("lo").unwrap();
        let near = SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 0, lo);
        for (at, shown) in [
            (near.into(), "[fe80::1%lo]:80"),
            ((Ipv6Addr::LOCALHOST, 80).into(), "[::1]:80"),
        ] {
            let host = HostPort::from(at);
            assert_eq!(host.to_string(), shown);
            assert_eq!(numbers(shown).unwrap(), [at]);
        }
    }

    #[test]
    fn an_address_can_be_taken_apart() {
        let at: SocketAddr = "[::1]:80".parse().unwrap();
        for (address, host, port, number) in [
            ("udp://localhost:0", Some("localhost"), Some(0), None),
            ("[::1]:80", Some("::1"), Some(80), Some(at)),
            ("./socket", None, None, None),
        ] {
            let address: Address = address.parse().unwrap();
            let parts = (address.host(), address.port(), address.socket_addr());
            assert_eq!(parts, (host, port, number), "{address}");
        }
        assert_eq!(Address::from(at), "[::1]:80".parse().unwrap());
        let wrong = io::Error::from("1.2.3.4".parse::<Address>().unwrap_err());
        assert_eq!(wrong.kind(), io::ErrorKind::InvalidInput);
        let inner = wrong.get_ref().unwrap();
        assert!(inner.is::<ParseAddressError>(), "{inner}");
    }

    #[test]
    fn families_take_turns() {
        let host: HostPort = "several.example:1".parse().unwrap();
        for (numbers, in_turn) in [
            ("6 6 6 4", "6 4 6 6"),
            ("4 4 6 6 6", "4 6 4 6 6"),
            ("6 4", "6 4"),
            ("4 4", "4 4"),
            ("", ""),
        ] {
            // The port of each number is its place in the list.
            let at = |(place, family)| match family {
                "4" => SocketAddr::from((Ipv4Addr::LOCALHOST, place)),
                _ => SocketAddr::from((Ipv6Addr::LOCALHOST, place)),
            };
            let numbers: Vec<_> = (0..).zip(numbers.split_whitespace()).map(at).collect();
            let address = Address::Tcp(host.clone().with_numbers(numbers)).interleaved();
            let families = address
                .numbers()
                .iter()
                .map(|at| if at.is_ipv4() { "4" } else { "6" });
            assert_eq!(families.collect::<Vec<_>>().join(" "), in_turn);
            for v4 in [true, false] {
                let places = address.numbers().iter().filter(|at| at.is_ipv4() == v4);
                assert!(places.map(SocketAddr::port).is_sorted());
            }
        }
    }

    #[test]
    fn names_are_resolved() {
        let resolved = "localhost:80"
            .parse::<Address>()
            .unwrap()
            .resolve()
            .unwrap();
        assert!(!resolved.is_empty() && resolved.iter().all(|at| at.ip().is_loopback()));
    }
}
