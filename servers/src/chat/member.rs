//! The state of one connection.
//!
//! Thousands of members may say nothing for hours, so the size of an idle member matters. Every
//! member has the few fields of [`Member`]. The state that a member needs only for a while is in a
//! boxed [`Extra`], which is allocated when one of its fields is first needed, and freed by
//! [`Member::put_input`], at the end of each read, if all of them are empty.
//!
//! The fields of [`Extra`] are also the reasons why a member's input may rest: bytes are held, a line
//! is kept for its room, an entry of the log is to be read, the message of the day is being shown, or
//! the pending output is above the high-water mark. `input.rs` acts on them.

use std::sync::Arc;
use std::time::Duration;

use edgeloop_reactor::Peer;

use super::ignored::IgnoreList;
use super::keys::Input;
use super::pace::{Bucket, Pace, RENAME, Rates};
use super::reading::Reading;

/// A connection, before and after it has a name.
#[derive(Debug)]
pub(super) struct Member {
    /// Empty until the member has joined.
    name: Arc<str>,
    pub(super) pace: Pace,
    /// Number of the member's room, once it has joined.
    pub(super) room: u32,
    /// Index in the room's list of members.
    pub(super) place: u32,
    extra: Option<Box<Extra>>,
}

/// The state that a member needs for a while, or never.
#[derive(Debug, Default)]
pub(super) struct Extra {
    /// An incomplete line or Telnet command.
    input: Input,
    pub(super) held: Held,
    /// A line that waits for a room.
    pub(super) kept: Option<Kept>,
    /// The rest of a long message of the day.
    pub(super) reading: Option<Reading>,
    /// The pending output is above the high-water mark.
    pub(super) above: bool,
    /// The stream has ended; held bytes and a kept line are processed first.
    pub(super) ended: bool,
    /// The entry of the log that the member waits for.
    pub(super) awaits: Option<Awaited>,
    /// Number of entries of the member in the log that are not read yet.
    pub(super) in_flight: u32,
    /// The last outage of the log that the member was told of. It lasts no longer than what waits.
    pub(super) outage: u32,
    /// The member had a name, and may try until it has one again.
    pub(super) has_lost_name: bool,
    ignored: IgnoreList,
    /// How often the member may change its name. It stays until the member leaves.
    renames: Bucket,
    /// The peer, for the log, until the member has a name.
    peer: Option<Peer>,
}

/// An entry that was appended for a member, and is not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The claim of a newcomer, whose further lines wait.
    Join,
    /// A step into another room or another name of a member, by which its further lines are judged, so
    /// that these wait.
    Step,
    /// The leave of a member, which has no connection any more.
    Leave,
    /// The membership that a page had on another server, see `taking_over.rs`. The page is told nothing
    /// until it has that.
    Membership,
}

/// The place of a member in a room whose lines it is not told yet.
pub(super) const NOWHERE: u32 = u32::MAX;

/// A line that may not be said yet.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) line: Box<[u8]>,
    /// The room in whose queue the member stands; `None` if that room has ended.
    pub(super) room: Option<u32>,
}

/// Bytes that came faster than their lines may be said.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// Number of `bytes` that have been processed.
    done: usize,
}

impl Held {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.done..]
    }

    /// Notes that all but the last `left` bytes have been processed.
    pub(super) fn keep_last(&mut self, left: usize) {
        self.done = self.bytes.len() - left;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }
}

impl Extra {
    /// Whether a line waits for a room, an entry is to be read, or the message of the day is being shown.
    fn is_busy(&self) -> bool {
        self.kept.is_some() || self.awaits.is_some() || self.reading.is_some()
    }

    fn is_empty(&self) -> bool {
        self.input.is_idle()
            && self.held.is_empty()
            && self.kept.is_none()
            && self.reading.is_none()
            && !self.above
            && !self.ended
            && self.awaits.is_none()
            && self.in_flight == 0
            && !self.has_lost_name
            && self.ignored.is_empty()
            && self.renames == Bucket::default()
            && self.peer.is_none()
    }
}

impl Member {
    /// A newcomer, which has no name yet.
    pub(super) fn new(peer: Peer) -> Member {
        Member {
            name: Arc::default(),
            pace: Pace::default(),
            room: 0,
            place: 0,
            extra: Some(Box::new(Extra {
                peer: Some(peer),
                ..Extra::default()
            })),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The name, for an entry of the log, which outlives a borrow of the member.
    pub(super) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Sets the name, and returns the old one.
    pub(super) fn set_name(&mut self, name: &str) -> Arc<str> {
        std::mem::replace(&mut self.name, name.into())
    }

    /// Counts a change of the name; if there were too many, returns the seconds until the next one, and
    /// 0 otherwise.
    pub(super) fn may_rename(&mut self, rates: Rates, now: Duration) -> u64 {
        let renames = &mut self.extra_mut().renames;
        let wait = renames.wait(rates.renames, RENAME, now);
        if wait.is_zero() {
            renames.spend(rates.renames, RENAME, now);
        }
        wait.as_millis().div_ceil(1000) as u64
    }

    /// Whether the member has a name, and so is in a room.
    pub(super) fn has_joined(&self) -> bool {
        !self.name.is_empty()
    }

    pub(super) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(super) fn peer(&self) -> Option<Peer> {
        self.extra().and_then(|extra| extra.peer)
    }

    pub(super) fn take_peer(&mut self) -> Option<Peer> {
        self.extra.as_mut().and_then(|extra| extra.peer.take())
    }

    pub(super) fn extra(&self) -> Option<&Extra> {
        self.extra.as_deref()
    }

    /// Whether the end of the member's stream has to wait: held bytes, a kept line or the message of
    /// the day come first.
    pub(super) fn is_held(&self) -> bool {
        self.extra()
            .is_some_and(|extra| !extra.held.is_empty() || extra.is_busy())
    }

    /// Whether the member's input is paused until an event: a room calls the member up, or the member
    /// takes its pending output.
    pub(super) fn rests(&self) -> bool {
        self.extra()
            .is_some_and(|extra| extra.above || extra.is_busy())
    }

    pub(super) fn is_above(&self) -> bool {
        self.extra().is_some_and(|extra| extra.above)
    }

    /// Sets whether the pending output is above the high-water mark, and returns whether that changed.
    pub(super) fn set_above(&mut self, above: bool) -> bool {
        let is_new = self.is_above() != above;
        if is_new {
            self.extra_mut().above = above;
        }
        is_new
    }

    pub(super) fn is_reading(&self) -> bool {
        self.extra().is_some_and(|extra| extra.reading.is_some())
    }

    pub(super) fn kept(&self) -> Option<&Kept> {
        self.extra().and_then(|extra| extra.kept.as_ref())
    }

    pub(super) fn take_kept(&mut self) -> Option<Kept> {
        self.extra.as_mut().and_then(|extra| extra.kept.take())
    }

    /// Whether an entry is to be read that the member waits for.
    pub(super) fn is_awaiting(&self) -> bool {
        self.extra().is_some_and(|extra| extra.awaits.is_some())
    }

    /// Whether the member waits for its membership on another server.
    pub(super) fn is_arriving(&self) -> bool {
        self.extra()
            .is_some_and(|extra| extra.awaits == Some(Awaited::Membership))
    }

    /// Whether the member's leave was appended to the log.
    pub(super) fn is_leaving(&self) -> bool {
        self.extra()
            .is_some_and(|extra| extra.awaits == Some(Awaited::Leave))
    }

    /// Notes that an entry was read, and returns whether the member has waited for it.
    pub(super) fn has_awaited(&mut self, entry: Awaited) -> bool {
        let awaits = self.extra.as_mut().map(|extra| &mut extra.awaits);
        awaits.is_some_and(|awaits| awaits.take_if(|awaited| *awaited == entry).is_some())
    }

    /// Notes that an entry of the member was read.
    pub(super) fn land(&mut self) {
        if let Some(extra) = &mut self.extra {
            extra.in_flight = extra.in_flight.saturating_sub(1);
        }
        self.extra.take_if(|extra| extra.is_empty());
    }

    /// Forgets how many entries are in flight, which is not known any more.
    pub(super) fn forget_in_flight(&mut self) {
        if let Some(extra) = &mut self.extra {
            extra.in_flight = 0;
        }
    }

    /// Whether the member's stream has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.ended)
    }

    /// Makes the member a newcomer again. What waits of its input was not meant as a name. The member must
    /// not be in a queue.
    pub(super) fn lose_name(&mut self) {
        self.set_name("");
        let extra = self.extra_mut();
        (extra.held, extra.kept, extra.reading) = Default::default();
        extra.has_lost_name = true;
    }

    /// Whether the member had a name, and has none.
    pub(super) fn has_lost_name(&self) -> bool {
        self.extra().is_some_and(|extra| extra.has_lost_name)
    }

    /// Forgets all that belongs to the member's connection: what waits of its input, and the message of
    /// the day. The member must not be in a queue.
    pub(super) fn lose_connection(&mut self) {
        if let Some(extra) = &mut self.extra {
            **extra = Extra {
                ignored: std::mem::take(&mut extra.ignored),
                renames: extra.renames,
                in_flight: extra.in_flight,
                ..Extra::default()
            };
        }
        self.extra.take_if(|extra| extra.is_empty());
    }

    pub(super) fn take_held(&mut self) -> Held {
        let held = self.extra.as_mut().map(|extra| &mut extra.held);
        held.map(std::mem::take).unwrap_or_default()
    }

    /// Takes out the state of the input, so that it can be used together with the chat.
    pub(super) fn take_input(&mut self) -> Input {
        let input = self.extra.as_mut().map(|extra| &mut extra.input);
        input.map(std::mem::take).unwrap_or_default()
    }

    /// Puts the state of the input back, unless there is none, and frees an empty [`Extra`].
    pub(super) fn put_input(&mut self, input: Input) {
        if self.extra.is_some() || !input.is_idle() {
            self.extra_mut().input = input;
        }
        self.extra.take_if(|extra| extra.is_empty());
    }

    /// If the member ignores the name with this number: the number of the name that the member typed,
    /// of which it may be an alias.
    pub(super) fn ignores(&self, number: u32) -> Option<u32> {
        self.extra().and_then(|extra| extra.ignored.find(number))
    }

    /// The ignore list, if there may be one.
    pub(super) fn ignored(&self) -> Option<&IgnoreList> {
        self.extra().map(|extra| &extra.ignored)
    }

    /// Takes out the ignore list, so that it can be changed together with the chat's names.
    pub(super) fn take_ignored(&mut self) -> IgnoreList {
        let ignored = self.extra.as_mut().map(|extra| &mut extra.ignored);
        ignored.map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn put_ignored(&mut self, ignored: IgnoreList) {
        self.extra_mut().ignored = ignored;
    }

    /// Whether the ignore list has a name.
    pub(super) fn ignores_some(&self) -> bool {
        self.extra
            .as_ref()
            .is_some_and(|extra| !extra.ignored.is_empty())
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        let held = self.extra.as_ref().map(|extra| extra.held.bytes.capacity());
        held.unwrap_or_default()
    }

    /// Whether the member has no [`Extra`].
    #[cfg(test)]
    pub(super) fn is_small(&self) -> bool {
        self.extra.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;

    #[test]
    fn a_member_is_small() {
        // The entry in the table of members: a generation, and the member.
        assert_eq!(size_of::<(u32, Option<Member>)>(), 56);
    }

    #[test]
    fn empty_state_is_freed() {
        let mut member = Member::new(Peer::Unix);
        member.set_name("alice");
        assert!(!member.is_small());
        member.take_peer();
        let mut input = member.take_input();
        input.lines.feed(b"hal", 100, |_| ());
        member.put_input(input);
        assert!(!member.is_small());
        let mut input = member.take_input();
        input.lines.feed(b"f\n", 100, |_| ());
        member.put_input(input);
        assert!(member.is_small());
    }
}
