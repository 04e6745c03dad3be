//! The chat compared with a small model of it, over random steps in any order.
//!
//! The model knows no bytes, ids, places or counts. It has people, each with a room and the text that
//! the person must have seen. Each [`Step`] is applied to the chat and to the model (`Both::run`), and
//! afterwards every connection must have seen exactly the model's text.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId};
use proptest::prelude::*;
use proptest::sample::select;

use super::later::{self, Later};
use super::{EMPTY, Party, WELCOME};
use crate::chat::text;

/// An action of a client, of the operator, or of time. The number is that of a client's seat.
#[derive(Clone, Debug)]
enum Step {
    /// A client connects, if the seat is free.
    Connect(usize),
    /// A line is sent, whole or without its end.
    Line(usize, Line),
    Begin(usize, String),
    /// Several lines in one piece.
    Lines(usize, Vec<Line>),
    Eof(usize),
    Lost(usize, Closed),
    Kick(usize),
    Operator(String),
    /// A number of seconds passes.
    Wait(u64),
}

#[derive(Clone, Debug)]
enum Line {
    Text(String),
    Me(String),
    Nick(String),
    Join(String),
    Msg(String, String),
    Ignore(String),
    Quit(String),
    /// A name, legal or not; from a member it is an ordinary line.
    Name(String),
    Nonsense,
}

impl Line {
    fn sent(&self) -> String {
        match self {
            Line::Text(text) => text.clone(),
            Line::Me(text) => format!("/me {text}"),
            Line::Nick(name) => format!("/nick {name}"),
            Line::Join(room) => format!("/join {room}"),
            Line::Msg(to, text) => format!("/msg {to} {text}"),
            Line::Ignore(name) => format!("/ignore {name}"),
            Line::Quit(text) => format!("/quit {text}"),
            Line::Name(name) => name.clone(),
            Line::Nonsense => "/nonsense".to_owned(),
        }
    }
}

/// A client that is connected.
#[derive(Clone, Debug, Default)]
struct Person {
    name: Option<String>,
    room: String,
    /// Ignored names in small letters, each with the name that was typed.
    ignored: BTreeMap<String, String>,
    /// An incomplete line.
    begun: String,
    deadline: u64,
}

const HISTORY: usize = 2;
const LOGIN_TIMEOUT: u64 = 60;
const SEATS: usize = 5;

#[derive(Default)]
struct Model {
    now: u64,
    people: BTreeMap<ConnId, Person>,
    /// The text that each client must have seen, also after it has left.
    seen: BTreeMap<ConnId, String>,
    /// The lines of each room: time, author and text.
    history: BTreeMap<String, Vec<(u64, String, String)>>,
    /// Names on ignore lists in small letters, each as the first list spelt it.
    written: BTreeMap<String, String>,
    /// Names that were kicked, with the end of each ban.
    banned: BTreeMap<String, u64>,
}

fn small(name: &str) -> String {
    name.to_lowercase()
}

impl Model {
    fn connects(&mut self, id: ConnId) {
        let deadline = self.now + LOGIN_TIMEOUT;
        let person = Person {
            deadline,
            ..Person::default()
        };
        self.people.insert(id, person);
        self.sees(id, WELCOME);
    }

    fn sees(&mut self, id: ConnId, text: &str) {
        self.seen.entry(id).or_default().push_str(text);
    }

    /// The others in the room of `id`.
    fn others(&self, id: ConnId) -> Vec<ConnId> {
        let room = &self.people[&id].room;
        let there = |(other, person): &(&ConnId, &Person)| {
            **other != id && person.name.is_some() && person.room == *room
        };
        self.people
            .iter()
            .filter(there)
            .map(|(&other, _)| other)
            .collect()
    }

    /// Shows a text to the others in the room of `id`, except for those that ignore `name`.
    fn some_see(&mut self, id: ConnId, name: &str, text: &str) {
        for other in self.others(id) {
            if !self.people[&other].ignored.contains_key(&small(name)) {
                self.sees(other, text);
            }
        }
    }

    fn says(&mut self, id: ConnId, text: &str) {
        let name = self.people[&id].name.clone().unwrap();
        self.some_see(id, &name, text);
        let history = self
            .history
            .entry(self.people[&id].room.clone())
            .or_default();
        history.push((self.now, small(&name), text.to_owned()));
        if history.len() > HISTORY {
            history.remove(0);
        }
    }

    fn with_name(&self, name: &str) -> Option<ConnId> {
        let has_it = |person: &Person| person.name.as_deref().map(small) == Some(small(name));
        self.people
            .iter()
            .find(|(_, person)| has_it(person))
            .map(|(&id, _)| id)
    }

    fn refusal(&self, id: ConnId, name: &str) -> Option<&'static str> {
        if name.is_empty() {
            return Some("* a name needs at least one letter or digit\n");
        }
        if !name.chars().all(|char| char.is_ascii_alphanumeric()) {
            return Some("* a name has letters and digits only\n");
        }
        if name.len() > 32 {
            return Some("* a name has 32 characters at the most\n");
        }
        if small(name) == "operator" {
            return Some("* this name is reserved\n");
        }
        if self
            .banned
            .get(&small(name))
            .is_some_and(|&until| until > self.now)
        {
            return Some("* this name or your address is banned\n");
        }
        let is_own = self.people[&id].name.as_deref() == Some(name);
        let other = self.with_name(name).filter(|&other| other != id || is_own);
        other.map(|_| "* this name is taken\n")
    }

    fn enters(&mut self, id: ConnId, room: &str) {
        room.clone_into(&mut self.people.get_mut(&id).unwrap().room);
        let mut names: Vec<String> = self
            .others(id)
            .iter()
            .filter_map(|other| self.people[other].name.clone())
            .collect();
        names.sort();
        let list = match names.is_empty() {
            true => EMPTY.to_owned(),
            false => format!("* The room contains: {}\n", names.join(", ")),
        };
        self.sees(id, &list);
        for (at, author, line) in self.history.get(room).cloned().unwrap_or_default() {
            if self.people[&id].ignored.contains_key(&author) {
                continue;
            }
            let age = text::age(Duration::from_secs(self.now - at));
            self.sees(id, &format!("* {age} {line}"));
        }
        let name = self.people[&id].name.clone().unwrap();
        self.steps(id, &name, " has entered the room", "");
    }

    fn leaves_room(&mut self, id: ConnId, farewell: &str) {
        let Some(name) = self.people[&id].name.clone() else {
            return;
        };
        let farewell = match farewell {
            "" => String::new(),
            words => format!(" ({words})"),
        };
        self.steps(id, &name, " has left the room", &farewell);
        let room = self.people[&id].room.clone();
        if self.others(id).is_empty() && room != "lobby" {
            self.history.remove(&room);
        }
    }

    /// Shows a step of `id`. A person that ignores it sees the name on its own list, without farewell.
    fn steps(&mut self, id: ConnId, name: &str, step: &str, farewell: &str) {
        for other in self.others(id) {
            let told = match self.people[&other].ignored.get(&small(name)) {
                Some(written) => format!("* {}{step}\n", self.written[written]),
                None => format!("* {name}{step}{farewell}\n"),
            };
            self.sees(other, &told);
        }
    }

    fn leaves(&mut self, id: ConnId, farewell: &str) {
        if self.people.contains_key(&id) {
            self.leaves_room(id, farewell);
            self.people.remove(&id);
            self.forget_names();
        }
    }

    /// Processes a line, after the part of it that came before.
    fn line(&mut self, id: ConnId, line: &Line) {
        let Some(person) = self.people.get_mut(&id) else {
            return;
        };
        let begun = std::mem::take(&mut person.begun);
        let named = person.name.is_some();
        if !named {
            self.name(id, &(begun + &line.sent()));
        } else if begun.is_empty() {
            self.act(id, line);
        } else {
            self.act(id, &Line::Text(begun + &line.sent()));
        }
    }

    fn name(&mut self, id: ConnId, name: &str) {
        let name = name.trim();
        if let Some(refusal) = self.refusal(id, name) {
            self.sees(id, refusal);
            self.people.remove(&id);
        } else {
            self.people.get_mut(&id).unwrap().name = Some(name.to_owned());
            self.enters(id, "lobby");
        }
    }

    fn act(&mut self, id: ConnId, line: &Line) {
        let person = self.people[&id].clone();
        let name = person.name.unwrap();
        match line {
            Line::Text(text) | Line::Name(text) if text.is_empty() => {}
            Line::Text(text) | Line::Name(text) => self.says(id, &format!("[{name}] {text}\n")),
            Line::Me(text) => self.says(id, &format!("** {name} {text}\n")),
            Line::Nick(new) => {
                if let Some(refusal) = self.refusal(id, new) {
                    return self.sees(id, refusal);
                }
                self.people.get_mut(&id).unwrap().name = Some(new.clone());
                self.some_see(id, &name, &format!("* {name} is now known as {new}\n"));
                self.follows(&name, new);
                self.sees(id, &format!("* you are now known as {new}\n"));
            }
            Line::Join(room) if small(room) == small(&person.room) => {
                self.sees(id, &format!("* you are in {}\n", person.room));
            }
            Line::Join(room) => {
                let joined = self.people.values().filter(|person| person.name.is_some());
                let mut rooms = joined.map(|person| person.room.clone());
                let known = rooms.find(|known| small(known) == small(room));
                let room = &known.unwrap_or(room.clone());
                self.leaves_room(id, "");
                self.sees(id, &format!("* you are in {room} now\n"));
                self.enters(id, room);
            }
            Line::Msg(to, text) => self.whispers(id, &name, to, text),
            Line::Ignore(whom) => self.ignores(id, whom),
            Line::Quit(text) => self.leaves(id, text),
            Line::Nonsense => self.sees(id, "* unknown command: /help lists them\n"),
        }
    }

    fn whispers(&mut self, id: ConnId, name: &str, to: &str, text: &str) {
        match self.with_name(to) {
            None => self.sees(id, "* nobody has this name\n"),
            Some(other) if other == id => self.sees(id, "* that is you\n"),
            Some(other) => {
                if !self.people[&other].ignored.contains_key(&small(name)) {
                    self.sees(other, &format!("[{name} to you] {text}\n"));
                }
                let to = self.people[&other].name.clone().unwrap();
                self.sees(id, &format!("[you to {to}] {text}\n"));
            }
        }
    }

    fn ignores(&mut self, id: ConnId, whom: &str) {
        let other = self.with_name(whom);
        let name = other.and_then(|other| self.people[&other].name.clone());
        let absent = match name {
            Some(_) => "",
            None => " (nobody has this name now)",
        };
        let (name, person) = (
            name.unwrap_or(whom.to_owned()),
            self.people.get_mut(&id).unwrap(),
        );
        let told = if small(whom) == "operator" {
            "this name is reserved".to_owned()
        } else if other == Some(id) {
            "that is you".to_owned()
        } else if let Some(written) = person.ignored.get(&small(whom)).cloned() {
            person.ignored.retain(|_, other| *other != written);
            format!("you hear {name} again{absent}")
        } else {
            person.ignored.insert(small(whom), small(whom));
            self.written.entry(small(whom)).or_insert(name.clone());
            format!("you do not hear {name} any more{absent}")
        };
        self.forget_names();
        self.sees(id, &format!("* {told}\n"));
    }

    /// Adds the new name to the lists that have the old one.
    fn follows(&mut self, old: &str, new: &str) {
        for person in self.people.values_mut() {
            if let Some(written) = person.ignored.get(&small(old)).cloned() {
                person.ignored.entry(small(new)).or_insert(written);
                self.written.entry(small(new)).or_insert(new.to_owned());
            }
        }
    }

    fn forget_names(&mut self) {
        let people = &self.people;
        let is_ignored = |name: &String| {
            people
                .values()
                .any(|person| person.ignored.contains_key(name))
        };
        self.written.retain(|name, _| is_ignored(name));
    }

    /// Ends a stream. An incomplete line is said.
    fn ends(&mut self, id: ConnId) {
        if self
            .people
            .get(&id)
            .is_some_and(|person| !person.begun.is_empty())
        {
            self.line(id, &Line::Text(String::new()));
        }
        self.leaves(id, "");
    }

    fn waits(&mut self, seconds: u64) {
        self.now += seconds;
        let late =
            |(_, person): &(&ConnId, &Person)| person.name.is_none() && person.deadline <= self.now;
        let late: Vec<ConnId> = self.people.iter().filter(late).map(|(&id, _)| id).collect();
        for id in late {
            self.people.remove(&id);
            self.sees(id, "* you gave no name in time\n");
        }
    }
}

/// The real chat and the model, side by side.
struct Both {
    party: Party,
    model: Model,
    stdin: ConnId,
    seats: [Option<ConnId>; SEATS],
    /// The log of the chat is read after each line.
    is_later: bool,
}

impl Both {
    fn new(is_later: bool) -> Both {
        let mut party = Party::with(|settings| {
            settings.rate = 0;
            settings.history = HISTORY;
            settings.login_timeout = Duration::from_secs(LOGIN_TIMEOUT);
        });
        if is_later {
            Later::install(&mut party);
        }
        let (stdin, _) = party.operator();
        Both {
            party,
            model: Model::default(),
            stdin,
            seats: [None; SEATS],
            is_later,
        }
    }

    fn read_log(&mut self) {
        if self.is_later {
            later::read(&mut self.party);
        }
    }

    fn run(&mut self, step: &Step) {
        if let Step::Connect(seat) = step {
            let id = self.seats[*seat].get_or_insert_with(|| self.party.script.open());
            if !self.model.seen.contains_key(id) {
                self.model.connects(*id);
            }
        }
        let sitting = |seat: &usize| self.seats[*seat];
        match step {
            Step::Line(seat, line) => self.lines(sitting(seat), std::slice::from_ref(line)),
            Step::Lines(seat, lines) => self.lines(sitting(seat), lines),
            Step::Begin(seat, text) => {
                if let Some(id) = sitting(seat) {
                    self.party.sends(id, text.as_bytes());
                    let person = self.model.people.get_mut(&id);
                    person.unwrap().begun.push_str(text);
                }
            }
            Step::Eof(seat) => {
                if let Some(id) = sitting(seat) {
                    self.party.script.eof(id);
                    self.model.ends(id);
                }
            }
            Step::Lost(seat, why) => {
                if let Some(id) = sitting(seat) {
                    self.party.script.close(id, *why);
                    self.model.leaves(id, "");
                }
            }
            Step::Kick(seat) => self.kick(sitting(seat)),
            Step::Operator(text) => {
                self.party.says(self.stdin, text);
                let joined = |person: &Person| person.name.is_some();
                let people = self.model.people.clone();
                for (id, _) in people.iter().filter(|(_, person)| joined(person)) {
                    self.model.sees(*id, &format!("* operator: {text}\n"));
                }
            }
            Step::Wait(seconds) => {
                self.party.seconds_pass(*seconds);
                self.model.waits(*seconds);
            }
            Step::Connect(_) => {}
        }
        self.read_log();
        for seat in &mut self.seats {
            seat.take_if(|id| !self.model.people.contains_key(id));
        }
    }

    fn lines(&mut self, id: Option<ConnId>, lines: &[Line]) {
        let Some(id) = id else { return };
        let lines_sent: Vec<String> = lines.iter().map(|line| line.sent() + "\n").collect();
        if self.is_later {
            for line in lines_sent {
                self.party.sends(id, line.as_bytes());
                self.read_log();
            }
        } else {
            self.party.sends(id, lines_sent.concat().as_bytes());
        }
        lines.iter().for_each(|line| self.model.line(id, line));
    }

    fn kick(&mut self, id: Option<ConnId>) {
        let person = id.and_then(|id| self.model.people.get(&id));
        if let (Some(id), Some(name)) = (id, person.and_then(|person| person.name.clone())) {
            self.party.says(self.stdin, &format!("/kick {name}"));
            let until = self.model.now + 300;
            self.model.banned.insert(small(&name), until);
            self.model.sees(id, "* you were asked to leave\n");
            self.model.leaves(id, "");
        }
    }

    /// Checks that each client has seen the model's text, and nothing else.
    fn compare(&mut self) {
        self.party.check();
        for (&id, expected) in &mut self.model.seen {
            let heard = self.party.hears(id);
            let seen: String = heard.split_inclusive('\n').map(sorted).collect();
            assert_eq!(seen, std::mem::take(expected), "{id:?}");
            let is_there = self.model.people.contains_key(&id);
            assert_eq!(self.party.is_closed(id), !is_there);
        }
    }
}

/// The names of those present come in no particular order.
fn sorted(line: &str) -> String {
    match line.strip_prefix("* The room contains: ") {
        Some(names) => {
            let mut names: Vec<&str> = names.trim_end().split(", ").collect();
            names.sort_unstable();
            format!("* The room contains: {}\n", names.join(", "))
        }
        None => line.to_owned(),
    }
}

fn name() -> impl Strategy<Value = String> {
    select(&["a", "b", "c", "C", "Operator", "5s"][..]).prop_map(str::to_owned)
}

fn any_name() -> impl Strategy<Value = String> {
    let long = "x".repeat(33);
    prop_oneof![
        12 => name(),
        1 => Just(String::new()),
        1 => Just("no name".to_owned()),
        1 => Just(long),
    ]
}

fn words() -> impl Strategy<Value = String> {
    "[a-z] ?[a-z]{0,6}"
}

fn line() -> impl Strategy<Value = Line> {
    let room = select(&["lobby", "dev", "Dev", "tea-room"][..]).prop_map(str::to_owned);
    prop_oneof![
        6 => words().prop_map(Line::Text),
        1 => words().prop_map(Line::Me),
        // A farewell is never empty here.
        2 => name().prop_map(Line::Nick),
        3 => room.prop_map(Line::Join),
        2 => (name(), words()).prop_map(|(to, text)| Line::Msg(to, text)),
        2 => name().prop_map(Line::Ignore),
        1 => words().prop_map(Line::Quit),
        4 => any_name().prop_map(Line::Name),
        1 => Just(Line::Nonsense),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let seat = || 0..SEATS;
    let lost = select(
        &[
            Closed::Reset,
            Closed::SlowConsumer,
            Closed::Stalled,
            Closed::Idle,
        ][..],
    );
    prop_oneof![
        6 => seat().prop_map(Step::Connect),
        6 => (seat(), any_name()).prop_map(|(seat, name)| Step::Line(seat, Line::Name(name))),
        10 => (seat(), line()).prop_map(|(seat, line)| Step::Line(seat, line)),
        3 => (seat(), prop::collection::vec(line(), 1..5)).prop_map(|(seat, lines)| Step::Lines(seat, lines)),
        2 => (seat(), "[a-z]{1,3}").prop_map(|(seat, text)| Step::Begin(seat, text)),
        1 => seat().prop_map(Step::Eof),
        1 => (seat(), lost).prop_map(|(seat, why)| Step::Lost(seat, why)),
        1 => seat().prop_map(Step::Kick),
        1 => words().prop_map(Step::Operator),
        1 => (0..40u64).prop_map(Step::Wait),
    ]
}

fn compare(steps: &[Step], is_later: bool) {
    let mut both = Both::new(is_later);
    for step in steps {
        both.run(step);
        both.compare();
    }
    for seat in 0..SEATS {
        both.run(&Step::Eof(seat));
    }
    both.compare();
    both.party.check_forgotten();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn each_has_seen_exactly_what_the_model_says(steps in prop::collection::vec(step(), 1..120)) {
        compare(&steps, false);
    }

    #[test]
    fn a_log_that_is_read_later_makes_no_difference(steps in prop::collection::vec(step(), 1..120)) {
        compare(&steps, true);
    }
}
