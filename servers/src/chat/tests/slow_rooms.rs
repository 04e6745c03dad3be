//! Rooms with members that lag behind: talkers wait for them in a queue, and none stays in it.
//!
//! `Script::high_water` plays the reactor's part: it says that a member has risen above the high-water
//! mark, or has fallen below it. Time passes only by `Party::seconds_pass`, so rates are exact.

use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId};
use proptest::prelude::*;

use super::Party;

/// Bytes a second that a room is told while it is behind.
const RATE: usize = 2000;

/// A party without a rate limit; alice listens, bob and carol talk.
fn party() -> (Party, [ConnId; 3]) {
    let mut party = Party::with(|settings| {
        (settings.rate, settings.min_rate, settings.max_line) = (0, RATE, 128);
        settings.history = 10;
    });
    let ids = party.join_all(["alice", "bob", "carol"]);
    (party, ids)
}

/// A [`party`] whose room is behind, and in which a line of bob and one of carol wait.
fn late_party() -> (Party, [ConnId; 3]) {
    let (mut party, ids) = party();
    let [alice, bob, carol] = ids;
    party.script.high_water(alice, true);
    party.sends(bob, &b"x\n".repeat(200));
    party.says(carol, "after bob");
    assert!(party.script.is_paused(bob) && party.script.is_paused(carol));
    party.check();
    (party, ids)
}

#[test]
fn a_room_is_told_no_more_than_the_minimum_rate_while_a_member_lags_and_no_less() {
    let (mut party, [alice, bob, carol]) = party();
    party.sends(bob, &b"before\n".repeat(100));
    assert_eq!(party.hears(alice).lines().count(), 100);
    party.script.high_water(alice, true);
    party.sends(bob, &b"0123456789\n".repeat(10_000));
    party.sends(carol, &b"0123456789\n".repeat(10_000));
    party.seconds_pass(10);
    let first = party.hears(alice).lines().count();
    party.seconds_pass(100);
    let heard = party.hears(alice);
    let expected = 100 * RATE;
    assert!(
        heard.len().abs_diff(expected) < expected / 100,
        "{}",
        heard.len()
    );
    // Bob and carol take turns.
    let of_bob = heard
        .lines()
        .filter(|line| line.starts_with("[bob]"))
        .count();
    assert!(of_bob.abs_diff(heard.lines().count() / 2) <= 1);
    party.script.high_water(alice, false);
    party.seconds_pass(1);
    let rest = party.hears(alice).lines().count();
    let all = first + heard.lines().count() + rest;
    assert_eq!(all, 20_000, "as soon as no member lags");
    assert!(!party.script.is_paused(bob) && !party.script.is_paused(carol));
    party.check();
    for id in [alice, bob, carol] {
        assert!(party.chat().members.get(id).unwrap().is_small());
    }
}

#[test]
fn a_room_is_told_its_allowance_in_one_turn_however_many_talk() {
    let (mut party, [alice, ..]) = party();
    let talkers: Vec<ConnId> = (0..50).map(|n| party.join(&format!("t{n}"))).collect();
    party.seconds_pass(1);
    party.hears(alice);
    let line = "x".repeat(128);
    for &talker in &talkers {
        party.sends(talker, format!("{line}\n").repeat(100).as_bytes());
    }
    let first = party.hears(alice);
    let told = first.len();
    assert!((64 * 1024..64 * 1024 + 200).contains(&told), "{told}");
    party.seconds_pass(1);
    let all = first + &party.hears(alice);
    assert_eq!(all.lines().count(), 5000);
    party.check();
}

#[test]
fn a_queue_moves_on_in_the_turn_in_which_the_last_member_catches_up() {
    let (mut party, [alice, bob, carol]) = late_party();
    let dave = party.join("dave");
    party.script.high_water(dave, true);
    party.hears(alice);
    party.script.high_water(alice, false);
    party.script.advance(Duration::from_millis(1));
    assert!(party.script.is_paused(bob) && party.script.is_paused(carol));
    party.script.high_water(dave, false);
    // Less than the wait that the timer of the queue was set for.
    party.script.advance(Duration::from_millis(1));
    assert!(!party.script.is_paused(bob) && !party.script.is_paused(carol));
    assert!(party.hears(alice).contains("[carol] after bob\n"));
    party.check();
}

#[test]
fn a_whisper_waits_for_the_room_of_its_target() {
    let (mut party, [alice, bob, carol]) = late_party();
    let dave = party.join("dave");
    party.says(dave, "/join elsewhere");
    party.hears(dave);
    party.says(dave, "in my own room");
    assert!(!party.script.is_paused(dave));
    party.says(dave, "/msg bob hello");
    assert!(party.script.is_paused(dave) && party.hears(dave).is_empty());
    party.check();
    // The target leaves, which the line finds out when its turn comes.
    party.says(carol, "more");
    party.script.close(bob, Closed::Reset);
    party.seconds_pass(60);
    assert_eq!(party.hears(dave), "* nobody has this name\n");
    assert!(!party.script.is_paused(dave));
    let heard = party.hears(alice);
    assert!(
        heard.contains("[carol] after bob\n[carol] more\n"),
        "{heard}"
    );
    party.check();
}

#[test]
fn a_whisper_outlives_the_room_in_whose_queue_it_waits() {
    let (mut party, [alice, bob, carol]) = party();
    party.says(alice, "/join den");
    party.says(bob, "/join den");
    party.script.high_water(alice, true);
    party.sends(bob, &b"x\n".repeat(200));
    party.says(carol, "/msg alice psst");
    assert!(party.script.is_paused(carol));
    for id in [bob, alice] {
        party.script.close(id, Closed::Stalled);
    }
    party.check();
    let heard = party.hears(carol);
    assert!(heard.ends_with("* nobody has this name\n"), "{heard}");
    assert!(!party.script.is_paused(carol));
}

#[test]
fn a_member_that_waits_may_go_in_any_way() {
    for way in 0..3 {
        let (mut party, [alice, bob, carol]) = late_party();
        let (stdin, _) = party.operator();
        match way {
            0 => party.script.close(bob, Closed::Reset),
            1 => party.says(stdin, "/kick bob"),
            // The lines that were sent before the end come first.
            _ => party.script.eof(bob),
        }
        party.check();
        party.seconds_pass(60);
        let heard = party.hears(alice);
        assert!(heard.contains("[carol] after bob\n"), "{heard}");
        assert!(heard.contains("* bob has left the room\n"), "{heard}");
        assert_eq!(heard.matches("[bob] x\n").count() == 200, way == 2);
        assert!(party.is_closed(bob) && !party.script.is_paused(carol));
        party.check();
    }
}

#[test]
fn a_farewell_waits_like_any_line() {
    let (mut party, [alice, bob, carol]) = late_party();
    let dave = party.join("dave");
    party.says(dave, "/quit good night");
    assert!(!party.is_closed(dave) && party.script.is_paused(dave));
    party.seconds_pass(60);
    assert!(
        party
            .hears(alice)
            .contains("* dave has left the room (good night)\n")
    );
    assert!(party.is_closed(dave));
    assert!(!party.script.is_paused(bob) && !party.script.is_paused(carol));
    party.check();
}

#[test]
fn last_words_without_a_newline_wait_too() {
    let (mut party, [alice, bob, carol]) = late_party();
    party.sends(carol, b"last words");
    party.script.eof(carol);
    assert!(!party.is_closed(carol));
    party.seconds_pass(60);
    let heard = party.hears(alice);
    assert!(heard.contains("[carol] after bob\n"), "{heard}");
    assert!(heard.contains("[carol] last words\n"), "{heard}");
    assert!(party.is_closed(carol) && !party.script.is_paused(bob));
    party.check();
}

#[test]
fn steps_are_told_by_name_if_they_are_few_and_counted_otherwise() {
    let (mut party, [alice, _, carol]) = late_party();
    party.hears(alice);
    party.script.close(carol, Closed::Reset);
    assert!(!party.hears(alice).contains("left"));
    party.seconds_pass(2);
    assert!(party.hears(alice).contains("* carol has left the room\n"));
    for number in 0..100 {
        let id = party.connect();
        party.says(id, &format!("n{number}"));
    }
    party.seconds_pass(2);
    assert!(party.hears(alice).contains("* 100 people have entered\n"));
}

#[test]
fn the_one_that_lagged_is_told_of_by_name() {
    let (mut party, [alice, bob, _]) = late_party();
    party.hears(bob);
    party.script.close(alice, Closed::SlowConsumer);
    let heard = party.hears(bob);
    assert!(heard.starts_with("* alice has left the room\n"), "{heard}");
    party.check();
}

#[test]
fn a_member_above_the_mark_takes_its_backlog_along_and_asks_for_no_more() {
    let (mut party, [alice, bob, _]) = party();
    party.script.high_water(alice, true);
    party.sends(alice, b"/who\n/join den\n");
    assert_eq!(party.hears(alice), "");
    party.script.high_water(alice, false);
    let heard = party.hears(alice);
    assert!(
        heard.ends_with("* you are in den now\n* The room is empty\n"),
        "{heard}"
    );
    party.script.high_water(bob, true);
    party.script.high_water(bob, true);
    party.check();
    party.script.eof(bob);
    assert!(party.is_closed(bob));
    party.check();
}

#[test]
fn the_operator_waits_for_rooms_that_lag_and_for_its_own_output() {
    let (mut party, [alice, ..]) = party();
    let (stdin, stdout) = party.operator();
    party.script.high_water(alice, true);
    party.hears(alice);
    let seconds = 100;
    let mut said = 0;
    for _ in 0..10 * seconds {
        while !party.script.is_paused(stdin) {
            party.says(stdin, "tea is ready");
            said += 1;
        }
        party.script.advance(Duration::from_millis(100));
    }
    let heard = party.hears(alice);
    assert_eq!(heard.lines().count(), said);
    assert!(
        heard.len().abs_diff(seconds * RATE) < 2 * RATE,
        "{}",
        heard.len()
    );
    party.script.high_water(alice, false);
    party.seconds_pass(1);
    assert!(!party.script.is_paused(stdin));
    party.script.high_water(stdout, true);
    assert!(party.script.is_paused(stdin));
    party.script.high_water(stdout, false);
    assert!(!party.script.is_paused(stdin));
}

#[test]
fn where_each_step_is_announced_a_newcomer_waits_like_a_line() {
    let mut party = Party::with(|settings| {
        (settings.plain, settings.rate, settings.min_rate) = (true, 0, RATE);
    });
    let [alice, bob] = party.join_all(["alice", "bob"]);
    party.script.high_water(alice, true);
    for _ in 0..20 {
        party.says(bob, &"x".repeat(4000));
    }
    party.hears(alice);
    let carol = party.connect();
    party.sends(carol, b"carol\nhello\n");
    assert_eq!(party.hears(carol), "");
    party.seconds_pass(200);
    let heard = party.hears(carol);
    assert!(
        heard.starts_with("* The room contains: alice, bob\n"),
        "{heard}"
    );
    let heard = party.hears(alice);
    assert!(heard.contains("* carol has entered the room\n"), "{heard}");
    assert!(heard.contains("[carol] hello\n"), "{heard}");
    party.check();
}

#[test]
fn a_long_message_of_the_day_comes_in_pieces_and_the_newcomer_waits_for_its_end() {
    let message: Vec<String> = (0..1000)
        .map(|n| format!("line {n} of the message"))
        .collect();
    let message = message.join("\n");
    let mut party = Party::with(|settings| settings.motd = Some(message.clone()));
    let alice = party.connect();
    party.sends(alice, b"alice\n/who\n");
    let first = party.hears(alice);
    assert!(first.len() < 5000 && first.ends_with(" of the message\n"));
    party.script.high_water(alice, true);
    party.seconds_pass(100);
    let bob = party.connect();
    party.sends(bob, b"bob\nhello");
    party.script.eof(bob);
    party.seconds_pass(1);
    assert!(party.hears(bob).ends_with("\n* line 999 of the message\n"));
    assert!(party.is_closed(bob));
    assert!(
        !party.hears(alice).contains("message"),
        "nothing while it lags"
    );
    party.script.high_water(alice, false);
    party.seconds_pass(60);
    let rest = party.hears(alice);
    assert!(
        rest.ends_with("* line 999 of the message\n* in lobby (1): alice\n"),
        "{rest}"
    );
    assert_eq!((first + &rest).matches(" of the message\n").count(), 1000);
    assert!(party.chat().members.get(alice).unwrap().is_small());
    party.check();
}

/// A room must not be behind for as long as a new member reads the message.
#[test]
fn a_long_message_comes_as_fast_as_it_was_read() {
    let message = "a line of the message\n".repeat(100_000);
    let mut party = Party::with(|settings| settings.motd = Some(message));
    let alice = party.connect();
    party.says(alice, "alice");
    party.script.high_water(alice, true);
    // Half of the high-water mark in four seconds: 32 KiB a second.
    party.seconds_pass(4);
    party.hears(alice);
    party.script.high_water(alice, false);
    party.seconds_pass(1);
    let told = party.hears(alice).len();
    assert!((32 * 1024..48 * 1024).contains(&told), "{told}");
    // The pieces come faster by and by.
    party.seconds_pass(2);
    assert!(party.hears(alice).len() > 2 * told);
}

proptest! {
    /// Whichever members lag, and whenever: all lines are heard, each member's in their order.
    #[test]
    fn nothing_is_lost_and_no_member_is_left_waiting(
        steps in prop::collection::vec((0..4usize, 0..6u8, 1..20usize), 1..80),
    ) {
        let (mut party, ids) = party();
        let dave = party.join("dave");
        let ids = [ids[0], ids[1], ids[2], dave];
        let names = ["alice", "bob", "carol", "dave"];
        ids.iter().for_each(|&id| drop(party.hears(id)));
        let mut said = [0; 4];
        for (who, what, count) in steps {
            match what {
                0 => party.script.high_water(ids[who], true),
                1 => party.script.high_water(ids[who], false),
                2 => party.seconds_pass(1),
                3 => {
                    let to = names[(who + count) % 4];
                    party.says(ids[who], &format!("/msg {to} psst"));
                }
                _ => {
                    let lines = said[who]..said[who] + count;
                    said[who] += count;
                    let lines = lines.map(|line| format!("line {line}\n"));
                    party.sends(ids[who], lines.collect::<String>().as_bytes());
                }
            }
            party.check();
        }
        ids.iter().for_each(|&id| party.script.high_water(id, false));
        party.seconds_pass(60);
        party.check();
        for (listener, &id) in ids.iter().enumerate() {
            prop_assert!(!party.script.is_paused(id));
            let heard = party.hears(id);
            for (talker, name) in names.iter().enumerate().filter(|(talker, _)| *talker != listener) {
                let before = format!("[{name}] ");
                let lines = heard.lines().filter_map(|line| line.strip_prefix(&before));
                let due = (0..said[talker]).map(|line| format!("line {line}"));
                prop_assert!(lines.eq(due));
            }
        }
        for (id, member) in party.chat().members.iter() {
            prop_assert!(member.is_small(), "{id:?}");
        }
    }
}
