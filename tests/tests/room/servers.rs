//! Chat servers that are killed, stopped and started again.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tests::chat::{Guest, hear_all};
use tests::redis::Redis;

use crate::assembly::{Assembly, Way};
use crate::site::Site;
use crate::{HAS_STOPPED, IS_GONE, all_hear, people};

/// The members of a server that was killed leave in one line for each room.
#[test]
fn the_members_of_a_killed_server_leave_in_one_line() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut site = Site::start(&[redis.url(), redis.url()], &[]);
    let (near, far) = (site.server(0).tcp(), site.server(1).tcp());
    let mut ann = Guest::join(near, "ann");
    let mut amy = Guest::join(near, "amy");
    ann.hears("* amy has entered the room");
    amy.say("/join attic");
    amy.hears("* you are in attic now");
    amy.hears("* The room is empty");
    ann.hears("* amy has left the room");
    let mut crowd = Vec::new();
    for number in 0..10 {
        let name = format!("m{number}");
        let mut member = Guest::join(far, &name);
        member.say("/join attic");
        member.hears_at_last("* you are in attic now");
        ann.hears(&format!("* {name} has entered the room"));
        ann.hears(&format!("* {name} has left the room"));
        amy.hears(&format!("* {name} has entered the room"));
        crowd.push(member);
    }
    let few = Guest::join_all(far, ["alice", "bob", "carol"]);
    for name in ["alice", "bob", "carol"] {
        ann.hears(&format!("* {name} has entered the room"));
    }
    let start = Instant::now();
    site.chats[1].kill();
    assert_eq!(people(&ann.next(), IS_GONE), ["alice", "bob", "carol"]);
    amy.hears("* 10 people have left the room: a server is gone");
    let waited = start.elapsed().as_secs_f32();
    assert!((5.0..29.0).contains(&waited), "gone after {waited} s");
    drop((crowd, few));
    let mut alice = Guest::join(near, "alice");
    ann.hears("* alice has entered the room");
    all_hear(&mut [&mut ann, &mut alice], "one of us is back");
}

/// A server that was killed and is started at once has no members any more, and their names are free.
#[test]
fn a_restart_frees_the_names_at_once() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut site = Site::start(&[redis.url(), redis.url()], &[]);
    let mut ann = Guest::join(site.server(0).tcp(), "ann");
    for round in 0..3 {
        let far = site.server(1).tcp();
        let gone = Guest::join_all(far, ["alice", "bob"]);
        ann.hears("* alice has entered the room");
        ann.hears("* bob has entered the room");
        gone[0].say(format!("round {round}"));
        ann.hears(&format!("[alice] round {round}"));
        let start = Instant::now();
        site.chats[1].kill();
        site.chats[1].restart();
        assert_eq!(people(&ann.next(), IS_GONE), ["alice", "bob"]);
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(8), "gone after {waited:?}");
        let near = site.server(0).tcp();
        let [mut alice, bob] = [(near, "alice"), (site.server(1).tcp(), "bob")]
            .map(|(server, name)| Guest::join(server, name));
        ann.hears("* alice has entered the room");
        ann.hears("* bob has entered the room");
        alice.hears("* bob has entered the room");
        all_hear(
            &mut [&mut alice, &mut ann],
            &format!("round {round} is over"),
        );
        drop((gone, bob));
        let mut guests = [&mut ann, &mut alice];
        hear_all(
            guests.iter_mut().map(|guest| &mut **guest),
            "* bob has left the room",
        );
        drop(alice);
        ann.hears("* alice has left the room");
    }
}

/// The members of a server that stops in good order leave in one line.
#[test]
fn the_members_of_a_server_that_stops_leave_in_one_line_at_once() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut site = Site::start(&[redis.url(), redis.url()], &[]);
    let mut ann = Guest::join(site.server(0).tcp(), "ann");
    let mut members = Guest::join_all(site.server(1).tcp(), ["alice", "bob", "carol"]);
    for name in ["alice", "bob", "carol"] {
        ann.hears(&format!("* {name} has entered the room"));
    }
    members[0].say("the last word");
    ann.hears("[alice] the last word");
    let start = Instant::now();
    site.chats[1].stop();
    assert_eq!(people(&ann.next(), HAS_STOPPED), ["alice", "bob", "carol"]);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    for member in &mut members[1..] {
        let rest = member.rest();
        assert_eq!(
            rest.last().map(String::as_str),
            Some("[alice] the last word")
        );
    }
    ann.say("/who");
    ann.hears("* in lobby (1): ann");
}

/// A server ends after all that its members have said is in the log.
#[test]
fn the_last_words_of_a_server_that_stops_are_heard() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut site = Site::start(&[redis.url(), redis.url()], &[]);
    let mut ann = Guest::join(site.server(0).tcp(), "ann");
    let mut alice = Guest::join(site.server(1).tcp(), "alice");
    ann.hears("* alice has entered the room");
    redis.signal("STOP");
    (0..100).for_each(|number| alice.say(format!("last words {number}")));
    // The answer says that the server has read all of them.
    alice.say("/rooms");
    alice.hears("* rooms: lobby (2)");
    site.server(1).signal(Signal::SIGTERM);
    assert_eq!(alice.rest(), [""; 0]);
    redis.signal("CONT");
    for number in 0..100 {
        ann.hears(&format!("[alice] last words {number}"));
    }
    ann.hears("* alice has left the room: a server has stopped");
    assert_eq!(site.chats[1].server.exit_code(), 0);
    ann.say("/who");
    ann.hears("* in lobby (1): ann");
}

/// Three servers are stopped and started in turn, while members of all talk. Those of the other two hear
/// every line once.
#[test]
fn a_rolling_restart_loses_and_repeats_nothing_elsewhere() {
    const EACH: usize = 4;
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut site = Site::start(&[redis.url(), redis.url(), redis.url()], &[]);
    let mut assembly = Assembly::default();
    // The members of each server.
    let mut present: Vec<Vec<usize>> = (0..3)
        .map(|chat| enter(&site, &mut assembly, chat, EACH, 0))
        .collect();
    assembly.until_joined();
    for restarted in 0..3 {
        let staying: Vec<usize> = (0..3)
            .filter(|chat| *chat != restarted)
            .flat_map(|chat| present[chat].clone())
            .collect();
        let begun: Vec<usize> = staying
            .iter()
            .map(|who| assembly.member(*who).heard.len())
            .collect();
        let talking: Vec<usize> = present.iter().flatten().copied().collect();
        talk(&mut assembly, &talking, &format!("before stop {restarted}"));
        site.chats[restarted].server.signal(Signal::SIGTERM);
        talk(&mut assembly, &staying, &format!("at stop {restarted}"));
        assert_eq!(site.chats[restarted].server.exit_code(), 0);
        talk(&mut assembly, &staying, &format!("after stop {restarted}"));
        site.chats[restarted].restart();
        talk(&mut assembly, &staying, &format!("after start {restarted}"));
        present[restarted] = enter(&site, &mut assembly, restarted, EACH, restarted + 1);
        assembly.until("the new ones have joined", |assembly| {
            let mut new = present[restarted].iter();
            new.all(|who| assembly.member(*who).has_joined())
        });
        let talking: Vec<usize> = present.iter().flatten().copied().collect();
        talk(&mut assembly, &talking, &format!("with all {restarted}"));
        for who in &talking {
            let name = assembly.member(*who).name.clone();
            let line = format!("[{name}] with all {restarted}, 9");
            let others: Vec<usize> = talking
                .iter()
                .copied()
                .filter(|other| other != who)
                .collect();
            assembly.until_heard(&line, &others);
        }
        check_phase(&assembly, &staying, &begun, restarted);
    }
}

/// So many members enter a server, and are named after it and its run.
fn enter(
    site: &Site,
    assembly: &mut Assembly,
    chat: usize,
    count: usize,
    run: usize,
) -> Vec<usize> {
    let enter = |number| {
        let name = format!("s{chat}r{run}m{number}");
        assembly.enter(site.server(chat), Way::of(number), &name)
    };
    (0..count).map(enter).collect()
}

fn talk(assembly: &mut Assembly, talking: &[usize], word: &str) {
    for number in 0..10 {
        for who in talking {
            assembly.say(*who, &format!("{word}, {number}"));
        }
        assembly.turn_for(Duration::from_millis(10));
    }
}

/// Since the beginning of the phase, those that stay have heard the same lines in the same order, each
/// once, and all of each other's.
fn check_phase(assembly: &Assembly, staying: &[usize], begun: &[usize], restarted: usize) {
    let heard = |place: usize| -> Vec<&str> {
        let lines = assembly.member(staying[place]).heard[begun[place]..].iter();
        lines
            .map(String::as_str)
            .filter(|line| line.starts_with('['))
            .collect()
    };
    let names: Vec<String> = staying
        .iter()
        .map(|who| format!("[{}] ", assembly.member(*who).name))
        .collect();
    let said_by =
        |lines: &[&str], name: &str| lines.iter().filter(|line| line.starts_with(name)).count();
    for (place, name) in names.iter().enumerate() {
        let own = heard(place);
        for (other, other_name) in names.iter().enumerate() {
            let of_other = heard(other);
            // Of the lines of the others, both have heard the same.
            let common = |lines: &[&str]| -> Vec<String> {
                let lines = lines.iter();
                let lines =
                    lines.filter(|line| !line.starts_with(name) && !line.starts_with(other_name));
                lines.map(|line| (*line).to_owned()).collect()
            };
            assert!(
                common(&own) == common(&of_other),
                "{name}and {other_name}in phase {restarted}"
            );
            if other != place {
                assert_eq!(
                    said_by(&own, other_name),
                    50,
                    "{other_name}at {name}in phase {restarted}"
                );
            }
        }
        let unique: std::collections::HashSet<&&str> = own.iter().collect();
        assert_eq!(unique.len(), own.len(), "{name}has heard a line twice");
    }
    for who in staying {
        let member = assembly.member(*who);
        assert!(member.is_connected(), "{} was cut off", member.name);
        let stops = member
            .heard
            .iter()
            .filter(|line| line.ends_with(HAS_STOPPED));
        let of_phase: Vec<&String> = stops
            .filter(|line| line.contains(&format!("s{restarted}r")))
            .collect();
        assert_eq!(of_phase.len(), 1, "{}: {of_phase:?}", member.name);
        assert_eq!(people(of_phase[0], HAS_STOPPED).len(), 4, "{of_phase:?}");
        assert!(
            !member.heard.iter().any(|line| line.ends_with(IS_GONE)),
            "{}",
            member.name
        );
    }
}
