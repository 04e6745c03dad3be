//! Kicks and bans.

use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId, Opened, Peer};

use super::{Party, WELCOME};

const BANNED: &str = "* this name or your address is banned\n";

fn with_operator() -> (Party, ConnId, ConnId) {
    let mut party = Party::with(|settings| settings.operator = true);
    let (stdin, stdout) = party.operator();
    (party, stdin, stdout)
}

/// Connects a newcomer from an address and gives a name. Returns the reply.
fn comes(party: &mut Party, from: &str, name: &str) -> (ConnId, String) {
    let peer = match from {
        "unix" => Peer::Unix,
        from => Peer::Inet(from.parse().unwrap()),
    };
    let id = party.script.open_as(Opened::new(peer, 0));
    party.says(id, name);
    let told = party.hears(id);
    (id, told.strip_prefix(WELCOME).unwrap().to_owned())
}

#[test]
fn a_kicked_member_may_come_back_after_five_minutes() {
    let (mut party, stdin, stdout) = with_operator();
    let (eve, _) = comes(&mut party, "192.0.2.1:1", "Eve");
    party.says(stdin, "/kick eve");
    assert_eq!(party.hears(stdout), "banned: Eve (192.0.2.1) for 5m\n");
    assert_eq!(party.hears(eve), "* you were asked to leave\n");
    assert_eq!(party.script.closed(eve), Some(Closed::Finished));
    for (from, name, is_held) in [
        ("192.0.2.1:2", "eve", true),
        ("192.0.2.1:3", "zoe", true),
        ("192.0.2.2:4", "EVE", true),
        ("unix", "eve", true),
        ("192.0.2.2:5", "mal", false),
    ] {
        let (id, told) = comes(&mut party, from, name);
        assert_eq!(told == BANNED, is_held, "{name} from {from}: {told}");
        assert_eq!(party.is_closed(id), is_held);
    }
    party.script.advance(Duration::from_millis(299_999));
    assert_eq!(comes(&mut party, "192.0.2.1:6", "zoe").1, BANNED);
    party.script.advance(Duration::from_millis(1));
    assert_ne!(comes(&mut party, "192.0.2.1:7", "eve").1, BANNED);
    party.check();
}

#[test]
fn clients_of_this_machine_are_banned_by_name_only() {
    for from in ["127.0.0.1:1", "127.0.0.9:1", "[::1]:1", "unix"] {
        let (mut party, stdin, stdout) = with_operator();
        let _ = comes(&mut party, from, "eve");
        party.says(stdin, "/ban eve 1h");
        assert_eq!(party.hears(stdout), "banned: eve for 1h\n", "{from}");
        assert_eq!(comes(&mut party, from, "eve").1, BANNED);
        assert_ne!(comes(&mut party, from, "zoe").1, BANNED);
        party.says(stdin, "/who");
        assert_eq!(party.hears(stdout), "lobby (1): zoe\nbanned: eve for 1h\n");
    }
}

#[test]
fn a_ban_holds_until_it_is_lifted_for_members_too() {
    let (mut party, stdin, stdout) = with_operator();
    let [ann] = party.join_all(["ann"]);
    for line in ["/ban Eve", "/ban mal 1h", "/ban zoe 5m"] {
        party.says(stdin, line);
    }
    assert_eq!(
        party.hears(stdout),
        "banned: Eve\nbanned: mal for 1h\nbanned: zoe for 5m\n"
    );
    for name in ["eve", "MAL", "zoe"] {
        party.says(ann, &format!("/nick {name}"));
        assert_eq!(party.hears(ann), BANNED);
    }
    party.seconds_pass(4000);
    party.says(ann, "/nick mal");
    assert_eq!(party.hears(ann), "* you are now known as mal\n");
    party.says(stdin, "/unban EVE");
    party.says(stdin, "/unban eve");
    assert_eq!(party.hears(stdout), "Eve may come in\neve is not banned\n");
    party.says(ann, "/nick eve");
    assert_eq!(party.hears(ann), "* you are now known as eve\n");
    party.says(stdin, "/ban eve");
    assert_eq!(party.hears(ann), "* you are banned\n");
    assert_eq!(party.script.closed(ann), Some(Closed::Finished));
}

#[test]
fn the_operator_is_told_what_is_wrong() {
    let (mut party, stdin, stdout) = with_operator();
    for (line, told) in [
        ("/ban", "a name needs at least one letter or digit\n"),
        ("/ban a/b", "a name has letters and digits only\n"),
        ("/ban operator", "this name is reserved\n"),
        ("/kick eve", "nobody has this name\n"),
        ("/unban", " is not banned\n"),
    ] {
        party.says(stdin, line);
        assert_eq!(party.hears(stdout), told, "{line}");
    }
    party.says(stdin, "/ban eve soon");
    assert!(
        party
            .hears(stdout)
            .contains("write 500ms, 30s, 5m, 1h or 0")
    );
    party.says(stdin, "/ban eve 584942417355y");
    assert_eq!(party.hears(stdout).lines().count(), 1);
    for number in 0..1001 {
        party.says(stdin, &format!("/ban n{number}"));
    }
    let told = party.hears(stdout);
    assert!(told.ends_with("too many are banned: /unban some of them\n"));
}
