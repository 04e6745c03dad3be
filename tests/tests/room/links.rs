//! A server whose link to Redis is cut or slow.

use std::thread;
use std::time::{Duration, Instant};

use tests::chat::Guest;
use tests::redis::Redis;
use tests::slow_link::{SlowLink, Way};

use crate::assembly::{self, Assembly};
use crate::minutes::check;
use crate::site::Site;
use crate::{IS_GONE, NAME_LOST, WAITS, all_hear, people};

/// The window of a link, in bytes.
const WINDOW: usize = 256 * 1024;

fn link(redis: &Redis) -> (SlowLink, String) {
    let link = SlowLink::to(([127, 0, 0, 1], redis.port()).into(), WINDOW);
    let url = format!("redis://{}", link.address());
    (link, url)
}

/// One direction is cut until the others take the server for gone. Its members leave elsewhere in one
/// line and are back in one line, and what they have said meanwhile is heard. A name that was taken
/// meanwhile asks only its former bearer for another one.
fn cut(way: Way) {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let (link, far) = link(&redis);
    let site = Site::start(&[redis.url(), far], &[]);
    let (near, far) = (site.server(0).tcp(), site.server(1).tcp());
    let mut ann = Guest::join(near, "ann");
    let [mut alice, mut bob, mut carol] = Guest::join_all(far, ["alice", "bob", "carol"]);
    for name in ["alice", "bob", "carol"] {
        ann.hears(&format!("* {name} has entered the room"));
    }
    link.cut(way);
    let start = Instant::now();
    alice.say("can you hear me?");
    let told = ann.next();
    match way {
        // It may have reached Redis before the cut was noticed.
        Way::Back if told == "[alice] can you hear me?" => {
            assert_eq!(people(&ann.next(), IS_GONE), ["alice", "bob", "carol"]);
        }
        _ => assert_eq!(people(&told, IS_GONE), ["alice", "bob", "carol"]),
    }
    let waited = start.elapsed().as_secs_f32();
    assert!((10.0..29.0).contains(&waited), "gone after {waited} s");
    alice.hears(WAITS);
    ann.say("/who");
    ann.hears("* in lobby (1): ann");
    let mut usurper = Guest::join(near, "Bob");
    ann.hears("* Bob has entered the room");
    usurper.say("I am bob now");
    ann.hears("[Bob] I am bob now");
    link.mend(way);
    // The lost name is told to its former bearer only.
    let before = bob.hears_at_last(NAME_LOST);
    assert!(
        before
            .iter()
            .all(|line| !line.starts_with("* alice") && !line.contains("gone")),
        "{before:?}"
    );
    for guest in [&mut ann, &mut usurper] {
        let mut told = vec![guest.next()];
        // alice's line comes after she is back; if it was in the log before, it was told then.
        if told[0].starts_with('[') {
            told.push(guest.next());
        }
        let back = told.iter().find(|line| line.ends_with(" back"));
        let back = back.unwrap_or_else(|| panic!("nobody is back: {told:?}"));
        assert_eq!(people(back, " back"), ["alice", "carol"]);
    }
    bob.say("robert");
    for guest in [&mut ann, &mut usurper] {
        let before = guest.hears_at_last("* robert has entered the room");
        assert!(
            before.iter().all(|line| line == "[alice] can you hear me?"),
            "{before:?}"
        );
    }
    while !bob.next().starts_with("* The room contains: ") {}
    for guest in [&mut alice, &mut carol] {
        guest.hears_at_last("* robert has entered the room");
    }
    let mut all = [&mut ann, &mut usurper, &mut alice, &mut bob, &mut carol];
    for _ in 0..5 {
        all_hear(&mut all, "all are here");
        all.rotate_left(1);
    }
}

#[test]
fn a_server_that_cannot_be_heard_is_gone_and_back() {
    cut(Way::There);
}

#[test]
fn a_server_that_cannot_hear_is_gone_and_back() {
    cut(Way::Back);
}

/// A cut that ends before the server is declared gone is seen by no member; connections that end
/// neither.
#[test]
fn a_short_cut_and_resets_are_not_noticed() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let (link, far) = link(&redis);
    let site = Site::start(&[redis.url(), far], &[]);
    let mut ann = Guest::join(site.server(0).tcp(), "ann");
    let mut bob = Guest::join(site.server(1).tcp(), "bob");
    ann.hears("* bob has entered the room");
    for way in [Way::There, Way::Back] {
        link.cut(way);
        let words: Vec<String> = (0..10).map(|number| format!("{way:?} {number}")).collect();
        words.iter().for_each(|word| bob.say(word));
        words.iter().for_each(|word| ann.say(word));
        thread::sleep(Duration::from_secs(2));
        link.mend(way);
        words
            .iter()
            .for_each(|word| ann.hears(&format!("[bob] {word}")));
        words
            .iter()
            .for_each(|word| bob.hears(&format!("[ann] {word}")));
        for number in 0..10 {
            link.reset_all();
            let word = format!("{way:?} after {number} resets");
            all_hear(&mut [&mut bob, &mut ann], &word);
            all_hear(&mut [&mut ann, &mut bob], &word);
        }
    }
    site.transcript_with("[ann] Back after 9 resets");
}

/// A slow link costs time, and nothing else.
#[test]
fn a_slow_link_has_the_same_order() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let (link, far) = link(&redis);
    let site = Site::start(&[redis.url(), far.clone(), far], &[]);
    link.set_delay(Way::Back, Duration::from_millis(150));
    link.set_delay(Way::There, Duration::from_millis(50));
    link.set_rate(Way::Back, 200_000);
    let mut assembly = Assembly::default();
    let all: Vec<usize> = (0..12)
        .map(|number| {
            let way = assembly::Way::of(number / 3);
            assembly.enter(site.server(number % 3), way, &format!("m{number}"))
        })
        .collect();
    assembly.until_joined();
    for round in 0..50 {
        for who in &all {
            assembly.say(*who, &format!("round {round}"));
        }
        assembly.turn_for(Duration::from_millis(10));
    }
    for who in &all {
        let name = assembly.member(*who).name.clone();
        let others: Vec<usize> = all.iter().copied().filter(|other| other != who).collect();
        assembly.until_heard(&format!("[{name}] round 49"), &others);
    }
    assembly.say(0, "/me closes the room");
    assembly.until_heard("** m0 closes the room", &all[1..]);
    let transcript = site.transcript_with("** m0 closes the room");
    check(&assembly, &transcript);
    assert_eq!(transcript.lines().count(), 12 * 50 + 1);
}
