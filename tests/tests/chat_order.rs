//! A room has one order: each of its members reads every line once, and all in the same order,
//! while other members come, go or do not read.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use tests::chat::{Crowd, chat, dial_stingy};
use tests::client::dial;
use tests::one_at_a_time;
use tests::process::raise_own_descriptor_limit;
use tests::server::Server;

/// A member that joins first and says nothing, and so reads every line.
const OBSERVER: usize = 0;
/// How many members talk from the beginning to the end, and their numbers.
const TALKERS: usize = 450;
const TALKING: RangeInclusive<usize> = 1..=TALKERS;
/// The talkers that do not read before the end.
const DEAF: RangeInclusive<usize> = 1..=10;
/// How many visitors are there at a time. A visitor comes, says a line and goes.
const VISITORS: usize = 50;
/// The least number of lines of each talker. All visitors are replaced in each round.
const ROUNDS: usize = 5;

/// How a visitor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By a half-close: its lines reach all members.
    Ends,
    /// By a reset: its lines may be lost.
    Breaks,
}

#[derive(Debug)]
struct Person {
    name: String,
    gone: Option<Way>,
    /// The numbers of the lines that it has read.
    heard: Vec<usize>,
}

/// All members that were ever there, and the lines that they have read.
#[derive(Default)]
struct Room {
    crowd: Crowd,
    people: Vec<Person>,
    /// Each line that some member has read, and its number.
    numbers: HashMap<String, usize>,
    /// How many of those lines are reliable: no reset could have lost them.
    reliable: usize,
}

impl Room {
    fn enter(&mut self, server: &Server, name: String, deaf: bool) -> usize {
        let stream = match deaf {
            true => dial_stingy(server.tcp()),
            false => dial(server.tcp()),
        };
        let who = self.crowd.enter(stream, &name);
        let (gone, heard) = (None, Vec::new());
        self.people.push(Person { name, gone, heard });
        who
    }

    fn say(&mut self, who: usize, number: usize) {
        let words = "and this line goes to all the members ".repeat(4);
        self.crowd.say(who, &format!("{number}, {words}"));
    }

    fn go(&mut self, who: usize, way: Way) {
        self.people[who].gone = Some(way);
        match way {
            Way::Ends => self.crowd.leave(who),
            Way::Breaks => self.crowd.reset(who),
        }
    }

    fn turn(&mut self) {
        let (people, numbers) = (&mut self.people, &mut self.numbers);
        self.crowd.turn(|who, line| {
            let number = numbers.get(line).copied().unwrap_or_else(|| {
                self.reliable += usize::from(is_reliable(line));
                numbers.insert(line.to_owned(), numbers.len());
                numbers.len() - 1
            });
            people[who].heard.push(number);
        });
    }

    fn turn_until_all_have_joined(&mut self) {
        while !self.present().all(|who| self.crowd.has_joined(who)) {
            self.turn();
        }
    }

    fn turn_until_heard(&mut self, line: &str, listeners: &[usize]) {
        loop {
            let number = self.numbers.get(line);
            let has_heard = |who: &usize| self.people[*who].heard.last() == number;
            if number.is_some() && listeners.iter().all(has_heard) {
                return;
            }
            self.turn();
        }
    }

    /// A member that has half-closed still reads the others' lines, until the server closes its
    /// half.
    fn turn_until_the_leaving_are_gone(&mut self) {
        let ends = |who: &usize| self.people[*who].gone == Some(Way::Ends);
        let leaving: Vec<usize> = (0..self.people.len()).filter(ends).collect();
        while !leaving.iter().all(|who| self.crowd.has_ended(*who)) {
            self.turn();
        }
    }

    fn present(&self) -> impl Iterator<Item = usize> {
        (0..self.people.len()).filter(|&who| self.people[who].gone.is_none())
    }

    /// The lines of the room in its order, which is that of the observer.
    fn minutes(&self) -> Vec<(usize, &str)> {
        let mut texts = vec![""; self.numbers.len()];
        for (text, number) in &self.numbers {
            texts[*number] = text;
        }
        let heard = self.people[OBSERVER].heard.iter();
        heard.map(|&number| (number, texts[number])).collect()
    }
}

/// Whether a line must arrive, because its author does not reset its connection. A visitor's last
/// such line is the announcement of its leave.
fn is_reliable(line: &str) -> bool {
    let is_end = line.starts_with("* ends") && line.ends_with(" has left the room");
    line.starts_with("[t") || line.starts_with("[ends") || is_end
}

/// Each talker's lines have the order in which it said them.
fn check_talkers(minutes: &[(usize, &str)], rounds: usize) {
    let mut lines_of: HashMap<&str, usize> = HashMap::new();
    for (_, text) in minutes {
        let Some((name, words)) = text
            .strip_prefix("[t")
            .and_then(|text| text.split_once("] "))
        else {
            continue;
        };
        let lines = lines_of.entry(name).or_default();
        let (number, _) = words.split_once(',').expect("a number");
        assert_eq!(number.parse(), Ok(*lines), "{text}");
        *lines += 1;
    }
    assert_eq!(lines_of.len(), TALKERS);
    assert!(lines_of.values().all(|lines| *lines == rounds));
}

/// A member has read exactly the minutes from its own entry on, except its own lines. A member that
/// has gone has read the beginning of that.
fn check_listener(person: &Person, minutes: &[(usize, &str)]) {
    let (name, heard) = (&person.name, &person.heard);
    let entered = format!("* {name} has entered the room");
    let own = format!("[{name}] ");
    let Some(entered) = minutes.iter().position(|(_, text)| *text == entered) else {
        assert_eq!(person.gone, Some(Way::Breaks), "{name} never entered");
        return assert!(heard.is_empty(), "{name} was not there");
    };
    let since = &minutes[entered + 1..];
    let of_others = since.iter().filter(|(_, text)| !text.starts_with(&own));
    let due: Vec<usize> = of_others.map(|(number, _)| *number).collect();
    if person.gone.is_none() {
        return assert!(*heard == due, "{name} has heard something else");
    }
    assert!(due.starts_with(heard), "{name} has heard something else");
    if person.gone == Some(Way::Ends) {
        // The lines before its own last line were on their way to it before the half-close.
        let last = since.iter().rposition(|(_, text)| text.starts_with(&own));
        let last = last.expect("what it has said");
        assert!(heard.len() >= last, "{name}: {} of {last}", heard.len());
    }
}

/// A visitor comes and says a line, and the oldest of the present visitors goes.
fn replace_a_visitor(room: &mut Room, server: &Server, visitors: &mut Vec<usize>) {
    if visitors.len() == VISITORS {
        let goes = visitors.remove(0);
        let way = match room.people[goes].name.starts_with("ends") {
            true => Way::Ends,
            false => Way::Breaks,
        };
        room.go(goes, way);
    }
    let number = room.people.len();
    let way = if number.is_multiple_of(2) {
        "ends"
    } else {
        "breaks"
    };
    let comes = room.enter(server, format!("{way}{number}"), false);
    room.say(comes, 0);
    visitors.push(comes);
}

/// The observer and all talkers. The deaf ones do not read from now on.
fn gather(server: &Server) -> Room {
    let mut room = Room::default();
    room.enter(server, "observer".into(), false);
    room.turn_until_all_have_joined();
    for who in TALKING {
        room.enter(server, format!("t{who}"), DEAF.contains(&who));
    }
    room.turn_until_all_have_joined();
    DEAF.for_each(|who| room.crowd.set_deaf(who, true));
    room
}

/// All talk, and visitors come and go, until every reliable line was read and the server has
/// pending output for each deaf member, however much the kernel buffers. Returns the number of
/// rounds.
fn talk(room: &mut Room, server: &Server) -> usize {
    let mut visitors = Vec::new();
    (0..ROUNDS).for_each(|round| talk_once(room, server, &mut visitors, round));
    let mut rounds = ROUNDS;
    turn_until_all_is_heard(room, rounds);
    while server.stats().get("again") < DEAF.count() as u64 {
        talk_once(room, server, &mut visitors, rounds);
        rounds += 1;
        turn_until_all_is_heard(room, rounds);
    }
    rounds
}

fn talk_once(room: &mut Room, server: &Server, visitors: &mut Vec<usize>, round: usize) {
    for who in TALKING {
        room.say(who, round);
        if who % (TALKERS / VISITORS) == 0 {
            replace_a_visitor(room, server, visitors);
            room.turn();
        }
    }
}

fn turn_until_all_is_heard(room: &mut Room, rounds: usize) {
    let ended = |person: &&Person| person.gone == Some(Way::Ends);
    let left = room.people.iter().filter(ended).count();
    let said = TALKERS * rounds + rounds * VISITORS / 2;
    while room.reliable < said + left {
        room.turn();
    }
    room.turn_until_all_have_joined();
}

#[test]
fn five_hundred_members_hear_the_same() {
    let _turn = one_at_a_time();
    let _ = raise_own_descriptor_limit();
    // In plain mode each arrival and leave is announced by itself.
    let server = chat(&["--plain", "--high-water", "1MiB", "--quiet"]).start();
    let mut room = gather(&server);
    let rounds = talk(&mut room, &server);
    let present: Vec<usize> = room.present().collect();
    room.turn_until_the_leaving_are_gone();
    server.stats_until("all reset members are gone", |stats| {
        stats.get("connections") == present.len() as u64
    });

    let last = TALKERS;
    room.crowd.say(last, "the end");
    let the_end = format!("[t{last}] the end");
    let (deaf, hearing): (Vec<usize>, Vec<usize>) = present
        .into_iter()
        .filter(|who| *who != last)
        .partition(|who| DEAF.contains(who));
    room.turn_until_heard(&the_end, &hearing);
    // The members that did not read have lost no line.
    DEAF.for_each(|who| room.crowd.set_deaf(who, false));
    room.turn_until_heard(&the_end, &deaf);

    let minutes = room.minutes();
    let all = room.numbers.len();
    assert_eq!(minutes.len(), all, "a line came twice, or to some only");
    check_talkers(&minutes[..all - 1], rounds);
    for person in &room.people[OBSERVER + 1..] {
        check_listener(person, &minutes);
    }
}
