//! The work that each command causes for the bytes that it has: a table of bounds, for the smallest
//! and the largest command of each kind, in a room of a thousand and among a thousand rooms.
//!
//! Units are the reactor's ([`Outbox::charge`](edgeloop_reactor::Outbox::charge)): input, output,
//! callbacks, and what the chat says that it has looked at. The commands come from the list that
//! `/help` shows, and each kind of [`Command`] has to be among them, so that a new one needs a bound.
//! Announcements that a timer makes later are not counted here but in `storms.rs`.

use std::collections::HashSet;
use std::mem::discriminant;

use edgeloop_reactor::ConnId;

use super::Party;
use crate::chat::bounds::ENTRY;
use crate::chat::command::{Command, HELP};

const CROWD: usize = 1000;
/// The longest line, in bytes.
const LINE_MAX: usize = 4096;

/// Most units for a byte of a command, and for a byte of it that a hearer is told: each byte is
/// read, looked at, and sent at most twice.
const FOR_A_BYTE: usize = 4;
const FOR_A_TOLD_BYTE: usize = 2;

/// Most units of a command, besides those for its bytes.
#[derive(Clone, Copy, Debug)]
struct Bound {
    once: usize,
    /// For each other member of the author's room. Not 0 for what the room is told only: such lines
    /// are what `--rate`, and the weight of a line to many, are for.
    for_a_hearer: usize,
}

/// The answer to its author is all that a command causes.
const ANSWER: Bound = Bound {
    once: 5_000,
    for_a_hearer: 0,
};
/// A list looks at so many entries and one more, whatever there is.
const LIST: Bound = Bound {
    once: 5_000 + 101 * ENTRY,
    for_a_hearer: 0,
};
/// The room is told.
const TOLD: Bound = Bound {
    once: 5_000,
    for_a_hearer: 600,
};

/// Declares the bounds by kind, with the number of kinds. There is no arm for all others: a new command
/// does not compile without one.
macro_rules! bounds {
    ($($kind:pat => $bound:expr,)*) => {
        fn bound(command: &Command<'_>) -> Bound {
            match command { $($kind => $bound,)* }
        }

        const KINDS: usize = [$(stringify!($kind)),*].len();
    };
}

bounds! {
    Command::Say(_) => TOLD,
    Command::Me(_) => TOLD,
    Command::Join(_) => TOLD,
    Command::Nick(_) => TOLD,
    Command::Quit(_) => TOLD,
    Command::Who => LIST,
    Command::Rooms => LIST,
    Command::Msg { .. } => ANSWER,
    Command::Ignore(_) => ANSWER,
    Command::Help => ANSWER,
    Command::Usage(_) => ANSWER,
    Command::Unknown => ANSWER,
}

/// The commands of `/help` with short and long arguments of each kind, and what `/help` does not
/// list: itself, an ordinary line, and an unknown command.
fn commands() -> Vec<String> {
    let mut commands = vec!["/help".into(), "/nonsense".into(), "a".into()];
    commands.push("x".repeat(LINE_MAX));
    for line in HELP.lines() {
        let syntax = line.strip_prefix("* ").expect("a line of the server");
        let (syntax, _) = syntax.split_once("  ").expect("two columns");
        commands.extend(syntax.split(' ').next().map(str::to_owned));
        for name in ["n1", "nobody", "r7", "lobby", "no/name"] {
            for text in [1, 100, LINE_MAX - 100].map(|length| "x".repeat(length)) {
                let command = syntax.replace(['[', ']'], "");
                let command = command.replace("ROOM", name).replace("NAME", name);
                commands.push(command.replace("TEXT", &text));
            }
        }
    }
    commands.sort();
    commands.dedup();
    commands
}

/// A member that has something to say, in a lobby of a thousand, all of which ignore another one.
fn in_a_crowd() -> (Party, ConnId) {
    let mut party = Party::with(|settings| settings.rate = 0);
    let ids: Vec<ConnId> = (0..CROWD).map(|n| party.join(&format!("n{n}"))).collect();
    for &id in &ids {
        party.says(id, "/ignore absent");
    }
    party.seconds_pass(10);
    (party, ids[0])
}

/// A member in the lobby, and a thousand rooms with a member each.
fn among_rooms() -> (Party, ConnId) {
    let mut party = Party::with(|settings| settings.rate = 0);
    let author = party.join("n0");
    for number in 1..=CROWD {
        let id = party.join(&format!("n{number}"));
        party.says(id, &format!("/join r{number}"));
    }
    party.seconds_pass(10);
    (party, author)
}

/// Units of all turns until there is nothing left to do.
fn cost(party: &mut Party, author: ConnId, line: &str) -> usize {
    party.script.arrive(author, format!("{line}\n").as_bytes());
    let mut units = party.script.turn();
    while party.script.has_work() {
        units += party.script.turn();
    }
    units
}

#[test]
fn no_command_costs_more_than_its_bound() {
    let commands = commands();
    let parsed = commands.iter().map(|line| match line.starts_with('/') {
        true => Command::parse(line.as_bytes()),
        false => Command::Say(line.as_bytes()),
    });
    let parsed: Vec<Command<'_>> = parsed.collect();
    let kinds: HashSet<_> = parsed.iter().map(discriminant).collect();
    assert_eq!(kinds.len(), KINDS, "a kind of command is not tried");
    for (scene, hearers) in [(in_a_crowd as fn() -> _, CROWD - 1), (among_rooms, 0)] {
        let (mut party, mut author) = scene();
        for (line, command) in commands.iter().zip(&parsed) {
            let units = cost(&mut party, author, line);
            let bytes = line.len() + 1;
            let Bound { once, for_a_hearer } = bound(command);
            let told = match for_a_hearer {
                0 => 0,
                fixed => hearers * (fixed + FOR_A_TOLD_BYTE * bytes),
            };
            let most = once + FOR_A_BYTE * bytes + told;
            let shown = &line[..line.len().min(40)];
            assert!(
                units <= most,
                "{shown}: {units} units, at most {most} allowed"
            );
            if matches!(command, Command::Join(_) | Command::Quit(_)) {
                (party, author) = scene();
            }
        }
    }
}
