//! One name, one member, whichever server a claim comes from.

use tests::chat::{Guest, hear_all};
use tests::redis::Redis;

use crate::site::Site;

const RACES: usize = 100;
const TAKEN: &str = "* this name is taken";

/// Two newcomers at two servers give the same name at the same moment.
#[test]
fn of_two_claims_of_a_name_one_wins() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let site = Site::start(&[redis.url(), redis.url()], &[]);
    let mut wins = [0; 2];
    let mut winners = Vec::new();
    for race in 0..RACES {
        let mut racers = [0, 1].map(|chat| Guest::knock(site.server(chat).tcp()));
        let name = format!("racer{race}");
        // One server hears it first, then the other one.
        let order = [race % 2, 1 - race % 2];
        order.iter().for_each(|chat| racers[*chat].say(&name));
        let told = racers.each_mut().map(Guest::next);
        let has_won = told.each_ref().map(|line| line.starts_with("* The room "));
        let winner = match has_won {
            [true, false] => 0,
            [false, true] => 1,
            _ => panic!("{name}: {told:?}"),
        };
        assert_eq!(told[1 - winner], TAKEN, "{name}");
        racers[1 - winner].hears_the_end();
        wins[winner] += 1;
        let [first, second] = racers;
        winners.push(if winner == 0 { first } else { second });
    }
    println!("{wins:?} races were won at the two servers");
    for chat in [0, 1] {
        let mut guest = Guest::join(site.server(chat).tcp(), &format!("last{chat}"));
        guest.say("/rooms");
        let before = guest.hears_at_last(&format!("* rooms: lobby ({})", RACES + 1 + chat));
        assert_eq!(before.len(), 0, "{before:?}");
        winners.push(guest);
    }
}

/// Two members at two servers change their names to the same one.
#[test]
fn of_two_new_names_that_are_the_same_one_wins() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let site = Site::start(&[redis.url(), redis.url()], &[]);
    let mut members = [0, 1].map(|chat| Guest::join(site.server(chat).tcp(), &format!("m{chat}")));
    members[0].hears("* m1 has entered the room");
    let mut names = ["m0".to_owned(), "m1".to_owned()];
    for race in 0..RACES / 2 {
        let new = format!("racer{race}");
        let order = [race % 2, 1 - race % 2];
        order
            .iter()
            .for_each(|chat| members[*chat].say(format!("/nick {new}")));
        // Each is told its own answer, and the loser the winner's new name too, before or after it.
        let answer = format!("* you are now known as {new}");
        let first = members.each_mut().map(Guest::next);
        let winner = first.iter().position(|line| *line == answer);
        let winner = winner.unwrap_or_else(|| panic!("nobody has won {new}: {first:?}"));
        let loser = 1 - winner;
        let told = [first[loser].clone(), members[loser].next()];
        let known = format!("* {} is now known as {new}", names[winner]);
        assert!(
            told.contains(&known) && told.contains(&TAKEN.to_owned()),
            "{told:?}"
        );
        names[winner] = new;
    }
}

/// A name that is left is free for each server that has told of the leave, and not before.
#[test]
fn a_name_that_was_left_is_free_everywhere() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let site = Site::start(&[redis.url(), redis.url()], &[]);
    let mut watch =
        [0, 1].map(|chat| Guest::join(site.server(chat).tcp(), &format!("watch{chat}")));
    watch[0].hears("* watch1 has entered the room");
    for round in 0..20 {
        let bob = Guest::join(site.server(round % 2).tcp(), "bob");
        hear_all(&mut watch, "* bob has entered the room");
        for chat in [0, 1] {
            let mut other = Guest::knock(site.server(chat).tcp());
            other.say("BOB");
            other.hears(TAKEN);
            other.hears_the_end();
        }
        bob.end();
        hear_all(&mut watch, "* bob has left the room");
    }
}
