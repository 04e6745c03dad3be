//! A page that comes back to another server than it has left takes its membership along.
//!
//! The other servers know the digest of a member's token from the claim of its name. So a page whose token
//! this server does not know is in one of three cases:
//!
//! 1. No member has its token: the page is a newcomer.
//! 2. A member of another server has it. This server appends a [`Body::Takeover`]. When that is read, the
//!    state has the member at this server, and all servers tell nobody. The former server closes the former
//!    connection, forgets the member, and appends a [`Body::Resume`]: up to which place in the log the page
//!    has the lines of its room, and the member's ignore list. When that is read here, the page is told
//!    that it is back, and the lines of this server's history after that place. If it does not come within
//!    [`RESUME_WAIT`], the former server is gone, and the page is told that lines are missing.
//! 3. The state is not known, or the log is out of reach: the page waits, and is decided on later.
//!
//! In the cases 2 and 3 the page is an [arrival](super::arrivals): it is told nothing, since its first message tells it
//! whether it is a newcomer, and its input waits. From its takeover on, its member is in its room, but
//! [`NOWHERE`] among the hearers; it has the lines from the history.
//!
//! Events at the same time are decided by the order of the entries. A takeover of a member that has
//! left is refused, and the page is a newcomer. A member that is taken from this server before its `Resume`
//! is read here is passed on: so is the `Resume`. A page that connects again while it waits goes on as the
//! same arrival. If its connection is lost, its member is without one as any other is.

use std::time::Duration;

use edgeloop_reactor::{ConnId, Outbox, Peer};

use super::arrivals::{Arrival, Landing, PassedOn, Stage};
use super::member::{Awaited, Member, NOWHERE};
use super::name::Illegal;
use super::seat::{Seat, Token, Visit};
use super::waits::NEWCOMER_WAIT;
use super::{Chat, addresses};
use crate::backplane::entry::{Body, Entry, MemberId, Position};
use crate::backplane::membership::{Effect, Member as Known, Refusal};

/// Time by which this server may be behind another one in reading the log, without being noticed.
const BEHIND_MAX: Duration = Duration::from_millis(500);
/// Time for which a page waits for what its former server knows of it.
const RESUME_WAIT: Duration = Duration::from_secs(3);
/// How the connection of a page has ended that had not got its membership yet.
const LOST: &str = "connection lost";

/// The lines that a page that comes back has received.
#[derive(Clone, Copy, Debug)]
struct Received {
    /// The lines of its room up to this number.
    told: u64,
    /// It has missed others.
    has_more: bool,
    /// It may have received more.
    is_doubtful: bool,
}

/// Where a token is known.
enum Whereabouts {
    Unknown,
    /// On no other server.
    Nowhere,
    At(MemberId),
}

/// A page without a membership here.
impl Chat {
    /// A page has connected whose token this server does not know.
    pub(super) fn receive(&mut self, id: ConnId, peer: Peer, visit: Visit, out: &mut Outbox) {
        let Visit { token, seen } = visit;
        let seat = Box::new(Seat::new(token.clone(), peer));
        let sure_at = out.now() + BEHIND_MAX;
        let whereabouts = self.whereabouts(&token, seen, sure_at, out);
        self.tokens.insert(token, id);
        if let Whereabouts::Nowhere = whereabouts {
            self.seats.insert(id, seat);
            return self.welcome(id, peer, out);
        }
        self.addresses.opened(id, &peer);
        self.wait_for_membership(id, Member::new(peer), out);
        let stage = Stage::Undecided(seat);
        let arrival = Arrival {
            seen,
            sure_at,
            stage,
        };
        self.arrivals.all.insert(id, arrival);
        match whereabouts {
            Whereabouts::At(member) => self.ask_for_membership(id, member, out),
            _ => self.serve_log_soon(out),
        }
    }

    /// Where a member has this token. A page that has received nothing was never a member. Of one that has
    /// the state may not know yet, before `sure_at`.
    fn whereabouts(
        &self,
        token: &Token,
        seen: u64,
        sure_at: Duration,
        out: &Outbox,
    ) -> Whereabouts {
        let Some(replica) = &self.replica else {
            return Whereabouts::Nowhere;
        };
        if !self.takes_names(out) {
            return match seen {
                0 => Whereabouts::Nowhere,
                _ => Whereabouts::Unknown,
            };
        }
        let member = replica.membership().by_token(&token.digest());
        match member.map(|member| member.id) {
            Some(id) if !self.serves(id) => Whereabouts::At(id),
            None if seen > 0 && out.now() < sure_at => Whereabouts::Unknown,
            _ => Whereabouts::Nowhere,
        }
    }

    fn wait_for_membership(&mut self, id: ConnId, mut member: Member, out: &mut Outbox) {
        member.extra_mut().awaits = Some(Awaited::Membership);
        self.members.insert(id, member);
        out.pause(id);
        out.set_timer(id, NEWCOMER_WAIT);
    }

    /// Appends the takeover of a member, unless that is banned.
    fn ask_for_membership(&mut self, id: ConnId, member: MemberId, out: &mut Outbox) {
        let replica = self.replica.as_ref();
        let known = replica.and_then(|replica| replica.membership().member(member));
        let Some(Arrival {
            seen,
            sure_at,
            stage,
        }) = self.arrivals.all.remove(&id)
        else {
            return;
        };
        let (Some(name), Stage::Undecided(seat)) = (known.map(|known| &known.name.shown), stage)
        else {
            return;
        };
        let address = addresses::banned(&seat.peer);
        let is_banned = self.is_banned(name, address, out);
        let stage = match is_banned {
            true => Stage::Undecided(seat),
            false => Stage::Asked(seat),
        };
        let arrival = Arrival {
            seen,
            sure_at,
            stage,
        };
        self.arrivals.all.insert(id, arrival);
        if is_banned {
            return self.dismiss(id, Illegal::Banned.reason(), out);
        }
        let takeover = Body::Takeover {
            member,
            number: self.numbers.of(id),
            address,
            seen,
        };
        self.append(takeover, out);
    }

    /// Decides on a page that waits, if that is possible by now.
    fn decide(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(arrival) = self.arrivals.all.get(&id) else {
            return;
        };
        let Stage::Undecided(seat) = &arrival.stage else {
            return;
        };
        match self.whereabouts(&seat.token, arrival.seen, arrival.sure_at, out) {
            Whereabouts::Unknown => {}
            Whereabouts::At(member) => self.ask_for_membership(id, member, out),
            Whereabouts::Nowhere => self.begin_anew(id, out),
        }
    }

    /// A page that has waited is a newcomer.
    fn begin_anew(&mut self, id: ConnId, out: &mut Outbox) {
        let seat = self.arrivals.remove(id);
        if let (Some(seat), Some(member)) = (seat, self.members.get_mut(id)) {
            member.has_awaited(Awaited::Membership);
            self.seats.insert(id, seat);
            out.clear_timer(id);
            self.ask_for_name(id, out);
            self.go_on(id, None, out);
        }
    }

    /// A page has connected again while it waits.
    pub(super) fn arrive_again(
        &mut self,
        id: ConnId,
        peer: Peer,
        old: ConnId,
        seen: u64,
        out: &mut Outbox,
    ) {
        self.lay_down(old, out);
        let Some(mut arrival) = self.arrivals.all.remove(&old) else {
            return;
        };
        arrival.seen = seen;
        let mut member = Member::new(peer);
        match &mut arrival.stage {
            Stage::Undecided(seat) | Stage::Asked(seat) => {
                self.members.remove(old);
                seat.is_done = false;
                self.replace(id, peer, old, seat);
            }
            Stage::Landed(_) => {
                let seat = self.take_seat(old);
                let (Some(mut seat), Some(known)) = (seat, self.members.remove(old)) else {
                    return;
                };
                member = known;
                seat.is_done = false;
                self.replace(id, peer, old, &mut seat);
                self.seats.insert(id, seat);
                if member.has_joined() {
                    self.names.insert(member.name(), id);
                }
            }
        }
        self.wait_for_membership(id, member, out);
        self.arrivals.all.insert(id, arrival);
        self.decide(id, out);
    }

    /// Whether the takeover for this connection is not read.
    pub(super) fn has_asked(&self, id: ConnId) -> bool {
        self.arrivals.has_asked(id)
    }

    /// The connection of such a page is gone; its takeover will be read.
    pub(super) fn lose_asking(&mut self, id: ConnId) {
        self.members.remove(id);
    }

    /// A takeover by this server has no effect.
    fn is_refused(&mut self, number: u64, why: Refusal, out: &mut Outbox) {
        let id = self.numbers.id(number);
        if !self.has_asked(id) {
            return;
        }
        if why == Refusal::Banned && self.members.get(id).is_some() {
            self.arrivals.withdraw(id);
            return self.dismiss(id, Illegal::Banned.reason(), out);
        }
        // The member has left, or has been taken over by a third server.
        self.decide_again(id, out);
    }

    /// The takeover of a page has no effect, or has it no more.
    fn decide_again(&mut self, id: ConnId, out: &mut Outbox) {
        self.arrivals.withdraw(id);
        match self.members.get(id) {
            Some(_) => self.decide(id, out),
            None => self.forget(id, out),
        }
    }
}

/// The new server.
impl Chat {
    /// A takeover was read, or what follows it. `effect`: its effect on the state, if that is known.
    pub(super) fn hear_of_takeover(
        &mut self,
        entry: &Entry<'_>,
        effect: Option<Effect>,
        out: &mut Outbox,
    ) {
        match (&entry.body, effect) {
            (Body::Takeover { seen, .. }, Some(Effect::TakenOver { from, to })) => {
                if self.serves(from) {
                    self.hand_over(from.number, to, Some((*seen, entry.at)), out);
                }
                if self.serves(to) {
                    self.land(to.number, Some(entry.at), out);
                }
            }
            (Body::Takeover { number, .. }, Some(Effect::Refused(why))) => {
                let (origin, number) = (entry.stamp.origin, *number);
                if self.serves(MemberId { origin, number }) {
                    self.is_refused(number, why, out);
                }
            }
            (Body::Resume { member, .. }, _) if self.serves(*member) => {
                self.resume(member.number, &entry.body, out);
            }
            _ => {}
        }
    }

    /// The state has a member at this server that was taken over.
    fn land(&mut self, number: u64, at: Option<Position>, out: &mut Outbox) {
        let id = self.numbers.id(number);
        let Some(known) = self.known_here(number) else {
            return;
        };
        if self.arrivals.has_landed(id) {
            return;
        }
        let Some(Arrival {
            seen,
            sure_at,
            stage,
        }) = self.arrivals.all.remove(&id)
        else {
            return self.take_back(number, out);
        };
        let (Stage::Undecided(seat) | Stage::Asked(seat)) = stage else {
            return;
        };
        if let Some(member) = self.members.get_mut(id) {
            member.take_peer();
            out.clear_timer(id);
            self.seats.insert(id, seat);
        } else {
            let mut member = Member::new(seat.peer);
            member.take_peer();
            self.members.insert_away(id, member);
            let admission = self.absences.admit(&seat.peer).filter(|_| !seat.is_done);
            let Some(admission) = admission else {
                self.tokens.remove(&seat.token);
                self.settle_in(id, &known, seen, at, out);
                return self.part(id, LOST, b"", out);
            };
            self.absences.add(id, seat, admission, LOST, out.now());
            self.tick(out);
        }
        let stage = Stage::Landed(self.settle_in(id, &known, seen, at, out));
        let arrival = Arrival {
            seen,
            sure_at,
            stage,
        };
        self.arrivals.all.insert(id, arrival);
    }

    /// A member of this server, as the state has it.
    fn known_here(&self, number: u64) -> Option<Known> {
        let replica = self.replica.as_ref()?;
        replica.membership().member(replica.own_id(number)).cloned()
    }

    /// Gives a member the name and the room that the state has for it.
    fn settle_in(
        &mut self,
        id: ConnId,
        known: &Known,
        seen: u64,
        at: Option<Position>,
        out: &mut Outbox,
    ) -> Landing {
        let number = self.room(&known.room.shown);
        let room = &mut self.rooms[number as usize];
        room.arriving += 1;
        let told = room.told;
        if let Some(member) = self.members.get_mut(id) {
            member.set_name(&known.name.shown);
            (member.room, member.place) = (number, NOWHERE);
            if member.is_above() && room.gate.rise() {
                self.fall_behind(number, out);
            }
        }
        if let Some(seat) = self.seat_mut(id) {
            seat.arrive(seen, told, true);
        }
        self.names.insert(&known.name.shown, id);
        self.recount(number, out);
        Landing {
            at,
            room: number,
            told,
            until: out.now() + RESUME_WAIT,
            whispers: Vec::new(),
            is_full: false,
        }
    }

    /// An entry was read with all that the former server knows of a member of this server.
    fn resume(&mut self, number: u64, body: &Body<'_>, out: &mut Outbox) {
        let Body::Resume {
            seen,
            after,
            has_more,
            is_doubtful,
            ignored,
            ..
        } = body
        else {
            return;
        };
        if let Some(PassedOn { to, .. }) = self.arrivals.passed_on.remove(&number) {
            let mut body = body.clone();
            if let Body::Resume { member, .. } = &mut body {
                *member = to;
            }
            self.append(body, out);
            return;
        }
        let Some(id) = self.served(number).filter(|id| self.is_member(*id)) else {
            return;
        };
        self.restore_ignored(id, ignored, out);
        let arrival = self.arrivals.all.get(&id);
        let is_same = arrival.is_some_and(|arrival| arrival.seen == *seen);
        let told = match after {
            _ if !is_same => u64::MAX,
            Some(after) => self.number_at(id, *after),
            None => 0,
        };
        let known = Received {
            told,
            has_more: *has_more || after.is_none() || !is_same,
            is_doubtful: *is_doubtful || !is_same,
        };
        self.be_back(id, known, out);
    }

    /// The number of the last line, in the room of a page that comes back, up to a place in the log.
    fn number_at(&self, id: ConnId, place: Position) -> u64 {
        let room = self.members.get(id).map_or(0, |member| member.room);
        let landing = self.arrivals.all.get(&id).map(|arrival| &arrival.stage);
        match landing {
            Some(Stage::Landed(landing))
                if landing.room == room && landing.at.is_some_and(|at| place >= at) =>
            {
                landing.told
            }
            _ => self.rooms[room as usize].history.number_at(place),
        }
    }

    fn restore_ignored(&mut self, id: ConnId, ignored: &[(&str, u64)], out: &mut Outbox) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if ignored.is_empty() || member.ignores_some() || member.is_leaving() {
            return;
        }
        let (mut list, rules) = (member.take_ignored(), self.name_rules);
        list.restore(ignored, |name| rules.fold(name).into(), &mut self.ignored);
        out.charge(list.len() * super::ENTRY);
        member.put_ignored(list);
        let room = &mut self.rooms[member.room as usize];
        room.ignoring += usize::from(member.ignores_some());
    }

    /// A page that waits hears its room from now on.
    fn be_back(&mut self, id: ConnId, known: Received, out: &mut Outbox) {
        let Received {
            told,
            has_more,
            is_doubtful,
        } = known;
        let Some(Arrival { seen, stage, .. }) = self.arrivals.all.remove(&id) else {
            return;
        };
        let Stage::Landed(landing) = stage else {
            return;
        };
        if let Some(member) = self
            .members
            .get_mut(id)
            .filter(|member| member.has_joined())
        {
            let room = &mut self.rooms[member.room as usize];
            room.arriving -= 1;
            member.place = room.enter(id);
            let told = told.min(room.told);
            if let Some(seat) = self.seat_mut(id) {
                seat.arrive(seen, told, has_more || landing.is_full);
            }
        }
        let member = self.members.get_mut(id);
        let waits = member.is_some_and(|member| member.has_awaited(Awaited::Membership));
        if waits {
            self.greet_back(id, seen, &landing.whispers, out);
        }
        if let Some(seat) = self.seat_mut(id).filter(|_| is_doubtful) {
            seat.doubt();
        }
        if waits {
            self.go_on(id, None, out);
        }
    }

    /// Tells a page with a connection that it is back. If it has lost its name meanwhile, it was told so.
    fn greet_back(&mut self, id: ConnId, seen: u64, whispers: &[u8], out: &mut Outbox) {
        out.clear_timer(id);
        if self.is_member(id)
            && let Some(seat) = self.seats.remove(id)
        {
            let is_done = seat.is_done;
            self.is_back(id, seat, seen, out);
            self.send(id, whispers, out);
            if let Some(seat) = self.seats.get_mut(id) {
                seat.is_done = is_done;
            }
        }
    }

    /// Sees to the pages that wait. Returns the time at which this has to be done again.
    pub(super) fn see_to_arrivals(&mut self, out: &mut Outbox) -> Option<Duration> {
        if self.arrivals.all.is_empty() && self.arrivals.passed_on.is_empty() {
            return None;
        }
        let now = out.now();
        self.arrivals
            .passed_on
            .retain(|_, passed| passed.until > now);
        if self.takes_names(out) {
            let waiting = self.arrivals.all.iter();
            let waiting = waiting.filter(|(_, arrival)| !arrival.has_landed());
            let waiting: Vec<ConnId> = waiting.map(|(id, _)| *id).collect();
            waiting.into_iter().for_each(|id| self.decide(id, out));
        }
        let is_due = |arrival: &Arrival| arrival.until().is_some_and(|until| until <= now);
        let due = self.arrivals.all.iter();
        let due = due.filter(|(_, arrival)| is_due(arrival));
        let due: Vec<ConnId> = due.map(|(id, _)| *id).collect();
        for id in due {
            let known = Received {
                told: 0,
                has_more: true,
                is_doubtful: false,
            };
            self.be_back(id, known, out);
        }
        let arrivals = self.arrivals.all.values();
        let arrivals = arrivals.filter_map(|arrival| arrival.due(now));
        let passed_on = self.arrivals.passed_on.values().map(|passed| passed.until);
        arrivals.chain(passed_on).min()
    }

    /// The state is known again, with these members of this server: some may have been taken over
    /// meanwhile.
    pub(super) fn find_arrivals(&mut self, own: &[Known], out: &mut Outbox) {
        let arrivals: Vec<ConnId> = self.arrivals.all.keys().copied().collect();
        for id in arrivals {
            let number = self.numbers.of(id);
            let Ok(at) = own.binary_search_by_key(&number, |known| known.id.number) else {
                if self.has_asked(id) {
                    self.decide_again(id, out);
                }
                continue;
            };
            match self.arrivals.has_landed(id) && self.is_member(id) {
                true => self.move_landed(id, &own[at], out),
                false => self.land(number, None, out),
            }
        }
    }

    /// The state may have another name or another room for a member that has landed.
    fn move_landed(&mut self, id: ConnId, known: &Known, out: &mut Outbox) {
        let arrival = self.arrivals.all.get(&id).map(|arrival| arrival.seen);
        let (Some(member), Some(seen)) = (self.members.get(id), arrival) else {
            return;
        };
        let room = &self.rooms[member.room as usize].name;
        if member.name() == &*known.name.shown && self.name_rules.fold(room) == *known.room.fold {
            return;
        }
        self.names.remove(member.name());
        self.leave(id, out);
        self.settle_in(id, known, seen, None, out);
    }
}

/// The former server.
impl Chat {
    /// A member of this server, with this number, is served by another one from now on. `seen`: number of
    /// messages that its page has received, and the place of the takeover, if they are known.
    fn hand_over(
        &mut self,
        number: u64,
        to: MemberId,
        seen: Option<(u64, Position)>,
        out: &mut Outbox,
    ) {
        let id = self.numbers.id(number);
        // If it has only asked, this server has not seen that it had the member for a while.
        if self.arrivals.has(id) {
            let until = out.now() + RESUME_WAIT;
            let passed_on = PassedOn { to, until };
            self.arrivals.passed_on.insert(number, passed_on);
        } else {
            self.tell_what_is_known(id, to, seen, out);
        }
        if let Some(seat) = self.arrivals.remove(id) {
            self.tokens.remove(&seat.token);
        }
        if let Some(member) = self.members.get(id) {
            let told = format!("{} has gone to another server", member.name());
            self.note(&told, out);
            if !self.members.is_away(id) {
                self.replaced.push(id);
                self.serve_log_soon(out);
            }
        }
        self.forget(id, out);
    }

    fn tell_what_is_known(
        &mut self,
        id: ConnId,
        to: MemberId,
        seen: Option<(u64, Position)>,
        out: &mut Outbox,
    ) {
        let (after, has_more, is_doubtful) = match self.seat(id).zip(seen) {
            Some((seat, (seen, at))) => {
                let (missed, has_more) = self.missed(id, seat.missed(seen), out);
                let first = missed.first().map(|said| said.at.before());
                (Some(first.unwrap_or(at)), has_more, seat.is_doubtful(seen))
            }
            None => (None, true, false),
        };
        let list = self.members.get(id).and_then(Member::ignored);
        let names = list.into_iter().flat_map(|list| list.names(&self.ignored));
        let names: Vec<(Box<str>, u64)> = names.map(|(name, at)| (name.into(), at)).collect();
        let resume = Body::Resume {
            member: to,
            seen: seen.map_or(0, |(seen, _)| seen),
            after,
            has_more,
            is_doubtful,
            ignored: names.iter().map(|(name, at)| (&**name, *at)).collect(),
        };
        self.append(resume, out);
    }

    /// The state does not know a member of this server: it may have been taken over when this server did
    /// not know the state.
    pub(super) fn find_elsewhere(&mut self, id: ConnId, out: &mut Outbox) {
        let (Some(seat), Some(replica)) = (self.seat(id), self.synced()) else {
            return;
        };
        let bearer = replica.membership().by_token(&seat.token.digest());
        if let Some(to) = bearer
            .map(|bearer| bearer.id)
            .filter(|to| !self.serves(*to))
        {
            self.hand_over(self.numbers.of(id), to, None, out);
        }
    }
}
