//! Addresses that users write, and peers as logs show them.
//!
//! [`text`] has what is understood and what is said of everything else.

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

/// Where to listen or to connect: `[SCHEME]HOST:PORT`, `PORT` alone, or a path.
///
/// `tcp://` is the default scheme and 127.0.0.1 the host of a port alone. Parsing looks at the form
/// only; [`Address::resolve`] asks for a name's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A byte stream over IPv4 or IPv6.
    Tcp(HostPort),
    /// Datagrams over IPv4 or IPv6.
    Udp(HostPort),
    /// A Unix stream socket at this path; after an `@`, in the abstract namespace (unix(7)).
    Unix(PathBuf),
}

/// A host, by number or by name, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    host: String,
    port: u16,
    /// The numbers that the host stands for; none as long as nobody has asked for a name's.
    numbers: Vec<SocketAddr>,
    /// Where our own end of a connection is; the kernel chooses unless somebody else has.
    source: Option<IpAddr>,
}

impl Address {
    /// The socket addresses meant, in the resolver's order and each once: one for a number, perhaps
    /// several for a name, none for a Unix path. Asks the resolver, which may take its time, unless
    /// [`Address::resolved`] has done so before.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Address::Tcp(at) | Address::Udp(at) => at.resolve(),
            Address::Unix(_) => Ok(Vec::new()),
        }
    }

    /// The same address with its numbers known, so that it can be used within the loop, where
    /// nobody waits for a resolver.
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

    /// Whether this can be used without asking a resolver.
    pub(crate) fn is_resolved(&self) -> bool {
        matches!(self, Address::Unix(_)) || !self.numbers().is_empty()
    }

    /// The numbers that are known without asking anybody.
    pub(crate) fn numbers(&self) -> &[SocketAddr] {
        self.host_port().map_or(&[], |at| &at.numbers)
    }

    /// Where our own end of a connection is to be, if that was chosen.
    pub(crate) fn source(&self) -> Option<IpAddr> {
        self.host_port().and_then(|at| at.source)
    }

    /// This address with the numbers of the two families in turn, so that a family that leads nowhere
    /// delays the other by one attempt at the most (RFC 8305, section 4).
    pub(crate) fn interleaved(mut self) -> Address {
        if let Address::Tcp(at) | Address::Udp(at) = &mut self
            && let Some(first) = at.numbers.first()
        {
            let is_first = |at: &SocketAddr| at.is_ipv4() == first.is_ipv4();
            let (ours, others): (Vec<_>, Vec<_>) = at.numbers.iter().copied().partition(is_first);
            let (mut ours, mut others) = (ours.into_iter(), others.into_iter());
            let in_turn = iter::from_fn(|| {
                mem::swap(&mut ours, &mut others);
                others.next().or_else(|| ours.next())
            });
            at.numbers = in_turn.collect();
        }
        self
    }

    /// What is left to try when the first of the numbers has failed.
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

/// What [`Reactor::listen`](crate::Reactor::listen) and
/// [`Reactor::connect`](crate::Reactor::connect) take for an address: an [`Address`], a socket
/// address, which is one of TCP, or text.
pub trait ToAddress {
    /// The address. A text that is no address is an error with a [`ParseAddressError`] inside.
    fn to_address(&self) -> io::Result<Address>;
}

impl ToAddress for Address {
    fn to_address(&self) -> io::Result<Address> {
        Ok(self.clone())
    }
}

impl ToAddress for SocketAddr {
    fn to_address(&self) -> io::Result<Address> {
        Ok((*self).into())
    }
}

impl ToAddress for str {
    fn to_address(&self) -> io::Result<Address> {
        Ok(self.parse::<Address>()?)
    }
}

impl ToAddress for String {
    fn to_address(&self) -> io::Result<Address> {
        self.as_str().to_address()
    }
}

impl<A: ToAddress + ?Sized> ToAddress for &A {
    fn to_address(&self) -> io::Result<Address> {
        (**self).to_address()
    }
}

/// The name without its `@`, if this is one in the abstract namespace rather than a path.
pub(crate) fn abstract_name(path: &Path) -> Option<&[u8]> {
    path.as_os_str().as_bytes().strip_prefix(b"@")
}

/// The kernel's form of a path, or of a name in the abstract namespace.
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
            // Names may be listed twice, in /etc/hosts for instance.
            if !numbers.contains(&at) {
                numbers.push(at);
            }
        }
        Ok(numbers)
    }

    /// The same host with the numbers that a resolver of the caller's own has found, to be tried in
    /// this order. An empty list leaves the host to be resolved.
    #[must_use]
    pub fn with_numbers(mut self, numbers: Vec<SocketAddr>) -> HostPort {
        self.numbers = numbers;
        self
    }

    /// The same host, to be reached from this address of ours, which must be of the same family; a
    /// listener takes no notice of it.
    ///
    /// One address has ports for some 28,000 connections to one server
    /// (`/proc/sys/net/ipv4/ip_local_port_range`). Whoever wants more takes several, and on the
    /// loopback device all of 127.0.0.0/8 is ours.
    #[must_use]
    pub fn with_source(mut self, source: IpAddr) -> HostPort {
        self.source = Some(source);
        self
    }
}

/// An IPv6 address and its zone (RFC 4007, section 11), if it has one.
fn zoned(host: &str) -> Option<(Ipv6Addr, &str)> {
    let (ip, zone) = host.split_once('%')?;
    Some((ip.parse().ok()?, zone))
}

/// Whether an address means another host, or other hosts, on each link.
fn needs_zone(ip: Ipv6Addr) -> bool {
    // Interface-local or link-local (RFC 4291, section 2.7).
    let near = matches!(ip.segments()[0] & 0xff0f, 0xff01 | 0xff02);
    ip.is_unicast_link_local() || near
}

/// The number of an interface, which is given by its name or by that number.
fn index_of(zone: &str) -> io::Result<u32> {
    if let Ok(index) = zone.parse() {
        return Ok(index);
    }
    let unknown = |_| io::Error::new(io::ErrorKind::NotFound, format!("no interface {zone:?}"));
    if_nametoindex(zone).map_err(unknown)
}

/// An IPv4 address mapped into IPv6 is an IPv4 address: a socket of IPv6 alone knows nothing of it.
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

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP peer; an IPv4 peer of a dual-stack listener shows as IPv4.
    Inet(SocketAddr),
    /// A Unix socket peer; they rarely have a name.
    Unix,
    /// An adopted descriptor: a terminal, a pipe, a file, a socket that somebody else has made.
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

/// The standard library's form of a kernel address; an IPv4 address mapped into IPv6 becomes IPv4
/// again.
pub(crate) fn to_socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddrV4::new(v4.ip(), v4.port()).into());
    }
    let v6: SocketAddrV6 = (*address.as_sockaddr_in6()?).into();
    Some(
        v6.ip()
            .to_ipv4_mapped()
            .map_or(v6.into(), |ip| SocketAddrV4::new(ip, v6.port()).into()),
    )
}

/// Whether this is "every interface", so that the local address of an answer has to be chosen.
pub(crate) fn is_wildcard(address: &SocketAddr) -> bool {
    matches!(
        address.ip(),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) | IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The socket addresses of what a user has written.
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
            // One zone has it.
            ("[::1%lo]:80", (Ipv6Addr::LOCALHOST, 80).into()),
            ("[::ffff:127.0.0.1]:80", (Ipv4Addr::LOCALHOST, 80).into()),
        ] {
            assert_eq!(numbers(text).unwrap(), [at], "{text}");
        }
        let unknown = numbers("[fe80::1%nowhere]:80").unwrap_err();
        assert_eq!(unknown.to_string(), "no interface \"nowhere\"");
    }

    #[test]
    fn what_is_shown_can_be_typed() {
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
            let address = address.to_address().unwrap();
            let parts = (address.host(), address.port(), address.socket_addr());
            assert_eq!(parts, (host, port, number), "{address}");
        }
        assert_eq!(at.to_address().unwrap(), "[::1]:80".parse().unwrap());
        let wrong = "1.2.3.4".to_address().unwrap_err();
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
            // Which place each has is its port.
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
