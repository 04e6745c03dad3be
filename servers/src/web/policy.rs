//! Which requests a browser may make on behalf of its user.
//!
//! A browser sends its user's connections to any address that a page names, and a WebSocket is not held
//! back by the same-origin policy. Two rules make up for that:
//!
//! - *Origin.* A browser says which site a page is from. It must be the one that the request is for. A
//!   request without `Origin` is no browser's, and a client that is none can say what it likes.
//! - *Host.* A site may point its own name to this server's address (DNS rebinding), and both are the
//!   same then. So the name must be one that the server is known by: an address, `localhost`, or one
//!   that the user has listed.

use std::net::{Ipv4Addr, Ipv6Addr};

use clap::Args;

use super::request::Request;
use super::response::Refusal;

/// Names and sites that are allowed besides those that always are.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options for http://")]
pub struct Policy {
    /// Serve WebSockets to pages of this site too: HOST, HOST:PORT, SCHEME://HOST:PORT or any
    #[arg(long = "origin", value_name = "SITE", value_delimiter = ',', value_parser = Site::parse)]
    sites: Vec<Site>,

    /// Serve browsers that know the server by this name; it is known by its addresses and as localhost
    #[arg(long = "host", value_name = "NAME", value_delimiter = ',', value_parser = host_name)]
    hosts: Vec<String>,
}

/// A site whose pages may use the server.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Site {
    Any,
    Origin(Origin),
    /// A host with this port, or with the default port of the scheme.
    Place(Place),
}

/// A host in lower case, with a port if one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    host: String,
    port: Option<u16>,
}

/// A scheme in lower case, and a place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    place: Place,
}

impl Policy {
    /// Judges a request.
    pub(crate) fn check(&self, request: &Request<'_>) -> Result<(), Refusal> {
        let host = Place::parse(request.host).ok_or(Refusal::Malformed)?;
        if !host.is_number() && host.host != "localhost" && !self.hosts.contains(&host.host) {
            return Err(Refusal::Host);
        }
        match request.origin {
            Some(origin) if !self.allows(origin, &host) => Err(Refusal::Origin),
            _ => Ok(()),
        }
    }

    fn allows(&self, origin: &str, host: &Place) -> bool {
        if self.sites.contains(&Site::Any) {
            return true;
        }
        // `null` is the origin of a page that has none, such as a file.
        Origin::parse(origin).is_some_and(|origin| {
            let is_listed = |site: &Site| site.is(&origin);
            origin.is_at(host) || self.sites.iter().any(is_listed)
        })
    }
}

impl Site {
    fn parse(text: &str) -> Result<Site, String> {
        if text == "any" {
            return Ok(Site::Any);
        }
        let site = match text.contains("://") {
            true => Origin::parse(text).map(Site::Origin),
            false => Place::parse(text).map(Site::Place),
        };
        site.ok_or_else(|| {
            format!("{text:?} is no site: write HOST, HOST:PORT, https://HOST or any")
        })
    }

    fn is(&self, origin: &Origin) -> bool {
        match self {
            Site::Any => true,
            Site::Origin(site) => site.scheme == origin.scheme && origin.is_at(&site.place),
            Site::Place(place) => origin.is_at(place),
        }
    }
}

impl Origin {
    fn parse(text: &str) -> Option<Origin> {
        let (scheme, place) = text.split_once("://")?;
        Some(Origin {
            scheme: scheme.to_ascii_lowercase(),
            place: Place::parse(place)?,
        })
    }

    /// Whether it names this place. A port that either does not give is the default port of its scheme:
    /// so TLS may be in front of the server.
    fn is_at(&self, place: &Place) -> bool {
        let default = match &*self.scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let (port, other) = (self.place.port.or(default), place.port.or(default));
        self.place.host == place.host && port == other
    }
}

impl Place {
    fn parse(text: &str) -> Option<Place> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            // One address may be written in several ways.
            let address: Ipv6Addr = address.parse().ok()?;
            (format!("[{address}]"), port)
        } else {
            let host = text.split(':').next()?;
            (host.to_ascii_lowercase(), &text[host.len()..])
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if host.is_empty() || !host.starts_with('[') && !host.bytes().all(is_name) {
            return None;
        }
        let port = match port.strip_prefix(':') {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(port.parse().ok()?)
            }
            None if port.is_empty() => None,
            _ => return None,
        };
        Some(Place { host, port })
    }

    /// Whether the host is an address: no one else can point it anywhere.
    fn is_number(&self) -> bool {
        self.host.starts_with('[') || self.host.parse::<Ipv4Addr>().is_ok()
    }
}

/// Parses a value of `--host`.
fn host_name(text: &str) -> Result<String, String> {
    match Place::parse(text) {
        Some(Place { host, port: None }) => Ok(host),
        _ => Err(format!(
            "{text:?} is no name of a host: write it without a port"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(sites: &[&str], hosts: &[&str]) -> Policy {
        Policy {
            sites: sites
                .iter()
                .map(|site| Site::parse(site).unwrap())
                .collect(),
            hosts: hosts.iter().map(|host| host_name(host).unwrap()).collect(),
        }
    }

    fn check(policy: &Policy, host: &str, origin: Option<&str>) -> Result<(), Refusal> {
        policy.check(&Request {
            method: "GET",
            keeps_alive: true,
            path: "/",
            query: "",
            host,
            origin,
            websocket: None,
        })
    }

    #[test]
    fn the_host_must_be_one_that_the_server_is_known_by() {
        let policy = policy(&[], &["Chat.Example"]);
        for host in [
            "127.0.0.1:8080",
            "192.0.2.1",
            "[::1]:8080",
            "localhost",
            "LOCALHOST:8080",
            "chat.example",
            "CHAT.example:443",
        ] {
            assert_eq!(check(&policy, host, None), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "chat.example.evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "0x7f.1",
            "127.1",
            "2130706433",
        ] {
            assert_eq!(check(&policy, host, None), Err(Refusal::Host), "{host}");
        }
        for host in [
            "",
            ":80",
            "a:b",
            "a:80:80",
            "a/b",
            "user@localhost",
            "[::1",
            "[x]",
            "::1",
            "a:99999",
        ] {
            assert_eq!(
                check(&policy, host, None),
                Err(Refusal::Malformed),
                "{host}"
            );
        }
    }

    #[test]
    fn a_page_may_use_the_server_that_it_came_from() {
        let policy = policy(&[], &["chat.example"]);
        for (host, origin) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[0:0::1]:8080"),
            ("localhost", "http://localhost"),
            ("localhost:80", "http://localhost"),
            // A proxy in front speaks TLS, and may leave the port out.
            ("chat.example", "https://chat.example"),
            ("chat.example:443", "https://CHAT.example"),
            ("chat.example:8443", "https://chat.example:8443"),
        ] {
            assert_eq!(
                check(&policy, host, Some(origin)),
                Ok(()),
                "{origin} at {host}"
            );
        }
        for (host, origin) in [
            ("localhost:8080", "http://evil.example"),
            ("localhost:8080", "http://localhost"),
            ("localhost:8080", "http://localhost:9090"),
            ("localhost", "https://localhost:8443"),
            ("127.0.0.1:8080", "http://localhost:8080"),
            ("chat.example", "https://chat.example.evil.example"),
            ("chat.example", "https://evil.example/chat.example"),
            ("chat.example", "https://chat.example@evil.example"),
            ("chat.example", "app://chat.example:1"),
            ("chat.example", "null"),
            ("chat.example", ""),
            ("chat.example", "chat.example"),
        ] {
            let verdict = check(&policy, host, Some(origin));
            assert_eq!(verdict, Err(Refusal::Origin), "{origin} at {host}");
        }
    }

    #[test]
    fn the_user_may_allow_other_sites() {
        let at = |policy: &Policy, origin| check(policy, "localhost:8080", Some(origin)).is_ok();
        let named = policy(
            &["app.example", "dev.example:3000", "https://only.example"],
            &[],
        );
        for (origin, is_allowed) in [
            ("https://app.example", true),
            ("http://app.example:80", true),
            ("https://app.example:8443", false),
            ("http://dev.example:3000", true),
            ("http://dev.example", false),
            ("https://only.example", true),
            ("https://only.example:443", true),
            ("http://only.example", false),
            ("http://localhost:8080", true),
            ("null", false),
        ] {
            assert_eq!(at(&named, origin), is_allowed, "{origin}");
        }
        let any = policy(&["any"], &[]);
        assert!(at(&any, "https://elsewhere.example") && at(&any, "null"));
        assert_eq!(
            check(&any, "evil.example", Some("null")),
            Err(Refusal::Host)
        );
        for wrong in ["", "a b", "https://", "https://a/", "*"] {
            assert!(Site::parse(wrong).is_err(), "{wrong}");
        }
        assert!(host_name("a:80").is_err());
    }
}
