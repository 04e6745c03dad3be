//! Entries of the log: everything that happens in a chat and is seen by others.
//!
//! An [`Entry`] is lent: its texts lie in the buffer from which it was decoded, or in that of the
//! caller that appends it. So the [`Local`](super::local::Local) log passes an entry on without copying
//! it.
//! `encoding.rs` has the bytes of an entry.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// One run of one server: two runs of the same server are two origins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The server. It is the same after a restart, so that the members of its former run are known to
    /// have left.
    pub server: u64,
    /// A random number that the server draws when it starts.
    pub boot: u64,
}

/// The identity of an entry. A duplicate has the same stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The server that appended the entry.
    pub origin: Origin,
    /// Number of the entry among those of its origin, from 1 without gaps. 0 is the first entry of a
    /// stream, which its author appends outside of this order.
    pub seq: u64,
}

/// The place of an entry in the log, which is the id of a Redis stream entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Time of the entry by the clock of the log, in milliseconds since 1970. It never goes back from
    /// one entry to the next.
    pub millis: u64,
    /// Number of the entry among those of one millisecond.
    pub index: u64,
}

impl Position {
    /// Before every entry.
    pub const START: Position = Position {
        millis: 0,
        index: 0,
    };
    /// The first entry of a stream that begins empty: Redis refuses this id in a stream that has or
    /// had another entry.
    pub const GENESIS: Position = Position {
        millis: 0,
        index: 1,
    };
}

impl Position {
    /// The last place before this one.
    #[must_use]
    pub fn before(self) -> Position {
        let (millis, index) = match (self.millis, self.index) {
            (0, 0) => (0, 0),
            (millis, 0) => (millis - 1, u64::MAX),
            (millis, index) => (millis, index - 1),
        };
        Position { millis, index }
    }

    /// The place of an entry that is appended at this time, since 1970, behind one at `self`.
    #[must_use]
    pub(crate) fn next(self, now: Duration) -> Position {
        match now.as_millis() as u64 {
            millis if millis > self.millis => Position { millis, index: 0 },
            _ => Position {
                millis: self.millis,
                index: self.index + 1,
            },
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.millis, self.index)
    }
}

/// The text is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPosition;

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Position, NoPosition> {
        let (millis, index) = text.split_once('-').ok_or(NoPosition)?;
        let number = |text: &str| text.parse().map_err(|_| NoPosition);
        Ok(Position {
            millis: number(millis)?,
            index: number(index)?,
        })
    }
}

/// A member of any server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId {
    /// The server that serves the member.
    pub origin: Origin,
    /// The number that the server has given it, which it gives to no other member.
    pub number: u64,
}

/// A name of a member or a room, in the forms that `chat/name.rs` derives. The server that claims a
/// name derives them, so the state that follows from the log does not depend on the rules for names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Name<'a> {
    /// The name as it is shown.
    pub shown: &'a str,
    /// The form that is compared.
    pub fold: &'a str,
    /// The form that look-alikes share; empty if looks do not count.
    pub look: &'a str,
}

/// The digest (SHA-256) of a browser's token. The token itself never leaves its server.
pub type TokenDigest = [u8; 32];

/// A member, as it joins or is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present<'a> {
    /// Its number, see [`MemberId`].
    pub number: u64,
    /// Its name.
    pub name: Name<'a>,
    /// Its room.
    pub room: Name<'a>,
    /// Its address, as far as it may be banned.
    pub address: Option<IpAddr>,
    /// The digest of its token, if it is a browser's.
    pub token: Option<TokenDigest>,
}

/// A ban that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barred<'a> {
    /// The name. Its look does not count.
    pub name: Name<'a>,
    /// The address of the member that had the name.
    pub address: Option<IpAddr>,
    /// The end of the ban, in milliseconds since 1970; `None` if it has none.
    pub until: Option<u64>,
}

/// A server in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The server.
    pub origin: Origin,
    /// The sequence of the last entry of it that counts.
    pub seq: u64,
    /// The place of its request for a snapshot, if that is not answered.
    pub asked: Option<Position>,
}

/// A part of a snapshot: the state that follows from the log up to a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part<'a> {
    /// The last entry that the state includes.
    pub of: Position,
    /// The number of this part, from 0.
    pub index: u32,
    /// No further part follows.
    pub is_last: bool,
    /// The servers, in the order of their start.
    pub servers: Vec<Listed>,
    /// Members, each with the number of its server in `servers` of the first part.
    pub members: Vec<(u32, Present<'a>)>,
    /// Bans, the oldest first.
    pub bans: Vec<Barred<'a>>,
}

/// How a line is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// `[NAME] TEXT`
    Say,
    /// `** NAME TEXT` (`/me`)
    Act,
}

/// The content of an entry. A member is one of the server that appends the entry, unless a field
/// says otherwise. The table in [`backplane`](super) says which action of the chat each kind is for.
///
/// Texts are what the author has typed: each server makes them harmless when it shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body<'a> {
    /// A server has started. A former run of the same server ends by it.
    Start {
        /// Its name, for people.
        name: &'a str,
    },
    /// A server stops in good order: its members leave.
    Stop,
    /// A newcomer claims a name, and joins if it gets it.
    Join(Present<'a>),
    /// Members leave.
    Leave {
        /// Their numbers.
        members: Cow<'a, [u64]>,
        /// The last words of one member; empty if there are none.
        farewell: &'a [u8],
    },
    /// A member goes to another room.
    Move {
        /// The member.
        member: u64,
        /// The room, as the member spells it. A room keeps the spelling of its first member.
        room: Name<'a>,
    },
    /// A member claims another name.
    Rename {
        /// The member.
        member: u64,
        /// The name.
        name: Name<'a>,
    },
    /// A member says a line to its room.
    Line {
        /// The member.
        member: u64,
        /// How it says the line.
        manner: Manner,
        /// Its name and its room when it wrote the line: for a reader that does not know the member,
        /// because it reads an older part of the log.
        name: &'a str,
        /// See `name`.
        room: &'a str,
        /// The line.
        text: &'a [u8],
    },
    /// A member says something to one other member. It enters neither history nor transcripts.
    Whisper {
        /// The author.
        member: u64,
        /// Its name when it wrote the text, as in a line.
        name: &'a str,
        /// The fold of the other's name.
        to: &'a str,
        /// The text.
        text: &'a [u8],
    },
    /// An operator says a line.
    Notice {
        /// The fold of the room that it is for; `None`: all rooms.
        room: Option<&'a str>,
        /// The line.
        text: &'a [u8],
    },
    /// An operator bans a name, and the address of the member that has it. That member leaves.
    Ban {
        /// The name.
        name: Name<'a>,
        /// Length of the ban, from this entry on, in milliseconds; `None`: for good.
        millis: Option<u64>,
        /// It is a kick, which has no effect if no member has the name.
        is_kick: bool,
    },
    /// An operator lifts the ban of a name.
    Unban {
        /// The fold of the name.
        name: &'a str,
    },
    /// A browser has returned to another server than it left: the member is served there from now on.
    Takeover {
        /// The member so far.
        member: MemberId,
        /// Its number from now on, at the server that appends this.
        number: u64,
        /// Its address from now on.
        address: Option<IpAddr>,
        /// Number of messages that the page has received.
        seen: u64,
    },
    /// The answer of the server that a member was taken from: what the member had there.
    Resume {
        /// The member, as it is after the takeover.
        member: MemberId,
        /// A page that has received so many messages
        seen: u64,
        /// has the lines of its room up to this place; `None` if that is not known any more.
        after: Option<Position>,
        /// It has missed other lines too.
        has_more: bool,
        /// The page may have received more messages: it has been back on the former server at the same
        /// time.
        is_doubtful: bool,
        /// The names on its ignore list, each with the place in this list of the name that the member has
        /// typed, of which it may be an alias.
        ignored: Vec<(&'a str, u64)>,
    },
    /// A room is behind on this server: some members there do not take what they are told. For the next
    /// two seconds all servers tell it no more than its minimum rate.
    Behind {
        /// The fold of the room.
        room: &'a str,
    },
    /// A server has been silent for too long: its members leave, unless it is heard of again before this
    /// entry.
    Gone {
        /// The server.
        origin: Origin,
        /// The sequence of the last entry of it that the author has read.
        seq: u64,
    },
    /// A server tells its members again, each of which claims its name anew. Bans are added to those
    /// that hold.
    Announce {
        /// The members that are not known.
        members: Vec<Present<'a>>,
        /// All bans that the server knows.
        bans: Vec<Barred<'a>>,
    },
    /// A server has not read the whole log, and asks for a snapshot.
    Ask,
    /// The answer to all requests up to [`Part::of`].
    Snapshot(Part<'a>),
    /// The state is empty from here on: the first entry of a log, or the answer of last resort if no
    /// server can make a snapshot. Each server announces its members.
    Reset,
    /// An entry of a newer version, which is skipped.
    Unknown {
        /// Its kind.
        kind: u8,
    },
}

impl Body<'_> {
    /// Whether it is a text for members. A line has no effect on the state, and tells all that is needed
    /// to show it; so it is shown wherever it is read for the first time, and its stamp never changes.
    #[must_use]
    pub fn is_line(&self) -> bool {
        matches!(
            self,
            Body::Line { .. } | Body::Whisper { .. } | Body::Notice { .. }
        )
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its identity.
    pub stamp: Stamp,
    /// Its place, with its time.
    pub at: Position,
    /// Its content.
    pub body: Body<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_between_a_place_and_the_one_before_it() {
        let at = |millis, index| Position { millis, index };
        for (place, before) in [
            (at(5, 3), at(5, 2)),
            (at(5, 0), at(4, u64::MAX)),
            (at(0, 1), at(0, 0)),
            (Position::START, Position::START),
        ] {
            assert_eq!(place.before(), before);
        }
    }
}
