//! Hundreds of members, in several rooms, on several servers: one order, and equal transcripts.

use std::time::Duration;

use tests::process::raise_own_descriptor_limit;
use tests::random::Random;
use tests::redis::{CuttingProxy, Redis};

use crate::assembly::{Assembly, Way};
use crate::minutes::{check, is_word, words};
use crate::site::Site;
use crate::{GAP, WAITS};

const ROOMS: [&str; 5] = ["lobby", "attic", "cellar", "garden", "kitchen"];

/// The last words of all.
const LAST: &str = "closes the room";

#[derive(Clone, Copy)]
struct Visitor {
    who: usize,
    chat: usize,
    /// Number of its room.
    room: usize,
    /// Number of its name.
    name: usize,
}

/// The members of a site that act at random, and those that only listen.
pub(crate) struct Day {
    seed: u64,
    assembly: Assembly,
    random: Random,
    /// For each room, one member of each server that is there from the beginning to the end.
    observers: Vec<Vec<usize>>,
    /// The members that come and go.
    visitors: Vec<Visitor>,
    /// A server that takes no visitors now.
    pub(crate) closed: Option<usize>,
    /// Number of lines that were said.
    said: usize,
}

impl Day {
    /// A day at a site, of whose servers the first so many have observers.
    pub(crate) fn new(site: &Site, observed: usize, seed: u64) -> Day {
        let mut day = Day {
            seed,
            assembly: Assembly::default(),
            random: Random::new(seed),
            observers: Vec::new(),
            visitors: Vec::new(),
            closed: None,
            said: 0,
        };
        for (number, room) in ROOMS.iter().enumerate() {
            let enter = |chat| {
                let way = Way::of(number + chat);
                let name = format!("{room}{chat}");
                let who = day.assembly.enter(site.server(chat), way, &name);
                if number > 0 {
                    day.assembly.say(who, &format!("/join {room}"));
                }
                who
            };
            let observers: Vec<usize> = (0..observed).map(enter).collect();
            day.observers.push(observers);
        }
        let all: Vec<usize> = (0..day.assembly.len()).collect();
        day.assembly
            .until("all observers are in their rooms", |assembly| {
                let is_there = |who: &usize| {
                    let member = assembly.member(*who);
                    let rooms = member
                        .heard
                        .iter()
                        .filter(|line| line.starts_with("* The room "));
                    rooms.count()
                        == if member.name.starts_with("lobby") {
                            1
                        } else {
                            2
                        }
                };
                all.iter().all(is_there)
            });
        day
    }

    /// A visitor comes.
    pub(crate) fn enter(&mut self, site: &Site) {
        let number = self.assembly.len();
        let mut chat = self.random.below(site.chats.len());
        if self.closed == Some(chat) {
            chat = 0;
        }
        let server = site.server(chat);
        let name = format!("v{number}n0");
        let who = self.assembly.enter(server, Way::of(number), &name);
        self.visitors.push(Visitor {
            who,
            chat,
            room: 0,
            name: 0,
        });
        self.say(who);
    }

    /// The visitors of a server are cut off with it. Returns how many.
    pub(crate) fn cut(&mut self, chat: usize) -> usize {
        let cut = self.visitors.extract_if(.., |visitor| visitor.chat == chat);
        cut.map(|visitor| self.assembly.note_cut(visitor.who))
            .count()
    }

    fn say(&mut self, who: usize) {
        self.said += 1;
        let line = format!("line {} and some more words", self.said);
        self.assembly.say(who, &line);
    }

    /// A visitor does something.
    fn act(&mut self, site: &Site) {
        let place = self.random.below(self.visitors.len());
        let Visitor {
            who, room, name, ..
        } = self.visitors[place];
        match self.random.below(20) {
            0 if room + 1 < ROOMS.len() => {
                let line = format!("/join {}", ROOMS[room + 1]);
                self.assembly.say(who, &line);
                self.visitors[place].room += 1;
                self.say(who);
            }
            1 => {
                let line = format!("/nick v{who}n{}", name + 1);
                self.assembly.say(who, &line);
                self.visitors[place].name += 1;
            }
            2 => {
                self.said += 1;
                let line = format!("/me does {}", self.said);
                self.assembly.say(who, &line);
            }
            3 => {
                self.assembly.leave(who);
                self.visitors.swap_remove(place);
                self.enter(site);
            }
            _ => self.say(who),
        }
    }

    /// Visitors do so many things.
    pub(crate) fn act_for(&mut self, site: &Site, acts: usize) {
        for _ in 0..acts {
            self.act(site);
            if self.random.below(4) == 0 {
                self.assembly.turn(Duration::ZERO);
            }
        }
    }

    pub(crate) fn turn_for(&mut self, time: Duration) {
        self.assembly.turn_for(time);
    }

    /// Ends the day, and checks that all have heard all in one order, that transcripts are equal, and that
    /// no member was told of a gap.
    pub(crate) fn end_and_check(self, site: &Site) -> Assembly {
        let seed = self.seed;
        let (assembly, said) = self.end();
        let transcript = site.transcript_with(LAST);
        check(&assembly, &transcript);
        let is_ending = |line: &str| {
            [" settles", " ends", LAST]
                .iter()
                .any(|end| line.ends_with(end))
        };
        let lines = words(&transcript).into_values().flatten();
        let told = lines
            .filter(|line| is_said(line) && !is_ending(line))
            .count();
        assert_eq!(told, said, "lines in the transcript (seed {seed})");
        for member in assembly.members() {
            let name = &member.name;
            assert!(
                !member.has_heard(GAP),
                "{name} was told of a gap (seed {seed})"
            );
            assert!(
                member.has_left || member.is_connected(),
                "{name} was cut off"
            );
        }
        assembly
    }

    /// Ends a day with servers that have ended or were started again, but for the first one: all have
    /// heard what its transcript has.
    pub(crate) fn end_and_check_first(self, site: &Site) {
        let (assembly, _) = self.end();
        check(&assembly, &site.chats[0].transcript_with(LAST));
        for member in assembly.members() {
            let name = &member.name;
            assert!(!member.has_heard(GAP) && !member.has_heard(WAITS), "{name}");
            assert!(
                member.has_left || member.is_connected(),
                "{name} was cut off"
            );
        }
    }

    /// Ends the day: all that are there have heard all that was said in their rooms.
    fn end(mut self) -> (Assembly, usize) {
        self.assembly.until_joined();
        let observers = std::mem::take(&mut self.observers);
        let visitors = self.visitors.clone();
        for Visitor { who, .. } in &visitors {
            self.assembly.say(*who, "/me settles");
        }
        for Visitor {
            who, room, name, ..
        } in &visitors
        {
            let line = format!("** v{who}n{name} settles");
            self.assembly.until_heard(&line, &observers[*room][..1]);
        }
        for who in observers.iter().flatten() {
            self.say(*who);
            self.assembly.say(*who, "/me ends");
        }
        for (room, observers) in observers.iter().enumerate() {
            for who in observers {
                let name = &self.assembly.member(*who).name;
                let line = format!("** {name} ends");
                let (room, who) = (room, *who);
                let mut hearers: Vec<usize> = observers.clone();
                let there = self.visitors.iter().filter(|visitor| visitor.room == room);
                hearers.extend(there.map(|visitor| visitor.who));
                let is_told =
                    |other: &usize| *other != who || self.assembly.member(who).way == Way::Tab;
                hearers.retain(is_told);
                self.assembly.until_heard(&line, &hearers);
            }
        }
        // Steps are told after the last words too: those of visitors that leave.
        self.assembly.until("the leaving have left", |assembly| {
            let members = assembly.members().iter();
            members
                .filter(|member| member.has_left)
                .all(|member| !member.is_connected())
        });
        self.assembly.say(observers[0][0], &format!("/me {LAST}"));
        let name = &self.assembly.member(observers[0][0]).name;
        let line = format!("** {name} {LAST}");
        let mut hearers = observers[0][1..].to_vec();
        let there = self.visitors.iter().filter(|visitor| visitor.room == 0);
        hearers.extend(there.map(|visitor| visitor.who));
        self.assembly.until_heard(&line, &hearers);
        (self.assembly, self.said)
    }
}

/// Whether this is a line that a member has said, or said to do.
fn is_said(line: &str) -> bool {
    is_word(line) && !line.contains(" is now known as ")
}

/// `members` visitors at a time act `acts` times in all.
fn spend_a_day(site: &Site, seed: u64, members: usize, acts: usize) {
    let _ = raise_own_descriptor_limit();
    let mut day = Day::new(site, site.chats.len(), seed);
    for number in 0..acts {
        if number < members {
            day.enter(site);
        }
        day.act_for(site, 1);
    }
    for member in day.end_and_check(site).members() {
        assert!(!member.has_heard(WAITS), "{}", member.name);
    }
}

#[test]
fn one_server_alone_has_one_order() {
    spend_a_day(&Site::alone(&[]), 1, 60, 1_500);
}

#[test]
fn three_servers_have_one_order_for_three_hundred_members() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let site = Site::start(&[redis.url(), redis.url(), redis.url()], &[]);
    spend_a_day(&site, 2, 285, 3_000);
}

/// Two reactors in one process, or in each of two processes, are as many servers.
#[test]
fn workers_have_one_order() {
    let workers = ["--workers", "2"];
    spend_a_day(&Site::alone(&workers), 6, 60, 1_500);
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let site = Site::start(&[redis.url(), redis.url()], &workers);
    spend_a_day(&site, 7, 60, 1_500);
}

/// As above, while connections to Redis end anywhere, in the middle of what it says.
#[test]
fn connections_to_redis_that_end_anywhere_are_not_noticed() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let proxies = [3, 4].map(|seed| CuttingProxy::start(redis.port(), seed));
    let urls = [proxies[0].url(), proxies[1].url(), redis.url()];
    spend_a_day(&Site::start(&urls, &[]), 5, 40, 1_000);
}
