//! The server's own terminal.

use edgeloop_reactor::{Closed, Opened, Peer, Script};

use super::{Party, Settings};
use crate::chat::Chat;
use crate::chat::settings::{STDIN, STDOUT};
use crate::front::Front;
use crate::server::{CLIENT, Server};

#[test]
fn what_the_operator_types_is_said_to_all_who_have_joined() {
    let mut party = Party::new();
    let (stdin, stdout) = party.operator();
    let nobody = party.connect();
    let [alice, bob] = party.join_all(["alice", "bob"]);
    party.says(bob, "/join dev");
    party.each_hears([alice, bob]);
    party.sends(stdin, b"tea is re");
    party.sends(stdin, "ady \x1b[5m\u{202e}\r\n\nlast ".as_bytes());
    party.sends(stdin, b"words");
    party.script.eof(stdin);
    let told = "* operator: tea is ready [5m\n* operator: last words\n";
    assert_eq!(
        party.each_hears([nobody, alice, bob, stdout]),
        ["", told, told, ""]
    );
    party.says(alice, "the server is still there");
    assert!(!party.script.is_stopped() && party.script.is_listening());
}

#[test]
fn the_operator_lists_members_and_can_kick() {
    let mut party = Party::new();
    let (stdin, stdout) = party.operator();
    party.says(stdin, "/who");
    assert_eq!(party.hears(stdout), "lobby (0): \n");
    let [alice, bob, carol] = party.join_all(["alice", "bob", "carol"]);
    party.says(carol, "/join dev");
    party.each_hears([alice, bob]);
    party.says(stdin, "/who");
    assert_eq!(
        party.hears(stdout),
        "lobby (2): alice, bob\ndev (1): carol\n"
    );
    party.says(stdin, "/kick Bob");
    assert_eq!(party.hears(stdout), "banned: bob for 5m\n");
    assert_eq!(party.script.closed(bob), Some(Closed::Finished));
    assert_eq!(party.hears(bob), "* you were asked to leave\n");
    assert_eq!(party.hears(alice), "* bob has left the room\n");
    for line in ["/kick bob", "/kick", "/kick \u{fffd}"] {
        party.says(stdin, line);
        assert_eq!(party.hears(stdout), "nobody has this name\n");
    }
    party.says(stdin, "/nonsense");
    assert!(party.hears(stdout).contains("/kick NAME"));
    assert_eq!(party.each_hears([alice, bob]), ["", ""]);
    party.says(bob, "I am still here");
    assert_eq!(party.hears(alice), "");
    party.check();
}

#[test]
fn without_an_output_answers_go_nowhere() {
    let mut party = Party::new();
    let (stdin, stdout) = party.operator();
    party.script.close(stdout, Closed::Reset);
    party.says(stdin, "/who");
    assert_eq!(party.hears(stdout), "");
}

#[test]
fn the_terminal_is_wanted_if_there_is_an_operator() {
    for operator in [true, false] {
        let party = Party::with(|settings| settings.operator = operator);
        let streams = party.chat().streams();
        assert_eq!(streams.stdin, operator.then_some(STDIN));
        assert_eq!(streams.stdout, operator.then_some(STDOUT));
    }
}

/// With `--once` the terminal once kept the program from ending.
#[test]
fn when_the_only_client_has_been_served_the_terminal_is_left() {
    let mut script = Script::new(Front::new(Chat::new(Settings::default(), None), true));
    let peer = Peer::Stream;
    let [stdin, stdout, client] =
        [STDIN, STDOUT, CLIENT].map(|tag| script.open_as(Opened::new(peer, tag)));
    script.eof(client);
    for id in [stdin, stdout] {
        assert_eq!(script.closed(id), Some(Closed::Finished));
    }
}

#[test]
fn the_operator_sees_what_is_said_and_made_harmless_but_no_whispers() {
    let mut party = Party::new();
    let (_, stdout) = party.operator();
    let [ann, bob] = party.join_all(["ann", "bob"]);
    assert_eq!(party.hears(stdout), "", "the log has that");
    party.sends(
        ann,
        b"hello \x1b[2J\n/me waves\n/msg bob secret\n/who\n/nick eve\n",
    );
    party.sends(bob, b"/join attic\nalone\n/quit good night\n");
    assert_eq!(
        party.hears(stdout),
        "lobby [ann] hello [2J\nlobby ** ann waves\nattic [bob] alone\n\
         attic * bob has left the room (good night)\n"
    );
}

#[test]
fn the_operator_joins_a_room_to_speak_there_and_to_see_no_other() {
    let mut party = Party::new();
    let (stdin, stdout) = party.operator();
    let [ann, bob] = party.join_all(["ann", "bob"]);
    party.says(bob, "/join Attic");
    party.each_hears([ann, bob]);
    party.says(stdin, "/join #attic");
    assert_eq!(party.hears(stdout), "you speak to attic (1): bob\n");
    party.says(stdin, "to the attic");
    party.says(ann, "in the lobby");
    party.says(bob, "in the attic");
    party.says(ann, "/join attic");
    party.says(ann, "/nick eve");
    assert_eq!(
        party.hears(stdout),
        "[bob] in the attic\n* ann has entered the room\n* ann is now known as eve\n"
    );
    assert!(party.hears(bob).starts_with("* operator: to the attic\n"));
    assert!(!party.hears(ann).contains("operator"));
    // A line for one room is not said to all if that room has ended.
    for id in [ann, bob] {
        party.says(id, "/join lobby");
    }
    party.each_hears([ann, bob, stdout]);
    party.says(stdin, "is anybody there?");
    assert_eq!(party.hears(stdout), "nobody is in attic\n");
    party.says(stdin, "/join");
    party.sends(stdin, b"  hello\n//help\n \t\n");
    party.says(ann, "hello");
    let told = "* operator:   hello\n* operator: /help\n";
    assert_eq!(party.each_hears([ann, bob])[0], told);
    assert_eq!(party.hears(stdout), "you speak to all\nlobby [eve] hello\n");
    party.says(stdin, "/join a/b");
    assert_eq!(party.hears(stdout), "a name has letters and digits only\n");
}

#[test]
fn while_the_terminal_rests_lines_are_left_out_and_counted() {
    let mut party = Party::with(|settings| settings.rate = 0);
    let (stdin, stdout) = party.operator();
    let [ann] = party.join_all(["ann"]);
    party.script.high_water(stdout, true);
    for _ in 0..1000 {
        party.says(ann, "hello");
    }
    party.seconds_pass(10);
    assert_eq!(party.hears(stdout), "");
    party.script.high_water(stdout, false);
    party.says(ann, "the last");
    assert_eq!(
        party.hears(stdout),
        "lines that were not shown: 1000\nlobby [ann] the last\n"
    );
    assert!(!party.script.is_paused(stdin));
}

#[test]
fn what_one_turn_shows_is_bounded_and_the_count_comes_by_itself() {
    let mut party = Party::with(|settings| settings.rate = 0);
    let (_, stdout) = party.operator();
    let ids: Vec<_> = (0..40)
        .map(|number| party.join(&format!("n{number}")))
        .collect();
    let line = "x".repeat(4000);
    // Each member has a room of its own, since the output to one room is bounded too.
    for (number, &id) in ids.iter().enumerate() {
        party.says(id, &format!("/join r{number}"));
    }
    for &id in &ids {
        party.says(id, &line);
    }
    let shown = party.hears(stdout);
    let lines = shown.lines().count();
    assert!((16..20).contains(&lines), "{lines}");
    party.seconds_pass(2);
    let told = format!("lines that were not shown: {}\n", 40 - lines);
    assert_eq!(party.hears(stdout), told);
}
