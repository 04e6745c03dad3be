//! How a replica loses the state, and gets it again: by a snapshot, or by a reset.

use std::mem;
use std::sync::Arc;

use super::{KEPT_MAX, OTHERS_MAX, Replica, UNSETTLED_MAX, Unsynced};
use crate::backplane::entry::{Body, Entry, Origin, Part, Position};
use crate::backplane::log::Record;
use crate::backplane::membership::{Member, Membership};

impl Replica {
    /// Asks for a snapshot, if this server is not in sync and has not asked.
    pub(super) fn ask(&mut self) {
        if let Some(unsynced) = &mut self.unsynced
            && self.has_caught_up
            && !mem::replace(&mut unsynced.is_asking, true)
        {
            unsynced.asked_at = self.presence.now();
            self.owe(&Body::Ask);
        }
    }

    /// The state is not known any more.
    pub(super) fn lose_sync(&mut self) {
        if let Some(unsynced) = self.unsynced.take() {
            unsynced
                .kept
                .into_iter()
                .for_each(|record| self.tell_past(&record));
        }
        let membership = mem::take(&mut self.membership);
        let own = membership.members_of(self.me).cloned();
        self.lost
            .extend(own.map(|member| (member.id.number, member)));
        self.unsynced = Some(Unsynced::default());
        self.at = Position::START;
        self.has_told_synced = false;
        self.announcing = 0;
        self.answered = Position::START;
    }

    pub(super) fn take_unsynced(&mut self, record: &Record, entry: &Entry<'_>) {
        self.at = record.at;
        if entry.body == Body::Reset {
            return self.begin_anew(record);
        }
        let is_own = entry.stamp.origin == self.me;
        if is_own && entry.stamp.seq > self.own {
            self.note_unsettled(record, &entry.body);
        }
        self.note_own(entry.stamp);
        let Some(unsynced) = &mut self.unsynced else {
            return;
        };
        match &entry.body {
            Body::Ask if is_own && unsynced.is_asking && unsynced.asked.is_none() => {
                unsynced.asked = Some(record.at);
                unsynced.asked_at = self.presence.now();
            }
            Body::Ask if !is_own && unsynced.others.len() < OTHERS_MAX => {
                unsynced.others.push(entry.stamp.origin);
            }
            Body::Snapshot(part) if part.is_last => unsynced.others.clear(),
            _ => {}
        }
        let Some(asked) = unsynced.asked else {
            self.tell_past(record);
            return self.ask();
        };
        unsynced.kept_bytes += record.bytes.len();
        unsynced.kept.push(record.clone());
        if unsynced.kept_bytes > KEPT_MAX {
            return self.lose_sync();
        }
        if let Body::Snapshot(part) = &entry.body
            && part.of >= asked
            && self.add_part(record, entry.stamp.origin, part)
        {
            self.install(part.of);
        }
    }

    /// Takes in an own entry that was trimmed before it was read.
    pub(super) fn take_unread(&mut self, bytes: Arc<[u8]>) {
        let at = Position::START;
        let record = Record { at, bytes };
        if self.unsynced.is_none() {
            self.lose_sync();
            self.tell_gap();
            self.ask();
        }
        if let Ok(entry) = record.entry()
            && entry.stamp.seq > self.own
        {
            self.note_unsettled(&record, &entry.body);
            self.note_own(entry.stamp);
        }
    }

    /// Adds a part to the snapshot that comes in, and returns whether it is complete.
    pub(super) fn add_part(&mut self, record: &Record, from: Origin, part: &Part<'_>) -> bool {
        let Some(unsynced) = &mut self.unsynced else {
            return false;
        };
        let follows = |last: &Record| match last.entry() {
            Ok(last) => {
                let Body::Snapshot(before) = last.body else {
                    return false;
                };
                let is_same = last.stamp.origin == from && before.of == part.of;
                is_same && before.index + 1 == part.index
            }
            Err(_) => false,
        };
        if part.index == 0 {
            unsynced.parts.clear();
        } else if !unsynced.parts.last().is_some_and(follows) {
            return false;
        }
        unsynced.parts.push(record.clone());
        part.is_last
    }

    /// Takes the state of a snapshot, and applies what followed it.
    pub(super) fn install(&mut self, of: Position) {
        let Some(unsynced) = self.unsynced.take() else {
            return;
        };
        let parts = unsynced
            .parts
            .iter()
            .filter_map(|record| record.entry().ok());
        let parts = parts.filter_map(|entry| match entry.body {
            Body::Snapshot(part) => Some(part),
            _ => None,
        });
        self.membership = Membership::from_snapshot(parts);
        // Of own entries that follow the snapshot the effects are told.
        self.unsettled.retain(|record| record.at <= of);
        self.settle_own(false);
        // The duties of this server are seen to once, at the end.
        let has_caught_up = mem::take(&mut self.has_caught_up);
        for record in unsynced.kept {
            match record.at <= of && self.unsynced.is_none() {
                true => self.tell_past(&record),
                false => self.take(&record),
            }
        }
        self.has_caught_up = has_caught_up;
        if self.unsynced.is_none() {
            let membership = &self.membership;
            // A member whose token another one has was taken over.
            let is_known = |member: &Member| {
                let token = member.token.as_ref();
                let bearer = token.and_then(|token| membership.by_token(token));
                bearer.is_some() || membership.member(member.id).is_some()
            };
            self.lost.retain(|_, member| !is_known(member));
            self.settle(false);
        } else {
            self.ask();
        }
    }

    /// The state is empty, which is known.
    pub(super) fn begin_anew(&mut self, record: &Record) {
        if let Some(unsynced) = self.unsynced.take() {
            unsynced
                .kept
                .into_iter()
                .for_each(|record| self.tell_past(&record));
        }
        self.take(record);
        self.settle(true);
    }

    /// The replica is in sync again. Announces what is missing, and says again what may have been lost.
    pub(super) fn settle(&mut self, is_reset: bool) {
        self.settle_own(is_reset);
        self.see_to_it();
        self.tell_synced();
    }

    /// Says own entries again whose effect is not in the state.
    pub(super) fn settle_own(&mut self, is_reset: bool) {
        for record in mem::take(&mut self.unsettled) {
            let Ok(entry) = record.entry() else {
                continue;
            };
            if is_reset || self.is_open(&entry) {
                self.say_again(&record, &entry.body);
            }
        }
    }

    /// Notes an own entry, if it has to be said again unless its effect is in the state.
    pub(super) fn note_unsettled(&mut self, record: &Record, body: &Body<'_>) {
        if let Body::Leave { members, .. } = body {
            members
                .iter()
                .for_each(|number| drop(self.lost.remove(number)));
        }
        let is_noted = matches!(
            body,
            Body::Join(_)
                | Body::Leave { .. }
                | Body::Move { .. }
                | Body::Rename { .. }
                | Body::Takeover { .. }
                | Body::Ban { .. }
                | Body::Unban { .. }
        );
        if is_noted && self.unsettled.len() < UNSETTLED_MAX {
            self.unsettled.push(record.clone());
        }
    }

    /// Whether the state, which is another server's, does not show the effect of an own entry.
    pub(super) fn is_open(&self, entry: &Entry<'_>) -> bool {
        let member = |number: u64| {
            let own = self.membership.members_of(self.me);
            own.into_iter().find(|member| member.id.number == number)
        };
        match &entry.body {
            Body::Join(present) => member(present.number).is_none(),
            Body::Takeover { number, .. } => member(*number).is_none(),
            Body::Leave { members, .. } => members.iter().any(|&number| member(number).is_some()),
            Body::Move { member: id, room } => {
                member(*id).is_some_and(|member| *member.room.fold != *room.fold)
            }
            Body::Rename { member: id, name } => {
                member(*id).is_some_and(|member| member.name.lent() != *name)
            }
            _ => false,
        }
    }
}
