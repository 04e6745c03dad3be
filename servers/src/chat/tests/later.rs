//! A log that is read later: nothing happens before, and claims that were made meanwhile are decided by
//! the order of their entries.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId, Opened, Peer};

use super::{EMPTY, Party, WELCOME};
use crate::backplane::entry::{Body, Entry, Origin, Position, Stamp};
use crate::backplane::log::{Log, Read, Record};
use crate::server::{CLIENT, Server};

/// A log whose entries are encoded, and read when [`read`] says so.
#[derive(Debug, Default)]
pub(super) struct Later {
    is_open: Arc<AtomicBool>,
    seq: u64,
    reads: VecDeque<Read>,
}

/// The one server that reads it.
const ORIGIN: Origin = Origin { server: 1, boot: 1 };
/// Its first entry has the time 1 ms.
const RESET: Stamp = Stamp {
    origin: ORIGIN,
    seq: 0,
};

impl Later {
    /// Makes this the log of a chat that has no members yet.
    pub(super) fn install(party: &mut Party) {
        let mut log = Later::default();
        log.put(RESET, &Body::Reset, Duration::from_millis(1));
        log.reads.push_back(Read::CaughtUp);
        party.opens_log = Arc::clone(&log.is_open);
        party
            .script
            .call(|chat, _| chat.share(Box::new(log), ORIGIN, "one"));
        read(party);
        assert!(party.chat().synced().is_some());
    }

    fn put(&mut self, stamp: Stamp, body: &Body<'_>, now: Duration) {
        let at = Position {
            millis: now.as_millis() as u64,
            index: stamp.seq,
        };
        let bytes = Entry::encode(stamp, body).into();
        self.reads.push_back(Read::Record(Record { at, bytes }));
    }
}

impl Log for Later {
    fn append<'a>(&mut self, body: Body<'a>, now: Duration) -> Option<Entry<'a>> {
        self.seq += 1;
        let (origin, seq) = (ORIGIN, self.seq);
        self.put(Stamp { origin, seq }, &body, now);
        None
    }

    fn next(&mut self) -> Option<Read> {
        let is_open = self.is_open.load(Ordering::Relaxed);
        is_open.then(|| self.reads.pop_front()).flatten()
    }
}

/// The lines about a newcomer that has gone before its claim is read.
const CAME_AND_WENT: &str = "* bob has entered the room\n* bob has left the room\n";

/// All that has been appended to the log happens; what is appended meanwhile does not.
pub(super) fn read(party: &mut Party) {
    party.opens_log.store(true, Ordering::Relaxed);
    party.script.wake();
    party.opens_log.store(false, Ordering::Relaxed);
}

fn party() -> Party {
    let mut party = Party::with(|settings| settings.rate = 0);
    Later::install(&mut party);
    party
}

fn join(party: &mut Party, name: &str) -> ConnId {
    let id = party.connect();
    party.says(id, name);
    assert_eq!(party.hears(id), "");
    read(party);
    assert!(party.hears(id).starts_with("* The room "));
    id
}

#[test]
fn nothing_is_shown_before_it_is_read() {
    let mut party = party();
    let [alice, bob] = ["alice", "bob"].map(|name| join(&mut party, name));
    assert_eq!(party.hears(alice), "* bob has entered the room\n");
    party.says(
        bob,
        "hello\n/me waves\n/nick rob\n/msg alice psst\n/join dev\n/quit bye",
    );
    assert_eq!(party.each_hears([alice, bob]), ["", ""]);
    party.check();
    read(&mut party);
    assert_eq!(
        party.hears(alice),
        "[bob] hello\n** bob waves\n* bob is now known as rob\n[rob to you] psst\n\
         * rob has left the room\n"
    );
    party.says(alice, "/quit");
    read(&mut party);
    party.check_forgotten();
}

#[test]
fn the_first_of_two_claims_wins() {
    let mut party = party();
    let [first, second] = [(); 2].map(|()| party.connect());
    party.says(first, "alice");
    party.says(second, "Alice");
    read(&mut party);
    let taken = "* this name is taken\n";
    assert_eq!(party.each_hears([first, second]), [EMPTY, taken]);
    assert_eq!(party.script.closed(second), Some(Closed::Finished));
    let [bob, carol] = ["bob", "carol"].map(|name| join(&mut party, name));
    let _ = party.each_hears([first, bob, carol]);
    party.says(bob, "/nick zoe");
    party.says(carol, "/nick zoe");
    read(&mut party);
    assert_eq!(
        party.each_hears([bob, carol]),
        [
            "* you are now known as zoe\n".to_owned(),
            format!("* bob is now known as zoe\n{taken}")
        ]
    );
    party.check();
}

#[test]
fn what_a_newcomer_says_waits_for_its_name() {
    let mut party = party();
    let alice = join(&mut party, "alice");
    let bob = party.connect();
    party.sends(bob, b"bob\nhello\n");
    party.sends(bob, b"there\n/who\n");
    party.script.eof(bob);
    party.seconds_pass(29);
    assert_eq!(party.each_hears([alice, bob]), ["", ""]);
    // The name; what had arrived with it; what came after that, and the end.
    (0..3).for_each(|_| read(&mut party));
    assert_eq!(
        party.hears(alice),
        "* bob has entered the room\n[bob] hello\n[bob] there\n* bob has left the room\n"
    );
    assert_eq!(
        party.hears(bob),
        "* The room contains: alice\n* in lobby (2): alice, bob\n"
    );
    assert_eq!(party.script.closed(bob), Some(Closed::Eof));
    party.check();
}

#[test]
fn a_newcomer_that_waits_too_long_for_its_name_is_dismissed() {
    let mut party = party();
    let alice = join(&mut party, "alice");
    let bob = party.connect();
    party.says(bob, "bob");
    party.seconds_pass(30);
    let told = "* this server cannot reach the others: try again later\n";
    assert_eq!(party.hears(bob), told);
    assert_eq!(party.script.closed(bob), Some(Closed::Finished));
    // Its claim is read, and taken back. Members of other servers cannot know that it has gone already.
    (0..2).for_each(|_| read(&mut party));
    assert_eq!(party.hears(alice), CAME_AND_WENT);
    party.says(alice, "/who");
    assert_eq!(party.hears(alice), "* in lobby (1): alice\n");
    join(&mut party, "bob");
    party.check();
}

/// A page connects with this token.
fn visit(party: &mut Party, seen: u64) -> ConnId {
    let id = party.connect();
    let opened = Opened::new(Peer::Unix, CLIENT);
    let query = format!("token=0123456789abcdef&seen={seen}");
    party
        .script
        .call(|chat, out| chat.on_visit(id, opened, &query, out));
    id
}

#[test]
fn what_a_page_has_said_is_told_though_it_has_another_connection_by_then() {
    let mut party = party();
    let alice = join(&mut party, "alice");
    let first = visit(&mut party, 0);
    party.says(first, "bob");
    read(&mut party);
    assert_eq!(party.hears(alice), "* bob has entered the room\n");
    party.says(first, "hello");
    let second = visit(&mut party, 2);
    assert_eq!(party.hears(second), "* You are back as bob in lobby.\n");
    read(&mut party);
    assert_eq!(
        party.each_hears([alice, second]),
        ["[bob] hello\n", "[bob] hello\n"]
    );
    party.says(second, "/nick rob");
    let third = visit(&mut party, 4);
    party.says(third, "/quit");
    // It has left for good, so its token is that of a newcomer.
    let fourth = visit(&mut party, 5);
    assert_eq!(party.hears(fourth), WELCOME);
    read(&mut party);
    assert_eq!(
        party.hears(alice),
        "* bob is now known as rob\n* rob has left the room\n"
    );
    for id in [alice, fourth] {
        party.script.close(id, Closed::Reset);
    }
    read(&mut party);
    party.check_forgotten();
}

#[test]
fn a_member_that_has_gone_leaves_when_that_is_read() {
    let mut party = party();
    let [alice, bob] = ["alice", "bob"].map(|name| join(&mut party, name));
    let _ = party.hears(alice);
    party.says(bob, "/quit");
    party.script.close(bob, Closed::Reset);
    // Its slot has another tenant, which cannot have its name yet.
    let next = party.connect();
    assert_eq!(next.slot(), bob.slot());
    party.says(alice, "/msg bob hi");
    assert_eq!(
        party.hears(alice),
        "* bob has lost its connection: try again later\n"
    );
    read(&mut party);
    assert_eq!(party.hears(alice), "* bob has left the room\n");
    party.says(next, "bob");
    party.script.close(next, Closed::Reset);
    read(&mut party);
    let bob = join(&mut party, "bob");
    assert_eq!(
        party.hears(alice),
        format!("{CAME_AND_WENT}* bob has entered the room\n")
    );
    for id in [alice, bob] {
        party.script.close(id, Closed::Reset);
    }
    read(&mut party);
    party.check_forgotten();
}
