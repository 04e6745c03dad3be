//! A member that talks too fast is paused: nothing is dropped, nothing changes its order.

use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId};
use proptest::prelude::*;

use super::Party;
use crate::chat::bounds::REPLIES_MAX;

/// A party with a limit of three lines at once and then ten a second; alice listens.
fn paced() -> (Party, ConnId, ConnId) {
    let mut party = Party::with(|settings| (settings.rate, settings.burst) = (10, 3));
    let [alice, bob] = party.join_all(["alice", "bob"]);
    (party, alice, bob)
}

fn numbered(lines: std::ops::Range<usize>) -> Vec<u8> {
    let lines: Vec<String> = lines.map(|number| format!("{number}\n")).collect();
    lines.concat().into_bytes()
}

fn heard(lines: std::ops::Range<usize>) -> String {
    let lines: Vec<String> = lines.map(|number| format!("[bob] {number}\n")).collect();
    lines.concat()
}

#[test]
fn over_the_rate_the_input_is_paused_and_goes_on_later() {
    let (mut party, alice, bob) = paced();
    party.sends(bob, &numbered(0..3));
    assert!(!party.script.is_paused(bob), "that was the burst");
    party.sends(bob, &numbered(3..8));
    assert!(party.script.is_paused(bob));
    assert_eq!(party.hears(alice), heard(0..3));
    party.script.advance(Duration::from_millis(99));
    assert_eq!(party.hears(alice), "");
    party.script.advance(Duration::from_millis(1));
    assert_eq!(party.hears(alice), heard(3..4));
    party.script.advance(Duration::from_millis(300));
    assert_eq!(party.hears(alice), heard(4..7));
    assert!(party.script.is_paused(bob));
    party.seconds_pass(1);
    assert_eq!(party.hears(alice), heard(7..8));
    assert!(!party.script.is_paused(bob));
    assert_eq!(party.hears(bob), "");
    assert!(party.chat().members.get(bob).unwrap().is_small());
}

/// The timer's shortest wait was once longer than a small bucket takes to fill again.
#[test]
fn for_long_there_are_as_many_lines_a_second_as_the_rate_says() {
    for burst in [1, 3, 20, 200] {
        let mut party = Party::with(|settings| (settings.rate, settings.burst) = (100, burst));
        let [alice, bob] = party.join_all(["alice", "bob"]);
        party.sends(bob, &numbered(0..1300));
        party.seconds_pass(10);
        let said = party.hears(alice).lines().count();
        let expected = 1000 + burst as usize;
        assert!(
            said <= expected && said + 20 > expected,
            "{said} lines with a burst of {burst}"
        );
        party.seconds_pass(4);
        assert!(party.hears(alice).ends_with("[bob] 1299\n"));
    }
}

#[test]
fn others_are_not_paused_and_rate_0_is_no_rate() {
    let (mut party, alice, bob) = paced();
    party.sends(bob, &numbered(0..9));
    party.says(alice, "me too");
    assert_eq!(party.hears(bob), "[alice] me too\n");
    assert!(!party.script.is_paused(alice));
    let mut party = Party::with(|settings| settings.rate = 0);
    let [alice, bob] = party.join_all(["alice", "bob"]);
    party.sends(bob, &numbered(0..20_000));
    // A room is told its allowance in one turn, and no more.
    party.script.advance(Duration::from_millis(10));
    assert!(party.hears(alice) == heard(0..20_000));
}

#[test]
fn a_name_is_no_line_and_the_login_timer_is_not_that_of_the_pace() {
    let (mut party, alice, _) = paced();
    let carol = party.connect();
    party.seconds_pass(59);
    party.sends(carol, b"carol\n0\n1\n2\n3\n4\n");
    party.hears(carol);
    assert_eq!(
        party.hears(alice).lines().count(),
        4,
        "the entry and a burst"
    );
    party.seconds_pass(2);
    assert!(!party.is_closed(carol));
    assert_eq!(party.hears(alice), "[carol] 3\n[carol] 4\n");
    party.seconds_pass(120);
    assert!(!party.is_closed(carol));
}

#[test]
fn a_member_that_quits_has_said_what_came_before_and_nothing_after() {
    let (mut party, alice, bob) = paced();
    party.sends(bob, b"0\n1\n2\n3\n4\n/quit bye\n5\n");
    party.seconds_pass(10);
    assert_eq!(
        party.hears(alice),
        heard(0..5) + "* bob has left the room (bye)\n"
    );
    assert_eq!(party.script.closed(bob), Some(Closed::Finished));
    party.check();
}

#[test]
fn the_end_of_the_stream_waits_for_what_is_held() {
    let (mut party, alice, bob) = paced();
    party.sends(bob, &[&numbered(0..5)[..], b"last words"].concat());
    party.script.eof(bob);
    assert_eq!(party.hears(alice), heard(0..3));
    party.seconds_pass(10);
    assert_eq!(
        party.hears(alice),
        heard(3..5) + "[bob] last words\n* bob has left the room\n"
    );
    assert_eq!(party.script.closed(bob), Some(Closed::Eof));
}

#[test]
fn a_kicked_or_lost_member_says_no_more() {
    for kicked in [true, false] {
        let (mut party, alice, bob) = paced();
        let (stdin, _) = party.operator();
        party.sends(bob, &numbered(0..5));
        match kicked {
            true => party.says(stdin, "/kick bob"),
            false => party.script.close(bob, Closed::Reset),
        }
        party.seconds_pass(10);
        assert_eq!(
            party.hears(alice),
            heard(0..3) + "* bob has left the room\n"
        );
        assert!(party.is_closed(bob));
        party.check();
    }
}

#[test]
fn what_is_held_stays_in_its_order_with_what_follows_and_with_answers() {
    let (mut party, alice, bob) = paced();
    party.sends(bob, b"0\n1\n2\n/nick rob\nha");
    // The reactor does not read from a paused connection; if it did, this would come next.
    party.sends(bob, b"lf\n\xff\xfd\x01/nick bob\n");
    assert_eq!(party.sees(bob), "");
    party.seconds_pass(10);
    assert_eq!(
        party.hears(alice),
        heard(0..3) + "* bob is now known as rob\n[rob] half\n* rob is now known as bob\n"
    );
    assert_eq!(
        party.sees(bob),
        "* you are now known as rob\n<WONT 1>* you are now known as bob\n"
    );
}

#[test]
fn a_member_that_asks_for_much_at_once_has_its_answers_piece_by_piece() {
    let mut party = Party::with(|settings| settings.rate = 0);
    let [alice, bob] = party.join_all(["alice", "bob"]);
    for number in 0..1000 {
        party.join(&format!("averylongnameforsomebody{number}"));
    }
    party.seconds_pass(2);
    drop(party.hears(bob));
    party.sends(bob, &b"/who\n".repeat(100));
    party.says(alice, "am I heard?");
    // The reactor does not read from a paused connection; if it did, this would come last.
    party.says(bob, "/join elsewhere");
    let first = party.hears(bob);
    assert!(party.script.is_paused(bob) && first.len() < 2 * REPLIES_MAX);
    assert!(first.ends_with("[alice] am I heard?\n"));
    party.seconds_pass(1);
    let rest = party.hears(bob);
    assert_eq!(first.lines().count() + rest.lines().count(), 103);
    assert!(rest.ends_with("* you are in elsewhere now\n* The room is empty\n"));
    assert!(!party.script.is_paused(bob));
}

proptest! {
    #[test]
    fn the_rate_changes_when_something_is_said_and_not_what(
        lines in prop::collection::vec("[ -~]{0,12}", 0..40),
        cut in 1..100usize,
        (rate, burst) in (1..50u32, 1..10u32),
        pauses in prop::collection::vec(0..2000u64, 0..40),
    ) {
        let conversation = |rate: u32, pauses: &[u64]| {
            let mut party = Party::with(|settings| (settings.rate, settings.burst) = (rate, burst));
            let [alice, bob] = party.join_all(["alice", "bob"]);
            let sent = lines.join("\n").into_bytes();
            let mut pauses = pauses.iter();
            for chunk in sent.chunks(cut) {
                // Like the reactor, do not read from a paused connection.
                while party.script.is_paused(bob) {
                    party.script.advance(Duration::from_millis(20));
                }
                party.sends(bob, chunk);
                let pause = pauses.next().copied().unwrap_or_default();
                party.script.advance(Duration::from_millis(pause));
            }
            party.script.eof(bob);
            party.seconds_pass(60);
            party.check();
            [party.hears(alice), party.hears(bob)]
        };
        prop_assert_eq!(conversation(rate, &pauses), conversation(0, &[]));
    }
}
