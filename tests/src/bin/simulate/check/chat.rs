//! The chat: one order of lines, each line once to each member, and all lines to members that were
//! there and were not cut.
//!
//! Every line that is said carries a mark, `<CLIENT-NUMBER>`, by which it is known wherever it turns
//! up.

use std::collections::{BTreeMap, BTreeSet};

use super::found::Found;
use crate::plan::{Door, Plan, Step};
use crate::world::World;
use crate::world::client::{Client, End};

/// A line that was said: its client, and its number.
type Mark = (usize, usize);

/// A line that a client has received.
struct Heard<'a> {
    text: &'a str,
    mark: Option<Mark>,
    /// The line is from the history of a room.
    is_old: bool,
    /// Bytes received up to its end.
    end: usize,
}

pub(super) fn check(plan: &Plan, world: &World) -> Found {
    let said = said(plan);
    let mut orders = Vec::new();
    for (index, client) in people(world) {
        let text = String::from_utf8_lossy(&client.received);
        let heard = lines(&text);
        well_formed(index, &heard)?;
        texts_are_right(plan, index, &heard, &said)?;
        once_and_in_order(index, &heard)?;
        last_words_arrive(plan, world, index, client)?;
        motd_was_shown(plan, index, client, &heard)?;
        let is_order = |line: &&Heard<'_>| {
            !line.is_old && !line.text.starts_with('[') || line.text.split(' ').nth(1) != Some("to")
        };
        let new = heard.iter().filter(|line| !line.is_old).filter(is_order);
        orders.push(new.filter_map(|line| line.mark).collect::<Vec<_>>());
    }
    one_order(&orders)?;
    match is_simple(plan) {
        true => nothing_is_missing(plan, world),
        false => Ok(()),
    }
}

fn people(world: &World) -> impl Iterator<Item = (usize, &Client)> {
    let is_person = |client: &Client| matches!(client.plan.door, Door::Tcp | Door::Unix);
    let clients = world.clients.iter().enumerate();
    clients.filter(move |(_, client)| is_person(client))
}

/// The whole lines of a text.
fn lines(text: &str) -> Vec<Heard<'_>> {
    let mut end = 0;
    let mut lines = Vec::new();
    for line in text.split_inclusive('\n') {
        end += line.len();
        if let Some(text) = line.strip_suffix('\n') {
            let age = text
                .strip_prefix("* ")
                .and_then(|rest| rest.split_once(' '));
            lines.push(Heard {
                text,
                mark: mark(text),
                is_old: age.is_some_and(|(_, rest)| rest.starts_with("ago ")),
                end,
            });
        }
    }
    lines
}

fn mark(line: &str) -> Option<Mark> {
    let inner = line.split_once('<')?.1.split_once('>')?.0;
    let (client, number) = inner.split_once('-')?;
    Some((client.parse().ok()?, number.parse().ok()?))
}

/// The text from its mark on, for each line that a client sends.
fn said(plan: &Plan) -> BTreeMap<Mark, String> {
    let mut said = BTreeMap::new();
    for client in &plan.clients {
        let sends = client.steps.iter().filter_map(|step| match step {
            Step::Send(text) => Some(text.as_str()),
            _ => None,
        });
        let text: String = sends.collect();
        for line in text.lines() {
            if let (Some(mark), Some(at)) = (mark(line), line.find('<')) {
                said.insert(mark, line[at..].trim_end_matches('\r').to_owned());
            }
        }
    }
    said
}

fn well_formed(index: usize, heard: &[Heard<'_>]) -> Found {
    let begins = ["Welcome! ", "* ", "[", "** "];
    for line in heard {
        if !begins.iter().any(|begin| line.text.starts_with(begin)) {
            return Err(("lines", format!("client {index} received: {}", line.text)));
        }
        if let Some(names) = line.text.strip_prefix("* The room contains: ") {
            let mut known = BTreeSet::new();
            if let Some(twice) = names
                .split(", ")
                .find(|name| !known.insert(name.to_lowercase()))
            {
                return Err(("names", format!("client {index} sees {twice} twice")));
            }
        }
    }
    Ok(())
}

/// A line has the text that its author sent, whole or cut at the longest line, and does not come back
/// to its author.
fn texts_are_right(
    plan: &Plan,
    index: usize,
    heard: &[Heard<'_>],
    said: &BTreeMap<Mark, String>,
) -> Found {
    let longest = longest_line(plan);
    for line in heard {
        let (Some(mark), Some(at)) = (line.mark, line.text.find('<')) else {
            continue;
        };
        let got = &line.text[at..];
        let is_right = said.get(&mark).is_some_and(|sent| {
            let is_farewell =
                line.text.ends_with(')') && line.text.contains(" has left the room (");
            let got = if is_farewell {
                &got[..got.len() - 1]
            } else {
                got
            };
            // An end of a stream may cut the last line, too.
            sent == got
                || sent.starts_with(got) && (sent.len() + 60 > longest || is_cut(plan, mark))
        });
        if !is_right {
            return Err((
                "lines",
                format!("client {index} received what was not said: {}", line.text),
            ));
        }
        let is_own = mark.0 == index && !line.is_old && !line.text.starts_with("[you to ");
        if is_own {
            return Err((
                "lines",
                format!("client {index} heard its own line: {}", line.text),
            ));
        }
    }
    Ok(())
}

fn longest_line(plan: &Plan) -> usize {
    plan.bytes("max-line").unwrap_or(4096)
}

/// Whether the client's stream may end within this line: only its last one.
fn is_cut(plan: &Plan, (client, number): Mark) -> bool {
    let later = said(plan)
        .into_keys()
        .any(|(other, later)| other == client && later > number);
    !later
        || plan.clients[client]
            .steps
            .iter()
            .any(|step| matches!(step, Step::Wait(_)))
}

fn once_and_in_order(index: usize, heard: &[Heard<'_>]) -> Found {
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    for line in heard.iter().filter(|line| !line.is_old) {
        let Some((client, number)) = line.mark else {
            continue;
        };
        if last
            .insert(client, number)
            .is_some_and(|before| before >= number)
        {
            let text = format!("client {index}: again or out of order: {}", line.text);
            return Err(("order", text));
        }
    }
    Ok(())
}

/// A client that is dismissed, or leaves with `/quit`, is not reset: a reset would destroy the words
/// that are on their way to it. Three ends are without words.
fn last_words_arrive(plan: &Plan, world: &World, index: usize, client: &Client) -> Found {
    let is_rough = plan.option("max-per-ip").is_some()
        || plan.option("idle-timeout").is_some()
        || plan.has("--operator");
    let before_stop = world.stopped_at.is_none_or(|at| client.end_ns < at);
    let is_reset = client.end == Some(End::Reset) && client.excuse.is_none();
    match is_reset && before_stop && !is_rough {
        true => Err(("reset", format!("client {index} was reset for nothing"))),
        false => Ok(()),
    }
}

/// A member that was there when all was quiet has seen the whole message of the day.
fn motd_was_shown(plan: &Plan, index: usize, client: &Client, heard: &[Heard<'_>]) -> Found {
    let Some(motd) = plan.option("motd") else {
        return Ok(());
    };
    if client.settled.is_none() || client.excuse.is_some() || !has_joined(heard) {
        return Ok(());
    }
    let mut shown = heard.iter().map(|line| line.text);
    let is_shown = motd
        .lines()
        .all(|line| shown.any(|shown| shown.strip_prefix("* ") == Some(line)));
    match is_shown {
        true => Ok(()),
        false => Err((
            "motd",
            format!("client {index} has not seen the message of the day"),
        )),
    }
}

fn is_entry(line: &Heard<'_>) -> bool {
    line.text.starts_with("* The room contains: ") || line.text == "* The room is empty"
}

fn has_joined(heard: &[Heard<'_>]) -> bool {
    heard.iter().any(is_entry)
}

/// There is an order of all lines that agrees with what every client has seen.
fn one_order(orders: &[Vec<Mark>]) -> Found {
    let mut after: BTreeMap<Mark, BTreeSet<Mark>> = BTreeMap::new();
    let mut before: BTreeMap<Mark, usize> = BTreeMap::new();
    for order in orders {
        for mark in order {
            after.entry(*mark).or_default();
            before.entry(*mark).or_default();
        }
        for pair in order.windows(2) {
            if after.entry(pair[0]).or_default().insert(pair[1]) {
                *before.entry(pair[1]).or_default() += 1;
            }
        }
    }
    let mut free: Vec<Mark> = Vec::new();
    free.extend(
        before
            .iter()
            .filter(|(_, count)| **count == 0)
            .map(|(mark, _)| *mark),
    );
    let mut placed = 0;
    while let Some(mark) = free.pop() {
        placed += 1;
        for next in &after[&mark] {
            if let Some(count) = before.get_mut(next) {
                *count -= 1;
                if *count == 0 {
                    free.push(*next);
                }
            }
        }
    }
    match placed < before.len() {
        true => Err((
            "order",
            "two members have seen two lines in different orders".into(),
        )),
        false => Ok(()),
    }
}

/// Whether all members are in one room from their first line to their end.
fn is_simple(plan: &Plan) -> bool {
    plan.clients.iter().all(|client| {
        client.steps.iter().all(|step| match step {
            Step::Send(text) => text.lines().all(|line| !line.starts_with('/')),
            _ => true,
        })
    })
}

/// A member that was there hears each line that was said after it had come, if its author was there
/// to the end, or another member has heard it.
fn nothing_is_missing(plan: &Plan, world: &World) -> Found {
    let texts: Vec<(usize, &Client, std::borrow::Cow<'_, str>)> = people(world)
        .map(|(index, client)| (index, client, String::from_utf8_lossy(&client.received)))
        .collect();
    let heard: Vec<(usize, &Client, Vec<Heard<'_>>)> = texts
        .iter()
        .map(|(index, client, text)| (*index, *client, lines(text)))
        .collect();
    let marks = heard.iter().flat_map(|(_, _, heard)| heard);
    let heard_by_any: BTreeSet<Mark> = marks.filter_map(|line| line.mark).collect();
    for (index, client, heard) in &heard {
        let Some(settled) = client.settled.filter(|_| client.excuse.is_none()) else {
            continue;
        };
        let Some(entry) = heard.iter().find(|line| is_entry(line)) else {
            continue;
        };
        let joined = time_of(&client.received_at, entry.end);
        let seen = heard.iter().filter(|line| line.end <= settled);
        let seen: BTreeSet<Mark> = seen.filter_map(|line| line.mark).collect();
        for (author, other) in world.clients.iter().enumerate() {
            if author == *index {
                continue;
            }
            for (mark, at) in sent_lines(plan, other) {
                let is_due = at > joined
                    && (heard_by_any.contains(&mark) || is_heard_to_the_end(world, author));
                if is_due && !seen.contains(&mark) {
                    let text = format!("client {index} has missed the line {mark:?}");
                    return Err(("missing", text));
                }
            }
        }
    }
    Ok(())
}

/// Whether all that a client has sent counts: it was a member, or the operator, until all was quiet.
fn is_heard_to_the_end(world: &World, author: usize) -> bool {
    let client = &world.clients[author];
    let is_there = client.excuse.is_none() && client.settled.is_some();
    let text = String::from_utf8_lossy(&client.received);
    let is_member = client.plan.door == Door::Stdin || has_joined(&lines(&text));
    is_there && is_member && client.end != Some(End::Own)
}

/// The lines that a client has sent, and when each was complete: a carriage return ends it, whenever
/// its newline comes, and so does the byte that makes it too long.
fn sent_lines(plan: &Plan, client: &Client) -> Vec<(Mark, u64)> {
    let text = String::from_utf8_lossy(&client.sent);
    let longest = longest_line(plan);
    let end = |line: &Heard<'_>| {
        let start = line.end - line.text.len() - 1;
        (line.end - usize::from(line.text.ends_with('\r'))).min(start + longest)
    };
    let marked = |line: &Heard<'_>| Some((line.mark?, time_of(&client.sent_at, end(line))));
    lines(&text).iter().filter_map(marked).collect()
}

/// When so many bytes had gone.
fn time_of(times: &[(usize, u64)], bytes: usize) -> u64 {
    let at = times.partition_point(|(count, _)| *count < bytes);
    times.get(at).map_or(u64::MAX, |(_, at)| *at)
}
