//! One server's copy of the [`Membership`], and what it owes the others for it.
//!
//! A copy is *in sync* if it has the state that follows from the whole log. A server that reads the
//! log from its first entry, which is a [`Body::Reset`], is in sync from there on. A server that cannot
//! do that, because the beginning of the log was trimmed or because entries are missing, asks for a
//! snapshot ([`Body::Ask`]). The first server in sync, in the order of their start, answers with the
//! state as it was when it read the request. The asker keeps what it reads from its request on, and
//! applies it to the snapshot: so it gets the very state that the others have. If there is no server in
//! sync, the asker resets the state, and each server announces its members.
//!
//! Until then the asker still tells what it reads ([`Told::Entry`] without an effect): lines, for the
//! history or for members that have missed them.
//!
//! A replica does no I/O. What it wants to append are its *duties*: [`Replica::perform`].

mod syncing;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;
use std::time::Duration;

use super::entry::{Body, Entry, MemberId, Name, Origin, Position, Stamp};
use super::log::{Log, Read, Record};
use super::membership::{Effect, Member, Membership, Refusal, announcements};
use super::presence::Presence;

/// Time for an answer to a request for a snapshot, in milliseconds, before the state is reset.
const ANSWER: u64 = 30_000;
/// Most bytes of entries that are kept until the snapshot comes; above it the server asks again.
const KEPT_MAX: usize = 64 * 1024 * 1024;
/// Most requests of other servers that are remembered.
const OTHERS_MAX: usize = 256;
/// Most own entries whose effect is not known: more than wait for the log at a time.
const UNSETTLED_MAX: usize = 64 * 1024;
/// Most servers of which is known what was read.
const SEEN_MAX: usize = 1024;

/// Something that the chat is told, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// An entry.
    Entry {
        /// The entry.
        record: Record,
        /// Its effect; `None`: the state at this place is not known.
        effect: Option<Effect>,
        /// It was in the log before this server started: for the history only.
        is_old: bool,
    },
    /// Lines may be missing here. Members are told so.
    Gap,
    /// The state is known. The chat compares the state with the members that it serves. A member may
    /// have another name or room by now, or have joined meanwhile. Members that the state does not know
    /// are being announced. Of members that it does not serve, now or whenever one of this server's joins
    /// or is back, the chat appends a [`Body::Leave`].
    Synced,
}

/// Counters for `--stats` and `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Duplicates that were dropped.
    pub duplicates: u64,
    /// Gaps.
    pub gaps: u64,
    /// Entries of kinds that are not known.
    pub unknown: u64,
    /// Entries that could not be read.
    pub unreadable: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Replica {
    me: Origin,
    name: Box<str>,
    membership: Membership,
    /// `None`: in sync.
    unsynced: Option<Unsynced>,
    presence: Presence,
    /// Own members that were in the state and are not any more, since the server was declared gone or
    /// the state was lost.
    lost: BTreeMap<u64, Member>,
    /// Own entries that were read while not in sync, whose effect is not known.
    unsettled: Vec<Record>,
    /// The sequence of the last entry of each server that was read, whatever has become of the state or
    /// of the log since.
    seen: HashMap<Origin, u64>,
    has_told_gap: bool,
    /// The last entry that was read.
    at: Position,
    has_caught_up: bool,
    has_started: bool,
    has_stopped: bool,
    has_told_synced: bool,
    /// So many announcements are under way.
    announcing: usize,
    /// The sequence of the last own entry that was read.
    own: u64,
    /// The last request for a snapshot that this server has answered.
    answered: Position,
    /// Encoded entries to append again, once this server has announced itself.
    again: Vec<Vec<u8>>,
    /// Encoded entries to append.
    duties: VecDeque<Vec<u8>>,
    told: VecDeque<Told>,
    counters: Counters,
}

/// The state of a server that is not in sync.
#[derive(Debug, Default)]
struct Unsynced {
    is_asking: bool,
    /// The place of the request, once it is read back.
    asked: Option<Position>,
    /// Time of the request, by the heartbeats.
    asked_at: u64,
    /// The entries that were read from the request on.
    kept: Vec<Record>,
    kept_bytes: usize,
    /// The parts of the snapshot so far.
    parts: Vec<Record>,
    /// The other servers that have asked.
    others: Vec<Origin>,
}

impl Replica {
    /// The copy of a server that has read nothing. `name`: its name, for people.
    #[must_use]
    pub fn new(me: Origin, name: &str) -> Replica {
        Replica {
            me,
            name: name.into(),
            membership: Membership::default(),
            unsynced: Some(Unsynced::default()),
            presence: Presence::new(me),
            lost: BTreeMap::new(),
            unsettled: Vec::new(),
            seen: HashMap::new(),
            has_told_gap: false,
            at: Position::START,
            has_caught_up: false,
            has_started: false,
            has_stopped: false,
            has_told_synced: false,
            announcing: 0,
            own: 0,
            answered: Position::START,
            again: Vec::new(),
            duties: VecDeque::new(),
            told: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// The state. It is right while the replica [is in sync](Replica::is_synced).
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Checks a claim of this server's member with this number, as far as the entries that were read so
    /// far can tell; the log decides.
    pub fn check(&self, name: &Name<'_>, number: u64) -> Result<(), Refusal> {
        self.membership.check(name, Some(self.own_id(number)))
    }

    /// The identity of this server's member with this number.
    #[must_use]
    pub fn own_id(&self, number: u64) -> MemberId {
        let origin = self.me;
        MemberId { origin, number }
    }

    /// Whether an entry, or a member, is one of this server.
    #[must_use]
    pub fn is_own(&self, origin: Origin) -> bool {
        origin == self.me
    }

    /// Whether the state is known. While it is not, newcomers have to wait.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.unsynced.is_none() && self.has_caught_up
    }

    /// Whether all own members that were in the state are in it again, as far as this copy knows of them.
    #[must_use]
    pub fn has_announced(&self) -> bool {
        self.announcing == 0 && self.lost.is_empty()
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes in what was read from the log.
    pub fn read(&mut self, read: Read) {
        match read {
            Read::Record(record) => self.take(&record),
            Read::Unread(bytes) => self.take_unread(bytes),
            Read::Beat(beat) => {
                if self.presence.beat(beat) && self.has_caught_up {
                    self.look_around();
                }
            }
            Read::Gap => {
                self.has_caught_up = false;
                self.presence.clear();
                self.lose_sync();
                self.tell_gap();
            }
            Read::CaughtUp => self.catch_up(),
        }
    }

    /// The next thing that the chat is told.
    pub fn tell_next(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    /// Appends what this server owes the others, and returns whether that was anything. Call it after
    /// each [`Replica::read`], or after several.
    pub fn perform(&mut self, log: &mut dyn Log, now: Duration) -> bool {
        let has_duties = !self.duties.is_empty();
        for bytes in self.duties.drain(..) {
            if let Ok(entry) = Entry::decode(Position::START, &bytes) {
                let is_read_later = log.append(entry.body, now).is_none();
                debug_assert!(is_read_later, "a local log has no replicas");
            }
        }
        has_duties
    }

    fn owe(&mut self, body: &Body<'_>) {
        let stamp = Stamp {
            origin: self.me,
            seq: 0,
        };
        self.duties.push_back(Entry::encode(stamp, body));
    }

    fn take(&mut self, record: &Record) {
        self.at = record.at;
        let Ok(entry) = record.entry() else {
            self.counters.unreadable += 1;
            return;
        };
        if self.unsynced.is_some() {
            return self.take_unsynced(record, &entry);
        }
        let Ok(effect) = self.membership.apply(&entry) else {
            self.lose_sync();
            return self.take_unsynced(record, &entry);
        };
        self.settle_effect(record, &entry, &effect);
        match effect {
            Effect::Duplicate => self.take_duplicate(record, &entry),
            effect => self.tell(record, &entry, Some(effect)),
        }
        self.note_own(entry.stamp);
        self.see_to_it();
    }

    /// An own duplicate may be new to this server: the first one was trimmed before it was read, and the
    /// state, which is another server's, has its effect.
    fn take_duplicate(&mut self, record: &Record, entry: &Entry<'_>) {
        if entry.stamp.origin == self.me && entry.stamp.seq > self.own {
            self.note_unsettled(record, &entry.body);
            self.settle_own(false);
        }
    }

    fn note_own(&mut self, stamp: Stamp) {
        if stamp.origin == self.me {
            self.own = self.own.max(stamp.seq);
        }
    }

    /// Sees to what the effect of an entry means for this server.
    fn settle_effect(&mut self, record: &Record, entry: &Entry<'_>, effect: &Effect) {
        let is_own = entry.stamp.origin == self.me;
        match effect {
            Effect::Duplicate => self.counters.duplicates += 1,
            Effect::Unknown => self.counters.unknown += 1,
            Effect::Unheard if is_own && entry.stamp.seq > self.own => {
                self.say_again(record, &entry.body);
            }
            Effect::Left(members) | Effect::Reset(members)
                if !self.membership.has_server(self.me) && !self.has_stopped =>
            {
                let own = members.iter().filter(|member| member.id.origin == self.me);
                self.lost
                    .extend(own.map(|member| (member.id.number, member.clone())));
            }
            _ => {}
        }
        match &entry.body {
            Body::Reset => self.announcing = 0,
            Body::Leave { members, .. } if is_own => {
                members
                    .iter()
                    .for_each(|number| drop(self.lost.remove(number)));
            }
            Body::Announce { members, .. } if is_own && *effect != Effect::Duplicate => {
                self.announcing = self.announcing.saturating_sub(1);
                members
                    .iter()
                    .for_each(|member| drop(self.lost.remove(&member.number)));
            }
            Body::Stop if is_own => {
                self.has_stopped = true;
                self.lost.clear();
            }
            // It is in sync all the same: the state was reset between the request and now.
            Body::Ask if is_own && *effect == Effect::Nothing => self.answer(entry.at),
            _ => {}
        }
    }

    /// Appends an own entry again that came while the server was not in the state. A line was told all
    /// the same.
    fn say_again(&mut self, record: &Record, body: &Body<'_>) {
        let is_stale = matches!(
            body,
            Body::Snapshot(_) | Body::Gone { .. } | Body::Behind { .. } | Body::Stop | Body::Reset
        );
        if !is_stale && !body.is_line() && !self.has_stopped {
            self.again.push(record.bytes.to_vec());
        }
    }

    /// Once the log was read to its end: the server announces itself if it is not in the state, or some
    /// of its members are not; and answers requests for a snapshot.
    fn see_to_it(&mut self) {
        if !self.has_caught_up || self.has_stopped || self.unsynced.is_some() {
            return;
        }
        let is_missing = !self.membership.has_server(self.me) || !self.lost.is_empty();
        if is_missing && self.has_started && self.announcing == 0 {
            let bodies = announcements(self.lost.values(), self.membership.bans().all());
            self.announcing = bodies.len();
            let stamp = Stamp {
                origin: self.me,
                seq: 0,
            };
            let duties = bodies.iter().map(|body| Entry::encode(stamp, body));
            self.duties.extend(duties);
        }
        // Behind the announcement, so that they are heard.
        self.duties.extend(self.again.drain(..));
        if let Some((latest, Some(answering))) = self.membership.request()
            && answering == self.me
            && latest > self.answered
        {
            self.answer(latest);
        }
    }

    /// Answers the requests for a snapshot up to the latest one.
    fn answer(&mut self, latest: Position) {
        self.answered = latest;
        let parts = self.membership.snapshot(self.at);
        let stamp = Stamp {
            origin: self.me,
            seq: 0,
        };
        let parts = parts.into_iter().map(Body::Snapshot);
        let duties = parts.map(|part| Entry::encode(stamp, &part));
        self.duties.extend(duties);
    }

    fn catch_up(&mut self) {
        self.has_caught_up = true;
        if !mem::replace(&mut self.has_started, true) {
            let name = mem::take(&mut self.name);
            self.owe(&Body::Start { name: &name });
            self.name = name;
        } else if self.unsynced.is_none() {
            self.see_to_it();
        }
        self.ask();
        self.tell_synced();
    }

    fn tell_synced(&mut self) {
        if self.is_synced() && !mem::replace(&mut self.has_told_synced, true) {
            self.has_told_gap = false;
            self.told.push_back(Told::Synced);
        }
    }

    /// Notes that an entry was read; false if it was read before. If entries before it are missing, that
    /// is told.
    fn note_seen(&mut self, stamp: Stamp) -> bool {
        if stamp.seq == 0 {
            return false;
        }
        if self.seen.len() >= SEEN_MAX && !self.seen.contains_key(&stamp.origin) {
            let state = &self.membership;
            self.seen.retain(|origin, _| state.has_server(*origin));
        }
        // Entries from before this server started are not missing.
        let first = if self.has_started { 1 } else { stamp.seq };
        let last = self.seen.entry(stamp.origin).or_insert(first - 1);
        let (is_new, is_missing) = (stamp.seq > *last, stamp.seq > *last + 1);
        *last = stamp.seq.max(*last);
        if is_missing {
            self.tell_gap();
        }
        is_new
    }

    fn tell_gap(&mut self) {
        if !mem::replace(&mut self.has_told_gap, true) {
            self.counters.gaps += 1;
            self.told.push_back(Told::Gap);
        }
    }

    /// Tells an entry at a place where the state is not known.
    fn tell_past(&mut self, record: &Record) {
        if let Ok(entry) = record.entry() {
            self.tell(record, &entry, None);
        }
    }

    fn tell(&mut self, record: &Record, entry: &Entry<'_>, effect: Option<Effect>) {
        // After a gap the log is read from its beginning again. At any other time an entry that comes again
        // may have an effect, since its server was removed from the state meanwhile.
        let is_new = self.note_seen(entry.stamp);
        let has_effect = effect.is_some() && self.is_synced() && !entry.body.is_line();
        if is_new || has_effect || entry.body == Body::Reset {
            self.told.push_back(Told::Entry {
                record: record.clone(),
                effect,
                is_old: !self.has_started,
            });
        }
    }

    /// After an own heartbeat: declares silent servers gone, or resets the state if no living server
    /// can make a snapshot.
    fn look_around(&mut self) {
        let Some(unsynced) = &mut self.unsynced else {
            let others: Vec<_> = self.membership.sequences().collect();
            for (origin, seq) in others {
                if origin != self.me && self.presence.is_silent(origin) {
                    self.owe(&Body::Gone { origin, seq });
                }
            }
            return;
        };
        let is_late = self.presence.now().saturating_sub(unsynced.asked_at) > ANSWER;
        if unsynced.asked.is_none() {
            // The request may have been trimmed before it was read.
            unsynced.is_asking &= !is_late;
            return self.ask();
        }
        let can_answer = |origin: &Origin| !unsynced.others.contains(origin);
        let is_alone = !self.presence.living().any(|origin| can_answer(&origin));
        if is_alone || is_late {
            unsynced.asked_at = self.presence.now();
            self.owe(&Body::Reset);
        }
    }
}
