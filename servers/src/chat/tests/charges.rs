//! What a stranger can make the chat do is bounded for a turn of the loop, and charged to the stranger.

use std::time::Duration;

use edgeloop_reactor::{ConnId, Limits};

use super::Party;
use crate::chat::bounds::WORK_MAX;

/// Runs turns until there is nothing left to do now, and returns the units of each.
fn turns(party: &mut Party) -> Vec<usize> {
    let mut units = Vec::new();
    while party.script.has_work() {
        units.push(party.script.turn());
        assert!(units.len() < 100_000, "the turns come to no end");
    }
    units
}

/// A lobby of so many members.
fn crowd(party: &mut Party, count: usize) -> Vec<ConnId> {
    let ids: Vec<ConnId> = (0..count).map(|n| party.join(&format!("n{n}"))).collect();
    party.seconds_pass(10);
    ids.iter().for_each(|&id| drop(party.hears(id)));
    ids
}

#[test]
fn no_turn_is_longer_than_its_budget_whatever_hundreds_ask_for_at_once() {
    const ROOMS: usize = 1500;
    const FLOODERS: usize = 300;
    let mut party = Party::with(|settings| settings.rate = 0);
    for number in 0..ROOMS {
        let id = party.join(&format!("m{number}"));
        party.says(id, &format!("/join r{number}"));
    }
    let flooders: Vec<ConnId> = (0..FLOODERS)
        .map(|n| party.join(&format!("f{n}")))
        .collect();
    let bystander = party.join("bystander");
    party.seconds_pass(10);
    flooders.iter().for_each(|&id| drop(party.hears(id)));
    for command in ["/rooms", "/who", "/help", "/join r7\n/join lobby"] {
        for &id in &flooders {
            party
                .script
                .arrive(id, format!("{command}\n").repeat(200).as_bytes());
        }
        party.script.arrive(bystander, b"/nonsense\n");
        let (mut units, mut longest) = (Vec::new(), 0);
        for _ in 0..1000 {
            let turns = turns(&mut party);
            longest = longest.max(turns.iter().copied().max().unwrap_or(0));
            units.extend(turns);
            party.script.advance(Duration::from_millis(1));
            if flooders.iter().all(|&id| !party.script.is_paused(id)) {
                break;
            }
        }
        let bound = Limits::default().turn_budget + 2 * WORK_MAX;
        assert!(longest <= bound, "{command}: {longest} units in a turn");
        assert!(units.len() > 1, "{command}: {units:?}");
        let heard = party.hears(bystander);
        assert!(heard.contains("unknown command"), "{command}: {heard}");
        for &id in &flooders {
            let heard = party.hears(id);
            let lines = heard.lines().filter(|line| !line.contains("people have"));
            assert!(lines.count() >= 200, "{command}");
        }
    }
    party.check();
}

#[test]
fn a_list_of_rooms_costs_as_much_among_thousands_as_among_a_hundred() {
    let cost = |rooms: usize| {
        let mut party = Party::new();
        for number in 0..rooms {
            let id = party.join(&format!("m{number}"));
            party.says(id, &format!("/join r{}", 10_000 + number));
        }
        let ann = party.join("ann");
        party.seconds_pass(2);
        party.script.arrive(ann, b"/rooms\n");
        let units = party.script.turn();
        let heard = party.hears(ann);
        assert!(
            heard.starts_with("* rooms: lobby (1), r10000 (1), "),
            "{heard}"
        );
        assert_eq!(
            heard.ends_with(&format!(", and {} more\n", rooms + 1 - 100)),
            rooms > 100
        );
        units
    };
    let (few, many) = (cost(150), cost(2000));
    assert!(many < few + 100, "{few} units, and {many}");
}

#[test]
fn a_list_of_names_has_a_hundred_and_a_number() {
    let mut party = Party::new();
    crowd(&mut party, 250);
    let ann = party.join("ann");
    drop(party.hears(ann));
    party.says(ann, "/who");
    let heard = party.hears(ann);
    assert!(heard.starts_with("* in lobby (251): n0, n1, "), "{heard}");
    assert!(heard.ends_with(", n99, and 151 more\n"), "{heard}");
}

#[test]
fn long_lines_to_many_are_slowed_down_and_ordinary_lines_are_not() {
    const HEARERS: usize = 600;
    let mut party = Party::new();
    let ids = crowd(&mut party, HEARERS);
    party.sends(ids[1], "an ordinary line\n".repeat(60).as_bytes());
    let heard = party.hears(ids[0]);
    assert_eq!(heard.lines().count(), 60, "at once");
    party.seconds_pass(10);
    ids.iter().for_each(|&id| drop(party.hears(id)));
    let mut bytes = 0;
    for _ in 0..100 {
        if !party.script.is_paused(ids[1]) {
            party.sends(ids[1], format!("{}\n", "x".repeat(4000)).as_bytes());
        }
        party.script.advance(Duration::from_millis(100));
        bytes += ids.iter().map(|&id| party.hears(id).len()).sum::<usize>();
    }
    // 400 KiB a second to 32 hearers, and the first burst.
    let allowed = 32 * (10 * 100 * 4096 + 64 * 1024) + 2 * 4096 * HEARERS;
    assert!(bytes < allowed, "{bytes} bytes of {allowed}");
    assert!(bytes > allowed / 2, "{bytes} bytes of {allowed}");
}

#[test]
fn a_name_changes_a_few_times_at_once_and_then_now_and_then() {
    let mut party = Party::new();
    let [ann, bob] = party.join_all(["ann", "bob"]);
    for number in 0..10 {
        party.says(bob, &format!("/nick b{number}"));
    }
    let told = party.hears(ann);
    assert_eq!(told.lines().count(), 5, "{told}");
    let told = party.hears(bob);
    assert_eq!(told.matches("you are now known as").count(), 5, "{told}");
    assert_eq!(
        told.matches("* you may change your name again in 5 s\n")
            .count(),
        5
    );
    party.seconds_pass(5);
    party.sends(bob, b"/nick b5\n/nick b6\n");
    assert_eq!(
        party.hears(bob),
        "* you are now known as b5\n* you may change your name again in 5 s\n"
    );
    assert_eq!(party.hears(ann), "* b4 is now known as b5\n");
    party.check();
}
