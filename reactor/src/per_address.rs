//! The limit of connections from one address.
//!
//! Without it, one client can hold all connections that a server has. The table below counts the
//! connections of each address, so that the limit is kept, and knows the highest of these counts. Each
//! operation is O(1), whatever the number of addresses.
//!
//! The limit alone would let two addresses hold all connections, for as long as they like and without
//! a byte sent. So a newcomer to a full server displaces a connection that has never sent a byte, is
//! older than [`DISPLACED_AFTER`] and comes from the address with most connections, or nearly so
//! ([`PerAddress::find_displaced`]). A peer that has sent anything is displaced by no other.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::time::Duration;

/// Age below which a silent connection is not displaced: the time that a slow peer has for its first
/// byte.
pub const DISPLACED_AFTER: Duration = Duration::from_secs(10);
/// Connections that are looked at for each newcomer to a full server.
pub(crate) const LOOKS: usize = 64;

/// Connections by the address of their peers, and the limit of each.
#[derive(Debug)]
pub struct PerAddress {
    /// Most connections from one address; `None` for any number.
    most: Option<usize>,
    /// Loopback addresses have no limit: all peers behind a local proxy have one.
    spares_loopback: bool,
    /// Number of connections of each address that has any.
    counts: HashMap<AddressKey, usize>,
    /// By number of connections, the number of addresses that have so many.
    addresses: Vec<usize>,
    /// The number of connections that the address with most of them has.
    highest: usize,
}

/// An address as connections are counted: an IPv4 address, or the /64 of an IPv6 address, since an
/// IPv6 host may choose any address of its /64 (RFC 4291, section 2.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressKey(NonZeroU64);

impl AddressKey {
    /// No address: the key of a connection that has a place among those of several reactors, and whose
    /// address has no limit. No peer has this key, which is that of the broadcast address.
    pub(crate) const ANY: AddressKey = AddressKey(NonZeroU64::MAX);

    /// The key of an address. An IPv4 address mapped to IPv6 counts as the IPv4 address.
    #[must_use]
    pub fn of(address: IpAddr) -> AddressKey {
        let bits = match address.to_canonical() {
            // `ffff:ffff::/32` is multicast, which no peer has.
            IpAddr::V4(address) => 0xffff_ffff << 32 | u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        // `::/64` holds `::1` and no address of another host.
        AddressKey(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }
}

/// The answer to a peer that connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The peer has no limit, and is not counted.
    Uncounted,
    /// The peer is counted, until [`PerAddress::release`].
    Counted(AddressKey),
    /// The peer's address has this many connections already, which is its limit.
    Refused(usize),
}

impl Admission {
    /// The key to be released when the connection closes, if the peer is counted.
    #[must_use]
    pub fn counted(self) -> Option<AddressKey> {
        match self {
            Admission::Counted(key) => Some(key),
            Admission::Uncounted | Admission::Refused(_) => None,
        }
    }
}

impl PerAddress {
    /// An empty table. `limit`: connections of one address, 0 for any number, and loopback addresses
    /// count as well; by default half of `max_connections`, and any number from loopback addresses.
    #[must_use]
    pub fn new(limit: Option<usize>, max_connections: usize) -> PerAddress {
        let most = limit.unwrap_or_else(|| default_limit(max_connections));
        PerAddress {
            most: (most > 0).then_some(most),
            spares_loopback: limit.is_none(),
            counts: HashMap::new(),
            addresses: Vec::new(),
            highest: 0,
        }
    }

    /// Most connections of one address; `None` for any number.
    #[must_use]
    pub fn most(&self) -> Option<usize> {
        self.most
    }

    /// Counts a peer, unless its address has as many connections as it may have.
    #[inline]
    pub fn admit(&mut self, peer: IpAddr) -> Admission {
        match self.most {
            Some(most) if !(self.spares_loopback && is_loopback(peer)) => {
                self.count(AddressKey::of(peer), most)
            }
            _ => Admission::Uncounted,
        }
    }

    fn count(&mut self, key: AddressKey, most: usize) -> Admission {
        let count = self.counts.entry(key).or_default();
        if *count >= most {
            return Admission::Refused(most);
        }
        *count += 1;
        let count = *count;
        if self.addresses.len() <= count {
            self.addresses.resize(count + 1, 0);
        }
        self.addresses[count - 1] = self.addresses[count - 1].saturating_sub(1);
        self.addresses[count] += 1;
        self.highest = self.highest.max(count);
        Admission::Counted(key)
    }

    /// Discounts a peer that was counted.
    pub fn release(&mut self, key: AddressKey) {
        let Some(count) = self.counts.get_mut(&key) else {
            return;
        };
        let before = *count;
        *count -= 1;
        if before == 1 {
            self.counts.remove(&key);
        }
        self.addresses[before] -= 1;
        self.addresses[before - 1] += usize::from(before > 1);
        if before == self.highest && self.addresses[before] == 0 {
            self.highest = before - 1;
        }
    }

    /// The connection that makes room for a newcomer to a full server. `silent` says of a slot of the
    /// caller's table, which has this number of slots, the address and the name of its connection, if
    /// that has never sent a byte and is older than [`DISPLACED_AFTER`].
    ///
    /// A search looks at 64 slots and goes on where the last one ended, at `cursor`, so that a full server
    /// costs a newcomer, and the other peers' time, a bounded number of steps.
    pub fn find_displaced<T>(
        &self,
        cursor: &mut usize,
        slots: usize,
        mut silent: impl FnMut(usize) -> Option<(AddressKey, T)>,
    ) -> Option<T> {
        (0..LOOKS.min(slots)).find_map(|_| {
            let slot = *cursor % slots;
            *cursor = slot + 1;
            let (key, name) = silent(slot)?;
            self.has_most(key).then_some(name)
        })
    }

    /// Whether an address has the most connections, or nearly: at least seven eighths as many as any
    /// other. Of two addresses that are nearly equal, either will do.
    fn has_most(&self, key: AddressKey) -> bool {
        let nearly = self.highest - self.highest / 8;
        self.counts.get(&key).is_some_and(|count| *count >= nearly)
    }
}

/// Whether this is the host itself. An IPv4 address is looked at first: it is most peers' and costs
/// least.
fn is_loopback(peer: IpAddr) -> bool {
    match peer {
        IpAddr::V4(peer) => peer.is_loopback(),
        IpAddr::V6(peer) => peer.to_canonical().is_loopback(),
    }
}

/// The limit of one address, if none is given: half of all connections.
fn default_limit(max_connections: usize) -> usize {
    (max_connections / 2).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_ipv6_host_has_one_address_however_many_it_uses() {
        let same = |one, other| AddressKey::of(ip(one)) == AddressKey::of(ip(other));
        assert!(same("2001:db8::1", "2001:db8::ffff:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("::1", "0.0.0.0"));
    }

    #[test]
    fn half_of_all_connections_are_the_most_unless_another_limit_is_given() {
        let admitted = |limit, peer| {
            let mut table = PerAddress::new(limit, 10);
            let counted = |_: &i32| !matches!(table.admit(ip(peer)), Admission::Refused(_));
            (0..100).filter(counted).count()
        };
        assert_eq!(admitted(None, "192.0.2.1"), 5);
        assert_eq!(admitted(None, "127.0.0.1"), 100);
        assert_eq!(admitted(None, "::ffff:127.0.0.1"), 100);
        assert_eq!(admitted(Some(3), "192.0.2.1"), 3);
        assert_eq!(admitted(Some(3), "127.0.0.1"), 3);
        assert_eq!(admitted(Some(0), "192.0.2.1"), 100);
        assert_eq!((default_limit(1), default_limit(3)), (1, 1));
    }

    proptest! {
        /// The highest count is the highest count, whatever comes and goes.
        #[test]
        fn the_address_with_most_connections_is_known(
            steps in prop::collection::vec((any::<bool>(), 0..5u32), 0..200),
        ) {
            let mut table = PerAddress::new(Some(8), 0);
            let mut counts = [0; 5];
            for (comes, host) in steps {
                let peer = IpAddr::V4((0xc000_0200 + host).into());
                let count = &mut counts[host as usize];
                if comes {
                    let admission = table.admit(peer);
                    prop_assert_eq!(admission == Admission::Refused(8), *count == 8);
                    *count = (*count + 1).min(8);
                } else if *count > 0 {
                    table.release(AddressKey::of(peer));
                    *count -= 1;
                }
                let most = *counts.iter().max().unwrap();
                for (host, count) in (0..).zip(counts) {
                    let key = AddressKey::of(IpAddr::V4((0xc000_0200 + host).into()));
                    let nearly = most - most / 8;
                    prop_assert_eq!(table.has_most(key), count > 0 && count >= nearly);
                }
            }
            let open = counts.iter().filter(|count| **count > 0).count();
            prop_assert_eq!(table.counts.len(), open);
        }
    }
}
