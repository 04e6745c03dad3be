//! The log in a real Redis: `redis-server` of the system, started by each test on a port of its own.
//! Without it the tests are skipped, and say so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use edgeloop::backplane::encoding::ENTRY_MAX;
use edgeloop::backplane::entry::{Body, Manner, Name, Origin, Position, Present};
use edgeloop::backplane::log::{Health, Log, Read, Record};
use edgeloop::backplane::membership::Refusal;
use edgeloop::backplane::redis::{RedisLog, Target};
use edgeloop::backplane::replica::{Replica, Told};
use edgeloop_reactor::{Closed, ConnId, Data, Limits, Opened, Outbox, Protocol, Reactor};
use tests::redis::{CuttingProxy, Redis};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// Entries that Redis keeps.
const ENTRIES_MAX: u64 = 100_000;

/// A protocol that is nothing but a log, and perhaps a replica.
struct Owner {
    log: RedisLog,
    replica: Option<Replica>,
    reads: Vec<Read>,
    told: Vec<Told>,
    now: Duration,
}

impl Owner {
    fn go_on(&mut self, out: &mut Outbox) {
        while let Some(read) = self.log.next() {
            if let Some(replica) = &mut self.replica {
                replica.read(read.clone());
                replica.perform(&mut self.log, Duration::ZERO);
                self.told.extend(std::iter::from_fn(|| replica.tell_next()));
            }
            self.reads.push(read);
        }
        self.now = out.now();
        if let Some(next) = self.log.go_on(out) {
            out.set_service_timer_at(next);
        }
    }
}

impl Protocol for Owner {
    fn on_open(&mut self, id: ConnId, _: Opened, out: &mut Outbox) {
        assert!(self.log.on_open(id, out));
        self.go_on(out);
    }

    fn on_connect_error(&mut self, id: ConnId, tag: u64, why: Closed, out: &mut Outbox) {
        assert!(self.log.on_connect_error(id, tag, why, out));
        self.go_on(out);
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        self.log.on_data(id, &data, out);
        self.go_on(out);
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        self.log.on_close(id, why, out);
        self.go_on(out);
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.go_on(out);
    }
}

struct Client {
    reactor: Reactor<Owner>,
    origin: Origin,
    lines: u32,
}

impl Client {
    fn new(url: &str, server: u64, is_replica: bool) -> Client {
        let target: Target = url.parse().expect("a URL");
        let origin = Origin { server, boot: 1 };
        let owner = Owner {
            log: RedisLog::new(&target, origin, [1, 2], ENTRIES_MAX),
            replica: is_replica.then(|| Replica::new(origin, "server")),
            reads: Vec::new(),
            told: Vec::new(),
            now: Duration::ZERO,
        };
        let mut reactor = Reactor::new(owner, Limits::default()).expect("a reactor");
        reactor.call(Owner::go_on);
        Client {
            reactor,
            origin,
            lines: 0,
        }
    }

    fn append(&mut self, body: Body<'_>) {
        self.reactor.call(|owner, out| {
            assert!(owner.log.append(body, Duration::ZERO).is_none());
            owner.go_on(out);
        });
    }

    fn say(&mut self) {
        self.lines += 1;
        let text = format!("{} {}", self.origin.server, self.lines);
        self.append(Body::Line {
            member: 1,
            manner: Manner::Say,
            name: "bob",
            room: "lobby",
            text: text.as_bytes(),
        });
    }

    fn reads(&self) -> &[Read] {
        &self.reactor.protocol().reads
    }

    /// The entries that were read, without duplicates.
    fn records(&self) -> Vec<&Record> {
        let mut last = BTreeMap::new();
        let records = self.reads().iter().filter_map(|read| match read {
            Read::Record(record) => Some(record),
            _ => None,
        });
        let is_new = |record: &&Record| {
            let Ok(entry) = record.entry() else {
                return false;
            };
            let last = last.entry(entry.stamp.origin).or_insert(0);
            let is_new = entry.stamp.seq > *last;
            *last = entry.stamp.seq.max(*last);
            is_new
        };
        records.filter(is_new).collect()
    }

    fn lines(&self) -> Vec<String> {
        let line = |record: &&Record| match record.entry().expect("an entry").body {
            Body::Line { text, .. } => Some(String::from_utf8(text.into()).expect("text")),
            _ => None,
        };
        self.records().iter().filter_map(line).collect()
    }

    fn gaps(&self) -> usize {
        self.reads()
            .iter()
            .filter(|read| **read == Read::Gap)
            .count()
    }

    fn has_caught_up(&self) -> bool {
        self.reads().contains(&Read::CaughtUp)
    }

    fn health(&self) -> Health {
        self.reactor.protocol().log.health()
    }

    /// The time of the last callback, on the clock of the reactor.
    fn now(&self) -> Duration {
        self.reactor.protocol().now
    }

    fn replica(&self) -> &Replica {
        self.reactor.protocol().replica.as_ref().expect("a replica")
    }
}

/// Turns the clients' reactors until a condition holds.
fn until(clients: &mut [Client], what: &str, is_done: impl Fn(&[Client]) -> bool) {
    let start = Instant::now();
    while !is_done(clients) {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        for client in &mut *clients {
            let turned = client.reactor.turn_for(Some(Duration::from_millis(1)));
            turned.expect("a turn");
        }
    }
}

fn clients(url: &str, count: u64) -> Vec<Client> {
    let mut clients: Vec<Client> = (1..=count)
        .map(|server| Client::new(url, server, false))
        .collect();
    let all_ready = |clients: &[Client]| clients.iter().all(Client::has_caught_up);
    until(&mut clients, "all connected", all_ready);
    clients
}

/// All have read so many lines of each, in one order, and each author's in its own.
fn assert_one_order(clients: &[Client], each: u32) {
    let first = clients[0].lines();
    for client in clients {
        assert!(client.lines() == first, "two orders");
        let prefix = format!("{} ", client.origin.server);
        let own = first.iter().filter(|line| line.starts_with(&prefix));
        let expected = (1..=each).map(|line| format!("{prefix}{line}"));
        assert!(
            own.cloned().eq(expected),
            "lines of {}",
            client.origin.server
        );
    }
}

fn have_read(clients: &[Client], lines: usize) -> bool {
    clients.iter().all(|client| client.lines().len() >= lines)
}

/// Each says lines, a few a turn, while `meanwhile` is called with the number of the round.
fn talk(clients: &mut [Client], rounds: u32, mut meanwhile: impl FnMut(u32)) {
    for round in 0..rounds {
        meanwhile(round);
        clients.iter_mut().for_each(Client::say);
        for client in &mut *clients {
            client
                .reactor
                .turn_for(Some(Duration::ZERO))
                .expect("a turn");
        }
    }
}

#[test]
fn three_servers_read_one_order() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut clients = clients(&redis.url(), 3);
    talk(&mut clients, 2000, |_| {});
    until(&mut clients, "all is read", |clients| {
        have_read(clients, 6000)
    });
    assert_one_order(&clients, 2000);
    for client in &clients {
        assert_eq!((client.gaps(), client.health().reconnects), (0, 0));
        assert_eq!(client.health().pending, 0);
        assert_eq!(client.health().paused_since, None);
    }
    let records = clients[0].records();
    assert!(records.is_sorted_by_key(|record| record.at));
}

#[test]
fn a_killed_redis_that_syncs_always_loses_nothing() {
    let Some(mut redis) = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]) else {
        return;
    };
    let mut clients = clients(&redis.url(), 3);
    talk(&mut clients, 300, |round| {
        if round % 100 == 50 {
            redis.kill();
            redis.restart();
        }
    });
    until(&mut clients, "all is read", |clients| {
        have_read(clients, 900)
    });
    assert_one_order(&clients, 300);
    assert!(
        clients.iter().all(|client| client.gaps() == 0),
        "a gap where there is none"
    );
    assert!(
        clients.iter().all(|client| client.health().reconnects > 0),
        "or this tests nothing"
    );
}

#[test]
fn a_redis_that_restarts_empty_is_a_gap_and_what_waited_is_appended() {
    let Some(mut redis) = Redis::start(&[]) else {
        return;
    };
    let mut clients = clients(&redis.url(), 2);
    talk(&mut clients, 10, |_| {});
    until(&mut clients, "all is read", |clients| {
        have_read(clients, 20)
    });
    redis.kill();
    clients.iter_mut().for_each(Client::say);
    let notices = |clients: &[Client]| {
        clients
            .iter()
            .all(|client| client.health().paused_since.is_some())
    };
    until(&mut clients, "the loss is noticed", notices);
    redis.restart();
    until(&mut clients, "all is read", |clients| {
        have_read(clients, 22)
    });
    for client in &clients {
        assert_eq!(client.gaps(), 1);
        assert_eq!(client.lines().len(), 22);
        let after = client.reads().iter().skip_while(|read| **read != Read::Gap);
        let mut records = after.filter_map(|read| match read {
            Read::Record(record) => Some(record),
            _ => None,
        });
        let first = records.next().expect("an entry");
        assert_eq!(first.at, Position::GENESIS);
        assert_eq!(first.entry().expect("an entry").body, Body::Reset);
        assert!(client.reads().contains(&Read::CaughtUp));
    }
}

#[test]
fn a_trimmed_stream_is_a_gap_for_whoever_was_behind() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut clients = clients(&redis.url(), 2);
    talk(&mut clients, 5, |_| {});
    until(&mut clients, "all is read", |clients| {
        have_read(clients, 10)
    });
    // The second one does not look at what it receives for a while, and stays connected.
    let (talking, behind) = clients.split_at_mut(1);
    for lines in 11..=30 {
        talking[0].say();
        until(talking, "the line is read", |clients| {
            have_read(clients, lines)
        });
    }
    redis.command(&["XTRIM", "edgeloop:log", "MAXLEN", "5"]);
    let is_told = |clients: &[Client]| clients[0].gaps() == 1 && have_read(clients, 15);
    until(behind, "the gap is told", is_told);
    assert!(behind[0].lines().len() < 30);
    assert_eq!((talking[0].gaps(), behind[0].health().reconnects), (0, 0));
}

#[test]
fn connections_that_are_cut_anywhere_lose_and_repeat_nothing() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let proxy = CuttingProxy::start(redis.port(), 7);
    let mut clients = clients(&proxy.url(), 2);
    talk(&mut clients, 1000, |_| {});
    until(&mut clients, "all is read", |clients| {
        have_read(clients, 2000)
    });
    assert_one_order(&clients, 1000);
    assert!(
        clients.iter().all(|client| client.gaps() == 0),
        "a gap where there is none"
    );
    let reconnects: u64 = clients
        .iter()
        .map(|client| client.health().reconnects)
        .sum();
    assert!(
        reconnects > 5,
        "{reconnects} reconnects: this tests nothing"
    );
}

#[test]
fn a_stopped_redis_is_waited_for() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut clients = clients(&redis.url(), 2);
    redis.signal("STOP");
    talk(&mut clients, 20, |_| {});
    // Long enough for the deadlines of requests and connects.
    let are_down = |clients: &[Client]| clients.iter().all(|client| is_down_for(client, 7));
    until(&mut clients, "the deadlines have passed", are_down);
    redis.signal("CONT");
    until(&mut clients, "all is read", |clients| {
        have_read(clients, 40)
    });
    assert_one_order(&clients, 20);
    assert!(clients.iter().all(|client| client.gaps() == 0));
    assert!(clients.iter().all(|client| client.health().reconnects > 0));
}

/// Whether the log has been of no use for so many seconds, by its own account.
fn is_down_for(client: &Client, seconds: u64) -> bool {
    let since = client.health().paused_since;
    let now = client.now();
    since.is_some_and(|since| now.saturating_sub(since) >= Duration::from_secs(seconds))
}

#[test]
fn users_passwords_databases_and_prefixes_are_used() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    redis.command(&[
        "ACL",
        "SETUSER",
        "chat",
        "on",
        ">p@ss",
        "~my:*",
        "+xadd",
        "+xread",
        "+xrange",
        "+xrevrange",
        "+multi",
        "+exec",
        "+select",
    ]);
    redis.command(&["ACL", "SETUSER", "default", "off"]);
    let port = redis.port();
    let mut clients = clients(
        &format!("redis://chat:p%40ss@127.0.0.1:{port}/2?prefix=my:chat"),
        1,
    );
    talk(&mut clients, 10, |_| {});
    until(&mut clients, "all is read", |clients| {
        have_read(clients, 10)
    });
    let mut wrong = [Client::new(
        &format!("redis://chat:no@127.0.0.1:{port}"),
        9,
        false,
    )];
    let is_refused = |clients: &[Client]| clients[0].health().reconnects > 2;
    until(&mut wrong, "more attempts", is_refused);
    assert!(wrong[0].reads().is_empty() && wrong[0].health().paused_since.is_some());
}

#[test]
fn hostile_content_is_read_over() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut clients = clients(&redis.url(), 1);
    let long = "x".repeat(2 * ENTRY_MAX);
    let many: Vec<String> = (0..70_000).map(|number| number.to_string()).collect();
    let mut fields = vec!["XADD", "edgeloop:log", "*"];
    fields.extend(many.iter().map(String::as_str));
    for words in [
        &["XADD", "edgeloop:log", "*", "e", "\u{1}junk"][..],
        &["XADD", "edgeloop:log", "*", "e", &long],
        &["XADD", "edgeloop:log", "*", "a", "b", "c", "d"],
        &fields,
        &["XADD", "edgeloop:beat", "*", "o", "short"],
    ] {
        redis.command(words);
        clients[0].say();
    }
    until(&mut clients, "all lines are read", |clients| {
        have_read(clients, 5)
    });
    assert_one_order(&clients, 5);
    assert_eq!(clients[0].health().reconnects, 0);
    let is_readable = |read: &&Read| match read {
        Read::Record(record) => record.entry().is_ok(),
        _ => true,
    };
    let unreadable = clients[0]
        .reads()
        .iter()
        .filter(|read| !is_readable(read))
        .count();
    assert_eq!(unreadable, 4);
}

#[test]
fn replicas_agree_who_has_a_name() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let url = redis.url();
    let mut clients: Vec<Client> = (1..=3)
        .map(|server| Client::new(&url, server, true))
        .collect();
    let is_synced = |clients: &[Client]| {
        let synced = |client: &Client| {
            let replica = client.replica();
            replica.is_synced() && replica.membership().servers().count() == 3
        };
        clients.iter().all(synced)
    };
    until(&mut clients, "all are in sync", is_synced);
    let name = |text| Name {
        shown: text,
        fold: text,
        look: "",
    };
    for client in &mut clients {
        client.append(Body::Join(Present {
            number: 1,
            name: name("bob"),
            room: name("lobby"),
            address: None,
            token: None,
        }));
    }
    let refused = |client: &Client| {
        let told = client.reactor.protocol().told.iter();
        let refused = told.filter(|told| {
            let Told::Entry { effect, .. } = told else {
                return false;
            };
            *effect
                == Some(edgeloop::backplane::membership::Effect::Refused(
                    Refusal::Taken,
                ))
        });
        refused.count()
    };
    until(&mut clients, "two claims lose", |clients| {
        clients.iter().all(|client| refused(client) == 2)
    });
    let holders: BTreeSet<_> = clients
        .iter()
        .map(|client| {
            client
                .replica()
                .membership()
                .named("bob")
                .map(|member| member.id)
        })
        .collect();
    assert_eq!(holders.len(), 1, "{holders:?}");
}
