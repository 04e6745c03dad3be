//! Names that are taken, each with what has it: a member or a room.

use std::collections::HashMap;

use crate::backplane::entry::Name;

/// A [`Name`] that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedName {
    /// The name as it is shown.
    pub shown: Box<str>,
    /// The form that is compared.
    pub fold: Box<str>,
    /// The form that look-alikes share; empty if looks do not count.
    pub look: Box<str>,
}

impl OwnedName {
    /// The name as an entry has it.
    #[must_use]
    pub fn lent(&self) -> Name<'_> {
        Name {
            shown: &self.shown,
            fold: &self.fold,
            look: &self.look,
        }
    }
}

impl From<Name<'_>> for OwnedName {
    fn from(name: Name<'_>) -> OwnedName {
        OwnedName {
            shown: name.shown.into(),
            fold: name.fold.into(),
            look: name.look.into(),
        }
    }
}

/// Holders by name.
#[derive(Clone, Debug)]
pub(super) struct Names<T> {
    by_fold: HashMap<Box<str>, T>,
    /// The fold of the name that has each look. If two names share a look, which the check of a claim
    /// prevents, the first has it.
    by_look: HashMap<Box<str>, Box<str>>,
}

impl<T> Default for Names<T> {
    fn default() -> Names<T> {
        Names {
            by_fold: HashMap::new(),
            by_look: HashMap::new(),
        }
    }
}

impl<T> Names<T> {
    pub(super) fn get(&self, fold: &str) -> Option<&T> {
        self.by_fold.get(fold)
    }

    pub(super) fn get_mut(&mut self, fold: &str) -> Option<&mut T> {
        self.by_fold.get_mut(fold)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.by_fold.values()
    }

    /// Checks that a name is free, or that a variant of it is held by the claimant. The error tells
    /// whether it is a look-alike that is taken.
    pub(super) fn check(
        &self,
        name: &Name<'_>,
        is_claimant: impl Fn(&T) -> bool,
    ) -> Result<(), bool> {
        let is_other = |holder: &&T| !is_claimant(holder);
        if self.get(name.fold).as_ref().is_some_and(is_other) {
            return Err(false);
        }
        let alike = self.by_look.get(name.look).and_then(|fold| self.get(fold));
        match alike.filter(is_other) {
            Some(_) => Err(true),
            None => Ok(()),
        }
    }

    pub(super) fn insert(&mut self, name: &Name<'_>, holder: T) {
        self.by_fold.insert(name.fold.into(), holder);
        if !name.look.is_empty() {
            self.by_look
                .entry(name.look.into())
                .or_insert_with(|| name.fold.into());
        }
    }

    pub(super) fn remove(&mut self, name: &Name<'_>) {
        self.by_fold.remove(name.fold);
        if self
            .by_look
            .get(name.look)
            .is_some_and(|fold| **fold == *name.fold)
        {
            self.by_look.remove(name.look);
        }
    }
}
