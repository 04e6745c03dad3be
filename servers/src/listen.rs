//! Listens on the addresses that the user named, and says so.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;

use edgeloop_reactor::process::reason;
use edgeloop_reactor::{Address, Bound, HostPort};

use crate::options::Options;
use crate::place::Place;
use crate::stderr::say;

/// The addresses to listen on, resolved. A socket address that several of them stand for is used
/// once.
pub(crate) fn resolve(options: &Options, default_port: u16) -> Result<Vec<Place>, String> {
    let default = [default_port
        .to_string()
        .parse::<Place>()
        .expect("a port is an address")];
    let wanted = if options.addresses.is_empty() {
        &default[..]
    } else {
        &options.addresses
    };
    let mut places: Vec<Place> = Vec::new();
    let (mut tcp, mut udp, mut web) = (Vec::new(), Vec::new(), Vec::new());
    for place in wanted {
        let numbers = place
            .address
            .resolve()
            .map_err(|error| cannot_listen(place, &error))?;
        let new = match &place.address {
            Address::Tcp(at) if place.is_web => only_new(at, numbers, &mut web).map(Address::Tcp),
            Address::Tcp(at) => only_new(at, numbers, &mut tcp).map(Address::Tcp),
            Address::Udp(at) => only_new(at, numbers, &mut udp).map(Address::Udp),
            unix @ Address::Unix(_) => Some(unix.clone()).filter(|_| !places.contains(place)),
        };
        places.extend(new.map(|address| place.with_address(address)));
    }
    Ok(places)
}

/// The host with those of its numbers that are new; `None` if none is.
fn only_new(
    host: &HostPort,
    mut numbers: Vec<SocketAddr>,
    known: &mut Vec<SocketAddr>,
) -> Option<HostPort> {
    // For port 0 the kernel picks another port each time.
    numbers.retain(|at| at.port() == 0 || !known.contains(at));
    known.extend_from_slice(&numbers);
    (!numbers.is_empty()).then(|| host.clone().with_numbers(numbers))
}

pub(crate) fn cannot_listen(place: &impl Display, error: &io::Error) -> String {
    format!("cannot listen on {place}: {}", reason(error))
}

/// Sockets that listen, each with the tag of its connections.
pub(crate) type Share = Vec<(Bound, u64)>;

/// Listens on every address, with `count` sockets each, and says so when all sockets listen.
/// `prepare` sets options before, which accepted sockets inherit.
pub(crate) fn listen(
    places: &[Place],
    options: &Options,
    count: usize,
    prepare: impl Fn(&Bound) -> io::Result<()>,
) -> Result<Vec<Share>, String> {
    let mut shares: Vec<Share> = (0..count).map(|_| Share::new()).collect();
    let mut announced = Vec::new();
    for place in places {
        let failed = |error: io::Error| cannot_listen(place, &error);
        let mut bound = Bound::shares(&place.address, options.backlog, count).map_err(failed)?;
        for bound in bound.iter_mut().flatten() {
            bound
                .keep_alive(options.keepalive)
                .and_then(|()| prepare(bound))
                .and_then(|()| bound.listen())
                .map_err(failed)?;
        }
        let bound_at = bound.iter().take(1).flatten().map(Bound::address);
        announced.extend(bound_at.map(|address| place.with_address(address.clone())));
        for (share, bound) in shares.iter_mut().zip(bound) {
            share.extend(bound.into_iter().map(|bound| (bound, place.tag())));
        }
    }
    announced.iter().for_each(announce);
    Ok(shares)
}

fn announce(place: &Place) {
    say(&format!("listening on {place}"));
    if io::stderr().is_terminal() {
        say(&format!("  try it: {}", hint(place)));
    }
}

/// A command that talks to an address: netcat, or socat where netcat cannot. For a site it is a
/// browser.
fn hint(place: &Place) -> String {
    let near = |host_port: &str| {
        let (host, port) = host_port
            .rsplit_once(':')
            .unwrap_or(("127.0.0.1", host_port));
        match host.trim_matches(['[', ']']) {
            "0.0.0.0" | "::" => format!("127.0.0.1 {port}"),
            host => format!("{host} {port}"),
        }
    };
    match &place.address {
        Address::Tcp(at) if place.is_web => {
            let near = near(&at.to_string());
            let (host, port) = near.split_once(' ').unwrap_or_default();
            match host.contains(':') {
                true => format!("open http://[{host}]:{port}/ in a browser"),
                false => format!("open http://{host}:{port}/ in a browser"),
            }
        }
        Address::Tcp(at) => format!("nc {}", near(&at.to_string())),
        Address::Udp(at) => format!("nc -u {}", near(&at.to_string())),
        Address::Unix(path) => match path.to_string_lossy().strip_prefix('@') {
            Some(name) => format!("socat - {}", quoted(&format!("ABSTRACT-CONNECT:{name}"))),
            None => format!("nc -U {}", quoted(&path.to_string_lossy())),
        },
    }
}

/// A word for the shell, in quotes if the shell would take it for anything but one word.
fn quoted(word: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "/._-:@+,".contains(char);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_can_be_typed() {
        for (address, expected) in [
            ("9876", "nc 127.0.0.1 9876"),
            ("0.0.0.0:9876", "nc 127.0.0.1 9876"),
            ("[::]:9876", "nc 127.0.0.1 9876"),
            ("[::1]:9876", "nc ::1 9876"),
            ("udp://127.0.0.1:5678", "nc -u 127.0.0.1 5678"),
            ("http://8080", "open http://127.0.0.1:8080/ in a browser"),
            (
                "http://[::]:8080",
                "open http://127.0.0.1:8080/ in a browser",
            ),
            ("http://[::1]:8080", "open http://[::1]:8080/ in a browser"),
            ("[fe80::1%lo]:9876", "nc fe80::1%lo 9876"),
            ("unix:/tmp/echo.sock", "nc -U /tmp/echo.sock"),
            ("unix:/tmp/it's one", r"nc -U '/tmp/it'\''s one'"),
            ("unix:@echo", "socat - ABSTRACT-CONNECT:echo"),
        ] {
            assert_eq!(hint(&address.parse().unwrap()), expected);
        }
    }
}
