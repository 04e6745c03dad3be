//! Bans of names and addresses.

use std::net::IpAddr;

use super::effect::Refusal;
use super::names::OwnedName;
use crate::backplane::entry::Barred;

/// Largest number of bans.
const MAX: usize = 1000;

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The name.
    pub name: OwnedName,
    /// The address of the member that had the name, if it is known and may be banned.
    pub address: Option<IpAddr>,
    /// The end of the ban, in milliseconds since 1970; `None` if it has none.
    pub until: Option<u64>,
}

impl Ban {
    /// The ban as an entry has it.
    #[must_use]
    pub fn lent(&self) -> Barred<'_> {
        Barred {
            name: self.name.lent(),
            address: self.address,
            until: self.until,
        }
    }

    /// Whether the ban holds at this time.
    #[must_use]
    pub fn holds(&self, millis: u64) -> bool {
        self.until.is_none_or(|until| until > millis)
    }
}

/// The bans, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bans(Vec<Ban>);

impl Bans {
    /// All bans; some may have ended.
    #[must_use]
    pub fn all(&self) -> &[Ban] {
        &self.0
    }

    /// Whether a ban holds for a name, given by its fold, or an address at this time, in milliseconds
    /// since 1970.
    #[must_use]
    pub fn hold(&self, fold: &str, address: Option<IpAddr>, millis: u64) -> bool {
        let is_meant =
            |ban: &Ban| *ban.name.fold == *fold || (address.is_some() && ban.address == address);
        self.0.iter().any(|ban| ban.holds(millis) && is_meant(ban))
    }

    /// Adds a ban, which replaces an earlier one of this name, and drops those that have ended.
    ///
    /// Errors: there are too many.
    pub fn add(&mut self, ban: &Barred<'_>, millis: u64) -> Result<(), Refusal> {
        self.0.retain(|ban| ban.holds(millis));
        let former = self.find(ban.name.fold).map(|at| self.0.remove(at));
        if self.0.len() == MAX {
            return Err(Refusal::Full);
        }
        // The member may have left since the earlier ban, whose address is then the only one known.
        let address = ban.address.or(former.and_then(|former| former.address));
        self.push(&Barred { address, ..*ban });
        Ok(())
    }

    /// Adds a ban that another server knows, unless one of this name is known.
    pub(super) fn add_missing(&mut self, ban: &Barred<'_>, millis: u64) {
        self.0.retain(|ban| ban.holds(millis));
        if self.find(ban.name.fold).is_none() {
            self.push(ban);
            self.0.retain(|ban| ban.holds(millis));
        }
    }

    /// Adds a ban of a snapshot.
    pub(super) fn push(&mut self, ban: &Barred<'_>) {
        if self.0.len() < MAX {
            self.0.push(Ban {
                name: ban.name.into(),
                address: ban.address,
                until: ban.until,
            });
        }
    }

    /// Removes the ban of a name, given by its fold, and returns it.
    pub fn lift(&mut self, fold: &str) -> Option<Ban> {
        self.find(fold).map(|at| self.0.remove(at))
    }

    /// Whether a name, given by its fold, is banned.
    #[must_use]
    pub fn has(&self, fold: &str) -> bool {
        self.find(fold).is_some()
    }

    fn find(&self, fold: &str) -> Option<usize> {
        self.0.iter().position(|ban| *ban.name.fold == *fold)
    }
}
