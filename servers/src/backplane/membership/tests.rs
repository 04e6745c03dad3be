//! The rules, one by one. How they work together is the subject of `tests/backplane_simulation.rs`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::*;
use crate::backplane::encoding::ENTRY_MAX;
use crate::backplane::entry::Stamp;

const ONE: Origin = Origin { server: 1, boot: 1 };
const TWO: Origin = Origin { server: 2, boot: 1 };

/// A state, and the sequences of the servers that append to it.
#[derive(Default)]
struct Log {
    state: Membership,
    seqs: HashMap<Origin, u64>,
    millis: u64,
}

impl Log {
    /// A log on which two servers have started.
    fn with_two() -> Log {
        let mut log = Log::default();
        log.append(ONE, Body::Start { name: "one" });
        log.append(TWO, Body::Start { name: "two" });
        log
    }

    fn append(&mut self, origin: Origin, body: Body<'_>) -> Effect {
        let seq = self.seqs.entry(origin).or_default();
        *seq += 1;
        let stamp = Stamp { origin, seq: *seq };
        self.put(stamp, body).expect("nothing is missing")
    }

    fn put(&mut self, stamp: Stamp, body: Body<'_>) -> Result<Effect, Missing> {
        self.millis += 1000;
        let at = Position {
            millis: self.millis,
            index: 0,
        };
        self.state.apply(&Entry { stamp, at, body })
    }

    fn join(&mut self, origin: Origin, number: u64, name: &str) -> Effect {
        self.append(origin, Body::Join(present(number, name)))
    }
}

fn named(name: &str) -> Name<'_> {
    Name {
        shown: name,
        fold: name,
        look: "",
    }
}

fn present(number: u64, name: &str) -> Present<'_> {
    Present {
        number,
        name: named(name),
        room: named("lobby"),
        address: None,
        token: None,
    }
}

fn id(origin: Origin, number: u64) -> MemberId {
    MemberId { origin, number }
}

fn left(effect: &Effect) -> Vec<&str> {
    match effect {
        Effect::Left(members) => members.iter().map(|member| &*member.name.shown).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_claim_of_a_name_wins() {
    let mut log = Log::with_two();
    assert_eq!(log.join(ONE, 1, "bob"), Effect::Joined(id(ONE, 1)));
    assert_eq!(log.join(TWO, 1, "bob"), Effect::Refused(Refusal::Taken));
    assert_eq!(log.join(TWO, 2, "eve"), Effect::Joined(id(TWO, 2)));
    let rename = |name| Body::Rename {
        member: 2,
        name: named(name),
    };
    assert_eq!(
        log.append(TWO, rename("bob")),
        Effect::Refused(Refusal::Taken)
    );
    assert_eq!(
        log.append(TWO, rename("eve")),
        Effect::Refused(Refusal::Same)
    );
    let old = OwnedName::from(named("eve"));
    assert_eq!(log.append(TWO, rename("zoe")), Effect::Renamed(old));
    assert_eq!(log.join(ONE, 3, "eve"), Effect::Joined(id(ONE, 3)));
    let members = Cow::Borrowed(&[1, 9][..]);
    let effect = log.append(
        ONE,
        Body::Leave {
            members,
            farewell: b"",
        },
    );
    assert_eq!(left(&effect), ["bob"]);
    assert_eq!(
        log.append(TWO, rename("bob")),
        Effect::Renamed(named("zoe").into())
    );
    assert_eq!(
        log.state.named("bob").map(|member| member.id),
        Some(id(TWO, 2))
    );
    assert_eq!((log.state.named("zoe"), log.state.len()), (None, 2));
}

#[test]
fn look_alikes_are_refused_but_not_to_their_holder() {
    let mut log = Log::with_two();
    let alike = |shown| Name {
        shown,
        fold: shown,
        look: "l00k",
    };
    let join = |number, shown| {
        Body::Join(Present {
            name: alike(shown),
            ..present(number, shown)
        })
    };
    log.append(ONE, join(1, "look"));
    assert_eq!(
        log.append(TWO, join(1, "1ook")),
        Effect::Refused(Refusal::Alike)
    );
    let rename = Body::Rename {
        member: 1,
        name: alike("1ook"),
    };
    assert_eq!(
        log.append(ONE, rename),
        Effect::Renamed(alike("look").into())
    );
    assert_eq!(
        log.append(TWO, join(2, "look")),
        Effect::Refused(Refusal::Alike)
    );
}

#[test]
fn rooms_keep_the_spelling_of_their_first_member_and_end_with_their_last() {
    let mut log = Log::with_two();
    log.join(ONE, 1, "bob");
    log.join(TWO, 1, "eve");
    let go = |shown| Body::Move {
        member: 1,
        room: Name {
            shown,
            fold: "dev",
            look: "",
        },
    };
    let lobby = OwnedName::from(named("lobby")).into();
    assert_eq!(log.append(ONE, go("Dev")), Effect::Moved(lobby));
    assert_eq!(log.append(ONE, go("DEV")), Effect::Refused(Refusal::Same));
    log.append(TWO, go("dev"));
    let room = &log.state.member(id(TWO, 1)).expect("a member").room;
    assert_eq!(&*room.shown, "Dev");
    let rooms: Vec<_> = log
        .state
        .rooms()
        .map(|(name, count)| (&*name.shown, count))
        .collect();
    assert_eq!(rooms, [("Dev", 2)]);
    log.append(TWO, Body::Stop);
    assert_eq!(log.state.room("dev").map(|(_, count)| count), Some(1));
}

#[test]
fn duplicates_have_no_effect_and_a_missing_entry_is_noticed() {
    let mut log = Log::with_two();
    log.join(ONE, 1, "bob");
    let stamp = |seq| Stamp { origin: ONE, seq };
    let join = || Body::Join(present(7, "zoe"));
    for seq in [1, 2] {
        assert_eq!(log.put(stamp(seq), join()), Ok(Effect::Duplicate));
    }
    assert_eq!(log.put(stamp(4), join()), Err(Missing));
    assert_eq!(log.put(stamp(3), join()), Ok(Effect::Joined(id(ONE, 7))));
    let stranger = Stamp {
        origin: Origin { server: 9, boot: 9 },
        seq: 1,
    };
    assert_eq!(log.put(stranger, join()), Ok(Effect::Unheard));
}

#[test]
fn a_silent_server_is_gone_once_and_announces_itself() {
    let mut log = Log::with_two();
    log.join(TWO, 1, "eve");
    log.join(TWO, 2, "mal");
    let gone = |seq| Body::Gone { origin: TWO, seq };
    assert_eq!(
        log.append(ONE, gone(2)),
        Effect::Nothing,
        "it was heard since"
    );
    let effect = log.append(ONE, gone(3));
    assert_eq!(left(&effect), ["eve", "mal"]);
    assert_eq!(
        log.append(ONE, gone(3)),
        Effect::Nothing,
        "the first counts"
    );
    let line = Body::Notice {
        room: None,
        text: b"",
    };
    assert_eq!(log.append(TWO, line), Effect::Unheard);
    log.join(ONE, 1, "mal");
    let members = vec![present(1, "eve"), present(2, "mal")];
    let bans = Vec::new();
    let effect = log.append(TWO, Body::Announce { members, bans });
    let expected = Effect::Announced {
        back: vec![id(TWO, 1)],
        refused: vec![(2, Refusal::Taken)],
    };
    assert_eq!(effect, expected);
    assert!(log.state.servers().eq([ONE, TWO]));
}

#[test]
fn the_next_run_of_a_server_ends_the_former() {
    let mut log = Log::with_two();
    log.join(TWO, 1, "eve");
    let next = Origin { server: 2, boot: 2 };
    let effect = log.append(next, Body::Start { name: "two" });
    assert_eq!(left(&effect), ["eve"]);
    assert!(log.state.servers().eq([ONE, next]));
    log.join(next, 1, "eve");
    let effect = log.append(next, Body::Stop);
    assert_eq!(left(&effect), ["eve"]);
    assert!(log.state.servers().eq([ONE]));
}

#[test]
fn bans_hit_names_and_addresses_on_every_server() {
    let mut log = Log::with_two();
    let address = Some(Ipv4Addr::new(192, 0, 2, 1).into());
    let from = |number, name| {
        Body::Join(Present {
            address,
            ..present(number, name)
        })
    };
    let ban = |name, millis, is_kick| Body::Ban {
        name: named(name),
        millis,
        is_kick,
    };
    log.append(ONE, from(1, "eve"));
    assert_eq!(
        log.append(TWO, ban("mal", None, true)),
        Effect::Refused(Refusal::Nobody)
    );
    let effect = log.append(TWO, ban("eve", Some(4500), true));
    assert_eq!(left(&effect), ["eve"]);
    let banned = Effect::Refused(Refusal::Banned);
    assert_eq!(log.append(TWO, from(1, "zoe")), banned, "the address");
    assert_eq!(log.join(ONE, 2, "eve"), banned, "the name");
    log.join(ONE, 3, "bob");
    let rename = Body::Rename {
        member: 3,
        name: named("eve"),
    };
    assert_eq!(log.append(ONE, rename), banned);
    assert_eq!(
        log.append(TWO, from(2, "zoe")),
        Effect::Joined(id(TWO, 2)),
        "it has ended"
    );
    assert_eq!(left(&log.append(ONE, ban("ann", None, false))), [""; 0]);
    let unban = || Body::Unban { name: "ann" };
    let Effect::Unbanned(name) = log.append(TWO, unban()) else {
        panic!("the ban has ended");
    };
    assert_eq!(&*name.shown, "ann");
    assert_eq!(log.append(TWO, unban()), Effect::Refused(Refusal::Nobody));
}

#[test]
fn a_member_is_taken_over_once() {
    let mut log = Log::with_two();
    let token = [3; 32];
    log.append(
        ONE,
        Body::Join(Present {
            token: Some(token),
            ..present(1, "eve")
        }),
    );
    let take = || Body::Takeover {
        member: id(ONE, 1),
        number: 5,
        address: None,
        seen: 10,
    };
    let (from, to) = (id(ONE, 1), id(TWO, 5));
    assert_eq!(log.append(TWO, take()), Effect::TakenOver { from, to });
    assert_eq!(log.append(ONE, take()), Effect::Refused(Refusal::Nobody));
    let member = log.state.by_token(&token).expect("a member");
    assert_eq!((member.id, &*member.name.shown), (to, "eve"));
    assert_eq!(log.state.named("eve").map(|member| member.id), Some(to));
    let whisper = |to| Body::Whisper {
        member: 5,
        name: "eve",
        to,
        text: b"hi",
    };
    assert_eq!(log.append(TWO, whisper("eve")), Effect::Said(Some(to)));
    assert_eq!(
        log.append(TWO, whisper("bob")),
        Effect::Refused(Refusal::Nobody)
    );
}

#[test]
fn a_token_is_the_first_members_and_a_banned_address_takes_nobody_over() {
    let mut log = Log::with_two();
    let token = Some([3; 32]);
    for (number, name) in [(1, "eve"), (2, "mal")] {
        let present = Present {
            token,
            ..present(number, name)
        };
        log.append(ONE, Body::Join(present));
    }
    let bearer = |log: &Log| log.state.by_token(&[3; 32]).map(|member| member.id);
    assert_eq!(bearer(&log), Some(id(ONE, 1)));
    let address = Some("192.0.2.1".parse().unwrap());
    let bad = Present {
        address,
        ..present(3, "zoe")
    };
    log.append(ONE, Body::Join(bad));
    let ban = Body::Ban {
        name: named("zoe"),
        millis: None,
        is_kick: false,
    };
    log.append(TWO, ban);
    let take = |address| Body::Takeover {
        member: id(ONE, 1),
        number: 5,
        address,
        seen: 10,
    };
    let refused = Effect::Refused(Refusal::Banned);
    assert_eq!(log.append(TWO, take(address)), refused);
    let (from, to) = (id(ONE, 1), id(TWO, 5));
    assert_eq!(log.append(TWO, take(None)), Effect::TakenOver { from, to });
    assert_eq!(bearer(&log), Some(to));
    log.append(
        TWO,
        Body::Leave {
            members: Cow::Owned(vec![5]),
            farewell: b"",
        },
    );
    assert_eq!(bearer(&log), None);
}

#[test]
fn a_snapshot_is_the_state_in_entries_of_bounded_size() {
    let mut log = Log::with_two();
    for number in 0..3000 {
        let origin = if number % 3 == 0 { TWO } else { ONE };
        log.join(origin, number, &format!("name{number}"));
    }
    for number in 0..300 {
        let name = format!("banned{number}");
        let name = named(&name);
        let (millis, is_kick) = (None, false);
        log.append(
            ONE,
            Body::Ban {
                name,
                millis,
                is_kick,
            },
        );
    }
    log.append(TWO, Body::Ask);
    assert_eq!(
        log.state.request().map(|(_, answering)| answering),
        Some(Some(ONE))
    );
    let of = Position {
        millis: log.millis,
        index: 0,
    };
    let stamp = Stamp {
        origin: ONE,
        seq: 1,
    };
    let parts = log.state.snapshot(of).into_iter();
    let parts: Vec<Vec<u8>> = parts
        .map(|part| Entry::encode(stamp, &Body::Snapshot(part)))
        .collect();
    assert!(parts.len() > 3 && parts.iter().all(|part| part.len() < ENTRY_MAX));
    let decoded = parts.iter().map(|bytes| match Entry::decode(of, bytes) {
        Ok(Entry {
            body: Body::Snapshot(part),
            ..
        }) => part,
        other => panic!("{other:?}"),
    });
    let copy = Membership::from_snapshot(decoded);
    assert_eq!(copy.snapshot(of), log.state.snapshot(of));
    let rooms = |state: &Membership| state.room("lobby").map(|(_, count)| count);
    assert_eq!((copy.len(), rooms(&copy)), (3000, rooms(&log.state)));
    let part = log.state.snapshot(of).pop().expect("a part");
    let body = Entry::encode(stamp, &Body::Snapshot(part));
    let answer = Entry::decode(of, &body).expect("an entry").body;
    log.append(ONE, answer);
    assert_eq!(log.state.request(), None);
    let bodies = announcements(log.state.members_of(ONE), log.state.bans().all());
    assert!(
        bodies
            .iter()
            .all(|body| Entry::encode(stamp, body).len() < ENTRY_MAX)
    );
}

#[test]
fn a_reset_leaves_nothing() {
    let mut log = Log::with_two();
    log.join(ONE, 1, "bob");
    let Effect::Reset(members) = log.append(TWO, Body::Reset) else {
        panic!("no reset");
    };
    assert_eq!(members.len(), 1);
    assert!(log.state.is_empty() && log.state.servers().next().is_none());
    assert_eq!(log.state.named("bob"), None);
    assert_eq!(log.join(ONE, 2, "bob"), Effect::Unheard);
    let (members, bans) = (vec![present(1, "bob")], Vec::new());
    let effect = log.append(ONE, Body::Announce { members, bans });
    let (back, refused) = (vec![id(ONE, 1)], Vec::new());
    assert_eq!(effect, Effect::Announced { back, refused });
}

#[test]
fn nonsense_has_bounds() {
    let mut log = Log::default();
    for boot in 0..1000 {
        log.append(Origin { server: boot, boot }, Body::Ask);
    }
    assert_eq!(log.state.servers().count(), SERVERS_MAX);
}
