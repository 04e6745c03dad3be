//! Commands of members.

use edgeloop_reactor::{Closed, ConnId};

use super::{EMPTY, Party};

/// Three members in the lobby.
fn three() -> (Party, [ConnId; 3]) {
    let mut party = Party::new();
    let ids = party.join_all(["alice", "bob", "carol"]);
    (party, ids)
}

#[test]
fn rooms_are_made_and_end_with_their_members() {
    let (mut party, [alice, bob, carol]) = three();
    party.says(alice, "/join dev");
    assert_eq!(party.hears(alice), format!("* you are in dev now\n{EMPTY}"));
    assert_eq!(party.hears(bob), "* alice has left the room\n");
    party.says(bob, "/join #dev");
    assert_eq!(party.hears(alice), "* bob has entered the room\n");
    assert_eq!(
        party.hears(bob),
        "* you are in dev now\n* The room contains: alice\n"
    );
    party.hears(carol);
    party.says(carol, "/rooms");
    assert_eq!(party.hears(carol), "* rooms: dev (2), lobby (1)\n");
    party.says(alice, "/join lobby");
    party.script.close(bob, Closed::Reset);
    party.hears(carol);
    party.says(carol, "/rooms");
    assert_eq!(party.hears(carol), "* rooms: lobby (2)\n");
    party.check();
}

#[test]
fn lines_stay_in_their_room() {
    let (mut party, [alice, bob, carol]) = three();
    party.says(alice, "/join dev");
    party.says(bob, "/join dev");
    party.each_hears([alice, bob, carol]);
    party.says(alice, "in dev");
    party.says(carol, "in the lobby");
    assert_eq!(
        party.each_hears([alice, bob, carol]),
        ["", "[alice] in dev\n", ""]
    );
}

#[test]
fn joining_the_same_room_or_an_illegal_one_is_refused() {
    let (mut party, [alice, bob, _]) = three();
    for (line, told) in [
        ("/join lobby", "* you are in lobby\n"),
        ("/join #lobby", "* you are in lobby\n"),
        ("/join a/b", "* a name has letters and digits only\n"),
        ("/join #", "* a name needs at least one letter or digit\n"),
        ("/join", "* write /join ROOM\n"),
    ] {
        party.says(alice, line);
        assert_eq!(party.hears(alice), told, "{line}");
    }
    assert_eq!(party.hears(bob), "");
}

#[test]
fn a_hundred_rooms_are_listed_and_the_others_are_counted() {
    let mut party = Party::new();
    for number in 0..150 {
        let id = party.join(&format!("n{number}"));
        party.says(id, &format!("/join r{number:03}"));
    }
    let [alice] = party.join_all(["alice"]);
    party.says(alice, "/join r149");
    party.hears(alice);
    party.says(alice, "/rooms");
    let rooms = party.hears(alice);
    assert!(
        rooms.starts_with("* rooms: r149 (2), r000 (1), r001 (1), "),
        "{rooms}"
    );
    assert!(rooms.ends_with(", r098 (1), and 51 more\n"), "{rooms}");
}

#[test]
fn a_whisper_is_heard_by_one_member_in_any_room() {
    let (mut party, [alice, bob, carol]) = three();
    party.says(bob, "/join dev");
    party.each_hears([alice, bob, carol]);
    party.says(alice, "/msg bob  psst \x1b[31m");
    assert_eq!(
        party.each_hears([alice, bob, carol]),
        ["[you to bob] psst [31m\n", "[alice to you] psst [31m\n", ""]
    );
    for (line, told) in [
        ("/msg alice me?", "* that is you\n"),
        ("/msg nobody hello", "* nobody has this name\n"),
        ("/msg \u{fffd} hello", "* nobody has this name\n"),
        ("/msg bob", "* write /msg NAME TEXT\n"),
    ] {
        party.says(alice, line);
        assert_eq!(party.hears(alice), told, "{line}");
    }
    assert_eq!(party.each_hears([bob, carol]), ["", ""]);
}

#[test]
fn a_change_of_name_is_announced_and_frees_the_old_one() {
    let (mut party, [alice, bob, carol]) = three();
    party.says(alice, "/nick Alice");
    assert_eq!(party.hears(alice), "* you are now known as Alice\n");
    let told = "* alice is now known as Alice\n";
    assert_eq!(party.each_hears([bob, carol]), [told, told]);
    party.says(bob, "/nick alice");
    assert_eq!(
        party.hears(bob).lines().last(),
        Some("* this name is taken")
    );
    party.says(alice, "hello");
    let told = "[Alice] hello\n";
    assert_eq!(party.hears(carol), told);
    party.each_hears([alice, bob, carol]);
    for (line, told) in [
        ("/nick carol", "* this name is taken\n"),
        ("/nick CAROL", "* this name is taken\n"),
        ("/nick Alice", "* this name is taken\n"),
        ("/nick You", "* this name is reserved\n"),
        ("/nick é", "* a name has letters and digits only\n"),
        ("/nick", "* write /nick NAME\n"),
    ] {
        party.says(alice, line);
        assert_eq!(party.hears(alice), told, "{line}");
    }
    assert_eq!(party.each_hears([bob, carol]), ["", ""]);
    party.check();
}

#[test]
fn a_name_goes_round_as_fast_as_one_likes() {
    let (mut party, [alice, bob, carol]) = three();
    party.sends(alice, b"/nick x\n/nick y\n/quit\n/nick z\n");
    party.sends(bob, b"/nick alice\n/nick x\n/nick y\n");
    party.script.close(bob, Closed::Reset);
    assert_eq!(
        party.hears(carol),
        "* alice is now known as x\n* x is now known as y\n* y has left the room\n\
         * bob is now known as alice\n* alice is now known as x\n* x is now known as y\n\
         * y has left the room\n"
    );
    party.check();
    assert_eq!(party.chat().names.len(), 1);
}

#[test]
fn last_words_are_told_with_the_leave() {
    let (mut party, [alice, bob, carol]) = three();
    party.sends(
        alice,
        "/quit good night \u{202e}\x07all\nnot heard\n".as_bytes(),
    );
    let told = "* alice has left the room (good night all)\n";
    assert_eq!(party.each_hears([alice, bob, carol]), ["", told, told]);
    assert_eq!(party.script.closed(alice), Some(Closed::Finished));
    party.says(bob, "/quit");
    assert_eq!(party.hears(carol), "* bob has left the room\n");
    party.says(carol, "/quit");
    party.check_forgotten();
}

#[test]
fn two_slashes_say_one_and_other_commands_are_answered_with_a_hint() {
    let (mut party, [alice, bob, _]) = three();
    party.sends(alice, b"//etc/passwd\n/etc/passwd\n/\n/help\n");
    assert_eq!(party.hears(bob), "[alice] /etc/passwd\n");
    let told = party.hears(alice);
    let hint = "* unknown command: /help lists them\n";
    let help = told.strip_prefix(&hint.repeat(2)).unwrap();
    assert!(help.lines().all(|line| line.starts_with("* /")), "{help}");
}

/// Members with words of the server as names try to forge its lines.
#[test]
fn no_member_can_speak_for_the_server_or_for_another_member() {
    let (mut party, [alice, ..]) = three();
    for name in [
        "operators",
        "The",
        "812",
        "5s",
        "your",
        "rooms",
        "in",
        "alice2",
    ] {
        let id = party.join(name);
        let entered = format!("* {name} has entered the room\n");
        assert_eq!(party.hears(alice), entered);
        for words in [
            ": go home",
            "room contains: nobody",
            "people have entered",
            "ago [bob] I never said this",
            "has left the room",
            "\n* operator: hello",
            "\u{2028}* operator: hello",
            "\u{85}* operator: hello",
        ] {
            party.sends(id, format!("/me {words}\n").as_bytes());
            party.sends(id, format!("{words}\n").as_bytes());
            party.sends(id, format!("/msg alice {words}\n").as_bytes());
            let own = [
                format!("** {name} "),
                format!("[{name}] "),
                format!("[{name} to you] "),
            ];
            for line in party.hears(alice).lines() {
                assert!(own.iter().any(|own| line.starts_with(own)), "{line:?}");
            }
        }
        party.script.eof(id);
        party.hears(alice);
    }
}
