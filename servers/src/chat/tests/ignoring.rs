//! Ignore lists, by every route that a line can take.

use edgeloop_reactor::{Closed, ConnId};

use super::Party;

/// Ann ignores Eve. Bob hears both.
fn ann_ignores_eve() -> (Party, [ConnId; 3]) {
    let mut party = Party::with(|settings| settings.history = 9);
    let [ann, eve, bob] = party.join_all(["ann", "eve", "bob"]);
    party.says(ann, "/ignore EVE");
    assert_eq!(party.hears(ann), "* you do not hear eve any more\n");
    (party, [ann, eve, bob])
}

#[test]
fn lines_actions_and_whispers_are_not_heard_and_the_author_does_not_learn_of_it() {
    let (mut party, [ann, eve, bob]) = ann_ignores_eve();
    party.sends(eve, b"hello\n/me waves\n/msg ann hey\n");
    assert_eq!(
        party.each_hears([ann, eve, bob]),
        ["", "[you to ann] hey\n", "[eve] hello\n** eve waves\n"]
    );
    party.says(ann, "/ignore eve");
    party.says(eve, "hello again");
    assert_eq!(
        party.hears(ann),
        "* you hear eve again\n[eve] hello again\n"
    );
    party.check();
    assert!(party.chat().members.get(ann).unwrap().is_small());
}

#[test]
fn what_was_said_before_is_not_shown() {
    let (mut party, [ann, eve, bob]) = ann_ignores_eve();
    party.sends(eve, b"hello\n/me waves\n");
    party.says(bob, "is [eve] there?");
    party.says(ann, "/join attic");
    party.says(ann, "/join lobby");
    let heard = party.hears(ann);
    let past: Vec<&str> = heard
        .lines()
        .filter(|line| line.contains(" ago "))
        .collect();
    assert_eq!(past, ["* 0s ago [bob] is [eve] there?"]);
    let carol = party.connect();
    party.says(carol, "carol");
    assert_eq!(party.hears(carol).matches(" ago ").count(), 3);
}

#[test]
fn a_new_name_is_ignored_too_and_is_not_heard_of() {
    let (mut party, [ann, eve, bob]) = ann_ignores_eve();
    party.sends(
        eve,
        b"/nick zoe\nstill me\n/msg ann hey\n/join attic\n/join lobby\n",
    );
    assert_eq!(
        party.hears(ann),
        "* eve has left the room\n* eve has entered the room\n",
        "her steps are told under the name that ann knows"
    );
    let heard = party.hears(bob);
    assert!(heard.starts_with("* eve is now known as zoe\n[zoe] still me\n* zoe has left"));
    // The old name stays on the list, whichever member has it.
    let mut other = party.join("eve");
    party.says(other, "I am another");
    assert_eq!(party.hears(ann), "* eve has entered the room\n");
    party.script.close(other, Closed::Reset);
    party.hears(ann);
    // Taking one of the names off the list takes off all of them.
    party.says(ann, "/ignore Zoe");
    party.says(eve, "hello");
    other = party.join("eve");
    party.says(other, "hello");
    assert_eq!(
        party.hears(ann),
        "* you hear zoe again\n[zoe] hello\n* eve has entered the room\n[eve] hello\n"
    );
    party.check();
}

#[test]
fn an_ignored_member_is_not_heard_when_it_leaves_and_comes_back() {
    for come_back_as in ["eve", "Eve", "zoe", "ZOE"] {
        let (mut party, [ann, eve, bob]) = ann_ignores_eve();
        party.sends(eve, b"/nick zoe\n/quit last words\n");
        assert_eq!(party.hears(ann), "* eve has left the room\n");
        let heard = party.hears(bob);
        assert!(heard.ends_with("* zoe has left the room (last words)\n"));
        let eve = party.join(come_back_as);
        party.says(eve, "it is me");
        let heard = party.hears(ann);
        assert!(heard.ends_with(" has entered the room\n"), "{heard}");
        assert_eq!(heard.lines().count(), 1, "{heard}");
        party.check();
    }
}

/// The summary for a room that lags is one text for all members, so it must not have a farewell of a
/// member that some of them ignore.
#[test]
fn what_is_summed_up_has_no_words_either() {
    let (mut party, [ann, eve, bob]) = ann_ignores_eve();
    party.script.high_water(bob, true);
    party.says(eve, "/join attic");
    party.says(eve, "/join lobby");
    party.says(eve, "/quit last words");
    assert_eq!(party.hears(ann), "");
    party.seconds_pass(5);
    assert_eq!(
        party.hears(ann),
        "* 1 person has entered\n* 2 people have left\n"
    );
    party.check();
}

#[test]
fn a_member_can_ignore_a_hundred_names_but_not_its_own() {
    let mut party = Party::new();
    let [ann] = party.join_all(["ann"]);
    for number in 0..100 {
        party.says(ann, &format!("/ignore n{number}"));
    }
    let told = party.hears(ann);
    let absent = "* you do not hear n99 any more (nobody has this name now)\n";
    assert!(told.ends_with(absent), "{told}");
    let other = party.join("N7");
    party.says(other, "hello");
    assert_eq!(party.hears(ann), "* n7 has entered the room\n");
    for (line, told) in [
        ("/ignore n100", "* you ignore 100 people already\n"),
        ("/ignore Ann", "* that is you\n"),
        ("/ignore a/b", "* a name has letters and digits only\n"),
        ("/ignore", "* write /ignore NAME\n"),
        ("/ignore n7", "* you hear N7 again\n"),
        (
            "/ignore n100",
            "* you do not hear n100 any more (nobody has this name now)\n",
        ),
    ] {
        party.says(ann, line);
        assert_eq!(party.hears(ann), told, "{line}");
    }
    party.check();
    party.script.eof(ann);
    party.script.eof(other);
    party.check_forgotten();
}

#[test]
fn other_members_hear_a_member_that_one_ignores() {
    let (mut party, [ann, eve, bob]) = ann_ignores_eve();
    let carol = party.join("carol");
    party.each_hears([ann, eve, bob]);
    party.says(eve, "one");
    party.says(ann, "two");
    party.says(bob, "three");
    assert_eq!(
        party.each_hears([ann, eve, bob, carol]),
        [
            "[bob] three\n",
            "[ann] two\n[bob] three\n",
            "[eve] one\n[ann] two\n",
            "[eve] one\n[ann] two\n[bob] three\n"
        ]
    );
}
