//! Bans: names and addresses that may not join, for a while or for good.
//!
//! A ban has the name of a member and, if it is known and not shared, its address. Bans that have
//! ended are removed by the next method that looks at the list.

use std::net::IpAddr;
use std::time::Duration;

/// Largest number of bans.
const MAX: usize = 1000;
/// Number of bans that `/who` lists; the others are counted.
const LISTED_MAX: usize = 100;

/// The bans, the latest last.
#[derive(Debug, Default)]
pub(super) struct Bans {
    list: Vec<Ban>,
}

#[derive(Debug)]
pub(super) struct Ban {
    /// The name as it is shown.
    pub(super) name: Box<str>,
    /// The name as it is compared.
    pub(super) fold: Box<str>,
    /// `None` if the address is not known, or is the loopback address.
    pub(super) address: Option<IpAddr>,
    /// The end of the ban; `None` if it has none.
    pub(super) until: Option<Duration>,
}

impl Bans {
    /// Number of bans.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether a ban holds for a newcomer, by its name or by its address.
    pub(super) fn hold(&mut self, fold: &str, address: Option<IpAddr>, now: Duration) -> bool {
        self.expire(now);
        let is_meant =
            |ban: &Ban| *ban.fold == *fold || (address.is_some() && ban.address == address);
        self.list.iter().any(is_meant)
    }

    /// Adds a ban, which replaces an earlier one of this name; false if the list is full.
    pub(super) fn add(&mut self, mut ban: Ban, now: Duration) -> bool {
        self.expire(now);
        if let Some(at) = self.find(&ban.fold) {
            // The member may have left since the earlier ban, whose address is then the only one known.
            ban.address = ban.address.or(self.list.remove(at).address);
        }
        let has_room = self.list.len() < MAX;
        if has_room {
            self.list.push(ban);
        }
        has_room
    }

    /// Whether a name is banned.
    pub(super) fn has(&self, fold: &str) -> bool {
        self.find(fold).is_some()
    }

    /// Removes the ban of a name, and returns it.
    pub(super) fn lift(&mut self, fold: &str) -> Option<Ban> {
        self.find(fold).map(|at| self.list.remove(at))
    }

    fn find(&self, fold: &str) -> Option<usize> {
        self.list.iter().position(|ban| *ban.fold == *fold)
    }

    /// The bans in one line; `None` if there are none.
    pub(super) fn describe(&mut self, now: Duration) -> Option<String> {
        self.expire(now);
        let listed = self.list.iter().rev().take(LISTED_MAX);
        let mut words: Vec<String> = listed.map(|ban| ban.describe(now)).collect();
        if let Some(more @ 1..) = self.list.len().checked_sub(LISTED_MAX) {
            words.push(format!("and {more} more"));
        }
        (!words.is_empty()).then(|| words.join(", "))
    }

    fn expire(&mut self, now: Duration) {
        self.list
            .retain(|ban| ban.until.is_none_or(|until| until > now));
    }
}

impl Ban {
    /// The ban in words: name, address, time left.
    pub(super) fn describe(&self, now: Duration) -> String {
        let address = self.address.map(|address| format!(" ({address})"));
        let seconds = |until: Duration| until.saturating_sub(now).as_secs().max(1);
        let left = self.until.map(|until| {
            let left = Duration::from_secs(seconds(until));
            format!(" for {}", humantime::format_duration(left))
        });
        [Some(self.name.to_string()), address, left]
            .into_iter()
            .flatten()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn ban(name: &str, address: Option<IpAddr>, until: Option<Duration>) -> Ban {
        Ban {
            name: name.into(),
            fold: name.to_lowercase().into(),
            address,
            until,
        }
    }

    #[test]
    fn a_ban_holds_for_the_name_and_the_address_until_its_end() {
        let mut bans = Bans::default();
        assert!(bans.add(ban("Eve", Some(ADDRESS), Some(MINUTE)), Duration::ZERO));
        assert!(bans.add(ban("mal", None, None), Duration::ZERO));
        let before = Duration::from_millis(59_999);
        for (fold, address, held) in [
            ("eve", None, true),
            ("zoe", Some(ADDRESS), true),
            ("mal", None, true),
            ("zoe", None, false),
        ] {
            assert_eq!(bans.hold(fold, address, before), held, "{fold}");
        }
        let told = bans.describe(before).unwrap();
        assert_eq!(told, "mal, Eve (192.0.2.1) for 1s");
        assert!(!bans.hold("eve", Some(ADDRESS), MINUTE));
        assert!(bans.hold("mal", None, 1_000_000 * MINUTE));
        assert!(bans.has("mal") && bans.lift("mal").is_some());
        assert!(!bans.has("mal") && bans.lift("mal").is_none());
        assert_eq!(bans.describe(MINUTE), None);
    }

    #[test]
    fn a_ban_is_changed_and_the_list_has_an_end() {
        let mut bans = Bans::default();
        bans.add(ban("eve", Some(ADDRESS), Some(MINUTE)), Duration::ZERO);
        bans.add(ban("eve", None, None), Duration::ZERO);
        assert_eq!(bans.describe(MINUTE).unwrap(), "eve (192.0.2.1)");
        for number in 1..MAX {
            assert!(bans.add(ban(&number.to_string(), None, None), MINUTE));
        }
        assert!(!bans.add(ban("zoe", None, None), MINUTE));
        assert!(bans.add(ban("eve", None, Some(2 * MINUTE)), MINUTE));
        let told = bans.describe(MINUTE).unwrap();
        assert!(
            told.starts_with("eve (192.0.2.1) for 1m, 999, 998, "),
            "{told}"
        );
        assert!(told.ends_with(", and 900 more"), "{told}");
        assert!(
            bans.add(ban("zoe", None, None), 3 * MINUTE),
            "there is room again"
        );
    }
}
