//! The membership of a page that may come back: its secret, and what the page has received.
//!
//! A browser's page loses its connection when a phone changes its network, and when the user reloads
//! it. A page that gives a *token* with its connection keeps its name and room for a while, and is sent
//! the lines that it has missed. Each message of a membership has a number, from 1 on; the page says how
//! many it has received, and the chat has to find the line of the room that it received last.
//!
//! Every line that a room is told has a number there too (`Room::told`). While a page is sent nothing
//! else, both numbers grow by the same steps, so one pair of them, an [`Anchor`], holds until a message
//! comes between: a reply, a whisper, a line that the page is not sent. [`ANCHORS`] pairs are kept; a page
//! that has missed more than these know of is told that lines are missing.

use std::fmt;
use std::sync::Arc;

use edgeloop_reactor::Peer;
use hmac_sha256::Hash;
use memchr::memchr_iter;

use crate::backplane::entry::TokenDigest;

/// Number of pairs that are kept of a page.
const ANCHORS: usize = 8;
/// Bounds of the length of a token.
const TOKEN_LEN: std::ops::RangeInclusive<usize> = 16..=64;
/// The largest number of messages that a page may say it has received: what JavaScript counts exactly.
const SEEN_MAX: u64 = 1 << 53;

/// The secret by which a page is known again. It is never shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Token(Arc<str>);

impl Token {
    /// The digest by which other servers know it.
    pub(super) fn digest(&self) -> TokenDigest {
        Hash::hash(self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token")
    }
}

/// The query of a page: its token, and the number of messages that it has received.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) token: Token,
    pub(super) seen: u64,
}

impl Visit {
    /// Parses `token=T&seen=N`, of which the second part may be left out.
    pub(super) fn parse(query: &str) -> Option<Visit> {
        let (token, seen) = match query.split_once('&') {
            Some((token, seen)) => (token, seen.strip_prefix("seen=")?),
            None => (query, "0"),
        };
        let token = token.strip_prefix("token=")?;
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_number = !seen.is_empty() && seen.bytes().all(|byte| byte.is_ascii_digit());
        if !TOKEN_LEN.contains(&token.len()) || !token.bytes().all(is_legal) || !is_number {
            return None;
        }
        let seen = seen.parse().ok().filter(|seen| *seen <= SEEN_MAX)?;
        let token = Token(token.into());
        Some(Visit { token, seen })
    }
}

/// Number of messages that lines are for a browser. A long line of the message of the day may come in
/// several pieces without a newline.
pub(super) fn messages(lines: &[u8]) -> u64 {
    let ends = memchr_iter(b'\n', lines).count();
    let is_cut = lines.last().is_some_and(|last| *last != b'\n');
    (ends + usize::from(is_cut)) as u64
}

/// A moment: the room had been told so many lines, and the page had been sent so many messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Anchor {
    told: u64,
    sent: u64,
}

/// Lines of the history that were sent together, when the page entered its room or came back to it.
#[derive(Clone, Copy, Debug, Default)]
struct Replay {
    /// Number of messages that were sent before these lines.
    sent: u64,
    /// Number of these lines: they are the last ones up to the line with the number `told`.
    lines: u64,
    told: u64,
}

/// The lines of a room that a page has not received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missed {
    /// All lines after the one with this number are missed.
    pub(super) after: u64,
    /// Number of the missed lines up to that one: the last ones.
    pub(super) before: u64,
    /// Other lines are missed too, whose numbers are not known any more.
    pub(super) has_more: bool,
}

/// The chat's record of a page.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) token: Token,
    pub(super) peer: Peer,
    /// The page has said that it leaves for good.
    pub(super) is_done: bool,
    /// The member is in a room, whose lines it is sent.
    in_room: bool,
    /// A page that has received fewer messages than this has missed lines that cannot be told.
    sure: u64,
    replay: Replay,
    /// The pairs that hold since then, the oldest first, `len` of them.
    anchors: [Anchor; ANCHORS],
    len: u8,
}

impl Seat {
    /// The seat of a page that has been sent nothing.
    pub(super) fn new(token: Token, peer: Peer) -> Seat {
        Seat {
            token,
            peer,
            is_done: false,
            in_room: false,
            sure: 0,
            replay: Replay::default(),
            anchors: [Anchor::default(); ANCHORS],
            len: 1,
        }
    }

    /// Notes that messages were sent that are no lines of the room, which has been told `told` lines.
    pub(super) fn send(&mut self, told: u64, messages: u64) {
        let told = self.clock(told);
        let sent = self.sent(told) + messages;
        self.hold(Anchor { told, sent });
    }

    /// Notes that the last line of the room, number `told`, was not sent.
    pub(super) fn skip(&mut self, told: u64) {
        let sent = self.sent(told) - 1;
        self.hold(Anchor { told, sent });
    }

    /// The member leaves a room that has been told `told` lines: of those that the page has not received
    /// by now it will not be sent any.
    pub(super) fn leave(&mut self, told: u64) {
        let sent = self.sent(self.clock(told));
        (self.in_room, self.sure) = (false, sent);
        self.restart(Anchor { told: 0, sent }, 0);
    }

    /// The member is in a room that has been told `told` lines, of which it was just sent the last
    /// `lines` that are kept.
    pub(super) fn enter(&mut self, told: u64, lines: u64) {
        let sent = self.sent(0);
        self.in_room = true;
        self.restart(Anchor { told, sent }, lines);
    }

    /// The page is back, with `seen` messages received, and is sent so many messages and then `lines`
    /// lines of the history, all that it has missed or not.
    pub(super) fn come_back(&mut self, seen: u64, told: u64, notices: u64, lines: u64) {
        // It may have said that it leaves, and come back before its last lines were said.
        self.is_done = false;
        let before = seen + notices;
        // If it does not receive the notice that lines are missing, it is told so again.
        self.sure = if notices > 1 { before } else { seen };
        let sent = before + lines;
        self.restart(Anchor { told, sent }, lines);
    }

    /// The page is on its way back from another server. Of the messages that it was sent it has received
    /// `seen`, and of the lines of its room those up to number `told`; `has_more`: it has missed others.
    pub(super) fn arrive(&mut self, seen: u64, told: u64, has_more: bool) {
        self.in_room = true;
        self.sure = seen + u64::from(has_more);
        self.restart(Anchor { told, sent: seen }, 0);
    }

    /// Whether a page that says it has received `seen` messages may have received more: it has said so
    /// before, and has been sent others since.
    pub(super) fn is_doubtful(&self, seen: u64) -> bool {
        self.sure > 0 && seen <= self.sure
    }

    /// From the number of messages that the page has received does not follow which lines these were.
    pub(super) fn doubt(&mut self) {
        self.sure = u64::MAX;
    }

    /// The lines that a page has missed which has received `seen` messages.
    pub(super) fn missed(&self, seen: u64) -> Missed {
        let has_more = seen < self.sure;
        if self.sure == u64::MAX {
            let (after, before) = (u64::MAX, 0);
            return Missed {
                after,
                before,
                has_more,
            };
        }
        let anchors = &self.anchors[..self.len.into()];
        let Some(at) = anchors.iter().rposition(|anchor| anchor.sent <= seen) else {
            let Replay { sent, lines, told } = self.replay;
            return Missed {
                after: told,
                before: lines - seen.saturating_sub(sent).min(lines),
                has_more,
            };
        };
        let until = anchors.get(at + 1).map_or(u64::MAX, |next| next.told);
        let after = anchors[at].told + (seen - anchors[at].sent);
        Missed {
            after: after.min(until),
            before: 0,
            has_more,
        }
    }

    /// Number of messages that were sent so far.
    fn sent(&self, told: u64) -> u64 {
        let last = self.anchors[usize::from(self.len) - 1];
        last.sent + (told - last.told)
    }

    /// The number of lines that the room has been told, which stands still outside of rooms.
    fn clock(&self, told: u64) -> u64 {
        if self.in_room { told } else { 0 }
    }

    fn restart(&mut self, anchor: Anchor, lines: u64) {
        self.replay = Replay {
            sent: anchor.sent - lines,
            lines,
            told: anchor.told,
        };
        (self.anchors[0], self.len) = (anchor, 1);
    }

    /// Keeps an anchor, and forgets the oldest one if there is no room.
    fn hold(&mut self, anchor: Anchor) {
        let len = usize::from(self.len);
        if self.anchors[len - 1].told == anchor.told {
            self.anchors[len - 1] = anchor;
        } else if len < ANCHORS {
            self.anchors[len] = anchor;
            self.len += 1;
        } else {
            let [oldest, next, ..] = self.anchors;
            // The lines before the next anchor are the last that the oldest one tells of. If the last of
            // them was not sent, one message less shows that the page has received the others.
            self.sure = next.sent.min(oldest.sent + (next.told - oldest.told));
            self.replay = Replay {
                sent: next.sent,
                lines: 0,
                told: next.told,
            };
            self.anchors.rotate_left(1);
            self.anchors[ANCHORS - 1] = anchor;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seat() -> Seat {
        let visit = Visit::parse("token=0123456789abcdef").unwrap();
        Seat::new(visit.token, Peer::Unix)
    }

    #[test]
    fn a_seat_is_small() {
        assert_eq!(size_of::<Seat>(), 216);
    }

    #[test]
    fn a_query_is_a_token_and_a_number() {
        let token = "0123456789-_abcXYZ";
        for (query, seen) in [
            (format!("token={token}"), 0),
            (format!("token={token}&seen=17"), 17),
            (format!("token={token}&seen=9007199254740992"), SEEN_MAX),
            (format!("token={}", "x".repeat(64)), 0),
        ] {
            let visit = Visit::parse(&query).unwrap();
            assert_eq!(visit.seen, seen, "{query}");
            assert_eq!(format!("{:?}", visit.token), "Token", "it is a secret");
        }
        for query in [
            String::new(),
            "x".into(),
            "seen=1".into(),
            "token=".into(),
            "token=0123456789abcde".into(),
            format!("token={}", "x".repeat(65)),
            "token=0123456789abcdef%20".into(),
            "token=0123456789abcd\u{e9}".into(),
            format!("token={token}&seen="),
            format!("token={token}&seen=-1"),
            format!("token={token}&seen=+1"),
            format!("token={token}&seen=9007199254740993"),
            format!("token={token}&seen=99999999999999999999999"),
            format!("token={token}&seen=1&seen=2"),
            format!("token={token}&other=1"),
            format!("seen=1&token={token}"),
        ] {
            assert_eq!(Visit::parse(&query), None, "{query}");
        }
    }

    /// An event in the life of a page in a room.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Line,
        LineNotSent,
        Other(u64),
        BackWithout(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => Just(Step::Line),
            1 => Just(Step::LineNotSent),
            1 => (1..4u64).prop_map(Step::Other),
            1 => (0..6usize).prop_map(Step::BackWithout),
        ]
    }

    proptest! {
        /// A list of all messages knows what each of them was; the seat knows it from its anchors. Where
        /// these do not reach, the seat says so, and never that a line was received which was not.
        #[test]
        fn the_last_line_received_is_found(steps in prop::collection::vec(step(), 0..60)) {
            let (mut seat, mut told) = (seat(), 0);
            // Of each message the number of its line; 0 if it is none.
            let mut messages: Vec<u64> = vec![];
            seat.enter(0, 0);
            for step in steps {
                match step {
                    Step::Line => {
                        told += 1;
                        messages.push(told);
                    }
                    Step::LineNotSent => {
                        told += 1;
                        seat.skip(told);
                    }
                    Step::Other(count) => {
                        seat.send(told, count);
                        messages.extend((0..count).map(|_| 0));
                    }
                    Step::BackWithout(lost) => {
                        messages.truncate(messages.len().saturating_sub(lost));
                        let seen = messages.len() as u64;
                        let missed = seat.missed(seen);
                        let first = missed.after.min(told) - missed.before;
                        let notices = 1 + u64::from(missed.has_more);
                        seat.come_back(seen, told, notices, told - first);
                        messages.extend((0..notices).map(|_| 0));
                        messages.extend(first + 1..=told);
                    }
                }
                prop_assert_eq!(seat.sent(told), messages.len() as u64);
            }
            for seen in 0..=messages.len() {
                let missed = seat.missed(seen as u64);
                let last = messages[..seen].iter().rev().find(|line| **line > 0);
                let last = last.copied().unwrap_or_default();
                if missed.has_more {
                    prop_assert!(missed.after >= last);
                    continue;
                }
                let first = missed.after - missed.before;
                // A line that was not sent counts as received with the message before it.
                prop_assert!(first >= last, "{missed:?} {last} {seat:?}");
                let is_sent = |line: &u64| *line > last && *line <= first;
                prop_assert!(!messages[seen..].iter().any(is_sent), "a line would be lost: {missed:?}");
            }
            prop_assert!(!seat.missed(messages.len() as u64).has_more, "all were received");
            prop_assert_eq!(seat.missed(u64::from(u32::MAX)).before, 0);
        }
    }

    #[test]
    fn a_page_that_has_received_all_has_missed_nothing() {
        let mut seat = seat();
        seat.send(0, 1);
        seat.enter(40, 0);
        // Two lines, a reply, a line, one of another room.
        seat.send(42, 1);
        assert_eq!(seat.sent(43), 5);
        let missed = |seen| seat.missed(seen).after;
        assert_eq!([1, 2, 3, 4, 5].map(missed), [40, 41, 42, 42, 43]);
        assert!(missed(6) >= 43, "more than it was sent");
    }

    #[test]
    fn lines_that_were_never_sent_are_not_missing() {
        let mut seat = seat();
        seat.enter(0, 0);
        (1..=20).for_each(|told| seat.skip(told));
        let missed = seat.missed(0);
        assert_eq!((missed.after, missed.has_more), (20, false));
    }

    #[test]
    fn messages_between_too_many_lines_are_forgotten_and_said_to_be() {
        let mut seat = seat();
        seat.enter(0, 0);
        for told in 1..=20 {
            seat.send(told, 1);
        }
        let missed = seat.missed(10);
        assert!(missed.has_more && missed.after < 20, "{missed:?}");
        let missed = seat.missed(38);
        assert_eq!((missed.after, missed.has_more), (19, false));
    }
}
