//! Checks that all that the members of a room have read has one order, which is that of a transcript.
//!
//! The lines of a room are its *words*, which transcripts have (what members say and do, and their new
//! names), and *steps*, which transcripts do not have (members that come or go). Each line must be
//! unique in its room, and no member may visit a room twice.

use std::collections::{HashMap, HashSet};

use petgraph::algo::toposort;
use petgraph::graphmap::DiGraphMap;

use crate::assembly::{Assembly, Member, Way};

const LOBBY: &str = "lobby";

/// The lines that a member has read in one room, and whether it has gone to another room since.
struct Visit<'a> {
    room: &'a str,
    lines: Vec<&'a str>,
    is_over: bool,
}

/// Whether transcripts have this line of a member.
pub(crate) fn is_word(line: &str) -> bool {
    let said = line.strip_prefix('[').and_then(|line| line.split_once(']'));
    // Not a whisper: `[ann to you] psst`.
    let is_said = said.is_some_and(|(name, _)| !name.contains(' '));
    is_said || line.starts_with("** ") || line.contains(" is now known as ")
}

/// The words of each room in a transcript.
pub(crate) fn words(transcript: &str) -> HashMap<&str, Vec<&str>> {
    let mut rooms: HashMap<&str, Vec<&str>> = HashMap::new();
    for line in transcript.lines() {
        let mut parts = line.splitn(3, ' ');
        let (_time, room, line) = (parts.next(), parts.next(), parts.next());
        let (room, line) = room.zip(line).expect("a time, a room and a line");
        if is_word(line) {
            rooms.entry(room).or_default().push(line);
        }
    }
    for (room, lines) in &rooms {
        let unique: HashSet<&&str> = lines.iter().collect();
        assert_eq!(unique.len(), lines.len(), "a line of {room} came twice");
    }
    rooms
}

/// Checks all members against a transcript.
pub(crate) fn check(assembly: &Assembly, transcript: &str) {
    let rooms = words(transcript);
    let mut sequences = Vec::new();
    for member in assembly.members() {
        let visits = visits(member);
        for visit in &visits {
            check_visit(
                member,
                visit,
                rooms.get(visit.room).map_or(&[], Vec::as_slice),
            );
        }
        sequences.extend(visits);
    }
    check_order(&sequences);
}

fn visits(member: &Member) -> Vec<Visit<'_>> {
    let mut visits: Vec<Visit<'_>> = Vec::new();
    let mut room = LOBBY;
    for line in &member.heard {
        let target = line.strip_prefix("* you are in ");
        if let Some(target) = target.and_then(|line| line.strip_suffix(" now")) {
            room = target;
            visits.iter_mut().for_each(|visit| visit.is_over = true);
        } else if line.starts_with("* The room ") {
            let (lines, is_over) = (Vec::new(), false);
            visits.push(Visit {
                room,
                lines,
                is_over,
            });
        } else if let Some(visit) = visits.last_mut()
            && (is_word(line) || is_step(line))
        {
            visit.lines.push(line);
        }
    }
    visits
}

fn is_step(line: &str) -> bool {
    line.ends_with(" has entered the room") || line.ends_with(" has left the room")
}

/// The names that a member has had.
fn names(member: &Member) -> Vec<&str> {
    let renamed = member.heard.iter();
    let renamed = renamed.filter_map(|line| line.strip_prefix("* you are now known as "));
    std::iter::once(&*member.name).chain(renamed).collect()
}

/// A member has read all words between its coming and its going, each once, in the order of the
/// transcript. Its own first and last words in the room tell when it was certainly there.
fn check_visit(member: &Member, visit: &Visit<'_>, words: &[&str]) {
    let names = names(member);
    let said_by = |line: &str, name: &str| {
        let said = line.strip_prefix('[').or(line.strip_prefix("** "));
        said.is_some_and(|said| {
            said.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([']', ' ']))
        })
    };
    let is_said = |line: &str| names.iter().any(|name| said_by(line, name));
    let is_rename = |line: &str| {
        let renamed = |name: &&str| line.starts_with(&format!("* {name} is now known as "));
        names.iter().any(renamed)
    };
    let is_due = |line: &str| !is_rename(line) && (member.way == Way::Tab || !is_said(line));
    let due: Vec<&str> = words.iter().copied().filter(|line| is_due(line)).collect();
    let heard: Vec<&str> = visit
        .lines
        .iter()
        .copied()
        .filter(|line| is_word(line))
        .collect();
    let about = format!("{} ({:?}) in {}", member.name, member.way, visit.room);
    let start = match heard.first() {
        Some(first) => due.iter().position(|line| line == first),
        None => Some(due.len()),
    };
    let start = start.unwrap_or_else(|| panic!("{about}: {:?} is in no transcript", heard[0]));
    for (place, line) in heard.iter().enumerate() {
        let expected = due.get(start + place).copied();
        assert_eq!(
            expected,
            Some(*line),
            "{about}: another order, or a line lost or told twice"
        );
    }
    let is_own = |line: &&str| is_said(line) || is_rename(line);
    let count_due = |words: &[&str]| words.iter().filter(|line| is_due(line)).count();
    let first = words.iter().position(&is_own);
    let since = first.map_or(due.len(), |first| count_due(&words[..first]));
    let until = match (visit.is_over, member.has_left) {
        (false, false) => due.len(),
        (true, _) => {
            let last = words.iter().rposition(is_own);
            last.map_or(0, |last| count_due(&words[..last]))
        }
        (false, true) => 0,
    };
    let (start, end) = match heard.is_empty() {
        true => (since, since),
        false => (start, start + heard.len()),
    };
    assert!(start <= since, "{about}: lost {:?}", &due[since..start]);
    assert!(end >= until, "{about}: lost {:?}", &due[end..until]);
}

/// There is an order of all lines, steps too, that is the order of every member.
fn check_order(visits: &[Visit<'_>]) {
    let mut numbers: HashMap<(&str, &str), u32> = HashMap::new();
    let mut graph: DiGraphMap<u32, ()> = DiGraphMap::new();
    for visit in visits {
        let mut before = None;
        for line in &visit.lines {
            let next = numbers.len() as u32;
            let number = *numbers.entry((visit.room, line)).or_insert(next);
            graph.add_node(number);
            if let Some(before) = before.replace(number) {
                graph.add_edge(before, number, ());
            }
        }
    }
    if let Err(cycle) = toposort(&graph, None) {
        let lines = numbers
            .iter()
            .filter(|(_, number)| **number == cycle.node_id());
        panic!(
            "two orders around {:?}",
            lines.map(|(line, _)| line).collect::<Vec<_>>()
        );
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    const TRANSCRIPT: &str =
        "T lobby [ann] one\nT lobby [bob] two\nT attic [bob] up\nT lobby [ann] three\n";

    fn is_accepted(ann: &[&str], bob: &[&str]) -> bool {
        let ann = [&["* The room is empty"], ann].concat();
        let bob = [&["* The room contains: ann"], bob].concat();
        let members = [("ann", Way::Tcp, &*ann), ("bob", Way::Web, &*bob)];
        catch_unwind(|| check(&Assembly::of(&members), TRANSCRIPT)).is_ok()
    }

    #[test]
    fn faults_are_found() {
        let (entered, left) = ("* bob has entered the room", "* bob has left the room");
        let up = ["* you are in attic now", "* The room is empty"];
        let good = [&["[ann] one"], &up[..]].concat();
        assert!(is_accepted(&[entered, "[bob] two", left], &good));
        assert!(!is_accepted(&[entered, left], &good), "lost");
        assert!(
            !is_accepted(&[entered, "[bob] two", "[bob] two", left], &good),
            "twice"
        );
        assert!(
            !is_accepted(&[entered, "[ann] one", "[bob] two", left], &good),
            "its own"
        );
        assert!(
            !is_accepted(&[entered, "[bob] two", "[bob] up", left], &good),
            "another room"
        );
        assert!(
            !is_accepted(&[entered, "[bob] two", left], &["[ann] one"]),
            "the end is missing"
        );
        let swapped = [&["[ann] one", left, entered], &up[..]].concat();
        assert!(
            !is_accepted(&[entered, "[bob] two", left], &swapped),
            "another order"
        );
    }

    #[test]
    fn a_word_that_comes_twice_in_a_transcript_is_found() {
        assert!(catch_unwind(|| words("T lobby [ann] one\nT lobby [ann] one\n").len()).is_err());
        assert!(!is_word("[ann to you] psst") && !is_word("* ann has entered the room"));
    }
}
