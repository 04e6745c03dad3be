//! The state as entries, for a server that has not read the whole log.

use std::collections::BTreeMap;

use super::pieces::{barred_size, cut, present_size};
use super::{Ban, MEMBERS_MAX, Member, Membership, OwnedName, SERVERS_MAX, Server};
use crate::backplane::entry::{Listed, MemberId, Part, Position, Present};

impl Membership {
    /// The state as it is now, `of` being the place of the last entry that was applied.
    #[must_use]
    pub fn snapshot(&self, of: Position) -> Vec<Part<'_>> {
        let first = Part {
            of,
            servers: self.servers.iter().map(Server::listed).collect(),
            ..Part::default()
        };
        let bans = cut(self.bans.all().iter().map(Ban::lent), barred_size);
        let of_bans = bans.into_iter().map(|bans| Part {
            of,
            bans,
            ..Part::default()
        });
        let servers = (0..).zip(&self.servers);
        let members = servers.flat_map(|(index, server)| {
            server
                .members
                .values()
                .map(move |member| (index, member.present()))
        });
        let members = cut(members, |(_, present)| present_size(present));
        let of_members = members.into_iter().map(|members| Part {
            of,
            members,
            ..Part::default()
        });
        let parts = std::iter::once(first).chain(of_bans).chain(of_members);
        let mut parts: Vec<Part<'_>> = parts.collect();
        for (index, part) in (0..).zip(&mut parts) {
            part.index = index;
        }
        if let Some(last) = parts.last_mut() {
            last.is_last = true;
        }
        parts
    }

    /// The state that these parts have. What contradicts itself in them is left out.
    #[must_use]
    pub fn from_snapshot<'a>(parts: impl IntoIterator<Item = Part<'a>>) -> Membership {
        let mut state = Membership::default();
        for part in parts {
            for server in part.servers.into_iter().take(SERVERS_MAX) {
                if !state.has_server(server.origin) {
                    state.servers.push(Server::from(server));
                }
            }
            part.bans.iter().for_each(|ban| state.bans.push(ban));
            for (server, present) in part.members {
                state.restore(server as usize, &present);
            }
        }
        state
    }

    fn restore(&mut self, server: usize, present: &Present<'_>) {
        let Some(server) = self.servers.get(server) else {
            return;
        };
        let id = MemberId {
            origin: server.origin,
            number: present.number,
        };
        let is_new = self.member(id).is_none() && self.check(&present.name, None).is_ok();
        if is_new && self.count < MEMBERS_MAX {
            let room = self.enter(id, &present.room);
            self.insert(Member {
                id,
                name: OwnedName::from(present.name),
                room,
                address: present.address,
                token: present.token,
            });
        }
    }
}

impl Server {
    fn listed(&self) -> Listed {
        Listed {
            origin: self.origin,
            seq: self.seq,
            asked: self.asked,
        }
    }
}

impl From<Listed> for Server {
    fn from(listed: Listed) -> Server {
        Server {
            origin: listed.origin,
            seq: listed.seq,
            asked: listed.asked,
            members: BTreeMap::new(),
        }
    }
}
