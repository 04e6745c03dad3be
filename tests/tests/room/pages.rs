//! Browsers that lose their connection over and over, and come back on any server.

use std::time::Duration;

use tests::random::Random;
use tests::redis::Redis;

use crate::GAP;
use crate::assembly::{Assembly, Way};
use crate::chaos::seed;
use crate::minutes::check;
use crate::site::Site;

const PAGES: usize = 6;
const TALKERS: usize = 6;
const ROUNDS: usize = 60;

fn is_in_attic(who: usize) -> bool {
    who.is_multiple_of(3)
}

/// A browser that comes back tells with `seen` what it has received: each line is told once, in the order
/// of the room, over all its connections.
fn wander(site: &Site, seed: u64) {
    let mut random = Random::new(seed);
    let mut assembly = Assembly::default();
    for number in 0..PAGES + TALKERS {
        let server = site.server(number % site.chats.len());
        let (way, name) = match number < PAGES {
            true => (Way::Tab, format!("page{number}")),
            false => (Way::of(number % 2), format!("m{number}")),
        };
        let who = assembly.enter(server, way, &name);
        if is_in_attic(who) {
            assembly.say(who, "/join attic");
        }
    }
    assembly.until("all are in their rooms", |assembly| {
        let is_there = |who: usize| {
            let lines = assembly.member(who).heard.iter();
            let lists = lines.filter(|line| line.starts_with("* The room "));
            lists.count() == 1 + usize::from(is_in_attic(who))
        };
        (0..assembly.len()).all(is_there)
    });
    let mut visits = [1; PAGES];
    for round in 0..ROUNDS {
        for who in PAGES..PAGES + TALKERS {
            assembly.say(who, &format!("round {round}"));
        }
        assembly.turn_for(Duration::from_millis(random.below(10) as u64));
        let page = random.below(PAGES);
        // A line that a page says just before its connection breaks may be lost; so it says nothing then.
        let chat = random.below(site.chats.len());
        assembly.come_back(page, site.server(chat), random.below(2) == 0);
        visits[page] += 1;
        let returns = |assembly: &Assembly| {
            let lines = assembly.member(page).heard.iter();
            let back = lines.filter(|line| line.starts_with("* You are back as page"));
            back.count() == visits[page] - 1
        };
        assembly.until("the page is back", returns);
        assembly.say(page, &format!("back in round {round}"));
        let own = format!("[page{page}] back in round {round}");
        assembly.until_heard(&own, &[page]);
    }
    for who in 0..PAGES + TALKERS {
        assembly.say(who, "/me ends");
    }
    let all: Vec<usize> = (0..PAGES + TALKERS).collect();
    for who in &all {
        let line = format!("** {} ends", assembly.member(*who).name);
        let is_told = |other: &&usize| {
            let is_echoed = assembly.member(**other).way == Way::Tab;
            is_in_attic(**other) == is_in_attic(*who) && (other != &who || is_echoed)
        };
        let hearers: Vec<usize> = all.iter().filter(is_told).copied().collect();
        assembly.until_heard(&line, &hearers);
    }
    let last = PAGES + 1;
    assembly.say(last, "/me closes the room");
    let is_other = |who: &usize| !is_in_attic(*who) && *who != last;
    let others: Vec<usize> = all.into_iter().filter(is_other).collect();
    assembly.until_heard(&format!("** m{last} closes the room"), &others);
    check(&assembly, &site.transcript_with("closes the room"));
    for member in assembly.members() {
        let is_missing = |line: &String| line.contains("are missing") || line == GAP;
        assert!(!member.heard.iter().any(is_missing), "{}", member.name);
        assert!(member.is_connected(), "{} was cut off", member.name);
    }
}

#[test]
fn pages_that_come_back_to_one_server_are_told_each_line_once() {
    wander(&Site::alone(&["--history", "1000"]), seed());
}

#[test]
fn pages_that_come_back_to_any_server_are_told_each_line_once() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let site = Site::start(
        &[redis.url(), redis.url(), redis.url()],
        &["--history", "1000"],
    );
    wander(&site, seed());
}
