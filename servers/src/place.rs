//! The addresses of servers as users write them: those of the reactor, and `http://HOST:PORT`.

use std::fmt;
use std::str::FromStr;

use edgeloop_reactor::{Address, HostPort, ParseAddressError};

/// The tag of the connections that listeners accept.
pub(crate) const CLIENT: u64 = 0;
/// The tag of those that speak HTTP. Tags between the two are a server's own.
pub const WEB: u64 = u64::MAX;

/// Where a server listens, and what its clients speak there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: Address,
    /// HTTP is spoken, over TCP.
    pub(crate) is_web: bool,
}

impl Place {
    /// The tag of the connections that are accepted there.
    pub(crate) fn tag(&self) -> u64 {
        if self.is_web { WEB } else { CLIENT }
    }

    /// This place with another form of its address.
    pub(crate) fn with_address(&self, address: Address) -> Place {
        let is_web = self.is_web;
        Place { address, is_web }
    }
}

impl From<Address> for Place {
    fn from(address: Address) -> Place {
        let is_web = false;
        Place { address, is_web }
    }
}

impl FromStr for Place {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Place, ParseAddressError> {
        let Some(at) = text.strip_prefix("http://") else {
            return text.parse().map(Address::into);
        };
        let at: HostPort = at.strip_suffix('/').unwrap_or(at).parse()?;
        Ok(Place {
            address: Address::Tcp(at),
            is_web: true,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(at) if self.is_web => write!(out, "http://{at}"),
            address => write!(out, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_or_a_site() {
        for (text, shown) in [
            ("8080", "tcp://127.0.0.1:8080"),
            ("udp://127.0.0.1:1", "udp://127.0.0.1:1"),
            ("http://8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!(
                (place.to_string(), place.is_web),
                (shown.to_owned(), shown.starts_with("http"))
            );
        }
        for wrong in [
            "http://",
            "http://localhost",
            "http://a:80/room",
            "https://a:443",
            "ws://a:80",
        ] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
