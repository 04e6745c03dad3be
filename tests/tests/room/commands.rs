//! Commands, the operator's too, across servers.

use tests::chat::{Guest, hear_all};
use tests::page::{Page, TOKEN};
use tests::redis::Redis;

use crate::all_hear;
use crate::site::Site;

/// The beginning of the line that tells a newcomer who is there.
const ROOM: &str = "* The room contains: ";

/// The names in a list, in the order of the alphabet. Each server lists its own members first.
fn listed(line: &str, beginning: &str) -> Vec<String> {
    let names = line.strip_prefix(beginning);
    let names = names.unwrap_or_else(|| panic!("{line:?} does not begin with {beginning:?}"));
    let mut names: Vec<String> = names.split(", ").map(str::to_owned).collect();
    names.sort_unstable();
    names
}

/// ann at the first server, bob at the second, and carol at the third.
fn three(redis: &Redis, options: &[&str]) -> (Site, [Guest; 3]) {
    let site = Site::start(&[redis.url(), redis.url(), redis.url()], options);
    let mut ann = Guest::join(site.server(0).tcp(), "ann");
    let mut bob = Guest::join(site.server(1).tcp(), "bob");
    ann.hears("* bob has entered the room");
    let carol = Guest::join(site.server(2).tcp(), "carol");
    hear_all([&mut ann, &mut bob], "* carol has entered the room");
    (site, [ann, bob, carol])
}

#[test]
fn who_and_rooms_tell_of_all_servers() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let (site, mut guests) = three(&redis, &[]);
    for guest in &mut guests {
        guest.say("/who");
        let line = guest.next();
        assert_eq!(listed(&line, "* in lobby (3): "), ["ann", "bob", "carol"]);
    }
    let [ann, bob, carol] = &mut guests;
    bob.say("/join Attic");
    bob.hears("* you are in Attic now");
    bob.hears("* The room is empty");
    hear_all([&mut *ann, &mut *carol], "* bob has left the room");
    carol.say("/join attic");
    carol.hears("* you are in Attic now");
    carol.hears("* The room contains: bob");
    bob.hears("* carol has entered the room");
    ann.hears("* carol has left the room");
    ann.say("/rooms");
    ann.hears("* rooms: Attic (2), lobby (1)");
    ann.say("/who");
    ann.hears("* in lobby (1): ann");
    all_hear(&mut [bob, carol], "up here");
    ann.say("down here");
    ann.say("/join attic");
    ann.hears("* you are in Attic now");
    assert_eq!(listed(&ann.next(), ROOM), ["bob", "carol"]);
    hear_all([bob, carol], "* ann has entered the room");
    let mut dan = Guest::knock(site.server(1).tcp());
    dan.say("dan");
    dan.hears("* The room is empty");
    dan.say("/rooms");
    dan.hears("* rooms: Attic (3), lobby (1)");
}

#[test]
fn a_whisper_is_for_its_two_parties() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let (site, [mut ann, mut bob, mut carol]) = three(&redis, &["--history", "20"]);
    ann.say("/msg BOB psst");
    ann.hears("[you to bob] psst");
    bob.hears("[ann to you] psst");
    bob.say("/msg ann psst, yourself");
    bob.hears("[you to ann] psst, yourself");
    ann.hears("[bob to you] psst, yourself");
    ann.say("/msg nobody psst");
    ann.hears("* nobody has this name");
    ann.say("/msg ann psst");
    ann.hears("* that is you");
    all_hear(&mut [&mut bob, &mut ann, &mut carol], "aloud");
    let mut dan = Guest::knock(site.server(2).tcp());
    dan.say("dan");
    assert_eq!(listed(&dan.next(), ROOM), ["ann", "bob", "carol"]);
    let line = dan.next();
    assert!(line.ends_with(" ago [bob] aloud"), "{line}");
    hear_all(
        [&mut ann, &mut bob, &mut carol],
        "* dan has entered the room",
    );
    all_hear(&mut [&mut ann, &mut bob, &mut carol, &mut dan], "the end");
    let transcript = site.transcript_with("[ann] the end");
    assert!(!transcript.contains("psst"), "{transcript}");
    for chat in &site.chats {
        let (stdout, stderr) = (chat.server.stdout().text(), chat.server.stderr().text());
        assert!(
            !stdout.contains("psst") && !stderr.contains("psst"),
            "{stdout}{stderr}"
        );
    }
}

#[test]
fn who_is_ignored_is_ignored_on_all_servers() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let (site, [mut ann, mut bob, mut carol]) = three(&redis, &["--history", "20"]);
    ann.say("/ignore Bob");
    ann.hears("* you do not hear bob any more");
    for line in ["INSULT", "/me INSULTS", "/msg ann INSULT"] {
        bob.say(line);
    }
    bob.hears("[you to ann] INSULT");
    carol.hears("[bob] INSULT");
    carol.hears("** bob INSULTS");
    all_hear(&mut [&mut carol, &mut ann], "one");
    bob.hears("[carol] one");
    // The list follows a new name.
    bob.say("/nick INSULT1");
    bob.hears("* you are now known as INSULT1");
    bob.say("INSULT");
    carol.hears("* bob is now known as INSULT1");
    carol.hears("[INSULT1] INSULT");
    all_hear(&mut [&mut carol, &mut ann], "two");
    // Neither does what was said before come back with the history.
    ann.say("/join attic");
    ann.say("/join lobby");
    let before = ann.hears_at_last("* you are in lobby now");
    let after = {
        carol.say("three");
        ann.hears_at_last("[carol] three")
    };
    let mut told = [before, after].concat();
    told.retain(|line| !line.starts_with(ROOM));
    let told = told.concat();
    assert!(
        told.contains(" ago [carol] one") && !told.contains("INSULT"),
        "{told}"
    );
    // The step of one that is ignored is told by the name that is on the list, and without its words.
    bob.say("/quit INSULT");
    bob.rest();
    ann.hears("* bob has left the room");
    carol.hears_at_last("* INSULT1 has left the room (INSULT)");
    let transcript = site.transcript_with("[carol] three");
    assert_eq!(transcript.matches("INSULT\n").count(), 2, "{transcript}");
}

#[test]
fn operators_kick_ban_and_speak_on_all_servers() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let (site, [mut ann, mut bob, mut carol]) = three(&redis, &[]);
    carol.say("/join attic");
    carol.hears("* you are in attic now");
    carol.hears("* The room is empty");
    hear_all([&mut ann, &mut bob], "* carol has left the room");
    site.chats[2].operate("to all");
    hear_all([&mut ann, &mut bob, &mut carol], "* operator: to all");
    site.chats[0].operate("/join attic");
    site.chats[0].server.prints("you speak to attic (1): carol");
    site.chats[0].operate("to the attic");
    carol.hears("* operator: to the attic");
    all_hear(&mut [&mut ann, &mut bob], "not to us");
    site.chats[0].operate("/who");
    let shown = site.server(0).stdout();
    for (room, names) in [
        ("lobby (2): ", &["ann", "bob"][..]),
        ("attic (1): ", &["carol"]),
    ] {
        let line = shown.wait_for(tests::PATIENCE, |line| line.starts_with(room));
        assert_eq!(listed(&line.expect(room), room), names);
    }

    site.chats[0].operate("/kick BOB");
    bob.hears("* you were asked to leave");
    bob.hears_the_end();
    ann.hears("* bob has left the room");
    site.chats[0].server.prints("banned: bob for 5m");
    let is_refused = |name: &str, chat: usize| {
        let mut guest = Guest::knock(site.server(chat).tcp());
        guest.say(name);
        guest.hears("* this name or your address is banned");
        guest.hears_the_end();
    };
    (0..3).for_each(|chat| is_refused("Bob", chat));
    site.chats[1].operate("/ban carol 1h");
    carol.hears("* you are banned");
    carol.hears_the_end();
    (0..3).for_each(|chat| is_refused("carol", chat));
    site.chats[2].operate("/who");
    let list = site.server(2).stdout();
    let line = list.wait_for(tests::PATIENCE, |line| line.starts_with("banned: "));
    let line = line.expect("a list");
    assert!(line.contains("carol") && line.contains("bob"), "{line}");
    site.chats[2].operate("/unban bob");
    site.chats[2].server.prints("bob may come in");
    // By then the server of ann has read that too.
    site.chats[2].operate("he is free");
    ann.hears("* operator: he is free");
    let mut bob = Guest::join(site.server(0).tcp(), "bob");
    ann.hears("* bob has entered the room");
    site.chats[0].operate("/unban carol");
    site.chats[0].server.prints("carol may come in");
    let mut carol = Guest::join(site.server(0).tcp(), "carol");
    hear_all([&mut ann, &mut bob], "* carol has entered the room");
    all_hear(&mut [&mut carol, &mut ann, &mut bob], "the end");
    let transcript = site.transcript_with("[carol] the end");
    assert!(
        transcript.contains(" * * operator: to all\n"),
        "{transcript}"
    );
    assert!(
        transcript.contains(" attic * operator: to the attic\n"),
        "{transcript}"
    );
}

/// A ban holds for a server that was started after it.
#[test]
fn a_server_that_comes_later_knows_who_is_there_and_who_is_banned() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let (mut site, [mut ann, mut bob, mut carol]) = three(&redis, &["--history", "5"]);
    site.chats[0].operate("/ban mal");
    site.chats[0].server.prints("banned: mal");
    (0..10).for_each(|number| {
        all_hear(
            &mut [&mut ann, &mut bob, &mut carol],
            &format!("line {number}"),
        )
    });
    site.add(Some(&redis.url()), &["--history", "5"]);
    let mut mal = Guest::knock(site.server(3).tcp());
    mal.say("mal");
    mal.hears("* this name or your address is banned");
    let mut second = Guest::knock(site.server(3).tcp());
    second.say("bob");
    second.hears("* this name is taken");
    let mut dan = Guest::knock(site.server(3).tcp());
    dan.say("dan");
    assert_eq!(listed(&dan.next(), ROOM), ["ann", "bob", "carol"]);
    for number in 5..10 {
        let line = dan.next();
        assert!(
            line.ends_with(&format!(" ago [ann] line {number}")),
            "{line}"
        );
    }
    hear_all(
        [&mut ann, &mut bob, &mut carol],
        "* dan has entered the room",
    );
    all_hear(&mut [&mut dan, &mut ann, &mut bob, &mut carol], "hello");
}

#[test]
fn new_names_are_told_and_checked_everywhere() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let (site, [mut ann, mut bob, mut carol]) = three(&redis, &[]);
    ann.say("/nick Bob");
    ann.hears("* this name is taken");
    ann.say("/nick anna");
    ann.hears("* you are now known as anna");
    hear_all([&mut bob, &mut carol], "* ann is now known as anna");
    bob.say("/nick ann");
    bob.hears("* you are now known as ann");
    hear_all([&mut ann, &mut carol], "* bob is now known as ann");
    carol.say("/msg ann hello");
    bob.hears("[carol to you] hello");
    carol.hears("[you to ann] hello");
    bob.say("it is me");
    hear_all([&mut ann, &mut carol], "[ann] it is me");
    site.transcript_with("[ann] it is me");
}

/// A browser that has lost its connection comes back to another server.
#[test]
fn a_page_comes_back_on_another_server() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let site = Site::start(&[redis.url(), redis.url()], &["--history", "100"]);
    let mut bob = Guest::join(site.server(1).tcp(), "bob");
    let mut ann = Guest::join(site.server(0).tcp(), "ann");
    let mut page = Page::join(site.server(0), TOKEN, "wendy");
    ann.hears("* wendy has entered the room");
    ann.say("/ignore nobody");
    ann.hears("* you do not hear nobody any more (nobody has this name now)");
    page.say("/join attic");
    page.hears("* you are in attic now");
    page.hears("* The room is empty");
    ann.hears("* wendy has left the room");
    ann.say("/join attic");
    page.hears("* ann has entered the room");
    ann.hears("* you are in attic now");
    ann.hears("* The room contains: wendy");
    // The other server has read so far.
    bob.hears("* ann has entered the room");
    bob.hears("* wendy has entered the room");
    bob.hears("* wendy has left the room");
    bob.hears("* ann has left the room");
    let seen = page.seen;
    page.reset();
    (0..20).for_each(|number| ann.say(format!("missed {number}")));
    ann.say("/who");
    assert_eq!(listed(&ann.next(), "* in attic (2): "), ["ann", "wendy"]);
    let mut page = Page::open(site.server(1), &format!("{TOKEN}&seen={seen}"));
    page.seen = seen;
    page.hears("* You are back as wendy in attic.");
    (0..20).for_each(|number| page.hears(&format!("[ann] missed {number}")));
    page.say("I am here");
    page.hears("[wendy] I am here");
    ann.hears("[wendy] I am here");
    ann.say("/msg wendy welcome back");
    ann.hears("[you to wendy] welcome back");
    page.hears("[ann to you] welcome back");
    // And back again, while the second connection still seems open.
    let mut first = page.back(site.server(0));
    first.hears("* You are back as wendy in attic.");
    assert_eq!(page.code(), 1008);
    first.say("and here");
    ann.hears("[wendy] and here");
    first.hears("[wendy] and here");
    first.close(1000);
    ann.hears("* wendy has left the room");
    site.transcript_with("[wendy] and here");
}
