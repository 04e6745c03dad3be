//! Takeovers that cross with other entries in the log: the order of the entries decides.

use std::borrow::Cow;

use edgeloop_reactor::{Closed, ConnId};

use super::{BACK, MISSING, Town};
use crate::backplane::entry::Body;
use crate::chat::tests::WELCOME;

/// Wendy's page on the first of three servers, with two messages received, and bob on the second one.
fn town() -> (Town, ConnId, ConnId) {
    let mut town = Town::new(3);
    let bob = town.join(1, "bob");
    let wendy = town.wendy(0);
    let _ = town.hears(1, bob);
    (town, bob, wendy)
}

/// Something that happens to wendy at the same time as she is taken over.
#[derive(Clone, Copy, Debug)]
enum Other {
    Quit,
    Kick,
    Ban,
    Move,
    Rename,
    Line,
}

impl Other {
    fn happen(self, town: &mut Town, wendy: ConnId) {
        match self {
            Other::Quit => town.says(0, wendy, "/quit bye"),
            Other::Kick => town.operate(0, "/kick wendy"),
            Other::Ban => town.operate(0, "/ban wendy"),
            Other::Move => town.says(0, wendy, "/join dev"),
            Other::Rename => town.says(0, wendy, "/nick winnie"),
            Other::Line => town.says(0, wendy, "hello"),
        }
    }
}

#[test]
fn what_is_before_the_takeover_has_happened() {
    for (other, is_over, told, first) in [
        (
            Other::Quit,
            true,
            "* wendy has left the room (bye)\n",
            WELCOME,
        ),
        (Other::Kick, true, "* wendy has left the room\n", WELCOME),
        (Other::Ban, true, "* wendy has left the room\n", WELCOME),
        (
            Other::Move,
            false,
            "* wendy has left the room\n",
            "* You are back as wendy in dev.\n",
        ),
        (
            Other::Rename,
            false,
            "* wendy is now known as winnie\n",
            "* You are back as winnie in lobby.\n",
        ),
    ] {
        let (mut town, bob, wendy) = town();
        other.happen(&mut town, wendy);
        let back = town.visit(1, 2);
        town.publish(0, 1);
        town.publish(1, 1);
        town.settle();
        assert_eq!(town.hears(1, bob), told, "{other:?}");
        assert_eq!(town.hears(1, back), first, "{other:?}");
        let _ = town.serving();
        let state = town.chat(2).synced().expect("the state").membership();
        assert_eq!(state.len(), 1 + usize::from(!is_over), "{other:?}");
    }
}

#[test]
fn what_is_behind_the_takeover_does_not_happen_but_for_a_kick() {
    for other in [Other::Quit, Other::Move, Other::Rename, Other::Line] {
        let (mut town, bob, wendy) = town();
        other.happen(&mut town, wendy);
        let back = town.visit(1, 2);
        town.publish(1, 1);
        town.publish(0, 1);
        town.settle();
        assert_eq!(town.hears(1, bob), "", "{other:?}");
        // The record of the page of a member that leaves is not kept.
        let told = match other {
            Other::Quit => format!("{BACK}{MISSING}"),
            _ => BACK.to_owned(),
        };
        assert_eq!(town.hears(1, back), told, "{other:?}");
        assert_eq!(town.serving(), [1], "{other:?}");
    }
    for other in [Other::Kick, Other::Ban] {
        let (mut town, bob, wendy) = town();
        other.happen(&mut town, wendy);
        let back = town.visit(1, 2);
        town.publish(1, 1);
        town.publish(0, 1);
        town.settle();
        assert_eq!(
            town.hears(1, bob),
            "* wendy has left the room\n",
            "{other:?}"
        );
        assert!(town.hears(1, back).starts_with("* you "), "{other:?}");
        assert!(town.parties[1].is_closed(back));
        assert!(town.serving().is_empty(), "{other:?}");
    }
}

#[test]
fn of_two_takeovers_at_once_the_page_has_the_second() {
    for [first, second] in [[1, 2], [2, 1]] {
        let (mut town, _, wendy) = town();
        let [one, two] = [first, second].map(|server| town.visit(server, 2));
        town.publish(first, 1);
        town.publish(second, 1);
        town.settle();
        assert!(town.has_replaced(0, wendy) && town.has_replaced(first, one));
        assert_eq!(town.hears(second, two), BACK);
        assert_eq!(town.serving(), [second]);
    }
}

#[test]
fn an_answer_is_passed_on_from_server_to_server() {
    let (mut town, bob, wendy) = town();
    town.says(1, bob, "one");
    town.settle();
    assert_eq!(town.hears(0, wendy), "[bob] one\n");
    town.says(1, bob, "two");
    town.publish(1, 1);
    // The first server reads nothing of this for a while.
    let mut pages = Vec::new();
    for server in [1, 2, 1, 2] {
        pages.push((server, town.visit(server, 3)));
        for _ in 0..3 {
            town.turn(server);
        }
        town.turn(3 - server);
    }
    let home = town.visit(0, 3);
    assert_eq!(
        town.hears(0, home),
        format!("{BACK}"),
        "it has read nothing"
    );
    town.settle();
    assert!(town.has_replaced(0, home));
    let (last, page) = pages.pop().expect("a page");
    for (server, page) in pages {
        assert!(town.has_replaced(server, page));
        assert_eq!(town.hears(server, page), "");
    }
    assert_eq!(town.hears(last, page), format!("{BACK}[bob] two\n"));
    assert_eq!(town.serving(), [last]);
}

#[test]
fn a_page_that_connects_again_while_it_waits_goes_on() {
    for entries in [0, 1, 2] {
        let (mut town, bob, _) = town();
        let first = town.visit(1, 2);
        town.says(1, bob, "hello");
        town.publish(1, entries);
        town.read(1, entries);
        let second = town.visit(1, 2);
        assert!(town.has_replaced(1, first));
        town.settle();
        assert_eq!(town.hears(1, first), "");
        assert_eq!(town.hears(1, second), format!("{BACK}[bob] hello\n"));
        assert_eq!(town.serving(), [1]);
        town.says(1, second, "/quit");
        town.settle();
        assert_eq!(town.hears(1, bob), "* wendy has left the room\n");
        assert!(town.chat(1).numbers.is_empty());
    }
}

#[test]
fn a_page_that_is_lost_while_it_waits_is_away() {
    for entries in [0, 1] {
        for comes_back in [true, false] {
            let (mut town, bob, _) = town();
            let first = town.visit(1, 2);
            town.publish(1, entries);
            town.read(1, entries);
            town.parties[1].script.close(first, Closed::Reset);
            town.says(1, bob, "hello");
            assert!(town.serving() == [1] && town.hears(1, bob).is_empty());
            if comes_back {
                let second = town.visit(1, 2);
                assert_eq!(town.hears(1, second), format!("{BACK}[bob] hello\n"));
            } else {
                town.seconds_pass(31);
                assert!(town.serving().is_empty());
                assert_eq!(town.hears(1, bob), "* wendy has left the room\n");
            }
        }
    }
}

#[test]
fn a_page_that_leaves_while_it_waits_leaves_when_it_is_back() {
    for entries in [0, 1] {
        let (mut town, bob, _) = town();
        let back = town.visit(1, 2);
        town.publish(1, entries);
        town.read(1, entries);
        town.parties[1].script.eof(back);
        town.parties[1].script.close(back, Closed::Reset);
        assert!(town.serving().is_empty(), "{entries}");
        assert_eq!(town.hears(1, bob), "* wendy has left the room\n");
    }
}

#[test]
fn a_takeover_crosses_with_the_end_of_the_former_server() {
    for is_before in [true, false] {
        let (mut town, bob, _) = town();
        town.turn(2);
        let state = town.chat(2).synced().expect("the state").membership();
        let first = super::origin(0);
        let seq = state.sequences().find(|(origin, _)| *origin == first);
        let (origin, seq) = seq.expect("the first server");
        let gone = Body::Gone { origin, seq };
        town.parties[2].script.call(|chat, out| {
            chat.append(gone, out);
        });
        let back = town.visit(1, 2);
        let order = if is_before { [1, 2] } else { [2, 1] };
        order.into_iter().for_each(|server| town.publish(server, 1));
        town.read(1, 2);
        if is_before {
            assert_eq!(town.hears(1, bob), "");
        } else {
            let told = "* wendy has left the room: a server is gone\n";
            assert_eq!(town.hears(1, bob), told);
            assert_eq!(town.hears(1, back), WELCOME);
            town.says(1, back, "wendy");
            town.publish(1, 1);
        }
        // The first server lives, after all.
        assert_eq!(town.serving(), [1]);
        let told = town.hears(1, back);
        assert!(told == BACK || told.starts_with("* The room "), "{told}");
    }
}

#[test]
fn a_member_that_left_with_its_server_is_not_taken_over() {
    let (mut town, _, wendy) = town();
    let number = town.chat(0).numbers.of(wendy);
    let back = town.visit(1, 2);
    town.parties[0].script.call(|chat, out| {
        chat.append(
            Body::Leave {
                members: Cow::Borrowed(&[number]),
                farewell: b"",
            },
            out,
        );
    });
    town.publish(0, 1);
    town.settle();
    assert_eq!(town.hears(1, back), WELCOME);
    town.says(1, back, "wendy");
    town.settle();
    assert_eq!(town.serving(), [1]);
}
