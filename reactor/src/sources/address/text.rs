//! Addresses as users write them.
//!
//! A user who mistypes an address learns from the error what to write instead: each refusal says
//! what is wrong with the text, and shows an address that would be understood. Most mistakes are
//! about IPv6, whose colons collide with the one before the port: `::1:9876` could be an address
//! without a port, so the brackets of RFC 3986 are required rather than guessed.
//!
//! Parsing looks at the form only. It looks up no name and no interface, so it never waits and
//! gives the same result on every machine.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Address, HostPort, needs_zone, without_mapping, zoned};

/// A text is not an address: what is wrong with it, and in most cases what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseAddressError(String);

impl ParseAddressError {
    /// The advice in `why` repeats parts of the text, whose control characters no terminal is to
    /// obey: the text may come from a file or a network.
    fn new(why: &str) -> ParseAddressError {
        let show = |char: char| match char.is_control() {
            true => char.escape_default().to_string(),
            false => char.to_string(),
        };
        ParseAddressError(why.chars().map(show).collect())
    }
}

impl fmt::Display for ParseAddressError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Error for ParseAddressError {}

impl From<ParseAddressError> for io::Error {
    fn from(error: ParseAddressError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Address, ParseAddressError> {
        address(text).map_err(|why| ParseAddressError::new(&why))
    }
}

impl FromStr for HostPort {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<HostPort, ParseAddressError> {
        host_port(text).map_err(|why| ParseAddressError::new(&why))
    }
}

fn address(text: &str) -> Result<Address, String> {
    if let Some(at) = text.strip_prefix("tcp://") {
        host_port(at).map(Address::Tcp)
    } else if let Some(at) = text.strip_prefix("udp://") {
        host_port(at).map(Address::Udp)
    } else if let Some(path) = text.strip_prefix("unix:") {
        unix(path)
    } else if text.contains("://") {
        Err(format!(
            "unknown scheme in {text:?}: use tcp://, udp:// or unix:"
        ))
    } else if let Some((scheme @ ("tcp" | "udp"), rest)) = text.split_once(':') {
        let rest = rest.trim_start_matches('/');
        Err(format!(
            "{scheme}: without // in {text:?}: write {scheme}://{rest}"
        ))
    } else if text.contains('/') {
        unix(text)
    } else {
        host_port(text).map(Address::Tcp)
    }
}

/// The longest path that fits a `sockaddr_un` with its final NUL (unix(7)).
const UNIX_PATH_MAX: usize = 107;

/// A path after `unix:`, or a text with a slash.
fn unix(path: &str) -> Result<Address, String> {
    match path.len() {
        0 => Err("the path of a Unix socket is empty".into()),
        1 if path == "@" => Err("the name of an abstract Unix socket is empty: write @NAME".into()),
        1..=UNIX_PATH_MAX if !path.contains('\0') => Ok(Address::Unix(path.into())),
        _ => Err(format!(
            "the path of a Unix socket has more than {UNIX_PATH_MAX} bytes, or a NUL"
        )),
    }
}

fn host_port(text: &str) -> Result<HostPort, String> {
    let (host, port) = split(text)?;
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{port:?} is not a port (0 to 65535)"));
    }
    let port = port
        .parse()
        .map_err(|_| format!("{port} is not a port (0 to 65535)"))?;
    let numbers = match host {
        Host::V6(inner) => number_in_brackets(inner, port)?,
        Host::Other("") => {
            return Err(format!(
                "no host in {text:?}: 0.0.0.0:{port} is every IPv4 interface, [::]:{port} every one"
            ));
        }
        Host::Other(name) => {
            let number = name.parse().map(|ip: Ipv4Addr| (ip, port).into());
            number.into_iter().collect()
        }
    };
    let (Host::V6(host) | Host::Other(host)) = host;
    Ok(HostPort {
        host: host.to_owned(),
        port,
        numbers,
        source: None,
    })
}

/// The host part of a text.
#[derive(Clone, Copy)]
enum Host<'a> {
    /// The text between brackets: an IPv6 address, perhaps with a zone.
    V6(&'a str),
    /// A name, or an IPv4 address.
    Other(&'a str),
}

/// Splits a text into host and port, without checking either. Errors say what to write instead.
fn split(text: &str) -> Result<(Host<'_>, &str), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((inner, rest)) = rest.split_once(']') else {
            return Err(format!("no ] in {text:?}: {}", in_brackets(rest)));
        };
        return match rest.strip_prefix(':') {
            Some(port) => Ok((Host::V6(inner), port)),
            None => Err(format!("no port in {text:?}: write [{inner}]:PORT")),
        };
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        // A number alone is a port.
        return match text.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => Ok((Host::Other("127.0.0.1"), text)),
            false => Err(format!("no port in {text:?}: write {text}:PORT")),
        };
    };
    if !host.contains(':') {
        return Ok((Host::Other(host), port));
    }
    Err(format!("{text:?} is not HOST:PORT: {}", in_brackets(text)))
}

/// The advice for a text with colons but without brackets: how to write it, if it is an IPv6
/// address.
fn in_brackets(text: &str) -> String {
    let is_v6 = |text: &str| zoned(text).is_some() || text.parse::<Ipv6Addr>().is_ok();
    let write = |host: &str, port: &str| match host.parse() {
        Ok(ip) if needs_zone(ip) => format!("[{host}%eth0]:{port}, with the name of the interface"),
        _ => format!("[{host}]:{port}"),
    };
    match text.rsplit_once(':') {
        Some((host, port)) if is_v6(host) => {
            format!(
                "an IPv6 address needs brackets: write {}",
                write(host, port)
            )
        }
        _ if is_v6(text) => {
            let address = write(text, "PORT");
            format!("an IPv6 address needs brackets and a port: write {address}")
        }
        _ => "write an IPv6 address as in [::1]:PORT, and any other host without colons".into(),
    }
}

/// The socket address for a host in brackets; none yet if it has a zone, which [`Address::resolve`]
/// looks up.
fn number_in_brackets(inner: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Some((ip, zone)) = zoned(inner) {
        return match (zone, ip) {
            ("", _) => Err(format!(
                "the zone in [{inner}] is empty: write [{ip}%eth0]:{port}"
            )),
            (_, Ipv6Addr::UNSPECIFIED) => Err(format!(
                "[::] is every interface, so it has no zone: write [::]:{port}"
            )),
            _ => Ok(Vec::new()),
        };
    }
    match inner.parse::<Ipv6Addr>() {
        Ok(ip) if needs_zone(ip) => Err(format!(
            "{ip} says nothing without its interface: write [{ip}%eth0]:{port}, with the name of \
             the interface"
        )),
        Ok(ip) => Ok(vec![without_mapping((ip, port).into())]),
        Err(_) => Err(format!(
            "{inner:?} is no IPv6 address: brackets are for these only"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address_is_understood() {
        for (text, shown) in [
            ("9876", "tcp://127.0.0.1:9876"),
            ("0.0.0.0:9876", "tcp://0.0.0.0:9876"),
            ("[::]:9876", "tcp://[::]:9876"),
            ("[fe80::1%lo]:9876", "tcp://[fe80::1%lo]:9876"),
            ("udp://[::1%lo]:9876", "udp://[::1%lo]:9876"),
            ("tcp://localhost:0", "tcp://localhost:0"),
            ("udp://127.0.0.1:5678", "udp://127.0.0.1:5678"),
            ("udp://5678", "udp://127.0.0.1:5678"),
            ("unix:/run/echo.sock", "unix:/run/echo.sock"),
            ("unix:echo.sock", "unix:echo.sock"),
            ("./echo.sock", "unix:./echo.sock"),
            ("unix:@echo", "unix:@echo"),
            ("unix:./@echo", "unix:./@echo"),
        ] {
            assert_eq!(
                text.parse::<Address>().map(|address| address.to_string()),
                Ok(shown.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_malformed_address_is_refused_with_a_reason() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, reason) in [
            ("", "\"\" is not a port"),
            ("65536", "65536 is not a port"),
            ("127.0.0.1:", "is not a port"),
            ("127.0.0.1:+80", "is not a port"),
            ("localhost:http", "\"http\" is not a port"),
            ("localhost", "write localhost:PORT"),
            ("1.2.3.4", "write 1.2.3.4:PORT"),
            ("udp://localhost", "write localhost:PORT"),
            (":9876", "0.0.0.0:9876"),
            ("::1:9876", "write [::1]:9876"),
            ("::1", "write [::1]:PORT"),
            (
                "[::1",
                "no ] in \"[::1\": an IPv6 address needs brackets and a port: write [::1]:PORT",
            ),
            ("[::1:9876", "write [::1]:9876"),
            ("[::1]", "write [::1]:PORT"),
            ("[::1]9876", "no port in"),
            ("[127.0.0.1]:80", "brackets are for these only"),
            ("[::1%]:80", "zone in [::1%] is empty"),
            ("[::%lo]:80", "every interface"),
            ("fe80::1", "write [fe80::1%eth0]:PORT"),
            ("fe80::1:80", "write [fe80::1%eth0]:80"),
            ("fe80::1%lo", "write [fe80::1%lo]:PORT"),
            ("fe80::1%lo:80", "write [fe80::1%lo]:80"),
            ("[fe80::1]:80", "write [fe80::1%eth0]:80"),
            ("udp://[ff02::1]:80", "write [ff02::1%eth0]:80"),
            ("a:b:80", "without colons"),
            ("udp:9", "write udp://9"),
            ("tcp:localhost:9", "write tcp://localhost:9"),
            ("udp:/localhost:9", "write udp://localhost:9"),
            ("http://127.0.0.1:80", "scheme"),
            ("\u{1b}c", "write \\u{1b}c:PORT"),
            ("unix:", "empty"),
            ("unix:@", "empty"),
            (long.as_str(), "107 bytes"),
        ] {
            let refusal = text.parse::<Address>().expect_err(text).to_string();
            assert!(refusal.contains(reason), "{text}: {refusal}");
        }
    }
}
