//! Bans: names and addresses that may not join, for a while or for good.
//!
//! A ban has the name of a member and, if it is known and not shared, its address. If there are other
//! servers, the bans are those that follow from the log.

use std::net::IpAddr;
use std::time::Duration;

use edgeloop_reactor::Outbox;

use super::Chat;
use super::bounds::ENTRY;
use crate::backplane::membership::{Ban, Bans};

/// Number of bans that `/who` lists; the others are counted.
const LISTED_MAX: usize = 100;

impl Chat {
    pub(super) fn bans(&self) -> &Bans {
        let replica = self.replica.as_ref();
        replica.map_or(&self.bans, |replica| replica.membership().bans())
    }

    /// Whether a ban holds for a newcomer, by its name or by its address.
    pub(super) fn is_banned(&self, name: &str, address: Option<IpAddr>, out: &mut Outbox) -> bool {
        let bans = self.bans();
        out.charge(bans.all().len() * ENTRY);
        let fold = self.name_rules.fold(name);
        !bans.all().is_empty() && bans.hold(&fold, address, self.millis(out))
    }
}

/// The bans that hold, in one line, the latest first; `None` if there are none.
pub(super) fn describe(bans: &Bans, now: u64) -> Option<String> {
    let holding = bans.all().iter().rev().filter(|ban| ban.holds(now));
    let mut words: Vec<String> = holding.map(|ban| in_words(ban, now)).collect();
    if let Some(more @ 1..) = words.len().checked_sub(LISTED_MAX) {
        words.truncate(LISTED_MAX);
        words.push(format!("and {more} more"));
    }
    (!words.is_empty()).then(|| words.join(", "))
}

/// A ban in words: name, address, time left. `now`: milliseconds since 1970.
pub(super) fn in_words(ban: &Ban, now: u64) -> String {
    let address = ban.address.map(|address| format!(" ({address})"));
    let left = ban.until.map(|until| {
        let seconds = (until.saturating_sub(now) / 1000).max(1);
        format!(
            " for {}",
            humantime::format_duration(Duration::from_secs(seconds))
        )
    });
    let name = Some(ban.name.shown.to_string());
    [name, address, left].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::backplane::entry::{Barred, Name};

    const MINUTE: u64 = 60_000;
    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn ban(bans: &mut Bans, shown: &str, address: Option<IpAddr>, until: Option<u64>, now: u64) {
        let fold = shown.to_lowercase();
        let name = Name {
            shown,
            fold: &fold,
            look: "",
        };
        let ban = Barred {
            name,
            address,
            until,
        };
        bans.add(&ban, now).expect("there is room");
    }

    #[test]
    fn bans_are_told_the_latest_first_with_the_time_that_is_left() {
        let mut bans = Bans::default();
        ban(&mut bans, "Eve", Some(ADDRESS), Some(MINUTE), 0);
        ban(&mut bans, "mal", None, None, 0);
        let told = describe(&bans, MINUTE - 1).unwrap();
        assert_eq!(told, "mal, Eve (192.0.2.1) for 1s");
        assert_eq!(describe(&bans, MINUTE).unwrap(), "mal");
        for number in 1..=LISTED_MAX + 50 {
            ban(&mut bans, &number.to_string(), None, None, MINUTE);
        }
        let told = describe(&bans, MINUTE).unwrap();
        assert!(told.starts_with("150, 149, 148, "), "{told}");
        assert!(told.ends_with(", 51, and 51 more"), "{told}");
        assert_eq!(describe(&Bans::default(), 0), None);
    }
}
