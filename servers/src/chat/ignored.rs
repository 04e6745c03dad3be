//! Ignore lists.
//!
//! An ignore list holds names rather than connections. So it covers lines in the history, and a
//! member that comes back. When a member changes its name, each list that has the old name gets the
//! new one as an alias.
//!
//! Each name on any list has a number, and a list is a sorted vector of numbers. A broadcast looks up
//! the author's number once; for each hearer it takes a binary search among a few numbers, and no
//! names are compared.

use std::collections::HashMap;

use slab::Slab;

/// Longest ignore list of one member, in names without aliases.
pub(super) const NAMES_MAX: usize = 100;
/// Aliases that a list keeps for each of its names.
const ALIASES_MAX: usize = 8;

/// The names on all lists.
#[derive(Debug, Default)]
pub(super) struct IgnoredNames {
    names: Slab<IgnoredName>,
    numbers: HashMap<Box<str>, u32>,
}

#[derive(Debug)]
struct IgnoredName {
    /// The name as the first list spelt it.
    name: Box<str>,
    /// The name as it is compared.
    fold: Box<str>,
    /// Number of lists that have the name.
    lists: usize,
}

impl IgnoredNames {
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The number of a name, given as it is compared; `None` if no list has it.
    pub(super) fn number(&self, fold: &str) -> Option<u32> {
        self.numbers.get(fold).copied()
    }

    pub(super) fn name(&self, number: u32) -> &str {
        &self.names[number as usize].name
    }

    pub(super) fn fold(&self, number: u32) -> &str {
        &self.names[number as usize].fold
    }

    /// Counts one more list that has a name, and returns the number of the name.
    fn acquire(&mut self, name: &str, fold: &str) -> u32 {
        let number = *self.numbers.entry(fold.into()).or_insert_with(|| {
            let (name, fold) = (name.into(), fold.into());
            let lists = 0;
            self.names.insert(IgnoredName { name, fold, lists }) as u32
        });
        self.names[number as usize].lists += 1;
        number
    }

    /// Counts one list less. The last release removes the name.
    fn release(&mut self, number: u32) {
        let name = &mut self.names[number as usize];
        name.lists -= 1;
        if name.lists == 0 {
            let name = self.names.remove(number as usize);
            self.numbers.remove(&name.fold);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.names.len(), self.numbers.len());
        self.names.len()
    }
}

/// The names that one member ignores.
#[derive(Debug, Default)]
pub(super) struct IgnoreList {
    /// Sorted by number.
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u32,
    /// The number of the name that the member has typed: equal to `number`, unless this entry is an
    /// alias.
    written: u32,
}

impl IgnoreList {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of names, aliases included.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// If a name is ignored: the number of the name that was typed, of which it may be an alias.
    pub(super) fn find(&self, number: u32) -> Option<u32> {
        let found = self
            .entries
            .binary_search_by_key(&number, |entry| entry.number);
        found.ok().map(|at| self.entries[at].written)
    }

    /// Puts a name on the list, or takes it off with its aliases. `None`: the list is full.
    pub(super) fn toggle(
        &mut self,
        name: &str,
        fold: &str,
        names: &mut IgnoredNames,
    ) -> Option<Toggled> {
        let known = names.number(fold).and_then(|number| self.find(number));
        if let Some(written) = known {
            self.retain(names, |entry| entry.written != written);
            return Some(Toggled::Off);
        }
        let written = self
            .entries
            .iter()
            .filter(|entry| entry.number == entry.written);
        if written.count() == NAMES_MAX {
            return None;
        }
        let number = names.acquire(name, fold);
        self.insert(number, number);
        Some(Toggled::On)
    }

    /// Adds `name` as an alias of `old`, which is on the list: a member has changed its name. If the
    /// list has all the aliases it may have, it drops one, preferably one that no member uses
    /// (`is_free`).
    pub(super) fn follow(
        &mut self,
        old: u32,
        (name, fold): (&str, &str),
        names: &mut IgnoredNames,
        is_free: impl Fn(&str) -> bool,
    ) {
        let known = names.number(fold).and_then(|number| self.find(number));
        let (Some(written), None) = (self.find(old), known) else {
            return;
        };
        let mut aliases = self
            .entries
            .iter()
            .filter(|entry| entry.written == written && entry.number != written);
        if aliases.clone().count() == ALIASES_MAX {
            let first = aliases.clone().next();
            let free = aliases.find(|entry| is_free(names.fold(entry.number)));
            let forgotten = free.or(first).map(|entry| entry.number);
            self.retain(names, |entry| Some(entry.number) != forgotten);
        }
        let number = names.acquire(name, fold);
        self.insert(number, written);
    }

    /// The names, each with the place in this list of the name that was typed, of which it may be an
    /// alias.
    pub(super) fn names<'a>(
        &'a self,
        names: &'a IgnoredNames,
    ) -> impl Iterator<Item = (&'a str, u64)> {
        let place = |number: u32| self.entries.partition_point(|entry| entry.number < number);
        self.entries
            .iter()
            .map(move |entry| (names.name(entry.number), place(entry.written) as u64))
    }

    /// Puts the names of another list on this one, which is empty.
    pub(super) fn restore(
        &mut self,
        list: &[(&str, u64)],
        fold: impl Fn(&str) -> String,
        names: &mut IgnoredNames,
    ) {
        let list = &list[..list.len().min(NAMES_MAX * (1 + ALIASES_MAX))];
        let numbers = list
            .iter()
            .map(|(name, _)| names.acquire(name, &fold(name)));
        let numbers: Vec<u32> = numbers.collect();
        for (number, (_, typed)) in numbers.iter().zip(list) {
            match (self.find(*number), numbers.get(*typed as usize)) {
                (None, Some(written)) => self.insert(*number, *written),
                _ => names.release(*number),
            }
        }
    }

    /// Empties the list.
    pub(super) fn clear(&mut self, names: &mut IgnoredNames) {
        self.retain(names, |_| false);
    }

    fn insert(&mut self, number: u32, written: u32) {
        let at = self.entries.partition_point(|entry| entry.number < number);
        self.entries.insert(at, Entry { number, written });
    }

    fn retain(&mut self, names: &mut IgnoredNames, stays: impl Fn(&Entry) -> bool) {
        self.entries.retain(|entry| {
            let stays = stays(entry);
            if !stays {
                names.release(entry.number);
            }
            stays
        });
    }
}

/// The effect of a toggle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toggled {
    On,
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignores(list: &IgnoreList, names: &IgnoredNames, fold: &str) -> bool {
        let number = names.number(fold);
        number.is_some_and(|number| list.find(number).is_some())
    }

    #[test]
    fn a_name_is_kept_as_long_as_a_list_has_it() {
        let mut names = IgnoredNames::default();
        let (mut one, mut other) = (IgnoreList::default(), IgnoreList::default());
        assert_eq!(one.toggle("Eve", "eve", &mut names), Some(Toggled::On));
        assert_eq!(other.toggle("eve", "eve", &mut names), Some(Toggled::On));
        assert!(ignores(&one, &names, "eve") && ignores(&other, &names, "eve"));
        assert_eq!(names.name(names.number("eve").unwrap()), "Eve");
        assert_eq!(one.toggle("EVE", "eve", &mut names), Some(Toggled::Off));
        assert!(one.is_empty() && ignores(&other, &names, "eve"));
        other.clear(&mut names);
        assert_eq!(names.len(), 0);
    }

    #[test]
    fn aliases_follow_a_member_and_leave_the_list_together() {
        let (mut names, mut list) = (IgnoredNames::default(), IgnoreList::default());
        list.toggle("eve", "eve", &mut names);
        list.toggle("mal", "mal", &mut names);
        for (old, new) in [("eve", "zoe"), ("zoe", "pat"), ("pat", "mal")] {
            let old = names.number(old).unwrap();
            list.follow(old, (new, new), &mut names, |_| true);
        }
        for name in ["eve", "zoe", "pat", "mal"] {
            assert!(ignores(&list, &names, name), "{name}");
        }
        list.toggle("pat", "pat", &mut names);
        for name in ["eve", "zoe", "pat"] {
            assert!(!ignores(&list, &names, name), "{name}");
        }
        assert!(ignores(&list, &names, "mal"), "another member");
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn however_many_names_a_member_takes_the_list_stays_short() {
        let (mut names, mut list) = (IgnoredNames::default(), IgnoreList::default());
        list.toggle("eve", "eve", &mut names);
        let mut old = "eve".to_owned();
        for number in 0..1000 {
            let new = format!("e{number}");
            let from = names.number(&old).unwrap();
            // The first alias is in use by another member.
            let is_free = |fold: &str| fold != "e0";
            list.follow(from, (&new, &new), &mut names, is_free);
            assert!(ignores(&list, &names, &new));
            old = new;
        }
        assert_eq!(names.len(), 1 + ALIASES_MAX);
        for name in ["eve", "e0", "e999"] {
            assert!(ignores(&list, &names, name), "{name}");
        }
    }

    #[test]
    fn a_list_is_restored_with_its_aliases() {
        let mut names = IgnoredNames::default();
        let (mut list, mut other) = (IgnoreList::default(), IgnoreList::default());
        for name in ["zoe", "eve", "mal"] {
            list.toggle(name, name, &mut names);
        }
        let eve = names.number("eve").unwrap();
        list.follow(eve, ("Pat", "pat"), &mut names, |_| true);
        let told: Vec<(Box<str>, u64)> = list
            .names(&names)
            .map(|(name, typed)| (name.into(), typed))
            .collect();
        let mut told: Vec<(&str, u64)> = told.iter().map(|(name, at)| (&**name, *at)).collect();
        list.clear(&mut names);
        told.extend([("mal", 0), ("bob", 1000)]);
        other.restore(&told, str::to_lowercase, &mut names);
        assert_eq!((names.len(), other.len()), (4, 4));
        other.toggle("eve", "eve", &mut names);
        assert!(!ignores(&other, &names, "pat") && ignores(&other, &names, "mal"));
        other.clear(&mut names);
        assert_eq!(names.len(), 0);
    }

    #[test]
    fn a_full_list_takes_no_more_names() {
        let (mut names, mut list) = (IgnoredNames::default(), IgnoreList::default());
        for number in 0..NAMES_MAX {
            let name = number.to_string();
            assert_eq!(list.toggle(&name, &name, &mut names), Some(Toggled::On));
        }
        assert_eq!(list.toggle("eve", "eve", &mut names), None);
        assert_eq!(list.toggle("7", "7", &mut names), Some(Toggled::Off));
        assert_eq!(list.toggle("eve", "eve", &mut names), Some(Toggled::On));
    }
}
