//! Echo and upper: every byte once and in order, and all of them where neither side was cut.

use edgeloop_reactor::Stats;

use super::found::{Found, conn_of, cuts_off};
use crate::plan::{Door, Kind, Plan};
use crate::world::World;
use crate::world::client::{Client, End};
use crate::world::conn::Conn;
use crate::world::words::MS;

/// Time of one round, with all the faults that it may meet, in milliseconds.
const ROUND_MS: u64 = 50;

pub(super) fn check(plan: &Plan, world: &World, stats: &Stats) -> Found {
    let answer = |bytes: &[u8]| match plan.kind {
        Kind::Upper => bytes.to_ascii_uppercase(),
        _ => bytes.to_vec(),
    };
    let mut ended = 0;
    for (index, client) in world.clients.iter().enumerate() {
        match client.plan.door {
            Door::Udp => letters(index, client, answer)?,
            _ => stream(plan, world, index, client, answer)?,
        }
        let is_regular = client.excuse.is_none() && client.end == Some(End::Fin);
        let before_stop = world.stopped_at.is_none_or(|at| client.end_ns < at);
        ended += u64::from(is_regular && client.has_ended && before_stop);
    }
    if plan.millis("idle-timeout").is_none() && stats.closed_eof < ended {
        let text = format!(
            "{ended} clients ended their side, but {} counted",
            stats.closed_eof
        );
        return Err(("causes", text));
    }
    let unanswered = stats.datagrams_in - stats.datagrams_out - stats.datagrams_lost;
    match unanswered {
        0 => Ok(()),
        // With the one datagram that is served, others may have been fetched.
        _ if plan.has("--once") => Ok(()),
        count => Err((
            "bytes",
            format!("{count} datagrams were neither answered nor lost"),
        )),
    }
}

fn stream(
    plan: &Plan,
    world: &World,
    index: usize,
    client: &Client,
    answer: impl Fn(&[u8]) -> Vec<u8>,
) -> Found {
    let expected = answer(&client.sent);
    let (got, sent) = (client.received.len(), client.sent.len());
    if !expected.starts_with(&client.received) {
        let same = expected.iter().zip(&client.received);
        let at = same.take_while(|(one, other)| one == other).count();
        let text =
            format!("client {index}: byte {at} of {got} received is not the one sent ({sent})");
        return Err(("bytes", text));
    }
    if client.excuse.is_some() || client.conn.is_none() {
        return Ok(());
    }
    if client.end == Some(End::Reset) && !has_cause(plan, world) {
        return Err(("reset", format!("client {index} was reset for nothing")));
    }
    let stopped = world
        .stopped_at
        .is_some_and(|at| client.end.is_none() || client.end_ns >= at);
    let needed = match stopped {
        // A lack of memory lasts longer than the shortest of them.
        _ if plan.option("idle-timeout").is_some() => 0,
        false => sent,
        true if cuts_off(plan, world) => 0,
        true => conn_of(world, client).map_or(0, |conn| owed_by_stop(conn, world)),
    };
    if got < needed {
        let text = format!("client {index}: {got} bytes came back of {needed}; sent {sent}");
        return Err(("bytes", text));
    }
    Ok(())
}

/// Bytes that a stop owes to a client: all that were read before it, if the grace period is long enough
/// for so many rounds of a full send buffer.
fn owed_by_stop(conn: &Conn, world: &World) -> usize {
    let taken = conn.taken_by_end.unwrap_or(0);
    let rounds = (taken - conn.given_by_stop.min(taken)) / conn.room_out as u64;
    match rounds * ROUND_MS * MS < world.grace_ns {
        true => taken as usize,
        false => 0,
    }
}

/// Whether a client may be reset that did nothing wrong: it went on sending after its end.
fn has_cause(plan: &Plan, world: &World) -> bool {
    world.stopped_at.is_some() || plan.option("idle-timeout").is_some()
}

/// Each answer is to one datagram of the client.
fn letters(index: usize, client: &Client, answer: impl Fn(&[u8]) -> Vec<u8>) -> Found {
    let mut questions = client.letters_out.iter();
    for letter in &client.letters_in {
        if !questions.any(|question| answer(question) == *letter) {
            let text =
                format!("client {index} received a datagram that answers none, or out of order");
            return Err(("bytes", text));
        }
    }
    Ok(())
}
