//! The state that follows from the log: servers, members, names, rooms, bans.
//!
//! [`Membership::apply`] is a function of the state and one entry: no clock, no chance, no order of a
//! hash table has a part in it. So all servers that have read the same entries have the same state.
//!
//! The rules:
//! - Of two claims of one name the first in the log wins, whichever server it comes from.
//! - Only a server in the state is heard. [`Body::Start`], [`Body::Announce`] and [`Body::Ask`] bring a
//!   server into the state; [`Body::Stop`], [`Body::Gone`] and the start of its next run remove it with
//!   its members. So an entry that is late by more than its server's end has no effect.
//! - A token belongs to the member that was the first to join with it.
//! - An entry whose sequence is not above the last one of its server is a duplicate, and has no effect.
//!   One that leaves out a sequence shows that entries are missing.

mod bans;
mod effect;
mod member;
mod names;
mod pieces;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

pub use self::bans::{Ban, Bans};
pub use self::effect::{Effect, Refusal};
pub use self::member::Member;
use self::names::Names;
pub use self::names::OwnedName;
pub(super) use self::pieces::announcements;
use super::entry::{Barred, Body, Entry, MemberId, Name, Origin, Position, Present, TokenDigest};

/// Most servers at a time. The stream of heartbeats has room for about half as many.
pub(crate) const SERVERS_MAX: usize = 64;
/// Most members of all servers.
const MEMBERS_MAX: usize = 250_000;

/// Entries of a server are missing before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing;

/// The state.
#[derive(Clone, Debug, Default)]
pub struct Membership {
    /// The servers, in the order of their start.
    servers: Vec<Server>,
    count: usize,
    names: Names<MemberId>,
    rooms: Names<Room>,
    /// The member that has each token.
    tokens: HashMap<TokenDigest, MemberId>,
    bans: Bans,
}

#[derive(Clone, Debug)]
struct Server {
    origin: Origin,
    /// The sequence of its last entry.
    seq: u64,
    /// The place of its request for a snapshot.
    asked: Option<Position>,
    members: BTreeMap<u64, Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Room {
    name: Arc<OwnedName>,
    members: BTreeSet<MemberId>,
}

impl Membership {
    /// The effect of an entry, which the state includes from now on. If entries are missing before it,
    /// the state does not change.
    pub fn apply(&mut self, entry: &Entry<'_>) -> Result<Effect, Missing> {
        let stamp = entry.stamp;
        if entry.body == Body::Reset {
            return Ok(Effect::Reset(self.reset()));
        }
        if let Some(server) = self.server_mut(stamp.origin) {
            if stamp.seq <= server.seq {
                return Ok(Effect::Duplicate);
            }
            if stamp.seq > server.seq + 1 {
                return Err(Missing);
            }
            server.seq = stamp.seq;
            return Ok(self.heard(entry));
        }
        let brings = matches!(
            entry.body,
            Body::Start { .. } | Body::Announce { .. } | Body::Ask
        );
        if !brings || self.servers.len() == SERVERS_MAX || stamp.seq == 0 {
            return Ok(Effect::Unheard);
        }
        self.servers.push(Server {
            origin: stamp.origin,
            seq: stamp.seq,
            asked: None,
            members: BTreeMap::new(),
        });
        Ok(self.heard(entry))
    }

    /// The members of all servers.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.servers
            .iter()
            .flat_map(|server| server.members.values())
    }

    /// Number of members of all servers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A member.
    #[must_use]
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.server(id.origin)?.members.get(&id.number)
    }

    /// The member that has a name, given by its fold.
    #[must_use]
    pub fn named(&self, fold: &str) -> Option<&Member> {
        self.member(*self.names.get(fold)?)
    }

    /// The member whose token has this digest.
    #[must_use]
    pub fn by_token(&self, token: &TokenDigest) -> Option<&Member> {
        self.member(*self.tokens.get(token)?)
    }

    /// Checks a claim, as far as the entries that were read so far can tell; the log decides.
    pub fn check(&self, name: &Name<'_>, claimant: Option<MemberId>) -> Result<(), Refusal> {
        match self.names.check(name, |other| Some(*other) == claimant) {
            Ok(()) => Ok(()),
            Err(alike) if alike => Err(Refusal::Alike),
            Err(_) => Err(Refusal::Taken),
        }
    }

    /// The rooms with at least one member, in no order: name, number of members.
    pub fn rooms(&self) -> impl Iterator<Item = (&OwnedName, usize)> {
        let rooms = self.rooms.values();
        rooms.map(|room| (&*room.name, room.members.len()))
    }

    /// The room with this fold, if it has members: name, number of members.
    #[must_use]
    pub fn room(&self, fold: &str) -> Option<(&Arc<OwnedName>, usize)> {
        let room = self.rooms.get(fold);
        room.map(|room| (&room.name, room.members.len()))
    }

    /// The members of the room with this fold, in an order that all servers have.
    pub fn members_in(&self, fold: &str) -> impl Iterator<Item = &Member> {
        let room = self.rooms.get(fold).into_iter();
        room.flat_map(|room| room.members.iter())
            .filter_map(|id| self.member(*id))
    }

    /// The bans.
    #[must_use]
    pub fn bans(&self) -> &Bans {
        &self.bans
    }

    /// The servers, in the order of their start.
    pub fn servers(&self) -> impl Iterator<Item = Origin> {
        self.servers.iter().map(|server| server.origin)
    }

    /// Whether a server is in the state.
    #[must_use]
    pub fn has_server(&self, origin: Origin) -> bool {
        self.server(origin).is_some()
    }

    /// The members of one server.
    pub fn members_of(&self, origin: Origin) -> impl Iterator<Item = &Member> {
        let server = self.server(origin);
        server
            .into_iter()
            .flat_map(|server| server.members.values())
    }

    /// The servers and the sequences of their last entries, in the order of their start.
    pub fn sequences(&self) -> impl Iterator<Item = (Origin, u64)> {
        self.servers
            .iter()
            .map(|server| (server.origin, server.seq))
    }

    /// If requests for a snapshot are not answered: the latest of them, and the server that is to
    /// answer, the first that has not asked itself.
    pub(super) fn request(&self) -> Option<(Position, Option<Origin>)> {
        let latest = self
            .servers
            .iter()
            .filter_map(|server| server.asked)
            .max()?;
        let mut answering = self.servers.iter().filter(|server| server.asked.is_none());
        Some((latest, answering.next().map(|server| server.origin)))
    }

    fn server(&self, origin: Origin) -> Option<&Server> {
        self.servers.iter().find(|server| server.origin == origin)
    }

    fn server_mut(&mut self, origin: Origin) -> Option<&mut Server> {
        self.servers
            .iter_mut()
            .find(|server| server.origin == origin)
    }

    fn member_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        self.server_mut(id.origin)?.members.get_mut(&id.number)
    }

    /// The effect of an entry whose turn it is, of a server in the state.
    fn heard(&mut self, entry: &Entry<'_>) -> Effect {
        let origin = entry.stamp.origin;
        let id = |number: &u64| MemberId {
            origin,
            number: *number,
        };
        let done = match &entry.body {
            Body::Join(present) => self.join(origin, present, entry.at),
            Body::Leave { members, .. } => {
                let left = members.iter().filter_map(|number| self.remove(id(number)));
                Ok(Effect::Left(left.collect()))
            }
            Body::Move { member, room } => self.go(id(member), room),
            Body::Rename { member, name } => self.rename(id(member), name, entry.at),
            Body::Line { member, .. } => {
                let member = self.member(id(member)).ok_or(Refusal::Nobody);
                member.map(|_| Effect::Said(None))
            }
            Body::Whisper { member, to, .. } => {
                let both = self.member(id(member)).zip(self.named(to));
                let told = both.map(|(_, other)| Effect::Said(Some(other.id)));
                told.ok_or(Refusal::Nobody)
            }
            Body::Notice { .. } => Ok(Effect::Said(None)),
            Body::Ban { .. } | Body::Unban { .. } => self.judge(entry),
            Body::Takeover {
                member,
                number,
                address,
                ..
            } => self.take_over(*member, id(number), *address, entry.at),
            _ => Ok(self.server_entry(entry)),
        };
        done.unwrap_or_else(Effect::Refused)
    }

    fn server_entry(&mut self, entry: &Entry<'_>) -> Effect {
        let origin = entry.stamp.origin;
        match &entry.body {
            Body::Start { .. } => {
                let is_former = |other: &Origin| other.server == origin.server && *other != origin;
                let former: Vec<Origin> = self.servers().filter(is_former).collect();
                let left = former
                    .into_iter()
                    .flat_map(|former| self.remove_server(former));
                Effect::Left(left.collect())
            }
            Body::Stop => Effect::Left(self.remove_server(origin)),
            Body::Gone { origin, seq } => {
                let is_silent = |server: &Server| server.seq <= *seq;
                match self.server(*origin).is_some_and(is_silent) {
                    true => Effect::Left(self.remove_server(*origin)),
                    false => Effect::Nothing,
                }
            }
            Body::Announce { members, bans } => self.announce(origin, members, bans, entry.at),
            Body::Ask => {
                if let Some(server) = self.server_mut(origin) {
                    server.asked = Some(entry.at);
                }
                Effect::Nothing
            }
            Body::Snapshot(part) => {
                let is_answered = |asked: &Position| part.is_last && *asked <= part.of;
                for server in &mut self.servers {
                    server.asked.take_if(|asked| is_answered(asked));
                }
                Effect::Nothing
            }
            Body::Unknown { .. } => Effect::Unknown,
            _ => Effect::Nothing,
        }
    }

    fn join(
        &mut self,
        origin: Origin,
        present: &Present<'_>,
        at: Position,
    ) -> Result<Effect, Refusal> {
        let id = MemberId {
            origin,
            number: present.number,
        };
        if self.member(id).is_some() {
            return Err(Refusal::Same);
        }
        let Name { fold, .. } = present.name;
        if self.bans.hold(fold, present.address, at.millis) {
            return Err(Refusal::Banned);
        }
        self.check(&present.name, None)?;
        if self.count == MEMBERS_MAX {
            return Err(Refusal::Full);
        }
        let room = self.enter(id, &present.room);
        let member = Member {
            id,
            name: OwnedName::from(present.name),
            room,
            address: present.address,
            token: present.token,
        };
        self.insert(member);
        Ok(Effect::Joined(id))
    }

    fn insert(&mut self, mut member: Member) {
        let id = member.id;
        self.names.insert(&member.name.lent(), id);
        member
            .token
            .take_if(|token| self.tokens.contains_key(token));
        self.tokens.extend(member.token.map(|token| (token, id)));
        if let Some(server) = self.server_mut(id.origin) {
            server.members.insert(id.number, member);
            self.count += 1;
        }
    }

    fn remove(&mut self, id: MemberId) -> Option<Member> {
        let member = self.server_mut(id.origin)?.members.remove(&id.number)?;
        self.names.remove(&member.name.lent());
        self.leave(id, &member.room);
        self.forget_token(&member);
        self.count -= 1;
        Some(member)
    }

    fn forget_token(&mut self, member: &Member) {
        if let Some(token) = &member.token {
            self.tokens.remove(token);
        }
    }

    fn remove_server(&mut self, origin: Origin) -> Vec<Member> {
        let members: Vec<MemberId> = self.members_of(origin).map(|member| member.id).collect();
        let left = members
            .into_iter()
            .filter_map(|id| self.remove(id))
            .collect();
        self.servers.retain(|server| server.origin != origin);
        left
    }

    fn reset(&mut self) -> Vec<Member> {
        let servers = std::mem::take(self).servers.into_iter();
        servers
            .flat_map(|server| server.members.into_values())
            .collect()
    }

    /// Adds a member to a room, and returns the name of the room.
    fn enter(&mut self, id: MemberId, name: &Name<'_>) -> Arc<OwnedName> {
        if let Some(room) = self.rooms.get_mut(name.fold) {
            room.members.insert(id);
            return Arc::clone(&room.name);
        }
        let room = Room {
            name: Arc::new(OwnedName::from(*name)),
            members: BTreeSet::from([id]),
        };
        let name = Arc::clone(&room.name);
        self.rooms.insert(&name.lent(), room);
        name
    }

    /// Takes a member out of a room. A room ends with its last member.
    fn leave(&mut self, id: MemberId, name: &OwnedName) {
        if let Some(room) = self.rooms.get_mut(&name.fold) {
            room.members.remove(&id);
            if room.members.is_empty() {
                self.rooms.remove(&name.lent());
            }
        }
    }

    fn go(&mut self, id: MemberId, room: &Name<'_>) -> Result<Effect, Refusal> {
        let from = Arc::clone(&self.member(id).ok_or(Refusal::Nobody)?.room);
        if *from.fold == *room.fold {
            return Err(Refusal::Same);
        }
        if self.rooms.get(room.fold).is_none() {
            self.rooms
                .check(room, |_| false)
                .map_err(|_| Refusal::Alike)?;
        }
        self.leave(id, &from);
        let to = self.enter(id, room);
        if let Some(member) = self.member_mut(id) {
            member.room = to;
        }
        Ok(Effect::Moved(from))
    }

    fn rename(&mut self, id: MemberId, name: &Name<'_>, at: Position) -> Result<Effect, Refusal> {
        let former = self.member(id).ok_or(Refusal::Nobody)?.name.clone();
        if former.lent() == *name {
            return Err(Refusal::Same);
        }
        if self.bans.hold(name.fold, None, at.millis) {
            return Err(Refusal::Banned);
        }
        self.check(name, Some(id))?;
        self.names.remove(&former.lent());
        self.names.insert(name, id);
        if let Some(member) = self.member_mut(id) {
            member.name = OwnedName::from(*name);
        }
        Ok(Effect::Renamed(former))
    }

    fn judge(&mut self, entry: &Entry<'_>) -> Result<Effect, Refusal> {
        match &entry.body {
            Body::Ban {
                name,
                millis,
                is_kick,
            } => {
                let bearer = self.named(name.fold);
                if *is_kick && bearer.is_none() {
                    return Err(Refusal::Nobody);
                }
                let shown = bearer.map(|bearer| bearer.name.clone());
                let (bearer, address) = (
                    bearer.map(|bearer| bearer.id),
                    bearer.and_then(|bearer| bearer.address),
                );
                let until = millis.map(|millis| entry.at.millis.saturating_add(millis));
                let ban = Barred {
                    name: shown.as_ref().map_or(*name, OwnedName::lent),
                    address,
                    until,
                };
                self.bans.add(&ban, entry.at.millis)?;
                let left = bearer.and_then(|bearer| self.remove(bearer));
                Ok(Effect::Left(left.into_iter().collect()))
            }
            Body::Unban { name } => {
                let lifted = self.bans.lift(name).ok_or(Refusal::Nobody)?;
                Ok(Effect::Unbanned(lifted.name))
            }
            _ => Ok(Effect::Nothing),
        }
    }

    fn take_over(
        &mut self,
        from: MemberId,
        to: MemberId,
        address: Option<IpAddr>,
        at: Position,
    ) -> Result<Effect, Refusal> {
        if from == to || self.member(to).is_some() {
            return Err(Refusal::Same);
        }
        let name = &self.member(from).ok_or(Refusal::Nobody)?.name;
        if self.bans.hold(&name.fold, address, at.millis) {
            return Err(Refusal::Banned);
        }
        let server = self.server_mut(from.origin).ok_or(Refusal::Nobody)?;
        let member = server.members.remove(&from.number).ok_or(Refusal::Nobody)?;
        self.count -= 1;
        self.forget_token(&member);
        if let Some(room) = self.rooms.get_mut(&member.room.fold) {
            room.members.remove(&from);
            room.members.insert(to);
        }
        self.insert(Member {
            id: to,
            address,
            ..member
        });
        Ok(Effect::TakenOver { from, to })
    }

    fn announce(
        &mut self,
        origin: Origin,
        members: &[Present<'_>],
        bans: &[Barred<'_>],
        at: Position,
    ) -> Effect {
        // A ban that this server knew holds for its members too.
        for ban in bans {
            self.bans.add_missing(ban, at.millis);
        }
        let (mut back, mut refused) = (Vec::new(), Vec::new());
        for present in members {
            match self.join(origin, present, at) {
                Ok(Effect::Joined(id)) => back.push(id),
                // It is known already: a snapshot had it.
                Ok(_) | Err(Refusal::Same) => {}
                Err(why) => refused.push((present.number, why)),
            }
        }
        Effect::Announced { back, refused }
    }
}
