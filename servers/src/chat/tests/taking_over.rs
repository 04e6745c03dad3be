//! Several chats over one log, in one test: the test decides which server's entries get into the log next,
//! and which server reads how far.

mod crossings;
mod gaps;
mod pages;
mod random;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeloop_reactor::{ConnId, Opened, Peer};

use super::Party;
use crate::backplane::entry::{Body, Entry, Origin, Position, Stamp};
use crate::backplane::log::{Health, Log, Read, Record};
use crate::chat::{Chat, Settings};
use crate::server::{CLIENT, Server};

/// A tag of connections that are told nothing until the visit.
const KNOCK: u64 = 100;
const BACK: &str = "* You are back as wendy in lobby.\n";
const MISSING: &str = "* Some lines that were said meanwhile are missing.\n";

/// The log, and what waits to get into it.
#[derive(Debug, Default)]
struct Common {
    records: Vec<Record>,
    last: Position,
    waiting: Vec<VecDeque<Arc<[u8]>>>,
    /// Since when each server has no way to the log, on its own clock.
    paused_since: Vec<Option<Duration>>,
}

impl Common {
    fn put(&mut self, bytes: Arc<[u8]>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("time");
        self.last = self.last.next(now);
        let at = self.last;
        self.records.push(Record { at, bytes });
    }
}

/// The log of one server.
#[derive(Debug)]
struct Street {
    common: Arc<Mutex<Common>>,
    index: usize,
    origin: Origin,
    seq: u64,
    /// Number of entries that it has read.
    read: usize,
    /// Number of entries that it may read.
    may_read: Arc<AtomicUsize>,
    has_caught_up: bool,
    /// It misses as many entries.
    gap: Arc<AtomicUsize>,
}

impl Log for Street {
    fn append<'a>(&mut self, body: Body<'a>, _: Duration) -> Option<Entry<'a>> {
        self.seq += 1;
        let (origin, seq) = (self.origin, self.seq);
        let bytes = Entry::encode(Stamp { origin, seq }, &body).into();
        let mut common = self.common.lock().expect("no panic");
        common.waiting[self.index].push_back(bytes);
        None
    }

    fn next(&mut self) -> Option<Read> {
        let common = self.common.lock().expect("no panic");
        let gap = self.gap.swap(0, Ordering::Relaxed);
        if gap > 0 {
            self.read = (self.read + gap).min(common.records.len());
            self.has_caught_up = false;
            return Some(Read::Gap);
        }
        let may_read = self.may_read.load(Ordering::Relaxed);
        if self.read < may_read
            && let Some(record) = common.records.get(self.read)
        {
            self.read += 1;
            return Some(Read::Record(record.clone()));
        }
        let is_at_end = self.read == common.records.len();
        let is_new = is_at_end && !std::mem::replace(&mut self.has_caught_up, is_at_end);
        is_new.then_some(Read::CaughtUp)
    }

    fn health(&self) -> Health {
        let common = self.common.lock().expect("no panic");
        Health {
            paused_since: common.paused_since[self.index],
            ..Health::default()
        }
    }
}

/// Some servers.
struct Town {
    common: Arc<Mutex<Common>>,
    parties: Vec<Party>,
    may_read: Vec<Arc<AtomicUsize>>,
    gaps: Vec<Arc<AtomicUsize>>,
    /// Connections that were replaced.
    replaced: Vec<(usize, ConnId)>,
    /// Connections of pages.
    visits: Vec<(usize, ConnId)>,
}

fn origin(index: usize) -> Origin {
    let server = index as u64 + 1;
    Origin { server, boot: 1 }
}

impl Town {
    fn new(servers: usize) -> Town {
        Town::with(servers, |_| {})
    }

    fn with(servers: usize, change: impl Fn(&mut Settings)) -> Town {
        let common = Arc::new(Mutex::new(Common {
            waiting: vec![VecDeque::new(); servers],
            paused_since: vec![None; servers],
            ..Common::default()
        }));
        let reset = Stamp {
            origin: origin(0),
            seq: 0,
        };
        let reset = Entry::encode(reset, &Body::Reset).into();
        common.lock().expect("no panic").put(reset);
        let mut town = Town {
            common,
            parties: Vec::new(),
            may_read: Vec::new(),
            gaps: Vec::new(),
            replaced: Vec::new(),
            visits: Vec::new(),
        };
        for index in 0..servers {
            let (origin, may_read) = (origin(index), Arc::<AtomicUsize>::default());
            let street = Street {
                common: Arc::clone(&town.common),
                index,
                origin,
                seq: 0,
                read: 0,
                may_read: Arc::clone(&may_read),
                has_caught_up: false,
                gap: Arc::default(),
            };
            town.gaps.push(Arc::clone(&street.gap));
            let mut party = Party::with(|settings| {
                settings.rate = 0;
                settings.operator = true;
                settings.history = 1000;
                change(settings);
            });
            let name = index.to_string();
            party
                .script
                .call(|chat, _| chat.share(Box::new(street), origin, &name));
            town.parties.push(party);
            town.may_read.push(may_read);
        }
        town.settle();
        for party in &town.parties {
            assert!(party.chat().synced().is_some());
        }
        town
    }

    /// So many entries of a server get into the log.
    fn publish(&mut self, server: usize, count: usize) {
        let mut common = self.common.lock().expect("no panic");
        let count = count.min(common.waiting[server].len());
        let published: Vec<Arc<[u8]>> = common.waiting[server].drain(..count).collect();
        published.into_iter().for_each(|bytes| common.put(bytes));
    }

    fn waiting(&self, server: usize) -> usize {
        self.common.lock().expect("no panic").waiting[server].len()
    }

    fn len(&self) -> usize {
        self.common.lock().expect("no panic").records.len()
    }

    /// A server reads so many more entries.
    fn read(&mut self, server: usize, count: usize) {
        let may_read = self.may_read[server].load(Ordering::Relaxed);
        let may_read = (may_read + count).min(self.len());
        self.may_read[server].store(may_read, Ordering::Relaxed);
        self.parties[server].script.wake();
        self.mind(server);
    }

    /// A server reads all that is in the log, and its entries get there.
    fn turn(&mut self, server: usize) {
        self.read(server, usize::MAX / 2);
        self.publish(server, usize::MAX);
    }

    /// All servers read and append, until there is nothing more.
    fn settle(&mut self) {
        for _ in 0..50 {
            let before = self.len();
            (0..self.parties.len()).for_each(|server| self.turn(server));
            if self.len() == before {
                return;
            }
        }
        panic!("the servers do not come to an end");
    }

    /// Closes connections whose members have others, as the web does.
    fn mind(&mut self, server: usize) {
        let replaced = self.parties[server].script.call(|chat, out| {
            let replaced = chat.take_replaced();
            replaced.iter().for_each(|id| out.finish(*id));
            replaced
        });
        self.replaced
            .extend(replaced.into_iter().map(|id| (server, id)));
    }

    /// A server misses so many entries that are in the log.
    fn gap(&mut self, server: usize, count: usize) {
        self.gaps[server].store(count, Ordering::Relaxed);
        let may_read = self.may_read[server].load(Ordering::Relaxed);
        let passed = (may_read + count).min(self.len());
        self.may_read[server].store(passed, Ordering::Relaxed);
        self.parties[server].script.wake();
    }

    fn pause(&mut self, server: usize, is_paused: bool) {
        let since = is_paused.then_some(Duration::ZERO);
        self.common.lock().expect("no panic").paused_since[server] = since;
        self.parties[server].script.wake();
    }

    fn seconds_pass(&mut self, seconds: u64) {
        for server in 0..self.parties.len() {
            self.parties[server].seconds_pass(seconds);
            self.mind(server);
        }
    }

    fn join(&mut self, server: usize, name: &str) -> ConnId {
        let id = self.parties[server].connect();
        self.says(server, id, name);
        self.settle();
        let _ = self.hears(server, id);
        id
    }

    fn visit_from(&mut self, server: usize, peer: Peer, token: &str, seen: u64) -> ConnId {
        let script = &mut self.parties[server].script;
        let id = script.open_as(Opened::new(peer, KNOCK));
        let query = format!("token={token}&seen={seen}");
        let opened = Opened::new(peer, CLIENT);
        script.call(|chat, out| chat.on_visit(id, opened, &query, out));
        self.visits.push((server, id));
        self.mind(server);
        id
    }

    /// The page of wendy connects.
    fn visit(&mut self, server: usize, seen: u64) -> ConnId {
        self.visit_from(server, Peer::Unix, "wendys-secret-token", seen)
    }

    /// The page of wendy connects for the first time. It has received two messages then.
    fn wendy(&mut self, server: usize) -> ConnId {
        let id = self.visit(server, 0);
        assert_eq!(self.hears(server, id), super::WELCOME);
        self.says(server, id, "wendy");
        self.settle();
        assert!(self.hears(server, id).starts_with("* The room "));
        id
    }

    fn says(&mut self, server: usize, id: ConnId, line: &str) {
        self.parties[server].says(id, line);
    }

    fn hears(&mut self, server: usize, id: ConnId) -> String {
        self.parties[server].hears(id)
    }

    fn has_replaced(&self, server: usize, id: ConnId) -> bool {
        self.replaced.contains(&(server, id))
    }

    fn chat(&self, server: usize) -> &Chat {
        self.parties[server].chat()
    }

    /// The operator of a server gives a command.
    fn operate(&mut self, server: usize, line: &str) {
        let party = &mut self.parties[server];
        let (stdin, _) = match party.chat().operator.stdin {
            Some(stdin) => (stdin, stdin),
            None => party.operator(),
        };
        party.says(stdin, line);
    }

    /// The servers that serve wendy, after all has settled; all of them know the same members.
    fn serving(&mut self) -> Vec<usize> {
        self.settle();
        let mut serving = Vec::new();
        for server in 0..self.parties.len() {
            let chat = self.chat(server);
            let arrivals = &chat.arrivals;
            assert!(arrivals.is_empty(), "half in at {server}: {arrivals:?}");
            let state = chat.synced().expect("the state").membership();
            let own = state.members_of(origin(server));
            let own: Vec<(u64, &str)> = own
                .map(|member| (member.id.number, &*member.name.shown))
                .collect();
            let joined = chat.members.iter();
            let joined = joined.filter(|(_, member)| member.has_joined());
            let mut served: Vec<(u64, &str)> = joined
                .map(|(id, member)| (chat.numbers.of(id), member.name()))
                .collect();
            served.sort_unstable();
            assert_eq!(served, own, "server {server}");
            if served.iter().any(|(_, name)| *name == "wendy") {
                serving.push(server);
            }
            self.check(server);
        }
        serving
    }

    /// Checks that what is kept in two places agrees, and counts and rooms are those of the state.
    fn check(&self, server: usize) {
        let chat = self.chat(server);
        let state = chat.synced().expect("the state").membership();
        for (id, member) in chat.members.iter().filter(|(_, it)| it.has_joined()) {
            let room = &chat.rooms[member.room as usize];
            assert_eq!(room.members()[member.place as usize], id);
            assert_eq!(chat.names.get(member.name()), Some(id));
        }
        for (_, room) in &chat.rooms {
            let known = state.room(&chat.name_rules.fold(&room.name));
            let count = known.map_or(0, |(_, count)| count);
            assert_eq!((room.count, room.arriving), (count, 0), "{}", room.name);
            let ignoring = room.members().iter();
            let ignoring = ignoring.filter_map(|id| chat.members.get(*id));
            let ignoring = ignoring.filter(|member| member.ignores_some()).count();
            assert_eq!(room.ignoring, ignoring);
        }
        for (token, id) in &chat.tokens {
            let seat = chat.seat(*id).expect("a seat");
            assert!(seat.token == *token);
        }
    }
}
