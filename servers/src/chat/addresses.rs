//! The limit on connections from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use edgeloop_reactor::{ConnId, ConnMap, Peer};

/// The addresses of the connections. They are kept if there is a limit, or if bans need them.
#[derive(Debug)]
pub(super) struct Addresses {
    /// Most connections from one address; `None` for no limit.
    max: Option<usize>,
    /// Bans need the address of a member.
    is_asked: bool,
    /// Number of open connections from each address.
    counts: HashMap<IpAddr, usize>,
    /// Address of each connection until it is closed, which may be later than its member's leave: a
    /// connection that lingers counts too.
    known: ConnMap<IpAddr>,
}

impl Addresses {
    pub(super) fn new(max: Option<usize>, is_asked: bool) -> Addresses {
        Addresses {
            max,
            is_asked,
            counts: HashMap::new(),
            known: ConnMap::new(),
        }
    }

    /// Whether the limit allows a connection from this peer. If so, it is counted until it is closed.
    pub(super) fn admit(&mut self, id: ConnId, peer: &Peer) -> bool {
        let Some(address) = counted(peer).filter(|_| self.max.is_some() || self.is_asked) else {
            return true;
        };
        let count = self.counts.entry(address).or_default();
        if self.max.is_some_and(|max| *count >= max) {
            return false;
        }
        *count += 1;
        self.known.insert(id, address);
        true
    }

    /// Discounts a connection that has closed.
    pub(super) fn closed(&mut self, id: ConnId) {
        let Some(address) = self.known.remove(id) else {
            return;
        };
        if let Some(count) = self.counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&address);
            }
        }
    }

    /// The address of a connection, if it is kept and may be banned.
    pub(super) fn banned(&self, id: ConnId) -> Option<IpAddr> {
        let address = self.known.get(id).copied();
        // `::` is the /64 of the IPv6 loopback address.
        address.filter(|address| !address.is_loopback() && !address.is_unspecified())
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.known.is_empty()
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

/// The address that a peer counts under. An IPv6 host may choose any address of its /64, so the whole
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
