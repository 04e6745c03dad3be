//! The sink: every line of every client is printed once and in order, and nothing comes back.

use std::collections::{BTreeMap, BTreeSet};

use super::found::{Found, conn_of, cuts_off};
use crate::plan::{Door, Plan};
use crate::world::World;
use crate::world::client::Client;

/// Bytes of a send buffer with which standard output is fast enough for every grace period that
/// counts.
const LARGE_BUFFER: usize = 4_096;

pub(super) fn check(plan: &Plan, world: &World) -> Found {
    let Some(stdout) = world.clients.iter().find(|it| it.plan.door == Door::Stdout) else {
        return Ok(());
    };
    let printed = String::from_utf8_lossy(&stdout.received);
    let lines = printed_lines(&printed)?;
    // In the grace period of a stop, all that waits for standard output has to leave by its buffer.
    let has_time = !world.stopped_early || world.knobs.room_out >= LARGE_BUFFER;
    let is_complete = has_time
        && stdout.end != Some(crate::world::client::End::Own)
        && !cuts_off(plan, world)
        && (stdout.excuse.is_none() || !world.stopped_early);
    for (index, client) in world.clients.iter().enumerate() {
        if client.plan.door == Door::Stdout {
            continue;
        }
        if !client.received.is_empty() {
            return Err(("bytes", format!("client {index} received something")));
        }
        let none = Vec::new();
        let its_lines = lines.get(&index).unwrap_or(&none);
        one_client(plan, world, index, client, its_lines, is_complete)?;
    }
    match is_complete {
        true => all_are_closed(&printed),
        false => Ok(()),
    }
}

/// Each client that was announced has its end, after a stop too.
fn all_are_closed(printed: &str) -> Found {
    let mut open = BTreeSet::new();
    for words in printed
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
    {
        match words[..] {
            ["client", number, "connected", ..] => drop(open.insert(number)),
            ["client", number, "closed"] => drop(open.remove(number)),
            _ => {}
        }
    }
    match open.first() {
        Some(number) => Err((
            "bytes",
            format!("client {number} was not printed as closed"),
        )),
        None => Ok(()),
    }
}

/// The printed lines of each client: a line begins with its client's mark.
fn printed_lines(printed: &str) -> Result<BTreeMap<usize, Vec<&str>>, (&'static str, String)> {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lines: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    // The last piece is a line that was cut off.
    let mut whole: Vec<&str> = printed.split('\n').collect();
    whole.pop();
    for line in whole {
        let Some((number, text)) = line
            .strip_prefix("client ")
            .and_then(|rest| rest.split_once(": "))
        else {
            continue;
        };
        let mark = text.strip_prefix('<').and_then(|rest| rest.split_once('-'));
        let Some(index) = mark.and_then(|(index, _)| index.parse::<usize>().ok()) else {
            // The client's end has cut its mark.
            if text.starts_with('<') && !text.contains('>') {
                continue;
            }
            return Err(("bytes", format!("printed, but never sent: {line}")));
        };
        if *numbers.entry(number).or_insert(index) != index {
            return Err(("bytes", format!("two clients have one number: {line}")));
        }
        lines.entry(index).or_default().push(text);
    }
    Ok(lines)
}

fn one_client(
    plan: &Plan,
    world: &World,
    index: usize,
    client: &Client,
    printed: &[&str],
    is_complete: bool,
) -> Found {
    let sent = String::from_utf8_lossy(&client.sent);
    let mut sent: Vec<&str> = sent.split('\n').collect();
    let tail = sent.pop().unwrap_or_default();
    // A line that lacks its end is printed at the end, whole or as much of it as was heard.
    let whole = printed.len().min(sent.len());
    let rest = printed[whole..].iter().all(|line| tail.starts_with(line));
    let mut pairs = printed[..whole].iter().zip(&sent).enumerate();
    let last = whole.saturating_sub(1);
    let is_last = |at: usize| at == last && printed.len() <= sent.len();
    let differs = pairs.find(|(at, (printed, sent))| {
        printed != sent && !(is_last(*at) && sent.starts_with(**printed))
    });
    if differs.is_some() || !rest || printed.len() > sent.len() + 1 {
        let text = format!("the lines of client {index} were printed out of order: {differs:?}");
        return Err(("bytes", text));
    }
    if client.excuse.is_some() || client.conn.is_none() || !is_complete {
        return Ok(());
    }
    let stopped = world
        .stopped_at
        .is_some_and(|at| client.end.is_none() || client.end_ns >= at);
    let heard = match stopped {
        true => conn_of(world, client).map_or(0, |conn| conn.taken_by_end.unwrap_or(0) as usize),
        false if plan.option("idle-timeout").is_some() => 0,
        false => client.sent.len(),
    };
    let heard = &client.sent[..heard.min(client.sent.len())];
    let needed = heard.split(|byte| *byte == b'\n').count() - 1;
    match printed.len() < needed {
        true => {
            let count = printed.len();
            let text = format!("client {index}: {count} lines were printed of {needed}");
            Err(("bytes", text))
        }
        false => Ok(()),
    }
}
