//! The bytes of an entry: a header, and the fields of its kind in the order of [`Body`].
//!
//! ```text
//! version   1 byte     VERSION
//! server    8 bytes    little-endian
//! boot      8 bytes    little-endian
//! seq       a number
//! kind      1 byte
//! ```
//!
//! An entry whose kind is not known is skipped, so a newer server may add kinds. A change of what
//! is here needs another version, whose entries are unreadable to this one.

mod wire;

use std::borrow::Cow;

use self::wire::{Malformed, Reader, put_address, put_bytes, put_number, put_optional};
use super::entry::{
    Barred, Body, Entry, Listed, Manner, MemberId, Name, Origin, Part, Position, Present, Stamp,
};

/// The version of the encoding.
pub const VERSION: u8 = 1;
/// The longest entry, in bytes.
pub const ENTRY_MAX: usize = 256 * 1024;

/// The reason why bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The entry has another version.
    Version,
    /// The bytes are no entry of this version.
    Malformed,
}

impl From<Malformed> for Unreadable {
    fn from(_: Malformed) -> Unreadable {
        Unreadable::Malformed
    }
}

impl<'a> Entry<'a> {
    /// The bytes of an entry with this content.
    #[must_use]
    pub fn encode(stamp: Stamp, body: &Body<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.push(VERSION);
        put_origin(&mut out, stamp.origin);
        put_number(&mut out, stamp.seq);
        put_body(&mut out, body);
        out
    }

    /// The entry at a place, from its bytes.
    pub fn decode(at: Position, bytes: &'a [u8]) -> Result<Entry<'a>, Unreadable> {
        if bytes.len() > ENTRY_MAX {
            return Err(Unreadable::Malformed);
        }
        let mut reader = Reader::new(bytes);
        if reader.byte()? != VERSION {
            return Err(Unreadable::Version);
        }
        let origin = origin(&mut reader)?;
        let seq = reader.number()?;
        let body = match (reader.byte()?, &mut reader) {
            (kind, reader) if is_member_kind(kind) => member_body(kind, reader)?,
            (kind, reader) if is_server_kind(kind) => server_body(kind, reader)?,
            (kind, _) => Body::Unknown { kind },
        };
        if !matches!(body, Body::Unknown { .. }) {
            reader.end()?;
        }
        let stamp = Stamp { origin, seq };
        Ok(Entry { stamp, at, body })
    }
}

mod kind {
    pub(super) const JOIN: u8 = 1;
    pub(super) const LEAVE: u8 = 2;
    pub(super) const MOVE: u8 = 3;
    pub(super) const RENAME: u8 = 4;
    pub(super) const SAY: u8 = 5;
    pub(super) const ACT: u8 = 6;
    pub(super) const WHISPER: u8 = 7;
    pub(super) const TAKEOVER: u8 = 8;
    pub(super) const RESUME: u8 = 9;

    pub(super) const START: u8 = 32;
    pub(super) const STOP: u8 = 33;
    pub(super) const NOTICE: u8 = 34;
    pub(super) const BAN: u8 = 35;
    pub(super) const UNBAN: u8 = 36;
    pub(super) const GONE: u8 = 37;
    pub(super) const ANNOUNCE: u8 = 38;
    pub(super) const ASK: u8 = 39;
    pub(super) const SNAPSHOT: u8 = 40;
    pub(super) const RESET: u8 = 41;
    pub(super) const BEHIND: u8 = 42;
}

fn is_member_kind(kind: u8) -> bool {
    (kind::JOIN..=kind::RESUME).contains(&kind)
}

fn is_server_kind(kind: u8) -> bool {
    (kind::START..=kind::BEHIND).contains(&kind)
}

fn put_body(out: &mut Vec<u8>, body: &Body<'_>) {
    match body {
        Body::Join(present) => {
            out.push(kind::JOIN);
            put_present(out, present);
        }
        Body::Leave { members, farewell } => {
            out.push(kind::LEAVE);
            put_list(out, members, |out, member| put_number(out, *member));
            put_bytes(out, farewell);
        }
        Body::Move { member, room: name } | Body::Rename { member, name } => {
            let is_move = matches!(body, Body::Move { .. });
            out.push(if is_move { kind::MOVE } else { kind::RENAME });
            put_number(out, *member);
            put_name(out, name);
        }
        Body::Line {
            member,
            manner,
            name,
            room,
            text,
        } => {
            let kind = match manner {
                Manner::Say => kind::SAY,
                Manner::Act => kind::ACT,
            };
            out.push(kind);
            put_number(out, *member);
            for text in [name.as_bytes(), room.as_bytes(), text] {
                put_bytes(out, text);
            }
        }
        Body::Whisper {
            member,
            name,
            to,
            text,
        } => {
            out.push(kind::WHISPER);
            put_number(out, *member);
            put_bytes(out, name.as_bytes());
            put_bytes(out, to.as_bytes());
            put_bytes(out, text);
        }
        Body::Takeover {
            member,
            number,
            address,
            seen,
        } => {
            out.push(kind::TAKEOVER);
            put_member(out, *member);
            put_number(out, *number);
            put_address(out, *address);
            put_number(out, *seen);
        }
        Body::Resume {
            member,
            seen,
            after,
            has_more,
            is_doubtful,
            ignored,
        } => {
            out.push(kind::RESUME);
            put_member(out, *member);
            put_number(out, *seen);
            put_place(out, *after);
            out.push(u8::from(*has_more));
            out.push(u8::from(*is_doubtful));
            put_list(out, ignored, |out, (name, typed)| {
                put_bytes(out, name.as_bytes());
                put_number(out, *typed);
            });
        }
        _ => put_server_body(out, body),
    }
}

fn put_server_body(out: &mut Vec<u8>, body: &Body<'_>) {
    match body {
        Body::Start { name } => {
            out.push(kind::START);
            put_bytes(out, name.as_bytes());
        }
        Body::Notice { room, text } => {
            out.push(kind::NOTICE);
            // No room has an empty name.
            put_bytes(out, room.unwrap_or_default().as_bytes());
            put_bytes(out, text);
        }
        Body::Ban {
            name,
            millis,
            is_kick,
        } => {
            out.push(kind::BAN);
            put_name(out, name);
            put_optional(out, *millis);
            out.push(u8::from(*is_kick));
        }
        Body::Unban { name } => {
            out.push(kind::UNBAN);
            put_bytes(out, name.as_bytes());
        }
        Body::Gone { origin, seq } => {
            out.push(kind::GONE);
            put_origin(out, *origin);
            put_number(out, *seq);
        }
        Body::Announce { members, bans } => {
            out.push(kind::ANNOUNCE);
            put_list(out, members, put_present);
            put_list(out, bans, put_barred);
        }
        Body::Snapshot(part) => {
            out.push(kind::SNAPSHOT);
            put_part(out, part);
        }
        Body::Stop => out.push(kind::STOP),
        Body::Ask => out.push(kind::ASK),
        Body::Reset => out.push(kind::RESET),
        Body::Behind { room } => {
            out.push(kind::BEHIND);
            put_bytes(out, room.as_bytes());
        }
        Body::Unknown { kind } => out.push(*kind),
        _ => unreachable!("put_body writes the bodies of members"),
    }
}

fn put_list<T>(out: &mut Vec<u8>, list: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    put_number(out, list.len() as u64);
    list.iter().for_each(|element| put(out, element));
}

fn put_origin(out: &mut Vec<u8>, origin: Origin) {
    out.extend_from_slice(&origin.server.to_le_bytes());
    out.extend_from_slice(&origin.boot.to_le_bytes());
}

fn put_member(out: &mut Vec<u8>, member: MemberId) {
    put_origin(out, member.origin);
    put_number(out, member.number);
}

fn put_place(out: &mut Vec<u8>, place: Option<Position>) {
    put_optional(out, place.map(|place| place.millis));
    if let Some(place) = place {
        put_number(out, place.index);
    }
}

/// A name: as it is shown, its fold, which is left out where it is the same, and its look.
fn put_name(out: &mut Vec<u8>, name: &Name<'_>) {
    let fold = if name.fold == name.shown {
        ""
    } else {
        name.fold
    };
    for form in [name.shown, fold, name.look] {
        put_bytes(out, form.as_bytes());
    }
}

fn put_present(out: &mut Vec<u8>, present: &Present<'_>) {
    put_number(out, present.number);
    put_name(out, &present.name);
    put_name(out, &present.room);
    put_address(out, present.address);
    let token = present.token.as_ref().map(|token| &token[..]);
    put_bytes(out, token.unwrap_or_default());
}

fn put_barred(out: &mut Vec<u8>, ban: &Barred<'_>) {
    put_name(out, &ban.name);
    put_address(out, ban.address);
    put_optional(out, ban.until);
}

fn put_part(out: &mut Vec<u8>, part: &Part<'_>) {
    put_number(out, part.of.millis);
    put_number(out, part.of.index);
    put_number(out, u64::from(part.index));
    out.push(u8::from(part.is_last));
    put_list(out, &part.servers, |out, server| {
        put_origin(out, server.origin);
        put_number(out, server.seq);
        put_place(out, server.asked);
    });
    put_list(out, &part.members, |out, (server, present)| {
        put_number(out, u64::from(*server));
        put_present(out, present);
    });
    put_list(out, &part.bans, put_barred);
}

fn member_body<'a>(kind: u8, reader: &mut Reader<'a>) -> Result<Body<'a>, Malformed> {
    Ok(match kind {
        kind::JOIN => Body::Join(present(reader)?),
        kind::LEAVE => Body::Leave {
            members: Cow::Owned(reader.list(Reader::number)?),
            farewell: reader.bytes()?,
        },
        kind::MOVE => Body::Move {
            member: reader.number()?,
            room: name(reader)?,
        },
        kind::RENAME => Body::Rename {
            member: reader.number()?,
            name: name(reader)?,
        },
        kind::SAY | kind::ACT => Body::Line {
            member: reader.number()?,
            manner: match kind {
                kind::SAY => Manner::Say,
                _ => Manner::Act,
            },
            name: reader.text()?,
            room: reader.text()?,
            text: reader.bytes()?,
        },
        kind::WHISPER => Body::Whisper {
            member: reader.number()?,
            name: reader.text()?,
            to: reader.text()?,
            text: reader.bytes()?,
        },
        kind::TAKEOVER => Body::Takeover {
            member: member(reader)?,
            number: reader.number()?,
            address: reader.address()?,
            seen: reader.number()?,
        },
        kind::RESUME => Body::Resume {
            member: member(reader)?,
            seen: reader.number()?,
            after: place(reader)?,
            has_more: reader.flag()?,
            is_doubtful: reader.flag()?,
            ignored: reader.list(|reader| Ok((reader.text()?, reader.number()?)))?,
        },
        kind => Body::Unknown { kind },
    })
}

fn server_body<'a>(kind: u8, reader: &mut Reader<'a>) -> Result<Body<'a>, Malformed> {
    Ok(match kind {
        kind::START => Body::Start {
            name: reader.text()?,
        },
        kind::STOP => Body::Stop,
        kind::NOTICE => Body::Notice {
            room: Some(reader.text()?).filter(|room| !room.is_empty()),
            text: reader.bytes()?,
        },
        kind::BAN => Body::Ban {
            name: name(reader)?,
            millis: reader.optional()?,
            is_kick: reader.flag()?,
        },
        kind::UNBAN => Body::Unban {
            name: reader.text()?,
        },
        kind::GONE => Body::Gone {
            origin: origin(reader)?,
            seq: reader.number()?,
        },
        kind::ANNOUNCE => Body::Announce {
            members: reader.list(present)?,
            bans: reader.list(barred)?,
        },
        kind::ASK => Body::Ask,
        kind::SNAPSHOT => Body::Snapshot(part(reader)?),
        kind::RESET => Body::Reset,
        kind::BEHIND => Body::Behind {
            room: reader.text()?,
        },
        kind => Body::Unknown { kind },
    })
}

fn origin(reader: &mut Reader<'_>) -> Result<Origin, Malformed> {
    let mut half = || -> Result<u64, Malformed> {
        let bytes = reader.take(size_of::<u64>())?;
        bytes
            .try_into()
            .map(u64::from_le_bytes)
            .map_err(|_| Malformed)
    };
    Ok(Origin {
        server: half()?,
        boot: half()?,
    })
}

fn member(reader: &mut Reader<'_>) -> Result<MemberId, Malformed> {
    Ok(MemberId {
        origin: origin(reader)?,
        number: reader.number()?,
    })
}

fn place(reader: &mut Reader<'_>) -> Result<Option<Position>, Malformed> {
    let Some(millis) = reader.optional()? else {
        return Ok(None);
    };
    let index = reader.number()?;
    Ok(Some(Position { millis, index }))
}

fn name<'a>(reader: &mut Reader<'a>) -> Result<Name<'a>, Malformed> {
    let (shown, fold, look) = (reader.text()?, reader.text()?, reader.text()?);
    if shown.is_empty() || fold == shown {
        return Err(Malformed);
    }
    let fold = if fold.is_empty() { shown } else { fold };
    Ok(Name { shown, fold, look })
}

fn present<'a>(reader: &mut Reader<'a>) -> Result<Present<'a>, Malformed> {
    Ok(Present {
        number: reader.number()?,
        name: name(reader)?,
        room: name(reader)?,
        address: reader.address()?,
        token: match reader.bytes()? {
            [] => None,
            token => Some(token.try_into().map_err(|_| Malformed)?),
        },
    })
}

fn barred<'a>(reader: &mut Reader<'a>) -> Result<Barred<'a>, Malformed> {
    Ok(Barred {
        name: name(reader)?,
        address: reader.address()?,
        until: reader.optional()?,
    })
}

fn part<'a>(reader: &mut Reader<'a>) -> Result<Part<'a>, Malformed> {
    Ok(Part {
        of: Position {
            millis: reader.number()?,
            index: reader.number()?,
        },
        index: reader.small()?,
        is_last: reader.flag()?,
        servers: reader.list(|reader| {
            Ok(Listed {
                origin: origin(reader)?,
                seq: reader.number()?,
                asked: place(reader)?,
            })
        })?,
        members: reader.list(|reader| Ok((reader.small()?, present(reader)?)))?,
        bans: reader.list(barred)?,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const ORIGIN: Origin = Origin {
        server: 7,
        boot: u64::MAX,
    };
    const BOB: Name<'_> = Name {
        shown: "Bob",
        fold: "bob",
        look: "",
    };
    const ROOM: Name<'_> = Name {
        shown: "lobby",
        fold: "lobby",
        look: "1obby",
    };
    const PLACE: Position = Position {
        millis: 1_700_000_000_000,
        index: 3,
    };

    /// One body of each kind.
    fn bodies() -> Vec<Body<'static>> {
        let member = MemberId {
            origin: ORIGIN,
            number: 9,
        };
        let present = Present {
            number: 300,
            name: BOB,
            room: ROOM,
            address: Some(Ipv4Addr::LOCALHOST.into()),
            token: Some([7; 32]),
        };
        let plain = Present {
            address: Some(Ipv6Addr::LOCALHOST.into()),
            token: None,
            ..present
        };
        let ban = Barred {
            name: BOB,
            address: None,
            until: Some(u64::MAX - 1),
        };
        let server = Listed {
            origin: ORIGIN,
            seq: 1,
            asked: Some(PLACE),
        };
        let (name, text) = (BOB, &b"hi \xff\0"[..]);
        let line = |manner| Body::Line {
            member: 1,
            manner,
            name: "Bob",
            room: "lobby",
            text,
        };
        vec![
            Body::Start { name: "one" },
            Body::Stop,
            Body::Join(present),
            Body::Leave {
                members: Cow::Owned(vec![0, u64::MAX]),
                farewell: b"bye",
            },
            Body::Move {
                member: 2,
                room: ROOM,
            },
            Body::Rename { member: 3, name },
            line(Manner::Say),
            line(Manner::Act),
            Body::Whisper {
                member: 4,
                name: "alice",
                to: "bob",
                text,
            },
            Body::Notice { room: None, text },
            Body::Notice {
                room: Some("lobby"),
                text: b"",
            },
            Body::Ban {
                name,
                millis: Some(0),
                is_kick: true,
            },
            Body::Unban { name: "bob" },
            Body::Takeover {
                member,
                number: 5,
                address: None,
                seen: 70,
            },
            Body::Resume {
                member,
                seen: 70,
                after: None,
                has_more: true,
                is_doubtful: false,
                ignored: vec![("eve", 0), ("mal", 0)],
            },
            Body::Gone {
                origin: ORIGIN,
                seq: 12,
            },
            Body::Announce {
                members: vec![present, plain],
                bans: vec![ban],
            },
            Body::Ask,
            Body::Snapshot(Part {
                of: PLACE,
                index: 2,
                is_last: true,
                servers: vec![server],
                members: vec![(0, plain)],
                bans: vec![ban],
            }),
            Body::Reset,
            Body::Behind { room: "lobby" },
        ]
    }

    fn encoded(body: &Body<'_>) -> Vec<u8> {
        let stamp = Stamp {
            origin: ORIGIN,
            seq: 1000,
        };
        Entry::encode(stamp, body)
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for body in bodies() {
            let bytes = encoded(&body);
            let entry = Entry::decode(PLACE, &bytes).expect("an entry");
            assert_eq!((entry.at, &entry.body), (PLACE, &body));
            assert_eq!((entry.stamp.origin, entry.stamp.seq), (ORIGIN, 1000));
        }
    }

    #[test]
    fn a_byte_more_or_less_is_malformed() {
        for body in bodies() {
            let mut bytes = encoded(&body);
            for len in 1..bytes.len() {
                let cut = Entry::decode(PLACE, &bytes[..len]);
                assert_eq!(cut, Err(Unreadable::Malformed), "{body:?} {len}");
            }
            bytes.push(0);
            let more = Entry::decode(PLACE, &bytes);
            assert_eq!(more, Err(Unreadable::Malformed), "{body:?}");
        }
        assert_eq!(Entry::decode(PLACE, &[]), Err(Unreadable::Malformed));
    }

    #[test]
    fn later_kinds_are_skipped_and_later_versions_unreadable() {
        let mut bytes = encoded(&Body::Unknown { kind: 200 });
        bytes.extend_from_slice(b"fields of the future");
        let entry = Entry::decode(PLACE, &bytes).expect("an entry");
        assert_eq!(entry.body, Body::Unknown { kind: 200 });
        bytes[0] = VERSION + 1;
        assert_eq!(Entry::decode(PLACE, &bytes), Err(Unreadable::Version));
        let long = [bytes, vec![0; ENTRY_MAX]].concat();
        assert_eq!(Entry::decode(PLACE, &long), Err(Unreadable::Malformed));
    }

    #[test]
    fn a_line_has_few_bytes_besides_its_text() {
        let line = Body::Line {
            member: 1,
            manner: Manner::Say,
            name: "alice",
            room: "lobby",
            text: b"hello",
        };
        assert_eq!(encoded(&line).len(), 20 + 1 + 6 + 6 + 6);
    }

    proptest! {
        /// Whatever is decoded encodes to the same bytes: there is one encoding of each entry.
        #[test]
        fn hostile_bytes_are_refused_or_canonical(
            kind in 0_u8..48,
            fields in vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = encoded(&Body::Unknown { kind });
            bytes.extend_from_slice(&fields);
            if let Ok(entry) = Entry::decode(PLACE, &bytes)
                && !matches!(entry.body, Body::Unknown { .. })
            {
                prop_assert_eq!(Entry::encode(entry.stamp, &entry.body), bytes);
            }
        }

        #[test]
        fn a_flipped_byte_does_no_harm(index in 0_usize..20, at in any::<usize>(), to in any::<u8>()) {
            let body = &bodies()[index];
            let mut bytes = encoded(body);
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(entry) = Entry::decode(PLACE, &bytes)
                && !matches!(entry.body, Body::Unknown { .. })
            {
                prop_assert_eq!(Entry::encode(entry.stamp, &entry.body), bytes);
            }
        }
    }
}
