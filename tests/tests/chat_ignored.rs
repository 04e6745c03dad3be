//! Ignore lists: no line of an ignored member reaches the member that ignores it, by any route.

use tests::chat::{Guest, chat};

/// The lines that ann reads before a word of bob's, which comes after all of eve's.
fn heard(ann: &mut Guest, bob: &Guest, word: &str) -> Vec<String> {
    bob.say(word);
    ann.hears_at_last(&format!("[bob] {word}"))
}

/// Waits until the server has processed all of eve's lines.
fn done(eve: &mut Guest) {
    eve.say("/nonsense");
    eve.hears_at_last("* unknown command: /help lists them");
}

#[test]
fn by_every_route() {
    let server = chat(&["--history", "9"]).start();
    let [mut ann, mut eve, bob] = Guest::join_all(server.tcp(), ["ann", "eve", "bob"]);
    ann.say("/ignore Eve");
    ann.hears("* you do not hear eve any more");
    for line in ["INSULT", "/me INSULTS", "/msg ann INSULT", "//INSULT"] {
        eve.say(line);
    }
    done(&mut eve);
    assert_eq!(heard(&mut ann, &bob, "one"), [""; 0]);

    // The history is shown to each member that enters.
    ann.say("/join attic");
    ann.say("/join lobby");
    let past = heard(&mut ann, &bob, "two");
    assert!(past.iter().any(|line| line.ends_with(" ago [bob] one")));
    assert!(!past.concat().contains("INSULT"), "{past:#?}");
    let mut carol = Guest::join(server.tcp(), "carol");
    assert!(carol.next().ends_with(" ago [eve] INSULT"), "others see it");
    ann.hears("* carol has entered the room");

    eve.say("/nick INSULT1");
    eve.say("INSULT");
    done(&mut eve);
    assert_eq!(heard(&mut ann, &bob, "three"), [""; 0]);
    carol.hears_at_last("* eve is now known as INSULT1");
    carol.hears("[INSULT1] INSULT");

    // ann is told that eve leaves, but not why.
    eve.say("/quit INSULT");
    eve.rest();
    assert_eq!(heard(&mut ann, &bob, "four"), ["* eve has left the room"]);
    carol.hears_at_last("* INSULT1 has left the room (INSULT)");

    for name in ["EVE", "Insult1"] {
        let mut eve = Guest::join(server.tcp(), name);
        eve.say("INSULT");
        done(&mut eve);
        drop(eve);
        let word = format!("after {name}");
        carol.hears_at_last(&format!("* {name} has left the room"));
        assert_eq!(
            heard(&mut ann, &bob, &word),
            ["* eve has entered the room", "* eve has left the room"]
        );
    }
    // One command ends it, whichever of eve's names it gives.
    ann.say("/ignore insult1");
    ann.hears("* you hear insult1 again (nobody has this name now)");
    let eve = Guest::join(server.tcp(), "eve");
    ann.hears("* eve has entered the room");
    eve.say("hello");
    ann.hears("[eve] hello");
}

/// Members with full ignore lists still read all other lines.
#[test]
fn full_ignore_lists_of_all_members() {
    let server = chat(&["--rate", "0"]).start();
    let mut talker = Guest::join(server.tcp(), "talker");
    let mut hearers: Vec<Guest> = (0..50)
        .map(|number| Guest::join(server.tcp(), &format!("hearer{number}")))
        .collect();
    for hearer in &mut hearers {
        let ignored = (0..100).map(|number| format!("/ignore x{number}\n"));
        hearer.send(ignored.collect::<String>());
        hearer.hears_at_last("* you do not hear x99 any more (nobody has this name now)");
    }
    hearers[0].say("/ignore x7");
    hearers[0].say("/ignore talker");
    hearers[0].hears_at_last("* you do not hear talker any more");
    for number in 0..1000 {
        talker.say(number.to_string());
    }
    done(&mut talker);
    hearers[1].say("the end");
    for (index, hearer) in hearers.iter_mut().enumerate() {
        if index != 1 {
            let before = hearer.hears_at_last("[hearer1] the end");
            let lines = before.iter().filter(|line| line.starts_with("[talker] "));
            assert_eq!(lines.count(), if index == 0 { 0 } else { 1000 });
        }
    }
}
