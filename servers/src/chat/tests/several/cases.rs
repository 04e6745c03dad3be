//! Single situations of two chats over one log.

use std::time::Duration;

use edgeloop_reactor::ConnId;

use super::check::check_chat;
use super::server::Server;
use crate::backplane::entry::Origin;
use crate::backplane::faulty::{Engine, Faulty};
use crate::chat::Settings;
use crate::chat::tests::{EMPTY, WELCOME};

const STEP: Duration = Duration::from_millis(50);

/// Two servers over a log without faults of its own.
struct Pair {
    engine: Engine,
    servers: Vec<Server>,
}

impl Pair {
    fn new() -> Pair {
        Pair::with(|_| {})
    }

    fn with(change: fn(&mut Settings)) -> Pair {
        let engine = Engine::default();
        engine.set_clock(1_000_000);
        let mut pair = Pair {
            engine,
            servers: Vec::new(),
        };
        for server in 0..2 {
            pair.start(server, server + 1, change);
        }
        pair.pass(2);
        pair
    }

    fn start(&mut self, server: u64, boot: u64, change: fn(&mut Settings)) {
        let origin = Origin { server, boot };
        let log = Faulty::new(&self.engine, origin, boot, 0, Duration::ZERO);
        let server = Server::with(&self.engine, log, origin, false, change);
        self.servers.push(server);
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds * 20 {
            self.engine.advance(STEP);
            self.servers.iter_mut().for_each(|server| server.pass(STEP));
        }
    }

    fn join(&mut self, at: usize, name: &str) -> ConnId {
        let id = self.servers[at].script.open();
        self.says(at, id, name);
        self.pass(1);
        let heard = self.hears(at, id);
        assert!(
            heard.starts_with(&format!("{WELCOME}* The room ")),
            "{heard}"
        );
        id
    }

    fn says(&mut self, at: usize, id: ConnId, line: &str) {
        self.servers[at].says(id, line);
    }

    fn hears(&mut self, at: usize, id: ConnId) -> String {
        let output = self.servers[at].script.take_output(id);
        String::from_utf8(output).expect("UTF-8")
    }

    /// The log is out of the reach of a server.
    fn cut(&mut self, at: usize, seconds: u64) {
        let time = Duration::from_secs(seconds);
        self.servers[at].log.borrow_mut().cut(time);
    }

    fn calls(&self, at: usize) -> u64 {
        *self.servers[at].calls.borrow()
    }

    fn is_closed(&self, at: usize, id: ConnId) -> bool {
        self.servers[at].script.closed(id).is_some()
    }

    fn check(&self) {
        self.servers
            .iter()
            .for_each(|server| check_chat(server.chat(), ""));
    }
}

/// alice and carol are on one server, bob is on the other.
fn three(pair: &mut Pair) -> [ConnId; 3] {
    let [alice, bob] = [pair.join(0, "alice"), pair.join(1, "bob")];
    let carol = pair.join(0, "carol");
    let _ = (pair.hears(0, alice), pair.hears(1, bob));
    [alice, bob, carol]
}

#[test]
fn a_short_outage_is_not_told() {
    let mut pair = Pair::new();
    let [alice, bob, _] = three(&mut pair);
    pair.cut(0, 3);
    pair.says(0, alice, "one");
    pair.pass(2);
    pair.says(0, alice, "two\nthree");
    assert!(pair.servers[0].script.is_paused(alice));
    pair.pass(4);
    assert_eq!(pair.hears(0, alice), "");
    assert_eq!(
        pair.hears(1, bob),
        "[alice] one\n[alice] two\n[alice] three\n"
    );
    assert!(!pair.servers[0].script.is_paused(alice));
    pair.check();
}

#[test]
fn a_long_outage_is_told_once_to_each_that_talks() {
    let mut pair = Pair::new();
    let [alice, bob, carol] = three(&mut pair);
    let waits = "* what you say waits: this server cannot reach the others\n";
    for outage in 0..2 {
        pair.cut(0, 40);
        pair.says(0, alice, "one");
        pair.pass(4);
        pair.says(0, alice, "two");
        assert_eq!(pair.hears(0, alice), "");
        pair.pass(3);
        assert_eq!(pair.hears(0, alice), waits, "{outage}");
        pair.says(0, alice, "three\n/me waves");
        let calls = pair.calls(0);
        pair.pass(10);
        let calls = pair.calls(0) - calls;
        assert!(calls < 30, "{calls} in 10 s");
        assert_eq!(pair.hears(0, alice), "");
        // A member that talks later is told at once.
        pair.says(0, carol, "four");
        assert_eq!(pair.hears(0, carol), waits);
        assert_eq!(pair.hears(1, bob).replace(AWAY, "").replace(BACK, ""), "");
        pair.pass(40);
        let heard = pair.hears(1, bob);
        let said: Vec<&str> = heard
            .lines()
            .filter(|line| !line.starts_with("* "))
            .collect();
        let alices = [
            "[alice] one",
            "[alice] two",
            "[alice] three",
            "** alice waves",
        ];
        let is_hers = |line: &&&str| line.contains("alice");
        assert!(said.iter().filter(is_hers).eq(alices.iter()), "{heard}");
        assert_eq!(
            said.iter().filter(|line| **line == "[carol] four").count(),
            1
        );
        assert_eq!(said.len(), 5);
        assert_eq!(pair.hears(0, alice), "[carol] four\n");
        let _ = pair.hears(0, carol);
    }
    pair.check();
}

const AWAY: &str = "* alice and carol have left the room: a server is gone\n";
const BACK: &str = "* alice and carol are back\n";

#[test]
fn a_newcomer_waits_for_half_a_minute() {
    let mut pair = Pair::new();
    pair.cut(0, 60);
    let id = pair.servers[0].script.open();
    pair.says(0, id, "dan");
    pair.pass(3);
    assert_eq!(pair.hears(0, id), WELCOME);
    pair.pass(4);
    let wait = "* please wait: this server cannot reach the others\n";
    assert_eq!(pair.hears(0, id), wait);
    let second = pair.servers[0].script.open();
    pair.pass(20);
    pair.says(0, second, "eve");
    assert_eq!(pair.hears(0, second), format!("{WELCOME}{wait}"));
    assert_eq!(pair.hears(0, id), "");
    pair.pass(5);
    let end = "* this server cannot reach the others: try again later\n";
    assert_eq!(pair.hears(0, id), end);
    assert!(pair.is_closed(0, id) && !pair.is_closed(0, second));
    pair.pass(24);
    assert_eq!(pair.hears(0, second), "");
    pair.pass(20);
    assert_eq!(pair.hears(0, second), end);
    pair.join(0, "dan");
    pair.check();
}

#[test]
fn a_newcomer_that_waits_is_let_in_after_the_outage() {
    let mut pair = Pair::new();
    let bob = pair.join(1, "bob");
    pair.cut(0, 20);
    pair.pass(2);
    let [first, second] = [(); 2].map(|()| pair.servers[0].script.open());
    pair.says(0, first, "dan\nhello");
    pair.says(0, second, "Dan");
    pair.pass(20);
    assert!(pair.hears(0, first).ends_with("* The room contains: bob\n"));
    assert!(pair.hears(0, second).ends_with("* this name is taken\n"));
    assert!(pair.is_closed(0, second));
    assert_eq!(
        pair.hears(1, bob),
        "* dan has entered the room\n[dan] hello\n"
    );
    pair.check();
}

#[test]
fn a_name_that_was_taken_meanwhile_is_asked_for_again() {
    let mut pair = Pair::new();
    let [alice, bob, carol] = three(&mut pair);
    pair.cut(0, 40);
    pair.says(0, alice, "one");
    pair.pass(30);
    assert_eq!(pair.hears(1, bob), AWAY);
    pair.says(1, bob, "/nick Alice");
    // This line waits, and is not meant as a name.
    pair.says(0, alice, "not a name");
    pair.pass(20);
    let heard = pair.hears(0, alice);
    let asked = "* your name was taken while this server was away: choose another one\n";
    assert!(heard.ends_with(asked), "{heard}");
    assert!(pair.hears(1, bob).ends_with("* carol is back\n"));
    for (name, answer) in [
        ("two words", "* a name "),
        ("CAROL", "* this name is taken\n"),
    ] {
        pair.says(0, alice, name);
        pair.pass(1);
        let heard = pair.hears(0, alice);
        assert!(heard.starts_with(answer), "{heard}");
    }
    pair.says(0, alice, "alina\nhello");
    pair.pass(1);
    assert_eq!(pair.hears(0, alice), "* The room contains: carol, Alice\n");
    assert_eq!(
        pair.hears(1, bob),
        "* alina has entered the room\n[alina] hello\n"
    );
    assert!(
        pair.hears(0, carol)
            .ends_with("* alice has left the room\n* alina has entered the room\n[alina] hello\n")
    );
    pair.check();
}

#[test]
fn a_server_goes_with_few_members_and_with_many() {
    for (count, who) in [
        (1, "m0 has"),
        (3, "m0, m1 and m2 have"),
        (9, "9 people have"),
    ] {
        let mut pair = Pair::new();
        let bob = pair.join(1, "bob");
        for number in 0..count {
            pair.join(0, &format!("m{number}"));
        }
        let _ = pair.hears(1, bob);
        pair.servers[0].script.stop();
        pair.pass(1);
        let told = |why: &str| format!("* {who} left the room: a server {why}\n");
        assert_eq!(pair.hears(1, bob), told("has stopped"));
        pair.servers.remove(0);
        pair.start(0, 5, |_| {});
        pair.pass(2);
        for number in 0..count {
            let id = pair.servers[1].script.open();
            pair.says(1, id, &format!("m{number}"));
            pair.pass(1);
        }
        let _ = pair.hears(0, bob);
        // It crashes, and nothing is heard of it.
        pair.servers.remove(1);
        pair.pass(40);
        assert_eq!(pair.hears(0, bob), told("is gone"));
        pair.check();
    }
}

#[test]
fn a_gap_is_told_in_every_room() {
    let mut pair = Pair::new();
    let [alice, bob, carol] = three(&mut pair);
    pair.says(0, carol, "/join dev");
    pair.pass(1);
    for (at, id) in [(0, alice), (1, bob), (0, carol)] {
        let _ = pair.hears(at, id);
    }
    pair.cut(0, 5);
    pair.says(1, bob, "lost\nkept");
    pair.pass(1);
    pair.engine.trim(1);
    pair.pass(30);
    pair.says(1, bob, "after it");
    pair.pass(1);
    let gap = "* some lines may be missing here\n";
    assert_eq!(pair.hears(0, carol), gap);
    assert_eq!(
        pair.hears(0, alice),
        format!("{gap}[bob] kept\n[bob] after it\n")
    );
    assert_eq!(pair.hears(1, bob), "");
    pair.check();
}

#[test]
fn many_lines_under_way_pause_their_author() {
    let mut pair = Pair::with(|settings| settings.rate = 0);
    let [alice, bob, _] = three(&mut pair);
    let lines: Vec<String> = (0..2500).map(|number| format!("{number}\n")).collect();
    let lines = lines.concat();
    pair.servers[0].script.data(alice, lines.as_bytes());
    assert!(pair.servers[0].script.is_paused(alice));
    let calls = pair.calls(0);
    pair.pass(5);
    let calls = pair.calls(0) - calls;
    assert!(calls < 5 * 80, "{calls} in 5 s");
    let heard = pair.hears(1, bob);
    assert!(
        heard
            .lines()
            .eq((0..2500).map(|number| format!("[alice] {number}")))
    );
    assert!(!pair.servers[0].script.is_paused(alice));
    pair.check();
}

#[test]
fn a_member_that_is_behind_leaves_no_room_behind() {
    let mut pair = Pair::new();
    let [alice, ..] = three(&mut pair);
    pair.says(0, alice, "/join dev");
    // Before the move is read.
    pair.servers[0].script.high_water(alice, true);
    pair.pass(1);
    pair.check();
    let chat = pair.servers[0].chat();
    let above = |room: &str| {
        let number = chat.room_by_name.get(room).expect("a room");
        chat.rooms[number as usize].gate.above()
    };
    assert_eq!((above("lobby"), above("dev")), (0, 1));
    pair.servers[0].script.high_water(alice, false);
    pair.pass(3);
    pair.check();
}

#[test]
fn a_long_message_of_the_day_is_shown_to_its_end() {
    let mut pair = Pair::with(|settings| {
        let lines: Vec<String> = (0..8000).map(|number| format!("line {number}\n")).collect();
        settings.motd = Some(lines.concat());
    });
    let id = pair.servers[0].script.open();
    pair.says(0, id, "alice\n/who");
    pair.pass(10);
    let heard = pair.hears(0, id);
    assert!(heard.starts_with(&format!("{WELCOME}{EMPTY}")));
    assert!(
        heard.ends_with("* line 7999\n* in lobby (1): alice\n"),
        "{heard}"
    );
}
