//! Budget Chat (<https://protohackers.com/problem/3>): a test for each of its sentences.

use edgeloop_reactor::{Closed, SystemError};
use nix::errno::Errno;

use super::{EMPTY, Party, WELCOME};

/// Every way in which a connection can end.
const ENDS: [Closed; 7] = [
    Closed::Eof,
    Closed::Reset,
    Closed::Idle,
    Closed::Stalled,
    Closed::SlowConsumer,
    Closed::Aborted,
    Closed::Error(SystemError::new(Errno::ETIMEDOUT as i32)),
];

#[test]
fn the_server_asks_for_a_name_in_a_single_message() {
    let mut party = Party::new();
    let id = party.script.open();
    let asked = party.hears(id);
    assert_eq!((asked.lines().count(), asked.ends_with('\n')), (1, true));
}

#[test]
fn a_client_without_a_name_has_not_joined() {
    let mut party = Party::new();
    let nobody = party.connect();
    let [alice, _] = party.join_all(["alice", "bob"]);
    party.says(alice, "hello");
    assert_eq!(party.hears(nobody), "", "neither joins nor lines");
}

#[test]
fn the_first_message_sets_the_name() {
    let mut party = Party::new();
    let [alice] = party.join_all(["alice"]);
    let bob = party.connect();
    party.sends(bob, b"bob\nalice\n");
    assert_eq!(
        party.hears(alice),
        "* bob has entered the room\n[bob] alice\n",
        "the second one is said"
    );
}

#[test]
fn a_name_has_at_least_one_character_and_may_have_sixteen() {
    let longest = "x".repeat(32);
    for name in ["a", "Z", "0", "abcdefghij012345", "JohnDoe1970", &longest] {
        let mut party = Party::new();
        let [alice] = party.join_all(["alice"]);
        party.join(name);
        assert_eq!(
            party.hears(alice),
            format!("* {name} has entered the room\n")
        );
    }
}

#[test]
fn a_name_consists_of_letters_and_digits_only() {
    let mut illegal: Vec<Vec<u8>> = (0..=u8::MAX)
        .filter(|byte| !byte.is_ascii_alphanumeric() && *byte != b'\n')
        .map(|byte| vec![b'a', byte, b'b'])
        .collect();
    illegal.extend(["", " ", " bob", "bob ", "é", "小明"].map(|name| name.as_bytes().to_vec()));
    illegal.extend([vec![b'x'; 33], vec![b'x'; 5000], b"\xff\xff".to_vec()]);
    for name in illegal {
        let mut party = Party::with(|settings| settings.plain = true);
        let [alice] = party.join_all(["alice"]);
        let id = party.connect();
        party.sends(id, &[&name[..], b"\n"].concat());
        assert!(party.is_closed(id), "{name:?}");
        assert_eq!(party.hears(id).lines().count(), 1, "{name:?} is told why");
        assert_eq!(party.hears(alice), "", "{name:?}");
    }
}

#[test]
fn a_client_with_an_illegal_name_is_disconnected_and_not_announced() {
    let mut party = Party::new();
    let [alice] = party.join_all(["alice"]);
    for name in ["no way", "alice"] {
        let id = party.connect();
        party.sends(id, format!("{name}\nlast words\n").as_bytes());
        party.says(id, "more of them");
        assert_eq!(party.script.closed(id), Some(Closed::Finished));
        let told = party.hears(id);
        assert_eq!((told.lines().count(), &told[..2]), (1, "* "));
    }
    assert_eq!(party.hears(alice), "");
    party.join("bob");
    party.check();
}

#[test]
fn two_users_may_not_have_the_same_name_at_the_same_time() {
    let mut party = Party::new();
    let [alice, _] = party.join_all(["alice", "bob"]);
    let second = party.connect();
    party.says(second, "alice");
    assert_eq!(party.hears(second), "* this name is taken\n");
    party.script.close(alice, Closed::Reset);
    let third = party.join("alice");
    party.says(third, "/who");
    assert_eq!(party.hears(third), "* in lobby (2): bob, alice\n");
}

#[test]
fn a_member_that_joins_is_announced_to_the_others() {
    let mut party = Party::new();
    let [alice, bob] = party.join_all(["alice", "bob"]);
    let carol = party.join("carol");
    let told = "* carol has entered the room\n";
    assert_eq!(party.each_hears([alice, bob, carol]), [told, told, ""]);
}

#[test]
fn a_member_that_joins_is_told_the_names_of_all_others_present() {
    let mut party = Party::new();
    let names = ["alice", "bob", "carol", "dave"];
    party.join_all(names);
    let eve = party.connect();
    party.says(eve, "eve");
    assert_eq!(
        party.hears(eve),
        "* The room contains: alice, bob, carol, dave\n"
    );
}

#[test]
fn members_that_left_and_clients_without_a_name_are_not_among_them() {
    let mut party = Party::new();
    let [alice, _, _, dave] = party.join_all(["alice", "bob", "carol", "dave"]);
    party.connect();
    party.script.eof(alice);
    party.script.close(dave, Closed::Reset);
    let eve = party.connect();
    party.says(eve, "eve");
    let list = party.hears(eve);
    assert!(
        [
            "* The room contains: bob, carol\n",
            "* The room contains: carol, bob\n"
        ]
        .contains(&&*list)
    );
}

#[test]
fn the_list_is_sent_even_if_the_room_is_empty() {
    let mut party = Party::new();
    for _ in 0..2 {
        let alice = party.connect();
        party.says(alice, "alice");
        assert_eq!(party.hears(alice), EMPTY);
        party.script.eof(alice);
    }
}

#[test]
fn a_message_goes_to_all_others_with_the_name_of_its_author_and_not_back() {
    let mut party = Party::new();
    let [alice, bob, carol] = party.join_all(["alice", "bob", "carol"]);
    party.says(bob, "hello");
    let heard = "[bob] hello\n";
    assert_eq!(party.each_hears([alice, bob, carol]), [heard, "", heard]);
}

#[test]
fn a_message_may_have_a_thousand_characters() {
    let mut party = Party::new();
    let [alice, bob] = party.join_all(["alice", "bob"]);
    for length in [1000, 1001, 4096] {
        let message = "m".repeat(length);
        party.says(bob, &message);
        assert_eq!(party.hears(alice), format!("[bob] {message}\n"));
        assert_eq!(party.hears(bob), "");
    }
}

#[test]
fn clients_can_send_several_messages_and_trailing_carriage_returns_are_stripped() {
    let mut party = Party::with(|settings| settings.plain = true);
    let [alice] = party.join_all(["alice"]);
    let bob = party.connect();
    party.sends(bob, b"bob\r\none\r\ntwo\n\nthr");
    party.sends(bob, b"ee\n");
    assert_eq!(
        party.hears(alice),
        "* bob has entered the room\n[bob] one\n[bob] two\n[bob] \n[bob] three\n"
    );
}

#[test]
fn when_a_user_leaves_for_any_reason_the_others_are_told() {
    for why in ENDS {
        let mut party = Party::new();
        let [alice, bob, carol] = party.join_all(["alice", "bob", "carol"]);
        party.script.close(bob, why);
        let told = "* bob has left the room\n";
        assert_eq!(
            party.each_hears([alice, bob, carol]),
            [told, "", told],
            "{why:?}"
        );
        party.check();
    }
}

#[test]
fn when_a_client_leaves_that_has_not_joined_nothing_is_sent() {
    for why in ENDS {
        let mut party = Party::new();
        let [alice] = party.join_all(["alice"]);
        let nobody = party.connect();
        party.sends(nobody, b"bo");
        party.script.close(nobody, why);
        assert_eq!(party.hears(alice), "", "{why:?}");
    }
}

#[test]
fn a_half_closed_client_has_said_its_last_words_and_leaves() {
    let mut party = Party::new();
    let [alice, bob] = party.join_all(["alice", "bob"]);
    party.sends(bob, b"one\nlast words");
    party.script.eof(bob);
    assert_eq!(
        party.hears(alice),
        "[bob] one\n[bob] last words\n* bob has left the room\n"
    );
    assert_eq!(party.script.closed(bob), Some(Closed::Eof));
    let carol = party.connect();
    party.sends(carol, b"carol");
    party.script.eof(carol);
    assert_eq!(
        party.hears(alice),
        "* carol has entered the room\n* carol has left the room\n",
        "a name may lack its newline too"
    );
    let nobody = party.connect();
    party.sends(nobody, b"no way");
    party.script.eof(nobody);
    assert_eq!(party.hears(alice), "");
    assert!(party.hears(nobody).starts_with("* a name has letters"));
}

#[test]
fn a_client_that_types_no_slash_sees_nothing_but_budget_chat() {
    let mut party = Party::new();
    let alice = party.connect();
    party.says(alice, "alice");
    let bob = party.connect();
    party.says(bob, "bob");
    party.says(alice, "hi bob");
    party.says(bob, "* alice has left the room");
    party.script.eof(bob);
    party.seconds_pass(3600);
    assert_eq!(
        party.hears(alice),
        "* The room is empty\n\
         * bob has entered the room\n\
         [bob] * alice has left the room\n\
         * bob has left the room\n"
    );
    assert_eq!(
        party.hears(bob),
        "* The room contains: alice\n[alice] hi bob\n"
    );
    assert_eq!(WELCOME.lines().count(), 1);
}

#[test]
fn a_hundred_clients_at_a_time_hear_each_line_once() {
    let mut party = Party::new();
    let ids: Vec<_> = (0..100)
        .map(|number| party.join(&format!("n{number}")))
        .collect();
    ids.iter().for_each(|&id| drop(party.hears(id)));
    for (number, &id) in ids.iter().enumerate() {
        party.says(id, &format!("line {number}"));
    }
    for (listener, &id) in ids.iter().enumerate() {
        let others = (0..100).filter(|&number| number != listener);
        let expected: Vec<String> = others
            .map(|number| format!("[n{number}] line {number}"))
            .collect();
        assert_eq!(party.hears(id), expected.join("\n") + "\n");
    }
}
