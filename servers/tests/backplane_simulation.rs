//! Many servers over a log with faults, from seeds.
//!
//! Each seed is a run: servers whose members join, talk, rename, move and leave, while connections are
//! lost, servers crash and restart, and in some runs the log itself loses entries. Then the faults end,
//! and after a while these must hold:
//!
//! - all servers have the same state, and each one's members are those that it serves;
//! - all servers were told the same lines, none of them twice, and in the same order: but for one that
//!   had a gap, which may be told a line where its duplicate came;
//! - a server that missed a line was told of a gap; where the log lost nothing, no line is missing;
//! - servers that crashed are gone, and those that live are there.
//!
//! `SEEDS=100000 FROM=5000 cargo test --release ...` runs others; with `TRACE=1` all that is told is
//! shown.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::env;
use std::time::Duration;

use edgeloop::backplane::entry::{Body, Entry, Manner, MemberId, Name, Origin, Position, Present};
use edgeloop::backplane::faulty::{Engine, Faulty};
use edgeloop::backplane::log::Log;
use edgeloop::backplane::membership::Effect;
use edgeloop::backplane::random::Random;
use edgeloop::backplane::replica::{Replica, Told};

const SERVERS: u64 = 3;
/// Names are few, so that claims collide.
const NAMES: u64 = 12;
const LOBBY: Name<'_> = Name {
    shown: "lobby",
    fold: "lobby",
    look: "",
};

/// The faults of a run, besides lost connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Faults {
    /// The log keeps what it has acknowledged.
    Faithful,
    /// Old entries are trimmed, also those that a server has not read.
    Trimmed,
    /// The log loses its last entries, or all.
    Forgetful,
}

fn named(name: &str) -> Name<'_> {
    Name {
        shown: name,
        fold: name,
        look: "",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    /// Its claim is under way.
    Joining,
    Joined,
    Leaving,
}

struct Server {
    origin: Origin,
    log: Faulty,
    replica: Replica,
    /// The members that it serves.
    members: BTreeMap<u64, Own>,
    number: u64,
    lines: u32,
    /// Lines it was told: `None` is a gap.
    told: Vec<Option<String>>,
    /// Those that were told when their author's server was not in the state.
    late: BTreeSet<String>,
    is_traced: bool,
}

impl Server {
    fn new(engine: &Engine, origin: Origin, random: &mut Random) -> Server {
        let losses = 20 + random.below(200);
        let delay = Duration::from_millis(random.below(300));
        Server {
            origin,
            log: Faulty::new(engine, origin, random.bits(), losses, delay),
            replica: Replica::new(origin, "server"),
            members: BTreeMap::new(),
            number: 0,
            lines: 0,
            told: Vec::new(),
            late: BTreeSet::new(),
            is_traced: env::var("TRACE").is_ok(),
        }
    }

    fn append(&mut self, body: Body<'_>) {
        let read_later = self.log.append(body, Duration::ZERO).is_none();
        assert!(read_later);
    }

    fn some_member(&self, random: &mut Random) -> Option<u64> {
        let joined = self.members.iter().filter(|(_, own)| **own == Own::Joined);
        let joined: Vec<u64> = joined.map(|(number, _)| *number).collect();
        let at = random.below(joined.len() as u64) as usize;
        joined.get(at).copied()
    }

    /// A member does something, or a newcomer comes.
    fn act(&mut self, random: &mut Random) {
        let name = format!("name{}", random.below(NAMES));
        let Some(member) = self.some_member(random).filter(|_| !random.one_in(3)) else {
            if self.replica.is_synced() {
                self.join(&name);
            }
            return;
        };
        match random.below(8) {
            0 => {
                self.members.insert(member, Own::Leaving);
                self.append(Body::Leave {
                    members: Cow::Owned(vec![member]),
                    farewell: b"",
                });
            }
            1 => self.append(Body::Rename {
                member,
                name: named(&name),
            }),
            2 => {
                let room = format!("room{}", random.below(3));
                self.append(Body::Move {
                    member,
                    room: named(&room),
                });
            }
            3 if random.one_in(10) => self.append(Body::Ban {
                name: named(&name),
                millis: Some(2000),
                is_kick: random.one_in(2),
            }),
            _ => self.say(member),
        }
    }

    fn join(&mut self, name: &str) {
        self.number += 1;
        self.members.insert(self.number, Own::Joining);
        self.append(Body::Join(Present {
            number: self.number,
            name: named(name),
            room: LOBBY,
            address: None,
            token: None,
        }));
    }

    fn say(&mut self, member: u64) {
        self.lines += 1;
        let text = format!("{:?} {}", self.origin, self.lines);
        self.append(Body::Line {
            member,
            manner: Manner::Say,
            name: "name",
            room: "room",
            text: text.as_bytes(),
        });
    }

    fn step(&mut self, time: Duration) {
        self.log.step(time);
        while let Some(read) = self.log.next() {
            self.replica.read(read);
            while let Some(told) = self.replica.tell_next() {
                self.hear(told);
            }
        }
        self.replica.perform(&mut self.log, Duration::ZERO);
    }

    fn hear(&mut self, told: Told) {
        if self.is_traced {
            match &told {
                Told::Entry { record, effect, .. } => {
                    let (me, entry) = (self.origin, record.entry());
                    println!("{me:?}: {} {entry:?} {effect:?}", record.at);
                }
                other => println!("{:?}: {other:?}", self.origin),
            }
        }
        match told {
            Told::Gap => self.told.push(None),
            Told::Synced => self.compare(),
            Told::Entry {
                record,
                effect,
                is_old,
            } => {
                let entry = record.entry().expect("an entry");
                if !is_old && let Body::Line { text, .. } = entry.body {
                    let text = String::from_utf8(text.into()).expect("text");
                    if effect == Some(Effect::Unheard) {
                        self.late.insert(text.clone());
                    }
                    self.told.push(Some(text));
                }
                if let Some(effect) = effect {
                    self.obey(&entry, &effect);
                }
            }
        }
    }

    /// Compares the state with the members that this server serves.
    fn compare(&mut self) {
        let state = self.replica.membership();
        let origin = self.origin;
        let is_known = |number| state.member(MemberId { origin, number }).is_some();
        self.members
            .retain(|&number, own| *own != Own::Leaving || is_known(number));
        for (&number, own) in &mut self.members {
            if *own == Own::Joining && is_known(number) {
                *own = Own::Joined;
            }
        }
        let known = state.members_of(origin).map(|member| member.id.number);
        self.dismiss_all_but_served(known.collect());
    }

    /// Of these members of the state, those that this server does not serve leave.
    fn dismiss_all_but_served(&mut self, known: Vec<u64>) {
        let is_served = |number: &u64| {
            self.members
                .get(number)
                .is_some_and(|own| *own != Own::Leaving)
        };
        let left: Vec<u64> = known
            .into_iter()
            .filter(|number| !is_served(number))
            .collect();
        if !left.is_empty() {
            self.append(Body::Leave {
                members: Cow::Owned(left),
                farewell: b"",
            });
        }
    }

    fn obey(&mut self, entry: &Entry<'_>, effect: &Effect) {
        let is_own = entry.stamp.origin == self.origin;
        match (&entry.body, effect) {
            (Body::Join(present), Effect::Joined(_)) if is_own => {
                if let Some(own @ Own::Joining) = self.members.get_mut(&present.number) {
                    *own = Own::Joined;
                }
                self.dismiss_all_but_served(vec![present.number]);
            }
            (Body::Join(present), Effect::Refused(_))
                if is_own && self.members.get(&present.number) == Some(&Own::Joining) =>
            {
                self.members.remove(&present.number);
            }
            (Body::Leave { members, .. }, Effect::Left(_)) if is_own => {
                for number in members.iter() {
                    self.members.remove(number);
                }
            }
            (Body::Ban { .. }, Effect::Left(left)) => {
                for member in left.iter().filter(|member| member.id.origin == self.origin) {
                    self.members.remove(&member.id.number);
                }
            }
            (Body::Announce { .. }, Effect::Announced { back, refused }) if is_own => {
                for (number, _) in refused {
                    self.members.remove(number);
                }
                self.dismiss_all_but_served(back.iter().map(|id| id.number).collect());
            }
            _ => {}
        }
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.told.iter().flatten().map(String::as_str)
    }

    fn has_gap(&self) -> bool {
        self.told.contains(&None)
    }
}

struct World {
    engine: Engine,
    random: Random,
    faults: Faults,
    servers: Vec<Server>,
    boots: u64,
    crashed: BTreeSet<Origin>,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let faults = match seed % 4 {
            0 | 1 => Faults::Faithful,
            2 => Faults::Trimmed,
            _ => Faults::Forgetful,
        };
        let engine = Engine::default();
        engine.set_clock(1_000_000 + random.below(1000));
        let mut world = World {
            engine,
            random,
            faults,
            servers: Vec::new(),
            boots: 0,
            crashed: BTreeSet::new(),
            seed,
        };
        (0..SERVERS).for_each(|server| world.start(server));
        world
    }

    fn start(&mut self, server: u64) {
        self.boots += 1;
        let boot = self.boots;
        let server = Server::new(&self.engine, Origin { server, boot }, &mut self.random);
        self.servers.push(server);
    }

    fn turn(&mut self, time: Duration) {
        self.engine.advance(time);
        self.servers.iter_mut().for_each(|server| server.step(time));
    }

    fn fault(&mut self) {
        let at = self.random.below(SERVERS) as usize;
        match self.random.below(400) {
            // A server crashes. It is another one that takes its place, or the next run of the same.
            0 => {
                let crashed = self.servers.remove(at);
                self.crashed.insert(crashed.origin);
                let server = match self.random.one_in(2) {
                    true => crashed.origin.server,
                    false => 1000 + self.boots,
                };
                self.start(server);
            }
            // A server stops in good order.
            1 if self.random.one_in(3) => {
                let mut stopped = self.servers.remove(at);
                stopped.append(Body::Stop);
                (0..10).for_each(|_| stopped.step(Duration::from_millis(100)));
                self.crashed.insert(stopped.origin);
                self.start(stopped.origin.server);
            }
            2 => self.servers[at]
                .log
                .cut(Duration::from_secs(self.random.below(30))),
            3 if self.faults == Faults::Trimmed => self.engine.trim(self.random.below(50) as usize),
            4 if self.faults == Faults::Forgetful => match self.random.below(3) {
                0 => self.engine.restart_empty(),
                1 => {
                    self.engine.restart_empty();
                    self.engine.set_clock(500_000 + self.random.below(1000));
                }
                _ => self.engine.lose(self.random.below(20) as usize),
            },
            5 => {
                let step = self.random.below(100_000);
                self.engine.set_clock(self.engine.clock() + step);
            }
            _ => {}
        }
    }

    fn run(&mut self) {
        for _ in 0..400 {
            for _ in 0..=self.random.below(3) {
                let at = self.random.below(SERVERS) as usize;
                self.servers[at].act(&mut self.random);
            }
            self.fault();
            self.turn(Duration::from_millis(50));
        }
        self.servers.iter_mut().for_each(|server| server.log.heal());
        for _ in 0..400 {
            self.turn(Duration::from_millis(500));
        }
        // Whatever happened before, all lines are told to all from now on.
        for server in &mut self.servers {
            server.told.push(Some("the faults are over".into()));
            if let Some(member) = server.some_member(&mut self.random) {
                server.say(member);
            }
        }
        for _ in 0..20 {
            self.turn(Duration::from_millis(500));
        }
    }

    fn check(&self) {
        let context = format!("seed {}, {:?}", self.seed, self.faults);
        let first = &self.servers[0];
        let state = first.replica.membership();
        let expected = state.snapshot(Position::START);
        for server in &self.servers {
            let (me, replica) = (server.origin, &server.replica);
            assert!(replica.is_synced(), "{context}: {me:?} is not in sync");
            assert_eq!(server.log.pending(), 0, "{context}");
            assert_eq!(
                replica.membership().snapshot(Position::START),
                expected,
                "{context}"
            );
            let own: Vec<u64> = state
                .members_of(me)
                .map(|member| member.id.number)
                .collect();
            let served: Vec<u64> = server.members.keys().copied().collect();
            assert_eq!(own, served, "{context}: members of {me:?}");
            assert!(
                server.members.values().all(|own| *own == Own::Joined),
                "{context}"
            );
        }
        let servers: BTreeSet<Origin> = state.servers().collect();
        let living: BTreeSet<Origin> = self.servers.iter().map(|server| server.origin).collect();
        assert_eq!(servers, living, "{context}");
        let names: BTreeSet<&str> = state.members().map(|member| &*member.name.fold).collect();
        assert_eq!(
            names.len(),
            state.len(),
            "{context}: a name has two members"
        );
        self.check_lines(&context);
    }

    fn check_lines(&self, context: &str) {
        for server in &self.servers {
            let lines: Vec<&str> = server.lines().collect();
            let unique: BTreeSet<&str> = lines.iter().copied().collect();
            assert_eq!(
                unique.len(),
                lines.len(),
                "{context}: a line was told twice"
            );
            for other in &self.servers {
                let place: HashMap<&str, usize> = other.lines().zip(0..).collect();
                // After a gap, a line may be told where its duplicate came. So it is, if the first one was
                // trimmed, on a server that has started since and does not know the author's server.
                let is_late = |line: &str| {
                    let late = server.late.contains(line) || other.late.contains(line);
                    late && self.faults != Faults::Faithful
                };
                if !server.has_gap() && !other.has_gap() {
                    let sure = lines.iter().filter(|line| !is_late(line));
                    let places = sure.filter_map(|line| place.get(line));
                    assert!(places.is_sorted(), "{context}: two orders");
                }
                self.check_missing(server, other, context);
            }
        }
    }

    /// A line that one server was told, and another that lived at the time was not.
    fn check_missing(&self, server: &Server, other: &Server, context: &str) {
        let heard: BTreeSet<&str> = other.lines().collect();
        let is_late = |line: &str| server.late.contains(line) || other.late.contains(line);
        // The other may have started later.
        let is_common = |line: &str| heard.contains(line) && !is_late(line);
        let common = server.lines().position(is_common);
        let since = server.lines().skip(common.unwrap_or(usize::MAX));
        let missing = since.filter(|line| !heard.contains(line)).count();
        // After a gap, a server may be told a line late that the other has read before it started.
        let has_gap = server.has_gap() || other.has_gap();
        let may_miss = self.faults != Faults::Faithful && has_gap;
        assert!(
            missing == 0 || may_miss,
            "{context}: {missing} lines are missing"
        );
        if self.faults == Faults::Faithful {
            assert!(!server.has_gap(), "{context}: a gap where there is none");
        }
    }
}

fn variable(name: &str, default: u64) -> u64 {
    let value = env::var(name).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn servers_over_a_faulty_log_agree() {
    let from = variable("FROM", 0);
    let (mut gaps, mut duplicates, mut reconnects) = (0, 0, 0);
    let count = if cfg!(debug_assertions) { 300 } else { 3000 };
    for seed in from..from + variable("SEEDS", count) {
        let mut world = World::new(seed);
        world.run();
        world.check();
        for server in &world.servers {
            let counters = server.replica.counters();
            gaps += counters.gaps;
            duplicates += counters.duplicates;
            reconnects += server.log.reconnects();
        }
    }
    println!("{gaps} gaps, {duplicates} duplicates, {reconnects} connections");
    assert!(
        gaps > 0 && duplicates > 0 && reconnects > 0,
        "or this tests nothing"
    );
}
