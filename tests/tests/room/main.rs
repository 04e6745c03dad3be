//! `edgeloop chat --backplane redis://...`: one room over several servers and a real Redis, with the
//! faults that both can have.

mod assembly;
mod chaos;
mod commands;
mod links;
mod minutes;
mod names;
mod order;
mod redis_faults;
mod servers;
mod silence;
mod site;

use tests::chat::Guest;

/// Told to all rooms, and to transcripts.
const GAP: &str = "* some lines may be missing here";
/// Told once to each member that talks.
const WAITS: &str = "* what you say waits: this server cannot reach the others";
/// Told to a newcomer.
const PLEASE_WAIT: &str = "* please wait: this server cannot reach the others";
/// Told to a newcomer that has waited for long.
const TRY_LATER: &str = "* this server cannot reach the others: try again later";
/// Told to a member whose name another one has.
const NAME_LOST: &str = "* your name was taken while this server was away: choose another one";

const IS_GONE: &str = " left the room: a server is gone";
const HAS_STOPPED: &str = " left the room: a server has stopped";

/// The names in a line such as `* alice, bob and carol are back`, in the order of the alphabet.
fn people(line: &str, ending: &str) -> Vec<String> {
    let names = line
        .strip_prefix("* ")
        .and_then(|line| line.strip_suffix(ending))
        .unwrap_or_else(|| panic!("{line:?} does not end in {ending:?}"));
    let is_verb = |word: &&str| ["and", "have", "has", "are", "is"].contains(word);
    let names = names.split([' ', ',']).filter(|word| !word.is_empty());
    let mut names: Vec<String> = names
        .filter(|word| !is_verb(word))
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names
}

/// One of these says a word, and each of them hears it at once, nothing else before it.
fn all_hear(guests: &mut [&mut Guest], word: &str) {
    let told = heard_before(guests, word);
    assert!(told.iter().all(Vec::is_empty), "before {word}: {told:#?}");
}

/// The first one says a word that is said once, and each of the others waits for it. Returns what they
/// hear before it.
fn heard_before(guests: &mut [&mut Guest], word: &str) -> Vec<Vec<String>> {
    guests[0].say(word);
    let heard = |guest: &mut Guest| {
        let mut before = Vec::new();
        loop {
            match guest.next() {
                line if line.ends_with(&format!("] {word}")) => return before,
                line => before.push(line),
            }
        }
    };
    let others = guests[1..].iter_mut();
    others.map(|guest| heard(guest)).collect()
}

#[test]
fn lists_of_people_are_read() {
    for (line, ending, names) in [
        ("* bob is back", " back", &["bob"][..]),
        ("* carol and bob are back", " back", &["bob", "carol"]),
        (
            "* dan, bob and carol have left the room: a server is gone",
            IS_GONE,
            &["bob", "carol", "dan"],
        ),
    ] {
        assert_eq!(people(line, ending), names);
    }
}
