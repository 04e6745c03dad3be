//! What is known of one connection.
//!
//! There may be thousands that say nothing for hours: what not everybody needs is kept apart, and
//! given back as soon as it is empty.

use edgeloop_reactor::Peer;

use super::ignored::IgnoreList;
use super::keys::Input;
use super::pace::Pace;
use super::reading::Reading;

/// A connection, before and after it has a name.
#[derive(Debug)]
pub(super) struct Member {
    /// Empty as long as it has none.
    name: Box<str>,
    pub(super) pace: Pace,
    pub(super) room: u32,
    /// Where in the room's list of members.
    pub(super) place: u32,
    extra: Option<Box<Extra>>,
}

/// What a member needs for a while, or never.
#[derive(Debug, Default)]
pub(super) struct Extra {
    input: Input,
    pub(super) held: Held,
    /// A line that waits for its room.
    pub(super) kept: Option<Kept>,
    /// What the member has yet to be shown of a long message of the day.
    pub(super) reading: Option<Reading>,
    /// More than the high-water mark waits for the member.
    pub(super) above: bool,
    /// The stream has ended; what is held comes first.
    pub(super) ended: bool,
    ignored: IgnoreList,
    /// Where it comes from, for the log, until it has a name.
    peer: Option<Peer>,
}

/// A line that may not be said yet.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) line: Box<[u8]>,
    /// The room in whose queue the member stands.
    pub(super) room: Option<u32>,
}

/// Bytes that came faster than their lines may be said.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// So many of them have had their turn.
    done: usize,
}

impl Held {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.done..]
    }

    /// All but the last `left` bytes have had their turn.
    pub(super) fn keep_last(&mut self, left: usize) {
        self.done = self.bytes.len() - left;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }
}

impl Extra {
    /// Whether a line waits for its room, or the message of the day is not shown to its end.
    fn is_busy(&self) -> bool {
        self.kept.is_some() || self.reading.is_some()
    }

    fn is_empty(&self) -> bool {
        self.input.is_idle()
            && self.held.is_empty()
            && self.kept.is_none()
            && self.reading.is_none()
            && !self.above
            && !self.ended
            && self.ignored.is_empty()
            && self.peer.is_none()
    }
}

impl Member {
    /// Somebody who has no name yet, and comes from there.
    pub(super) fn new(peer: Peer) -> Member {
        Member {
            name: Box::default(),
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

    /// Gives it a name, and returns the one it had.
    pub(super) fn set_name(&mut self, name: &str) -> Box<str> {
        std::mem::replace(&mut self.name, name.into())
    }

    /// Whether it has a name, and so is in a room.
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

    /// Whether the end of its stream has to wait: something that it sent, or that it is to be shown,
    /// comes first.
    pub(super) fn is_held(&self) -> bool {
        self.extra()
            .is_some_and(|extra| !extra.held.is_empty() || extra.is_busy())
    }

    /// Whether its input rests until something happens: its room calls it up, or it takes what waits
    /// for it.
    pub(super) fn rests(&self) -> bool {
        self.extra()
            .is_some_and(|extra| extra.above || extra.is_busy())
    }

    pub(super) fn is_above(&self) -> bool {
        self.extra().is_some_and(|extra| extra.above)
    }

    /// Notes whether more than the high-water mark waits for it, and returns whether that is new.
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

    /// Whether its stream has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.ended)
    }

    pub(super) fn take_held(&mut self) -> Held {
        let held = self.extra.as_mut().map(|extra| &mut extra.held);
        held.map(std::mem::take).unwrap_or_default()
    }

    /// Takes out what is needed to read, so that it can be used while the member is.
    pub(super) fn take_input(&mut self) -> Input {
        let input = self.extra.as_mut().map(|extra| &mut extra.input);
        input.map(std::mem::take).unwrap_or_default()
    }

    /// Puts it back, if there is anything to remember, and gives back what is empty.
    pub(super) fn put_input(&mut self, input: Input) {
        if self.extra.is_some() || !input.is_idle() {
            self.extra_mut().input = input;
        }
        self.extra.take_if(|extra| extra.is_empty());
    }

    /// If the member ignores the bearer of a name: the number of the name that the member has written.
    pub(super) fn ignores(&self, number: u32) -> Option<u32> {
        self.extra().and_then(|extra| extra.ignored.find(number))
    }

    /// Takes out its ignore list, so that it can be changed while the member is used.
    pub(super) fn take_ignored(&mut self) -> IgnoreList {
        let ignored = self.extra.as_mut().map(|extra| &mut extra.ignored);
        ignored.map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn put_ignored(&mut self, ignored: IgnoreList) {
        self.extra_mut().ignored = ignored;
    }

    /// Whether it ignores anybody.
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

    /// Whether it needs nothing but what everybody needs.
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
        // As the table of members has it, with the generation of its slot.
        assert_eq!(size_of::<(u32, Option<Member>)>(), 56);
    }

    #[test]
    fn what_is_not_needed_is_given_back() {
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
