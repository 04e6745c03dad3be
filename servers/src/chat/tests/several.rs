//! Several chats over one log with faults, from seeds.
//!
//! Each seed is a run of three servers, whose members come, talk, whisper, move, rename and leave, while
//! connections to the log are lost, servers crash, stop and start again, and in some runs the log itself
//! loses entries. Then the faults end, and after a while these must hold:
//!
//! - what each member was shown is what `reference.rs` computes from the log, line by line, on each
//!   server that had no gap;
//! - all servers know the same members in the same rooms, `/who` and `/rooms` say so, and each one's
//!   members are those that it serves;
//! - nothing waits, no timer is busy, and a line of each member is heard by all others in its room;
//! - all transcripts are equal.
//!
//! `SEEDS=20000 FROM=300 cargo test --release -p edgeloop --lib several` runs others.

mod cases;
mod check;
mod person;
mod reference;
mod server;

use std::collections::BTreeSet;
use std::env;
use std::time::Duration;

use self::person::Person;
use self::server::Server;
use crate::backplane::entry::{Origin, Position};
use crate::backplane::faulty::Engine;
use crate::backplane::log::Record;
use crate::backplane::random::Random;

const SERVERS: u64 = 3;
/// Names are few, so that claims collide, and are spelt in several ways.
const NAMES: [&str; 12] = [
    "ann", "bob", "Bob", "cat", "dan", "eve", "Eve", "fay", "gus", "hal", "ida", "jim",
];
const ROOMS: [&str; 5] = ["lobby", "dev", "Dev", "tea", "Tea"];

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

/// The habits of members besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habits {
    Plain,
    /// Some ignore others.
    Ignorant,
    /// Some do not read for a while.
    Slow,
}

struct World {
    seed: u64,
    engine: Engine,
    random: Random,
    faults: Faults,
    habits: Habits,
    servers: Vec<Server>,
    persons: Vec<Person>,
    /// Servers of the past that had a gap.
    with_gaps: BTreeSet<Origin>,
    /// All entries that ever were in the log, unless it has lost some.
    journal: Vec<Record>,
    boots: u64,
    tokens: u64,
    is_recorded: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let faults = match seed % 8 {
            0..=4 => Faults::Faithful,
            5 | 6 => Faults::Trimmed,
            _ => Faults::Forgetful,
        };
        let habits = match seed / 8 % 4 {
            0 | 1 => Habits::Plain,
            2 => Habits::Ignorant,
            _ => Habits::Slow,
        };
        let engine = Engine::default();
        engine.set_clock(1_000_000 + random.below(1000));
        let mut world = World {
            seed,
            engine,
            random,
            faults,
            habits,
            servers: Vec::new(),
            persons: Vec::new(),
            with_gaps: BTreeSet::new(),
            journal: Vec::new(),
            boots: 0,
            tokens: 0,
            is_recorded: seed.is_multiple_of(7),
        };
        (0..SERVERS).for_each(|server| world.start(server));
        world
    }

    fn start(&mut self, server: u64) {
        self.boots += 1;
        let server = Server::start(
            &self.engine,
            server,
            self.boots,
            &mut self.random,
            self.is_recorded,
        );
        self.servers.push(server);
    }

    fn remove(&mut self, at: usize) -> Server {
        let server = self.servers.remove(at);
        if server.gaps() > 0 {
            self.with_gaps.insert(server.origin);
        }
        server
    }

    fn turn(&mut self, time: Duration) {
        self.engine.advance(time);
        self.write_down();
        for server in &mut self.servers {
            server.pass(time);
        }
        self.write_down();
        self.listen();
    }

    /// Notes the entries that are new in the log.
    fn write_down(&mut self) {
        let last = self
            .journal
            .last()
            .map_or(Position::START, |record| record.at);
        let entries = self.engine.entries();
        let from = entries.partition_point(|record| record.at <= last);
        self.journal.extend_from_slice(&entries[from..]);
    }

    /// All persons hear what they were sent, and answer what has to be answered.
    fn listen(&mut self) {
        for person in &mut self.persons {
            let server = self
                .servers
                .iter_mut()
                .find(|server| server.origin == person.origin);
            if let Some(server) = server
                && person.listen(&mut server.script)
            {
                self.tokens += 1;
                server.says(person.id, &format!("again{}", self.tokens));
            }
        }
    }

    /// A word that nobody else says.
    fn token(&mut self, kind: char) -> String {
        self.tokens += 1;
        format!("{kind}{}", self.tokens)
    }

    fn act(&mut self) {
        let at = self.random.below(SERVERS) as usize;
        let origin = self.servers[at].origin;
        let here = (0..self.persons.len()).filter(|&person| {
            let person = &self.persons[person];
            !person.has_ended
                && person.origin == origin
                && self.servers[at].script.closed(person.id).is_none()
        });
        let here: Vec<usize> = here.collect();
        if here.len() < 3 || (here.len() < 10 && self.random.one_in(8)) {
            return self.come(at);
        }
        let one = here[self.random.below(here.len() as u64) as usize];
        self.do_something(at, one);
        self.listen();
    }

    fn name(&mut self) -> &'static str {
        NAMES[self.random.below(NAMES.len() as u64) as usize]
    }

    fn come(&mut self, at: usize) {
        let name = self.name();
        let server = &mut self.servers[at];
        let id = server.script.open();
        self.persons.push(Person::new(server.origin, id));
        let more = match self.random.below(8) {
            0 => return,
            1 => format!("{name}\n{}\n", self.token('n')),
            2 => format!("no name\n{name}\n"),
            _ => format!("{name}\n"),
        };
        self.servers[at].script.data(id, more.as_bytes());
        if self.random.one_in(20) {
            self.servers[at].script.eof(id);
            self.persons.last_mut().expect("it").has_ended = true;
        }
    }

    fn do_something(&mut self, at: usize, one: usize) {
        let (name, room) = (
            self.name(),
            ROOMS[self.random.below(ROOMS.len() as u64) as usize],
        );
        let id = self.persons[one].id;
        let line = match self.random.below(40) {
            0..=14 => self.token('n'),
            15..=17 => format!("/me {}", self.token('n')),
            18..=21 => format!("/msg {name} {}", self.token('w')),
            22..=24 => format!("/nick {name}"),
            25..=28 => format!("/join {room}"),
            29 => "/who".into(),
            30 => "/rooms".into(),
            31 => "/quit".into(),
            32 => format!("/quit {}", self.token('q')),
            33 if self.habits == Habits::Ignorant => {
                self.persons[one].has_ignored = true;
                format!("/ignore {name}")
            }
            34 => {
                self.persons[one].has_ended = true;
                return self.servers[at].leaves(id, &mut self.random);
            }
            35 => return self.servers[at].operate(&mut self.random, &mut self.tokens, name),
            36 if self.habits == Habits::Slow => {
                let high = self.random.one_in(2);
                return self.servers[at].script.high_water(id, high);
            }
            37 => format!("{}\n{}", self.token('n'), self.token('n')),
            38 => {
                let (line, after) = (self.token('n'), self.token('n'));
                format!("{line}\n/join {room}\n{after}")
            }
            _ => return,
        };
        self.servers[at].says(id, &line);
    }

    fn fault(&mut self) {
        // Entries may be trimmed.
        self.write_down();
        let at = self.random.below(SERVERS) as usize;
        match self.random.below(400) {
            // A server crashes. It is another one that takes its place, or the next run of the same.
            0 => {
                let crashed = self.remove(at);
                let server = match self.random.one_in(2) {
                    true => crashed.origin.server,
                    false => 1000 + self.boots,
                };
                self.start(server);
            }
            1 if self.random.one_in(3) => self.stop(at),
            2 | 3 => {
                let time = Duration::from_millis(self.random.below(40_000));
                self.servers[at].log.borrow_mut().cut(time);
            }
            4 if self.faults == Faults::Trimmed => self.engine.trim(self.random.below(50) as usize),
            5 if self.faults == Faults::Forgetful => match self.random.below(3) {
                0 => self.engine.restart_empty(),
                1 => {
                    self.engine.restart_empty();
                    self.engine.set_clock(500_000 + self.random.below(1000));
                }
                _ => self.engine.lose(self.random.below(20) as usize),
            },
            6 => {
                let step = self.random.below(100_000);
                self.engine.set_clock(self.engine.clock() + step);
            }
            _ => {}
        }
    }

    /// A server stops in good order, and starts again.
    fn stop(&mut self, at: usize) {
        self.servers[at].script.stop();
        self.listen();
        for _ in 0..10 {
            self.turn(Duration::from_millis(100));
        }
        let stopped = self.remove(at);
        self.start(stopped.origin.server);
    }

    fn run(&mut self) {
        for _ in 0..500 {
            for _ in 0..=self.random.below(2) {
                self.act();
            }
            self.fault();
            self.turn(Duration::from_millis(50));
        }
        for person in &self.persons {
            let server = self
                .servers
                .iter_mut()
                .find(|server| server.origin == person.origin);
            if let Some(server) = server {
                server.script.high_water(person.id, false);
            }
        }
        for server in &self.servers {
            server.log.borrow_mut().heal();
        }
        for _ in 0..1200 {
            self.turn(Duration::from_millis(100));
        }
    }
}

fn variable(name: &str, default: u64) -> u64 {
    let value = env::var(name).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}

/// The sums of what the seeds have covered.
#[derive(Debug, Default)]
struct Sum {
    lines: usize,
    gaps: u64,
    duplicates: u64,
    reconnects: u64,
    exact: usize,
    features: BTreeSet<&'static str>,
}

#[test]
fn several_chats_over_a_faulty_log_agree() {
    let from = variable("FROM", 0);
    let count = if cfg!(debug_assertions) { 80 } else { 800 };
    let (count, mut sum) = (variable("SEEDS", count), Sum::default());
    for seed in from..from + count {
        let mut world = World::new(seed);
        world.run();
        world.check(&mut sum);
    }
    println!("{sum:?}");
    if count < 80 {
        return;
    }
    assert!(sum.gaps > 0 && sum.duplicates > 0 && sum.reconnects > 0 && sum.exact > 0);
    for feature in check::FEATURES {
        assert!(sum.features.contains(feature), "nobody was told {feature}");
    }
}
