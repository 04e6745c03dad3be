//! A page that comes back to another server.

use edgeloop_reactor::{Closed, Peer};

use super::{BACK, MISSING, Town};
use crate::chat::tests::WELCOME;

/// Alice on each of two servers, and wendy's page on the first one, with two messages received.
fn town() -> (Town, [edgeloop_reactor::ConnId; 3]) {
    let mut town = Town::new(2);
    let [alice, bob] = [(0, "alice"), (1, "bob")].map(|(at, name)| town.join(at, name));
    let wendy = town.wendy(0);
    for (server, id) in [(0, alice), (1, bob)] {
        assert!(
            town.hears(server, id)
                .ends_with("* wendy has entered the room\n")
        );
    }
    (town, [alice, bob, wendy])
}

#[test]
fn a_page_takes_its_membership_along() {
    let (mut town, [alice, bob, first]) = town();
    town.says(0, alice, "one");
    town.settle();
    assert_eq!(town.hears(0, first), "[alice] one\n");
    // It has received that, and no more.
    town.says(1, bob, "two");
    town.settle();
    let second = town.visit(1, 3);
    town.says(1, second, "hello");
    assert_eq!(town.hears(1, second), "", "it waits");
    town.settle();
    let told = format!("{BACK}[bob] two\n[wendy] hello\n");
    assert_eq!(town.hears(1, second), told);
    assert!(town.has_replaced(0, first) && town.parties[0].is_closed(first));
    assert_eq!(town.hears(0, alice), "[bob] two\n[wendy] hello\n");
    assert_eq!(town.hears(1, bob), "[alice] one\n[wendy] hello\n");
    assert_eq!(town.serving(), [1]);
    for (server, id) in [(0, alice), (1, bob), (1, second)] {
        town.says(server, id, "/who");
        let told = "* in lobby (3): alice, bob, wendy\n";
        assert_eq!(town.hears(server, id), told);
    }
    assert!(town.chat(0).tokens.is_empty());
    town.says(1, second, "/quit bye");
    town.settle();
    for (server, id) in [(0, alice), (1, bob)] {
        assert_eq!(town.hears(server, id), "* wendy has left the room (bye)\n");
    }
    assert!(town.serving().is_empty());
}

#[test]
fn a_page_that_was_away_comes_back_elsewhere_and_then_here_again() {
    let (mut town, [alice, bob, first]) = town();
    town.parties[0].script.close(first, Closed::Reset);
    town.says(0, alice, "one");
    town.settle();
    town.seconds_pass(20);
    let second = town.visit(1, 2);
    town.settle();
    assert_eq!(town.hears(1, second), format!("{BACK}[alice] one\n"));
    assert!(town.chat(0).absences.is_empty());
    town.says(1, bob, "two");
    town.settle();
    town.seconds_pass(20);
    let third = town.visit(0, 4);
    town.settle();
    assert_eq!(town.hears(0, third), format!("{BACK}[bob] two\n"));
    assert!(town.has_replaced(1, second));
    // On the same server it keeps its number.
    let fourth = town.visit(0, 6);
    assert_eq!(town.waiting(0), 0);
    assert_eq!(town.hears(0, fourth), BACK);
    town.says(0, fourth, "/nick winnie\n/join dev");
    town.settle();
    let fifth = town.visit(1, 8);
    town.settle();
    assert_eq!(town.hears(1, fifth), "* You are back as winnie in dev.\n");
    let _ = town.serving();
    town.parties[1].script.close(fifth, Closed::Reset);
    town.seconds_pass(31);
    town.settle();
    let told = "[bob] two\n* wendy is now known as winnie\n* winnie has left the room\n";
    assert!(town.hears(0, alice).ends_with(told));
    assert!(town.chat(0).rooms.len() == 1 && town.chat(1).rooms.len() == 1);
    let _ = town.serving();
}

#[test]
fn an_ignore_list_goes_along_with_its_aliases() {
    let (mut town, [alice, bob, first]) = town();
    let mal = town.join(1, "mal");
    town.says(0, first, "/ignore bob\n/ignore mal");
    town.says(1, bob, "/nick rob");
    town.settle();
    let second = town.visit(1, 6);
    town.settle();
    let _ = town.hears(1, second);
    town.says(1, bob, "unheard");
    town.says(1, mal, "unheard");
    town.says(0, alice, "heard");
    town.settle();
    assert_eq!(town.hears(1, second), "[alice] heard\n");
    assert!(town.chat(0).ignored.is_empty());
    town.says(1, second, "/ignore bob");
    town.says(1, bob, "heard");
    town.says(1, mal, "unheard");
    town.settle();
    assert_eq!(
        town.hears(1, second),
        "* you hear bob again (nobody has this name now)\n[rob] heard\n"
    );
    assert_eq!(town.serving(), [1]);
}

#[test]
fn what_is_whispered_meanwhile_is_told_behind_what_was_missed() {
    let (mut town, [alice, _, _]) = town();
    let second = town.visit(1, 2);
    town.publish(1, 1);
    (0..2).for_each(|server| town.read(server, 1));
    town.says(0, alice, "/msg wendy psst\nhello");
    town.publish(0, 3);
    assert_eq!(town.hears(1, second), "");
    town.settle();
    let told = format!("{BACK}[alice to you] psst\n[alice] hello\n");
    assert_eq!(town.hears(1, second), told);
}

#[test]
fn what_cannot_be_told_is_said_to_be_missing() {
    let mut town = Town::with(2, |settings| settings.history = 2);
    let alice = town.join(0, "alice");
    let first = town.wendy(0);
    let _ = town.hears(0, first);
    town.says(0, alice, "1\n2\n3");
    town.settle();
    let second = town.visit(1, 3);
    town.settle();
    assert_eq!(
        town.hears(1, second),
        format!("{BACK}[alice] 2\n[alice] 3\n")
    );
    let third = town.visit(0, 2);
    town.settle();
    let told = format!("{BACK}{MISSING}[alice] 2\n[alice] 3\n");
    assert_eq!(town.hears(0, third), told);
}

#[test]
fn without_an_answer_of_the_former_server_the_page_gets_the_history() {
    let (mut town, [alice, bob, first]) = town();
    town.says(0, alice, "one");
    town.settle();
    town.says(1, bob, "two");
    let second = town.visit(1, 3);
    town.says(1, second, "hello");
    // The first server reads nothing any more.
    for _ in 0..2 {
        town.turn(1);
    }
    town.seconds_pass(2);
    assert_eq!(town.hears(1, second), "");
    town.seconds_pass(1);
    town.turn(1);
    town.turn(1);
    let told = format!("{BACK}{MISSING}[alice] one\n[bob] two\n[wendy] hello\n");
    assert_eq!(town.hears(1, second), told);
    // Its answer is late.
    town.says(0, first, "/ignore alice");
    town.settle();
    assert_eq!(town.hears(1, second), "");
    assert_eq!(town.serving(), [1]);
}

#[test]
fn a_token_that_no_member_has_appends_nothing() {
    let (mut town, _) = town();
    let guesses = (0..100).map(|number| {
        let token = format!("a-guessed-token-{number}");
        town.visit_from(1, Peer::Unix, &token, 7)
    });
    let guesses: Vec<_> = guesses.collect();
    // The server might be behind for a moment.
    town.seconds_pass(1);
    for id in guesses {
        assert_eq!(town.hears(1, id), WELCOME);
    }
    assert_eq!(town.waiting(1), 0);
    // A page that asks again and again has one takeover at a time.
    for _ in 0..100 {
        town.visit(1, 2);
    }
    assert_eq!(town.waiting(1), 1);
    assert_eq!(town.serving(), [1]);
}

#[test]
fn a_page_comes_back_to_a_server_that_has_not_read_its_join() {
    let mut town = Town::new(2);
    let first = town.visit(0, 0);
    town.says(0, first, "wendy");
    (0..3).for_each(|_| town.turn(0));
    assert!(town.hears(0, first).ends_with("* The room is empty\n"));
    let second = town.visit(1, 2);
    assert_eq!(town.hears(1, second), "", "it may be a member");
    town.settle();
    assert_eq!(town.hears(1, second), BACK);
    assert_eq!(town.serving(), [1]);
}

#[test]
fn a_page_waits_while_the_log_is_out_of_reach() {
    let (mut town, _) = town();
    town.seconds_pass(10);
    town.pause(1, true);
    let second = town.visit(1, 2);
    let stranger = town.visit_from(1, Peer::Unix, "another-secret-token", 5);
    let newcomer = town.visit_from(1, Peer::Unix, "a-third-secret-token", 0);
    assert_eq!(town.hears(1, newcomer), WELCOME);
    town.seconds_pass(6);
    for id in [second, stranger] {
        assert_eq!(town.hears(1, id), "");
    }
    assert_eq!(town.waiting(1), 0);
    town.pause(1, false);
    assert_eq!(town.hears(1, stranger), WELCOME);
    town.settle();
    assert_eq!(town.hears(1, second), BACK);
    town.pause(1, true);
    let third = town.visit(0, 3);
    town.settle();
    assert_eq!(town.hears(0, third), BACK);
    let late = town.visit_from(1, Peer::Unix, "a-fourth-secret-token", 5);
    town.seconds_pass(30);
    let told = "* this server cannot reach the others: try again later\n";
    assert_eq!(town.hears(1, late), told);
    assert!(town.parties[1].is_closed(late));
    town.pause(1, false);
    assert_eq!(town.serving(), [0]);
}

#[test]
fn a_banned_address_may_not_come_back() {
    let (mut town, [_, bob, _]) = town();
    let bad = Peer::Inet("192.0.2.7:1".parse().unwrap());
    let eve = town.visit_from(0, bad, "eves-very-secret-token", 0);
    town.says(0, eve, "eve");
    town.settle();
    town.operate(0, "/ban eve");
    town.settle();
    let second = town.visit_from(1, bad, "wendys-secret-token", 2);
    assert_eq!(
        town.hears(1, second),
        "* this name or your address is banned\n"
    );
    assert!(town.parties[1].is_closed(second));
    assert_eq!(town.serving(), [0]);
    // A ban that is in the log before the takeover.
    let good = Peer::Inet("192.0.2.8:1".parse().unwrap());
    let mal = town.visit_from(0, good, "mals-very-secret-token", 0);
    town.says(0, mal, "mal");
    town.settle();
    town.operate(0, "/ban mal");
    town.publish(0, 1);
    let third = town.visit_from(1, good, "wendys-secret-token", 2);
    town.settle();
    assert_eq!(
        town.hears(1, third),
        "* this name or your address is banned\n"
    );
    assert!(town.hears(1, bob).ends_with("* mal has left the room\n"));
    assert_eq!(town.serving(), [0]);
}
