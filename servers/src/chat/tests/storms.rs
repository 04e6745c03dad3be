//! Thousands come and go: the cost grows with their number and not with its square.

use edgeloop_reactor::{Closed, ConnId};

use super::Party;
use crate::chat::room::ANNOUNCED_MAX;

/// The steps that a witness was told of, which was in the room all the time.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    announced: [usize; 2],
    summed_up: [usize; 2],
}

impl Told {
    fn from(heard: &str) -> Told {
        let mut told = Told::default();
        for line in heard.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let step = |word| usize::from(word == "left");
            match words[..] {
                ["*", count, "people" | "person", "have" | "has", word] => {
                    told.summed_up[step(word)] += count.parse::<usize>().unwrap();
                }
                ["*", _, "has", word, "the", "room"] => told.announced[step(word)] += 1,
                _ => panic!("{line:?}"),
            }
        }
        told
    }

    fn total(&self) -> [usize; 2] {
        [0, 1].map(|step| self.announced[step] + self.summed_up[step])
    }
}

/// A number of members come at once and leave at once, before a witness. Returns the number of bytes
/// that all of them were sent.
fn storm(people: usize) -> usize {
    let mut party = Party::new();
    let [witness] = party.join_all(["witness"]);
    let ids: Vec<ConnId> = (0..people).map(|_| party.connect()).collect();
    for (number, &id) in ids.iter().enumerate() {
        party.says(id, &format!("n{number}"));
    }
    party.seconds_pass(2);
    let heard = party.hears(witness);
    let mut bytes = heard.len();
    let told = Told::from(&heard);
    assert_eq!(told.total(), [people, 0]);
    assert!(told.announced[0] * told.announced[0] / 2 <= ANNOUNCED_MAX + people);
    bytes += ids.iter().map(|&id| party.hears(id).len()).sum::<usize>();
    for &id in &ids {
        party.script.close(id, Closed::Reset);
    }
    party.seconds_pass(2);
    let heard = party.hears(witness);
    assert_eq!(Told::from(&heard).total(), [0, people]);
    bytes += heard.len();
    party.check();
    bytes
}

#[test]
fn ten_thousand_joins_and_leaves_cost_no_more_each_than_five_thousand() {
    let (small, large) = (storm(5_000), storm(10_000));
    assert!(
        large < 3 * small,
        "{small} bytes for 5,000, {large} for 10,000"
    );
    // The lists of members have a hundred names each, and the number of the others.
    assert!(large < 10_000 * 104 * "n1000, ".len() + 50 * ANNOUNCED_MAX);
}

#[test]
fn a_small_party_is_announced_one_by_one() {
    let mut party = Party::new();
    let [witness] = party.join_all(["witness"]);
    let ids: Vec<ConnId> = (0..300)
        .map(|number| party.join(&format!("n{number}")))
        .collect();
    let told = Told::from(&party.hears(witness));
    assert_eq!((told.announced, told.summed_up), ([300, 0], [0, 0]));
    party.seconds_pass(1);
    ids.iter().for_each(|&id| party.script.eof(id));
    let told = Told::from(&party.hears(witness));
    assert_eq!((told.announced, told.summed_up), ([0, 300], [0, 0]));
}

#[test]
fn plain_announces_and_lists_all_members() {
    let mut party = Party::with(|settings| settings.plain = true);
    let [witness] = party.join_all(["witness"]);
    let ids: Vec<ConnId> = (0..1500)
        .map(|number| party.join(&format!("n{number}")))
        .collect();
    party.seconds_pass(5);
    let told = Told::from(&party.hears(witness));
    assert_eq!((told.announced, told.summed_up), ([1500, 0], [0, 0]));
    let last = party.connect();
    party.says(last, "last");
    assert_eq!(party.hears(last).split(", ").count(), 1501);
    assert_eq!(party.hears(ids[0]).lines().count(), 1500);
}

/// Each member is told of every step while it was in the room: announced, counted, or listed.
#[test]
fn each_member_is_told_of_every_step_once() {
    const PEOPLE: usize = 900;
    let mut party = Party::new();
    let ids: Vec<ConnId> = (0..PEOPLE).map(|_| party.connect()).collect();
    for (number, &id) in ids.iter().enumerate() {
        party.says(id, &format!("n{number}"));
        // At every tenth join an earlier member leaves.
        if number % 10 == 9 {
            party.script.eof(ids[number - 5]);
        }
    }
    party.seconds_pass(2);
    let left = |number: usize| number % 10 == 4;
    for (number, &id) in ids.iter().enumerate().filter(|(number, _)| !left(*number)) {
        let heard = party.hears(id);
        let (list, heard) = heard.split_once('\n').unwrap();
        let listed = match list.strip_prefix("* The room contains: ") {
            Some(names) => match names.split_once(", and ") {
                Some((names, more)) => {
                    let more = more.strip_suffix(" more").unwrap();
                    names.split(", ").count() + more.parse::<usize>().unwrap()
                }
                None => names.split(", ").count(),
            },
            None => 0,
        };
        // Of each ten members that came before, one may have left by then.
        assert_eq!(listed, number - number / 10, "{number}");
        let gone = PEOPLE / 10 - number / 10;
        let expected = [PEOPLE - 1 - number, gone];
        assert_eq!(Told::from(heard).total(), expected, "{number}: {heard}");
    }
    party.check();
}

#[test]
fn what_is_left_of_a_storm_is_forgotten_with_its_room() {
    let mut party = Party::new();
    let ids: Vec<ConnId> = (0..700)
        .map(|number| party.join(&format!("n{number}")))
        .collect();
    party.seconds_pass(5);
    for &id in &ids {
        party.says(id, "/join elsewhere");
    }
    assert!(!party.chat().crowded.is_empty());
    for &id in &ids {
        party.says(id, "/quit");
    }
    // A new room takes the number of the one that ended.
    let [alice, bob] = party.join_all(["alice", "bob"]);
    party.says(alice, "/join new");
    party.says(bob, "/join new");
    party.hears(alice);
    party.seconds_pass(2);
    assert_eq!(party.hears(alice), "", "others' crowds are none of theirs");
    party.script.eof(alice);
    party.script.eof(bob);
    party.check_forgotten();
}
