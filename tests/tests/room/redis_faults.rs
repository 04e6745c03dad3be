//! A Redis that is killed, that loses what it had, or that trims the stream.

use std::fs::{self, OpenOptions};
use std::time::Duration;

use tests::chat::{Guest, hear_all};
use tests::redis::Redis;
use tests::slow_link::{SlowLink, Way as Course};
use tests::until;

use crate::assembly::{Assembly, Way};
use crate::minutes::check;
use crate::site::Site;
use crate::{GAP, all_hear, heard_before};

/// Twelve members on three servers say a line each, over and over, while Redis is killed and started.
#[test]
fn a_killed_redis_that_syncs_always_loses_nothing() {
    const ROUNDS: usize = 60;
    let options = ["--appendonly", "yes", "--appendfsync", "always"];
    let Some(mut redis) = Redis::start(&options) else {
        return;
    };
    let site = Site::start(&[redis.url(), redis.url(), redis.url()], &[]);
    let mut assembly = Assembly::default();
    let all: Vec<usize> = (0..12)
        .map(|number| {
            let server = site.server(number % 3);
            assembly.enter(server, Way::of(number / 3), &format!("m{number}"))
        })
        .collect();
    assembly.until_joined();
    for round in 0..ROUNDS {
        for who in &all {
            assembly.say(*who, &format!("round {round}"));
        }
        assembly.turn_for(Duration::from_millis(5));
        if round % 20 == 10 {
            redis.kill();
            assembly.turn_for(Duration::from_millis(100));
            redis.restart();
        }
    }
    assembly.say(0, "the end");
    assembly.until_heard("[m0] the end", &all[1..]);
    assembly.until("all is heard", |assembly| {
        let is_said = |line: &&String| line.starts_with('[');
        let heard = |who: &usize| assembly.member(*who).heard.iter().filter(is_said).count();
        let due = |who: &usize| match assembly.member(*who).way {
            Way::Tab => 12 * ROUNDS + 1,
            _ => 11 * ROUNDS + usize::from(*who != 0),
        };
        all.iter().all(|who| heard(who) >= due(who))
    });
    assembly.say(0, "/me closes the room");
    assembly.until_heard("** m0 closes the room", &all[1..]);
    let transcript = site.transcript_with("** m0 closes the room");
    check(&assembly, &transcript);
    assert_eq!(transcript.lines().count(), 12 * ROUNDS + 2, "{transcript}");
    assert!(!transcript.contains(GAP));
    for member in assembly.members() {
        assert!(member.is_connected(), "{} was cut off", member.name);
        let notices = member.heard.iter().filter(|line| line.starts_with("* "));
        let steps = notices.filter(|line| !line.ends_with(" has entered the room"));
        let steps: Vec<_> = steps.collect();
        assert_eq!(steps.len(), 1, "{}: {steps:#?}", member.name);
    }
}

/// ann and amy in the lobby, and bob and ben in the attic, each on a server of its own.
struct Party {
    site: Site,
    lobby: [Guest; 2],
    attic: [Guest; 2],
    /// The lines that they were told besides what was said.
    told: Vec<String>,
}

impl Party {
    fn new(redis: &Redis) -> Party {
        let site = Site::start(&[redis.url(), redis.url()], &[]);
        let mut ann = Guest::join(site.server(0).tcp(), "ann");
        let join = |name: &str, chat: usize, ann: &mut Guest| {
            let guest = Guest::join(site.server(chat).tcp(), name);
            ann.hears(&format!("* {name} has entered the room"));
            guest
        };
        let up = |guest: &mut Guest, name: &str, ann: &mut Guest| {
            guest.say("/join attic");
            guest.hears("* you are in attic now");
            assert!(guest.next().starts_with("* The room "));
            ann.hears(&format!("* {name} has left the room"));
        };
        let mut bob = join("bob", 1, &mut ann);
        up(&mut bob, "bob", &mut ann);
        let mut ben = join("ben", 0, &mut ann);
        up(&mut ben, "ben", &mut ann);
        bob.hears("* ben has entered the room");
        let amy = join("amy", 1, &mut ann);
        let (lobby, attic) = ([ann, amy], [bob, ben]);
        let told = Vec::new();
        Party {
            site,
            lobby,
            attic,
            told,
        }
    }

    /// Each says something, and the other one in the room hears it. What else is told goes to `told`.
    fn talk(&mut self, word: &str) {
        for [one, other] in [&mut self.lobby, &mut self.attic] {
            let told = heard_before(&mut [one, other], &format!("{word}, one"));
            self.told.extend(told.concat());
            let told = heard_before(&mut [other, one], &format!("{word}, other"));
            self.told.extend(told.concat());
        }
    }

    /// Each member is told of one gap, and then all goes on as before.
    fn is_told_of_a_gap(&mut self, word: &str) {
        hear_all(self.lobby.iter_mut().chain(&mut self.attic), GAP);
        self.talk(word);
        for (guests, beginning) in [
            (&mut self.lobby, "* in lobby (2): "),
            (&mut self.attic, "* in attic (2): "),
        ] {
            for guest in guests {
                until("all are announced again", || {
                    guest.say("/who");
                    let mut line = guest.next();
                    while !line.starts_with("* in ") {
                        self.told.push(std::mem::replace(&mut line, guest.next()));
                    }
                    line.starts_with(beginning)
                });
            }
        }
    }
}

/// Of those that were announced again no more is told than that they are back.
fn assert_only_back(told: &[String]) {
    assert!(told.iter().all(|line| line.ends_with(" back")), "{told:?}");
}

/// Members that stay do not come back.
#[test]
fn nobody_is_back_that_has_not_left() {
    let Some(mut redis) = Redis::start(&[]) else {
        return;
    };
    let mut party = Party::new(&redis);
    redis.kill();
    redis.restart();
    party.is_told_of_a_gap("after the gap");
    assert!(party.told.is_empty(), "{:?}", party.told);
}

#[test]
fn the_loss_of_the_last_second_is_told_in_all_rooms_and_the_chat_goes_on() {
    let options = ["--appendonly", "yes", "--appendfsync", "everysec"];
    let Some(mut redis) = Redis::start(&options) else {
        return;
    };
    let mut party = Party::new(&redis);
    party.talk("kept");
    let file = redis.append_only_file();
    // Redis may write later than it replies.
    until("it is in the file", || {
        let file = fs::read(&file).expect("a file");
        file.windows(11).any(|bytes| bytes == b"kept, other")
    });
    let kept = file.metadata().expect("a file").len();
    party.talk("lost");
    redis.kill();
    let file = OpenOptions::new().write(true).open(file).expect("a file");
    assert!(file.metadata().expect("a file").len() > kept);
    file.set_len(kept).expect("truncated");
    redis.restart();
    party.is_told_of_a_gap("after the loss");
    assert_only_back(&party.told);
    let transcript = party.site.transcript_with("after the loss, other");
    assert_eq!(transcript.matches(GAP).count(), 1, "{transcript}");
    for word in ["kept", "lost", "after the loss"] {
        for line in ["one", "other"] {
            let count = transcript.matches(&format!("] {word}, {line}\n")).count();
            assert_eq!(count, 2, "{word}, {line}: {transcript}");
        }
    }
}

#[test]
fn a_redis_that_restarts_empty_is_a_gap_and_members_stay() {
    let Some(mut redis) = Redis::start(&[]) else {
        return;
    };
    let mut party = Party::new(&redis);
    party.talk("before");
    redis.kill();
    redis.restart();
    party.is_told_of_a_gap("after the first");
    // Lines that are said while there is none are said when it is back.
    redis.kill();
    party.lobby[0].say("meanwhile");
    redis.restart();
    hear_all(party.lobby.iter_mut().chain(&mut party.attic), GAP);
    let told = party.lobby[1].hears_at_last("[ann] meanwhile");
    party.told.extend(told);
    party.talk("after the second");
    assert_only_back(&party.told);
    let mut newcomer = Guest::knock(party.site.server(1).tcp());
    newcomer.say("ann");
    newcomer.hears("* this name is taken");
    let transcript = party.site.transcript_with("after the second, other");
    assert_eq!(transcript.matches(GAP).count(), 2, "{transcript}");
}

/// A server that was cut off while the stream was trimmed tells its members of the gap, and no other
/// server does.
#[test]
fn a_stream_that_is_trimmed_is_a_gap_for_those_that_have_missed_it() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let link = SlowLink::to(([127, 0, 0, 1], redis.port()).into(), 64 * 1024);
    let far = format!("redis://{}", link.address());
    let site = Site::start(&[redis.url(), far], &[]);
    let [mut ann, mut amy] = Guest::join_all(site.server(0).tcp(), ["ann", "amy"]);
    let mut bob = Guest::join(site.server(1).tcp(), "bob");
    ann.hears("* bob has entered the room");
    amy.hears("* bob has entered the room");
    all_hear(&mut [&mut ann, &mut amy, &mut bob], "before");
    link.cut(Course::There);
    link.cut(Course::Back);
    for number in 0..50 {
        all_hear(&mut [&mut ann, &mut amy], &format!("missed {number}"));
    }
    redis.command(&["XTRIM", "edgeloop:log", "MAXLEN", "1"]);
    link.mend(Course::There);
    link.mend(Course::Back);
    let told = heard_before(&mut [&mut ann, &mut amy, &mut bob], "after");
    assert!(told[0].is_empty(), "{told:?}");
    let notices: Vec<&String> = told[1]
        .iter()
        .filter(|line| line.starts_with("* "))
        .collect();
    assert_eq!(notices, [GAP], "{told:?}");
    all_hear(&mut [&mut bob, &mut ann, &mut amy], "and I am here");
    all_hear(&mut [&mut amy, &mut ann, &mut bob], "so am I");
    bob.say("/who");
    let list = bob.next();
    assert!(list.starts_with("* in lobby (3): "), "{list}");
}
