//! The effect of an entry.

use std::sync::Arc;

use super::member::Member;
use super::names::OwnedName;
use crate::backplane::entry::MemberId;

/// Why a claim or a command has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The name is taken.
    Taken,
    /// The name looks like one that is taken.
    Alike,
    /// The name or the address is banned.
    Banned,
    /// No member has the name, or the member has left.
    Nobody,
    /// The member is in this room already, or has this name or this number already.
    Same,
    /// There are too many members or bans.
    Full,
}

/// The effect of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing that members are told.
    Nothing,
    /// The entry was read before.
    Duplicate,
    /// The server is not in the state, and so the entry has no effect. If the server lives, it announces
    /// itself and appends the entry again, unless that is a line: a line is told all the same.
    Unheard,
    /// The kind is not known.
    Unknown,
    /// The entry has no effect, and its author is told why.
    Refused(Refusal),
    /// The line, notice or whisper is told; a whisper to this member.
    Said(Option<MemberId>),
    /// A member has joined.
    Joined(MemberId),
    /// A member has left its former room for another.
    Moved(Arc<OwnedName>),
    /// A member has changed its name from this one.
    Renamed(OwnedName),
    /// The ban of this name has ended.
    Unbanned(OwnedName),
    /// Members have left: one by one, by a kick or a ban, or with their server.
    Left(Vec<Member>),
    /// A server has told its members again.
    Announced {
        /// Those that are back.
        back: Vec<MemberId>,
        /// Those that are not: their server asks them for another name.
        refused: Vec<(u64, Refusal)>,
    },
    /// A member is served by another server from now on.
    TakenOver {
        /// The member so far.
        from: MemberId,
        /// The member from now on.
        to: MemberId,
    },
    /// The state is empty. The members that were in it left without a word, and will be announced.
    Reset(Vec<Member>),
}
