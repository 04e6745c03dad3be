//! A Redis that answers nothing for a while, and newcomers and talkers meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use tests::chat::{Guest, hear_all};
use tests::redis::Redis;

use crate::site::Site;
use crate::{PLEASE_WAIT, TRY_LATER, WAITS, all_hear};

/// Three seconds of silence are told to no member.
#[test]
fn a_short_silence_is_told_to_nobody() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let site = Site::start(&[redis.url(), redis.url()], &[]);
    let mut ann = Guest::join(site.server(0).tcp(), "ann");
    let mut bob = Guest::join(site.server(1).tcp(), "bob");
    ann.hears("* bob has entered the room");
    redis.signal("STOP");
    let end = Instant::now() + Duration::from_secs(3);
    let mut count = 0;
    let newcomer = Guest::knock(site.server(1).tcp());
    newcomer.say("carol");
    while Instant::now() < end {
        ann.say(format!("line {count}"));
        bob.say(format!("line {count}"));
        count += 1;
        // The lines are said over the whole time.
        thread::sleep(Duration::from_millis(50));
    }
    redis.signal("CONT");
    for (guest, other) in [(&mut ann, "bob"), (&mut bob, "ann")] {
        let mut lines: Vec<String> = (0..count)
            .map(|line| format!("[{other}] line {line}"))
            .collect();
        for _ in 0..=count {
            let line = guest.next();
            if line != "* carol has entered the room" {
                assert_eq!(line, lines.remove(0));
            }
        }
        assert_eq!(lines.len(), 0);
    }
    let mut carol = newcomer;
    assert!(carol.next().starts_with("* The room contains: "));
    // carol may have come before what was said last.
    while carol_has_not_caught_up(&mut carol, &mut ann, &mut bob) {}
    site.transcript_with(&format!("[bob] line {}", count - 1));
}

/// ann says that she is there; false once that is the next line that carol hears.
fn carol_has_not_caught_up(carol: &mut Guest, ann: &mut Guest, bob: &mut Guest) -> bool {
    ann.say("are you there?");
    bob.hears("[ann] are you there?");
    let before = carol.hears_at_last("[ann] are you there?");
    assert!(
        before.iter().all(|line| line.contains("] line ")),
        "{before:?}"
    );
    !before.is_empty()
}

/// Twenty seconds of silence are told to those that talk, once, and to newcomers. No server is taken for
/// gone, and nothing is lost.
#[test]
fn a_long_silence_is_told_once_to_those_that_talk() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let site = Site::start(&[redis.url(), redis.url()], &[]);
    let [mut ann, mut amy] = Guest::join_all(site.server(0).tcp(), ["ann", "amy"]);
    let mut bob = Guest::join(site.server(1).tcp(), "bob");
    hear_all([&mut ann, &mut amy], "* bob has entered the room");
    redis.signal("STOP");
    let start = Instant::now();
    ann.say("one");
    let mut carol = Guest::knock(site.server(1).tcp());
    carol.say("carol");
    carol.hears(PLEASE_WAIT);
    ann.hears(WAITS);
    let waited = start.elapsed().as_secs_f32();
    assert!((4.0..12.0).contains(&waited), "told after {waited} s");
    ann.say("two");
    // amy says her first line when all know it.
    amy.say("three");
    amy.hears(WAITS);
    thread::sleep(Duration::from_secs(20).saturating_sub(start.elapsed()));
    ann.say("four");
    redis.signal("CONT");
    let told = |guest: &mut Guest, last: &str| {
        let mut before = guest.hears_at_last(last);
        before.retain(|line| line != "* carol has entered the room");
        before
    };
    assert_eq!(
        told(&mut bob, "[ann] four"),
        ["[ann] one", "[ann] two", "[amy] three"]
    );
    assert_eq!(told(&mut amy, "[ann] four"), ["[ann] one", "[ann] two"]);
    let list = carol.next();
    assert!(list.starts_with("* The room contains: "), "{list}");
    carol.say("at last");
    assert_eq!(told(&mut ann, "[carol] at last"), ["[amy] three"]);
    hear_all([&mut amy, &mut bob], "[carol] at last");
    // Longer than servers take to declare another one gone, had they counted the silence.
    thread::sleep(Duration::from_secs(7));
    all_hear(&mut [&mut bob, &mut ann, &mut amy], "all are here");
    bob.say("/who");
    let line = bob.next();
    assert!(line.starts_with("* in lobby (4): "), "{line}");
    // The next outage is told again.
    redis.signal("STOP");
    ann.say("five");
    ann.hears(WAITS);
    redis.signal("CONT");
    hear_all([&mut amy, &mut bob], "[ann] five");
    site.transcript_with("[ann] five");
}

/// A newcomer waits for half a minute.
#[test]
fn a_newcomer_is_told_to_try_again_later() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let site = Site::start(&[redis.url(), redis.url()], &[]);
    let mut ann = Guest::join(site.server(0).tcp(), "ann");
    redis.signal("STOP");
    let start = Instant::now();
    let mut carol = Guest::knock(site.server(1).tcp());
    carol.say("carol");
    // Without a name it is no newcomer yet.
    let mut nameless = Guest::knock(site.server(1).tcp());
    let mut dan = Guest::knock(site.server(1).tcp());
    dan.say("dan");
    dan.hears(PLEASE_WAIT);
    dan.reset();
    carol.hears(PLEASE_WAIT);
    carol.hears(TRY_LATER);
    carol.hears_the_end();
    let waited = start.elapsed().as_secs_f32();
    assert!((25.0..45.0).contains(&waited), "sent away after {waited} s");
    redis.signal("CONT");
    nameless.say("nelly");
    while nameless.next() == PLEASE_WAIT {}
    // Neither of the two that have gone has kept its name. The log may have had their claims, and then
    // their leaves.
    let carol = Guest::join(site.server(1).tcp(), "carol");
    let dan = Guest::join(site.server(1).tcp(), "dan");
    let mut told = vec![ann.next()];
    while told.last().map(String::as_str) != Some("* dan has entered the room")
        || told
            .iter()
            .filter(|line| line.starts_with("* dan has "))
            .count()
            % 2
            == 0
    {
        told.push(ann.next());
    }
    drop((carol, dan));
    for name in ["carol", "dan"] {
        let steps = told
            .iter()
            .filter(|line| line.starts_with(&format!("* {name} has ")));
        let steps: Vec<&String> = steps.collect();
        assert!([1, 3].contains(&steps.len()), "{told:?}");
    }
}
