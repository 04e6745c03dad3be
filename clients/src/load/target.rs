//! The server of a load as users write it: an address of the reactor, or `ws://HOST:PORT/PATH`.

use std::fmt;
use std::str::FromStr;

use edgeloop_reactor::{Address, HostPort};

/// A server, and what is spoken with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(super) address: Address,
    /// The path of a WebSocket, over TCP; empty if none was written.
    pub(super) socket: Option<String>,
}

impl Target {
    /// The server as a request names it in `Host`. The zone of an address has a meaning on this machine
    /// only, and is left out (RFC 6874).
    pub(super) fn host(&self) -> String {
        let text = match &self.address {
            Address::Tcp(at) => at.to_string(),
            other => other.to_string(),
        };
        match (text.find('%'), text.find(']')) {
            (Some(zone), Some(end)) => format!("{}{}", &text[..zone], &text[end..]),
            _ => text,
        }
    }
}

impl From<Address> for Target {
    fn from(address: Address) -> Target {
        let socket = None;
        Target { address, socket }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        if text.starts_with("wss://") {
            return Err("TLS is not spoken here: write ws://HOST:PORT/PATH".into());
        }
        let Some(rest) = text.strip_prefix("ws://") else {
            let address: Result<Address, _> = text.parse();
            return address.map(Target::from).map_err(|why| why.to_string());
        };
        let (at, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let at: HostPort = at.parse().map_err(|why| format!("{why}"))?;
        // The path becomes a part of the first line of a request.
        let is_sent = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        match path.bytes().all(is_sent) {
            true => Ok(Target {
                address: Address::Tcp(at),
                socket: Some(path.to_owned()),
            }),
            false => Err("a path has letters, digits and signs of ASCII, and no #".into()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, &self.socket) {
            (Address::Tcp(at), Some(path)) => write!(out, "ws://{at}{path}"),
            (address, _) => write!(out, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_address_or_a_websocket() {
        for (text, shown, socket) in [
            ("8080", "tcp://127.0.0.1:8080", None),
            ("udp://[::1]:1", "udp://[::1]:1", None),
            ("ws://8080", "ws://127.0.0.1:8080", Some("")),
            ("ws://[::1]:80/", "ws://[::1]:80/", Some("/")),
            (
                "ws://localhost:80/a/b?c=d",
                "ws://localhost:80/a/b?c=d",
                Some("/a/b?c=d"),
            ),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), shown);
            assert_eq!(target.socket.as_deref(), socket);
        }
        let target: Target = "ws://[::1]:80/".parse().unwrap();
        assert_eq!(target.host(), "[::1]:80");
        let target: Target = "ws://[fe80::1%lo]:80/".parse().unwrap();
        assert_eq!(target.to_string(), "ws://[fe80::1%lo]:80/");
        assert_eq!(target.host(), "[fe80::1]:80");
        for wrong in [
            "ws://",
            "ws://localhost",
            "ws://localhost/room",
            "ws://a:80?b",
            "ws://a:80/ b",
            "ws://a:80/b\r\nx: y",
            "ws://a:80/\u{e9}",
            "ws://a:80/b#c",
            "wss://a:80/",
            "http://a:80/",
        ] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong:?}");
        }
    }
}
