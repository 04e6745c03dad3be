//! Pages that come back: what they are told, and what they have missed.

use edgeloop::chat::Settings;
use edgeloop_reactor::{Closed, ConnId};

use crate::party::{
    DONE, GOING_AWAY, Party, STDIN, TOKEN, WEB, WELCOME, frame, request, say, settings,
};

#[test]
fn a_page_that_comes_back_is_sent_what_it_has_missed() {
    let mut party = Party::new();
    let tcp = party.join_tcp("tess");
    let (page, seen) = party.join(TOKEN, "wendy");
    party.types(tcp, "seen");
    assert_eq!(party.hears(page), ["[tess] seen"]);
    party.reads(tcp);
    // It says one line and loses the message that shows it, and one of the other.
    party.says(page, "mine");
    party.types(tcp, "lost");
    party.ends_with(page, GOING_AWAY);
    party.types(tcp, "missed");
    party.types(tcp, "/who");
    let told = "[wendy] mine\n* in lobby (2): tess, wendy\n";
    assert_eq!(party.reads(tcp), told, "no leave");
    let (page, told) = party.back(seen + 1);
    let expected = [
        "* You are back as wendy in lobby.",
        "[wendy] mine",
        "[tess] lost",
        "[tess] missed",
    ];
    assert_eq!(told, expected);
    party.says(page, "here");
    assert_eq!(party.reads(tcp), "[wendy] here\n", "no entering");
    // It has received the first two of these four.
    party.script.close(page, Closed::Reset);
    let (_, told) = party.back(seen + 1 + 2);
    let expected = [expected[0], expected[2], expected[3], "[wendy] here"];
    assert_eq!(told, expected);
}

#[test]
fn a_connection_that_still_seems_open_is_replaced() {
    let mut party = Party::new();
    let tcp = party.join_tcp("tess");
    let (first, seen) = party.join(TOKEN, "wendy");
    party.reads(tcp);
    party.says(first, "/ignore nobody");
    party.hears(first);
    let (second, told) = party.back(seen + 1);
    assert_eq!(told, ["* You are back as wendy in lobby."]);
    assert_eq!(party.code(first), Some(1008));
    party.says(first, "too late");
    party.script.eof(first);
    party.script.close(first, Closed::Reset);
    party.seconds_pass(60);
    party.says(second, "here");
    assert_eq!(party.reads(tcp), "[wendy] here\n");
    // Its ignore list came with it.
    party.says(second, "/ignore nobody");
    let told = party.hears(second);
    assert_eq!(
        told[1],
        "* you hear nobody again (nobody has this name now)"
    );
}

#[test]
fn another_token_is_another_member_and_a_newcomer_has_no_place_yet() {
    let mut party = Party::new();
    let (page, _) = party.join(TOKEN, "wendy");
    party.script.eof(page);
    let (other, told) = party.visit("token=0123456789abcdeF&seen=2");
    assert_eq!(told, [WELCOME]);
    party.says(other, "wendy");
    assert_eq!(party.hears(other), ["* this name is taken"]);
    assert_eq!(party.code(other), None, "told with the line");
    // A connection without a name is replaced by another one of its page, which is asked anew.
    let token = "token=abcdefghijklmnop";
    let (first, _) = party.visit(token);
    let (second, told) = party.visit(&format!("{token}&seen=1"));
    assert_eq!(
        (told, party.code(first)),
        (vec![WELCOME.into()], Some(1008))
    );
    party.says(second, "zoe");
    assert_eq!(party.hears(second), ["* The room contains: wendy"]);
    for wrong in ["token=short", "x=y", "seen=1", "token=0123456789abcdef&x"] {
        let id = party.script.open_tagged(WEB);
        party.script.data(id, &request(wrong));
        let output = party.script.take_output(id);
        assert!(output.starts_with(b"HTTP/1.1 400 "), "{wrong}");
    }
}

#[test]
fn what_cannot_be_told_any_more_is_said_to_be_missing() {
    let missing = "* Some lines that were said meanwhile are missing.";
    for history in [0, 3] {
        let mut party = Party::with(Settings {
            history,
            ..settings()
        });
        let tcp = party.join_tcp("tess");
        let (page, seen) = party.join(TOKEN, "wendy");
        party.script.eof(page);
        (0..5).for_each(|number| party.types(tcp, &format!("line {number}")));
        let (page, told) = party.back(seen);
        assert_eq!(told[1], missing, "{told:?}");
        let lines: Vec<String> = (5 - history..5)
            .map(|number| format!("[tess] line {number}"))
            .collect();
        assert_eq!(told[2..], lines);
        // A page that has not even received that is told so again.
        party.script.eof(page);
        let (page, told) = party.back(seen + 1);
        assert_eq!((&*told[1], &told[2..]), (missing, &*lines));
        // One that says that it has received more than there was has missed nothing.
        party.script.eof(page);
        let (page, told) = party.back(1 << 53);
        assert_eq!(told.len(), 1, "{told:?}");
        party.script.eof(page);
        // A page that has lost its count starts at 0.
        let (_, told) = party.visit(TOKEN);
        assert_eq!(told[1], missing);
    }
}

#[test]
fn a_page_that_has_changed_its_room_comes_back_to_that() {
    // The number of messages that it has received of the greeting there, and what it is sent.
    for (received, expected) in [
        (3, vec!["[tess] after"]),
        (2, vec!["[tess] before", "[tess] after"]),
        (0, vec!["[tess] before", "[tess] after"]),
    ] {
        let mut party = Party::new();
        let tcp = party.join_tcp("tess");
        party.types(tcp, "/join kitchen");
        party.types(tcp, "before");
        let (page, seen) = party.join(TOKEN, "wendy");
        party.says(page, "/join kitchen");
        let told = party.hears(page);
        let greeting = ["* you are in kitchen now", "* The room contains: tess"];
        assert_eq!(told[..2], greeting);
        assert!(told[2].ends_with("[tess] before") && told.len() == 3);
        party.script.eof(page);
        party.types(tcp, "after");
        let (_, told) = party.back(seen + received);
        assert_eq!(told[0], "* You are back as wendy in kitchen.");
        assert_eq!(told[1..], expected, "{received}");
    }
}

/// Members come and go while the room may not be told, since this one does not read: a summary follows.
fn come_and_go_behind(party: &mut Party, slow: ConnId, members: usize) {
    party.script.high_water(slow, true);
    for number in 0..members {
        let visitor = party.join_tcp(&format!("v{number}"));
        party.types(visitor, "/quit");
    }
    party.seconds_pass(2);
    party.script.high_water(slow, false);
}

/// Whatever messages a page is sent between two lines of its room, the chat counts them as the page does.
#[test]
fn each_kind_of_message_is_counted() {
    type Event = fn(&mut Party, ConnId, ConnId);
    let events: [(&str, Event); 12] = [
        ("a whisper", |party, tcp, _| {
            party.types(tcp, "/msg wendy psst");
        }),
        ("a whisper of its own", |party, _, page| {
            party.says(page, "/msg tess psst");
        }),
        ("another name", |party, tcp, _| {
            party.types(tcp, "/nick tom")
        }),
        ("its own other name", |party, _, page| {
            party.says(page, "/nick wanda");
        }),
        ("help", |party, _, page| party.says(page, "/help")),
        ("the operator", |party, _, _| {
            let stdin = party.script.open_tagged(STDIN);
            party.script.data(stdin, b"hear, hear\nonce more\n");
        }),
        ("a step", |party, _, _| {
            party.join_tcp("vic");
        }),
        ("nothing", |party, _, page| party.says(page, "  ")),
        ("a few steps in a crowd", |party, tcp, _| {
            come_and_go_behind(party, tcp, 3);
        }),
        ("many steps in a crowd", |party, tcp, _| {
            come_and_go_behind(party, tcp, 30);
        }),
        ("a step of an ignored member", |party, _, page| {
            party.says(page, "/ignore vic");
            let vic = party.join_tcp("vic");
            party.types(vic, "not heard");
            party.types(vic, "/nick vim");
            party.types(vic, "/quit bye");
        }),
        ("another room and back", |party, tcp, page| {
            party.says(page, "/join kitchen");
            party.says(page, "/join lobby");
            // The page has received the lines that it is shown again.
            party.types(tcp, "/who");
        }),
    ];
    for (what, event) in events {
        let motd = Some("one\ntwo\n".to_owned());
        let mut party = Party::with(Settings {
            operator: true,
            motd,
            ..settings()
        });
        let tcp = party.join_tcp("tess");
        let (page, mut seen) = party.join(TOKEN, "wendy");
        party.types(tcp, "first");
        event(&mut party, tcp, page);
        seen += party.hears(page).len() as u64;
        party.types(tcp, "last");
        party.script.close(page, Closed::Reset);
        let (page, told) = party.back(seen);
        let last = told.last().map(String::as_str);
        assert!(
            last.is_some_and(|last| last.ends_with("] last")),
            "{what}: {told:?}"
        );
        assert_eq!(told.len(), 2, "{what}: {told:?}");
        party.types(tcp, "more");
        let heard = party.hears(page);
        assert!(heard.len() == 1 && heard[0].ends_with("] more"), "{what}");
        party.script.close(page, Closed::Reset);
        let (_, told) = party.back(seen + 3);
        assert_eq!(told.len(), 1, "{what}: {told:?}");
    }
}

#[test]
fn lines_of_an_ignored_member_are_not_told_later_either() {
    let mut party = Party::new();
    let [ann, bob] = ["ann", "bob"].map(|name| party.join_tcp(name));
    let (page, seen) = party.join(TOKEN, "wendy");
    party.says(page, "/ignore bob");
    party.types(bob, "not heard");
    party.types(ann, "heard");
    let told = ["* you do not hear bob any more", "[ann] heard"];
    assert_eq!(party.hears(page), told);
    party.script.eof(page);
    party.types(bob, "not heard");
    party.types(ann, "missed");
    let (_, told) = party.back(seen + 2);
    assert_eq!(told[1..], ["[ann] missed"]);
}

/// Lines that wait for their author's pace are said before a page that goes away is away.
#[test]
fn lines_that_wait_are_said_before_the_page_is_away() {
    let mut party = Party::with(Settings {
        rate: 1,
        burst: 1,
        ..settings()
    });
    let tcp = party.join_tcp("tess");
    let (page, seen) = party.join(TOKEN, "wendy");
    party.reads(tcp);
    let lines = [say("one"), say("two"), say("three")].concat();
    party.script.data(page, &lines);
    party.script.data(page, &frame(0x88, &GOING_AWAY));
    party.script.eof(page);
    party.seconds_pass(10);
    assert_eq!(
        party.reads(tcp),
        "[wendy] one\n[wendy] two\n[wendy] three\n"
    );
    let (_, told) = party.back(seen);
    assert_eq!(told[1..], ["[wendy] one", "[wendy] two", "[wendy] three"]);
}

/// A page that has said that it leaves, and is back before its lines are said, is a member as before.
#[test]
fn a_page_that_changes_its_mind_may_come_back_again() {
    let mut party = Party::with(Settings {
        rate: 1,
        burst: 1,
        ..settings()
    });
    let tcp = party.join_tcp("tess");
    let (page, seen) = party.join(TOKEN, "wendy");
    party.reads(tcp);
    let end = frame(0x88, &DONE);
    party
        .script
        .data(page, &[say("one"), say("two"), end].concat());
    let (second, told) = party.back(seen);
    assert_eq!(told[1..], ["[wendy] one"]);
    party.script.eof(page);
    assert!(
        party.script.closed(page).is_some(),
        "nothing more is said on it"
    );
    party.script.close(second, Closed::Reset);
    party.seconds_pass(29);
    assert_eq!(party.reads(tcp), "[wendy] one\n");
    let (_, told) = party.back(seen + 2);
    assert_eq!(told, ["* You are back as wendy in lobby."]);
}
