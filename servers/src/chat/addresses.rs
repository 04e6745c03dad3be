//! The addresses of members, which bans need.

use std::net::{IpAddr, Ipv6Addr};

use edgeloop_reactor::{ConnId, ConnMap, Peer};

/// The addresses of the connections, kept if the operator may ban them.
#[derive(Debug)]
pub(super) struct Addresses {
    is_kept: bool,
    known: ConnMap<IpAddr>,
}

impl Addresses {
    pub(super) fn new(is_kept: bool) -> Addresses {
        Addresses {
            is_kept,
            known: ConnMap::new(),
        }
    }

    /// Keeps the address of a connection until it is closed.
    pub(super) fn opened(&mut self, id: ConnId, peer: &Peer) {
        if let Some(address) = banned(peer).filter(|_| self.is_kept) {
            self.known.insert(id, address);
        }
    }

    pub(super) fn closed(&mut self, id: ConnId) {
        self.known.remove(id);
    }

    /// The address of a connection, if it is kept and may be banned.
    pub(super) fn banned(&self, id: ConnId) -> Option<IpAddr> {
        self.known.get(id).copied()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// The address of a peer, if it may be banned. The loopback address may not: all peers behind a local
/// proxy have it.
pub(super) fn banned(peer: &Peer) -> Option<IpAddr> {
    match peer {
        Peer::Inet(at) if at.ip().is_loopback() => None,
        peer => counted(peer),
    }
}

/// The address that is banned for a peer. An IPv6 host may choose any address of its /64, so the whole
/// /64 counts as one (RFC 4291, section 2.5.1).
fn counted(peer: &Peer) -> Option<IpAddr> {
    match peer {
        Peer::Inet(at) => Some(match at.ip() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_host_has_one_address_however_many_it_uses() {
        let of = |address: &str| counted(&Peer::Inet(address.parse().unwrap()));
        assert_eq!(of("[2001:db8::1]:5"), of("[2001:db8::ffff:1]:6"));
        assert_ne!(of("[2001:db8::1]:5"), of("[2001:db8:0:1::1]:5"));
        assert_eq!(of("127.0.0.1:5"), of("127.0.0.1:6"));
        assert_ne!(of("127.0.0.1:5"), of("127.0.0.2:5"));
        assert_eq!(counted(&Peer::Unix), None);
    }
}
