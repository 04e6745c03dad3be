//! A program that connects: each call has one end, at most one of its addresses is served, and one is
//! if it could be.

use std::collections::BTreeMap;

use edgeloop_reactor::Stats;

use super::found::{Found, cuts_off};
use crate::plan::{Answer, Door, Fault, Plan};
use crate::world::World;
use crate::world::client::Client;

/// An address that answers so soon is called in time, whatever the others of its name do, if the
/// connect timeout is as long as is said here.
const SOON_MS: u64 = 100;
const LONG_TIMEOUT_MS: u64 = 10_000;

pub(super) fn check(plan: &Plan, world: &World, stats: &Stats) -> Found {
    let mut names: BTreeMap<u8, Vec<(usize, Answer, &Client)>> = BTreeMap::new();
    for (index, client) in world.clients.iter().enumerate() {
        if let Door::Called(name, answer) = client.plan.door {
            names.entry(name).or_default().push((index, answer, client));
        }
    }
    let ends = stats.connected + stats.connect_errors;
    if ends != names.len() as u64 || stats.closed != stats.connected {
        return Err(("counters", format!("{} calls; {stats}", names.len())));
    }
    for (name, clients) in &names {
        for (index, _, client) in clients {
            if !client.sent.starts_with(&client.received) {
                let text = format!("client {index} received what it did not send");
                return Err(("bytes", text));
            }
        }
        let served: Vec<usize> = clients
            .iter()
            .filter(|(_, _, client)| !client.received.is_empty())
            .map(|(index, ..)| *index)
            .collect();
        if served.len() > 1 {
            let text = format!("name {name}: clients {served:?} were served");
            return Err(("calls", text));
        }
        let is_due = clients.iter().any(|(_, answer, client)| match answer {
            Answer::AcceptsAtOnce => true,
            Answer::Accepts => client.plan.at_ms <= SOON_MS,
            _ => false,
        });
        if is_due && is_calm(plan, world) && !clients.iter().any(|(.., it)| is_whole(it)) {
            return Err(("calls", format!("name {name}: no client was served")));
        }
    }
    Ok(())
}

/// Whether the run has nothing that may spoil a call that could succeed.
fn is_calm(plan: &Plan, world: &World) -> bool {
    let timeout_ms = plan.millis("connect-timeout").unwrap_or(LONG_TIMEOUT_MS);
    let spoils = [Fault::ControlRefused, Fault::Exhausted, Fault::Jump];
    timeout_ms >= LONG_TIMEOUT_MS
        && !world.stopped_early
        && !cuts_off(plan, world)
        && spoils
            .iter()
            .all(|fault| world.tally.faults[*fault as usize] == 0)
}

/// Whether the client has done all that it had planned, and all that it has sent came back, or the
/// client has spoilt that itself.
fn is_whole(client: &Client) -> bool {
    let has_spoken = client.step == client.plan.steps.len() && client.received == client.sent;
    client.conn.is_some() && (has_spoken || client.excuse.is_some())
}
