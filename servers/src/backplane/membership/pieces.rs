//! Lists of members and bans, cut so that each piece fits into an entry.

use super::bans::Ban;
use super::member::Member;
use crate::backplane::encoding::ENTRY_MAX;
use crate::backplane::entry::{Barred, Body, Name, Present};

/// Bytes of a piece: less than an entry may have, by the size of the largest element.
const PIECE_MAX: usize = ENTRY_MAX / 4;

/// Cuts a list into pieces, each of which fits into an entry.
pub(super) fn cut<T>(list: impl Iterator<Item = T>, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let (mut pieces, mut bytes) = (Vec::<Vec<T>>::new(), PIECE_MAX);
    for element in list {
        bytes += size(&element);
        if let Some(piece) = pieces.last_mut().filter(|_| bytes <= PIECE_MAX) {
            piece.push(element);
        } else {
            bytes = size(&element);
            pieces.push(vec![element]);
        }
    }
    pieces
}

/// Upper bound of the bytes of an encoded name.
fn name_size(name: &Name<'_>) -> usize {
    name.shown.len() + name.fold.len() + name.look.len() + 12
}

/// Upper bound of the bytes of an encoded member.
pub(super) fn present_size(present: &Present<'_>) -> usize {
    name_size(&present.name) + name_size(&present.room) + 80
}

/// Upper bound of the bytes of an encoded ban.
pub(super) fn barred_size(ban: &Barred<'_>) -> usize {
    name_size(&ban.name) + 40
}

/// The entries that announce members, and all bans.
pub(in crate::backplane) fn announcements<'a>(
    members: impl Iterator<Item = &'a Member>,
    bans: &'a [Ban],
) -> Vec<Body<'a>> {
    let bans = cut(bans.iter().map(Ban::lent), barred_size).into_iter();
    let members = cut(members.map(Member::present), present_size).into_iter();
    let of_bans = bans.map(|bans| Body::Announce {
        members: Vec::new(),
        bans,
    });
    let of_members = members.map(|members| Body::Announce {
        members,
        bans: Vec::new(),
    });
    let mut bodies: Vec<Body<'a>> = of_bans.chain(of_members).collect();
    if bodies.is_empty() {
        // A server without members and bans tells that it is there.
        bodies.push(Body::Announce {
            members: Vec::new(),
            bans: Vec::new(),
        });
    }
    bodies
}
