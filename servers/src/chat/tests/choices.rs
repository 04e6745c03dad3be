//! The options of the command line.

use std::time::Duration;

use edgeloop_reactor::Closed;

use super::{EMPTY, Party};

#[test]
fn a_client_without_a_name_in_time_is_told_and_closed() {
    let mut party = Party::with(|settings| settings.login_timeout = Duration::from_secs(5));
    let [alice] = party.join_all(["alice"]);
    let (silent, slow) = (party.connect(), party.connect());
    party.script.advance(Duration::from_millis(4999));
    party.sends(slow, b"s");
    assert!(!party.is_closed(silent) && !party.is_closed(slow));
    party.script.advance(Duration::from_millis(1));
    for id in [silent, slow] {
        assert_eq!(party.hears(id), "* you gave no name in time\n");
        assert_eq!(party.script.closed(id), Some(Closed::Finished));
    }
    assert_eq!(party.hears(alice), "");
    party.seconds_pass(3600);
    assert!(!party.is_closed(alice), "a member may be silent");
    party.script.eof(alice);
    party.check_forgotten();
}

#[test]
fn a_login_timeout_of_nothing_is_for_ever() {
    let mut party = Party::with(|settings| settings.login_timeout = Duration::ZERO);
    let id = party.connect();
    party.seconds_pass(1_000_000);
    party.says(id, "alice");
    assert_eq!(party.hears(id), EMPTY);
}

#[test]
fn the_message_of_the_day_follows_the_names() {
    let mut party = Party::with(|settings| settings.motd = Some("be kind\r\n\nand quiet".into()));
    let alice = party.connect();
    party.says(alice, "alice");
    assert_eq!(
        party.hears(alice),
        "* The room is empty\n* be kind\n* \n* and quiet\n"
    );
    party.says(alice, "/join dev");
    assert_eq!(party.hears(alice), format!("* you are in dev now\n{EMPTY}"));
}

#[test]
fn a_member_that_enters_is_shown_the_last_lines_with_their_age() {
    let mut party = Party::with(|settings| settings.history = 3);
    let [alice, bob] = party.join_all(["alice", "bob"]);
    party.sends(alice, b"one\ntwo\n");
    party.seconds_pass(90);
    party.sends(
        bob,
        b"/me waves\n/msg alice secret\n/nick rob\n/who\n/nick bob\n",
    );
    party.seconds_pass(3600);
    party.says(alice, "three");
    party.seconds_pass(5);
    let carol = party.connect();
    party.says(carol, "carol");
    assert_eq!(
        party.hears(carol),
        "* The room contains: alice, bob\n\
         * 1h ago [alice] two\n\
         * 1h ago ** bob waves\n\
         * 5s ago [alice] three\n"
    );
    for id in [alice, bob, carol] {
        party.script.eof(id);
    }
    let dave = party.connect();
    party.says(dave, "dave");
    assert_eq!(
        party.hears(dave),
        "* The room is empty\n\
         * 1h ago [alice] two\n\
         * 1h ago ** bob waves\n\
         * 5s ago [alice] three\n",
        "the lobby exists without members too"
    );
}

#[test]
fn each_room_has_its_own_history_as_long_as_it_lasts() {
    let mut party = Party::with(|settings| settings.history = 3);
    let [alice, bob] = party.join_all(["alice", "bob"]);
    party.says(alice, "in the lobby");
    party.sends(alice, b"/join dev\nin dev\n");
    party.hears(bob);
    party.says(bob, "/join dev");
    assert_eq!(
        party.hears(bob),
        "* you are in dev now\n* The room contains: alice\n* 0s ago [alice] in dev\n"
    );
    party.says(alice, "/join lobby");
    party.says(bob, "/join lobby");
    party.hears(bob);
    party.says(bob, "/join dev");
    assert_eq!(party.hears(bob), format!("* you are in dev now\n{EMPTY}"));
}

#[test]
fn names_of_any_script_if_they_are_asked_for() {
    let mut party = Party::with(|settings| settings.unicode_names = true);
    let [olga, ming] = party.join_all(["Ольга", "小明"]);
    party.says(ming, "你好");
    assert_eq!(party.hears(olga), "[小明] 你好\n");
    party.says(olga, "/msg 小明 привет");
    party.says(olga, "/nick Ольга2");
    party.says(olga, "/join кухня-2");
    assert_eq!(
        party.hears(ming),
        "[Ольга to you] привет\n* Ольга is now known as Ольга2\n* Ольга2 has left the room\n"
    );
    for (name, reason) in [
        (
            "小明\u{3164}",
            "a name has no characters that cannot be seen",
        ),
        (
            "\u{301}ann",
            "a name has accents and vowel signs on letters only, four at the most",
        ),
        ("ОЛЬГА2", "this name is taken"),
        ("Oльга2", "this name looks like one that is taken"),
        ("оperator", "this name is reserved"),
    ] {
        let id = party.connect();
        party.says(id, name);
        let told = party.hears(id);
        assert_eq!(told, format!("* {reason}\n"), "{name}");
        assert!(party.is_closed(id));
    }
    party.says(ming, "/join Кухня-2");
    assert!(party.hears(ming).starts_with("* you are in кухня-2 now\n"));
    party.says(ming, "/join кyxня-2");
    assert_eq!(
        party.hears(ming),
        "* this name looks like one that is taken\n"
    );
    party.check();
}

#[test]
fn plain_takes_everything_literally() {
    let mut party = Party::with(|settings| settings.plain = true);
    let [alice, bob] = party.join_all(["alice", "bob"]);
    for line in [
        "/who",
        "//x",
        "/quit",
        "/",
        "/nick x",
        "/msg bob y",
        "",
        " ",
    ] {
        party.says(alice, line);
        assert_eq!(party.hears(bob), format!("[alice] {line}\n"));
        assert_eq!(party.hears(alice), "");
    }
    assert!(!party.is_closed(alice));
}

#[test]
fn a_line_over_the_limit_is_cut_and_its_author_is_told_once() {
    let mut party = Party::with(|settings| settings.max_line = 10);
    let [alice, bob] = party.join_all(["alice", "bob"]);
    for chunk in ["0123456789", "x", &"y".repeat(5000), "\nnext\n"] {
        party.sends(bob, chunk.as_bytes());
    }
    assert_eq!(party.hears(alice), "[bob] 0123456789\n[bob] next\n");
    assert_eq!(party.hears(bob), "* your line was cut after 10 bytes\n");
    party.says(bob, "12345678é!");
    assert_eq!(
        party.hears(alice),
        "[bob] 12345678é\n",
        "no character in part"
    );
}

#[test]
fn plain_takes_names_and_bytes_as_they_come() {
    let mut party = Party::with(|settings| settings.plain = true);
    let [alice, _, _] = party.join_all(["alice", "Alice", "operator"]);
    let spaced = party.connect();
    party.says(spaced, "bob ");
    assert_eq!(
        party.hears(spaced),
        "* a name has letters and digits only\n"
    );
    let bob = party.join("bob");
    party.hears(alice);
    party.sends(bob, b"one\rtwo\x08\x7f\r\n");
    assert_eq!(party.hears(alice), "[bob] onetwo\n");
}

#[test]
fn a_line_ends_as_any_terminal_ends_it_and_is_not_said_if_nothing_is_seen_of_it() {
    let mut party = Party::new();
    let [alice] = party.join_all(["alice"]);
    let bob = party.connect();
    for bytes in [
        &b"bpb\x7f\x08ob\rone"[..],
        b"\r",
        b"\ntwo\r\0",
        b"\r\n \t\r\x1b\r",
        b"three\r/me \rfour\r",
    ] {
        party.sends(bob, bytes);
    }
    assert_eq!(
        party.hears(alice),
        "* bob has entered the room\n[bob] one\n[bob] two\n[bob] three\n[bob] four\n"
    );
    assert!(party.hears(bob).ends_with("* write /me TEXT\n"));
}

#[test]
fn a_flood_of_carriage_returns_is_paced_as_any() {
    let mut party = Party::with(|settings| (settings.rate, settings.burst) = (10, 10));
    let [alice, bob] = party.join_all(["alice", "bob"]);
    party.sends(bob, &b"x\r".repeat(100));
    assert_eq!(party.hears(alice).lines().count(), 10);
    party.seconds_pass(60);
    assert_eq!(party.hears(alice).lines().count(), 90);
}
