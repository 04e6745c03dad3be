//! Addresses as users write them, and peers as logs show them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use nix::sys::socket::SockaddrStorage;

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
    /// A Unix stream socket at this path.
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
    /// The socket addresses meant, in the resolver's order: one for a number, perhaps several for a
    /// name, none for a Unix path. Asks the resolver, which may take its time, unless
    /// [`Address::resolved`] has done so before.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Address::Tcp(at) | Address::Udp(at) if at.numbers.is_empty() => {
                Ok((at.host.as_str(), at.port).to_socket_addrs()?.collect())
            }
            Address::Tcp(at) | Address::Udp(at) => Ok(at.numbers.clone()),
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

    /// Whether this can be used without asking a resolver.
    pub(crate) fn is_resolved(&self) -> bool {
        matches!(self, Address::Unix(_)) || !self.numbers().is_empty()
    }

    /// The numbers that are known without asking anybody.
    pub(crate) fn numbers(&self) -> &[SocketAddr] {
        match self {
            Address::Tcp(at) | Address::Udp(at) => &at.numbers,
            Address::Unix(_) => &[],
        }
    }

    /// Where our own end of a connection is to be, if that was chosen.
    pub(crate) fn source(&self) -> Option<IpAddr> {
        match self {
            Address::Tcp(at) | Address::Udp(at) => at.source,
            Address::Unix(_) => None,
        }
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

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        if let Some(at) = text.strip_prefix("tcp://") {
            at.parse().map(Address::Tcp)
        } else if let Some(at) = text.strip_prefix("udp://") {
            at.parse().map(Address::Udp)
        } else if let Some(path) = text.strip_prefix("unix:") {
            unix(path)
        } else if text.contains("://") {
            Err(format!(
                "unknown scheme in {text:?}: use tcp://, udp:// or unix:"
            ))
        } else if text.contains('/') {
            unix(text)
        } else {
            text.parse().map(Address::Tcp)
        }
    }
}

/// The longest path that fits a `sockaddr_un` with its final NUL (unix(7)).
const UNIX_PATH_MAX: usize = 107;

fn unix(path: &str) -> Result<Address, String> {
    match path.len() {
        0 => Err("the path of a Unix socket is empty".into()),
        1..=UNIX_PATH_MAX if !path.contains('\0') => Ok(Address::Unix(path.into())),
        _ => Err(format!(
            "the path of a Unix socket has more than {UNIX_PATH_MAX} bytes, or a NUL"
        )),
    }
}

impl HostPort {
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

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<HostPort, String> {
        let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
        let port = port
            .parse()
            .map_err(|_| format!("{port:?} is not a port (0 to 65535)"))?;
        let host = match host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            Some(inner) => inner,
            None if host.contains(':') => {
                return Err(format!(
                    "write an IPv6 address in brackets: [{host}]:{port}"
                ));
            }
            None => host,
        };
        if host.is_empty() {
            return Err(format!(
                "no host in {text:?}: 0.0.0.0:{port} is every IPv4 interface, [::]:{port} every one"
            ));
        }
        let number = host.parse().map(|ip: IpAddr| SocketAddr::new(ip, port));
        Ok(HostPort {
            host: host.to_owned(),
            port,
            numbers: number.into_iter().collect(),
            source: None,
        })
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> HostPort {
        HostPort {
            host: address.ip().to_string(),
            port: address.port(),
            numbers: vec![address],
            source: None,
        }
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
pub enum Peer {
    /// A TCP peer; an IPv4 peer of a dual-stack listener shows as IPv4.
    Inet(SocketAddr),
    /// A Unix socket peer; they rarely have a name.
    Unix,
    /// An adopted descriptor: a terminal, a pipe, a file, a socket that somebody else has made.
    Stream,
}

impl Peer {
    /// From the address that accept4(2) gave: it is known even when the peer has reset the
    /// connection already.
    pub(crate) fn accepted(address: Option<&SockaddrStorage>) -> Peer {
        address
            .and_then(to_socket_addr)
            .map_or(Peer::Unix, Peer::Inet)
    }
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

    #[test]
    fn what_users_write_is_understood() {
        for (text, shown) in [
            ("9876", "tcp://127.0.0.1:9876"),
            ("0.0.0.0:9876", "tcp://0.0.0.0:9876"),
            ("[::]:9876", "tcp://[::]:9876"),
            ("tcp://localhost:0", "tcp://localhost:0"),
            ("udp://127.0.0.1:5678", "udp://127.0.0.1:5678"),
            ("udp://5678", "udp://127.0.0.1:5678"),
            ("unix:/run/echo.sock", "unix:/run/echo.sock"),
            ("unix:echo.sock", "unix:echo.sock"),
            ("./echo.sock", "unix:./echo.sock"),
        ] {
            assert_eq!(
                text.parse::<Address>().map(|address| address.to_string()),
                Ok(shown.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_refused_with_a_reason() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, reason) in [
            ("", "is not a port"),
            ("echo", "is not a port"),
            ("65536", "is not a port"),
            ("127.0.0.1:", "is not a port"),
            ("localhost:http", "is not a port"),
            (":9876", "0.0.0.0:9876"),
            ("::1:9876", "brackets"),
            ("http://127.0.0.1:80", "scheme"),
            ("unix:", "empty"),
            (long.as_str(), "107 bytes"),
        ] {
            let refusal = text.parse::<Address>().expect_err(text);
            assert!(refusal.contains(reason), "{text}: {refusal}");
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
