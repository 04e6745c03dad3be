//! The server's own terminal.

use edgeloop_reactor::{Closed, Opened, Peer, Script};

use super::{Party, settings};
use crate::chat::{Chat, STDIN, STDOUT};
use crate::front::Front;
use crate::serve::{CLIENT, Server};

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
fn the_operator_sees_who_is_there_and_can_kick() {
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
    party.says(stdin, "/kick bob");
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

/// With `--once` the terminal once kept the program from its end.
#[test]
fn when_the_only_client_has_been_served_the_terminal_is_left() {
    let mut script = Script::new(Front::new(Chat::new(settings(), None), true));
    let peer = Peer::Stream;
    let [stdin, stdout, client] =
        [STDIN, STDOUT, CLIENT].map(|tag| script.open_as(Opened { peer, tag }));
    script.eof(client);
    for id in [stdin, stdout] {
        assert_eq!(script.closed(id), Some(Closed::Finished));
    }
}
