//! The counters add up, and agree with what the kernel has counted; every end has a cause.

use edgeloop_reactor::Stats;

use super::found::Found;
use crate::plan::{Door, Fault, Kind, Plan};
use crate::world::World;
use crate::world::client::End;

pub(super) fn check(plan: &Plan, world: &World, stats: &Stats) -> Found {
    let tally = &world.tally;
    let causes = stats
        .iter()
        // Peers that were closed for the sake of memory count as slow consumers, too.
        .filter(|(name, _)| name.starts_with("closed_") && *name != "closed_by_relief")
        .map(|(_, count)| count)
        .sum::<u64>();
    let refusals = stats.refused_limit
        + stats.refused_address
        + stats.refused_descriptors
        + stats.refused_setup;
    // A server has as many turns as waits. Standard streams count nowhere as connections.
    let pairs = [
        ("turns", stats.turns, tally.turns),
        ("events", stats.events, tally.events),
        ("reads", stats.reads, tally.reads),
        ("writes", stats.writes, tally.writes),
        ("accepts", stats.accepts, tally.accepts),
        ("controls", stats.controls, tally.adds),
        ("bytes_in", stats.bytes_in, tally.bytes_in),
        ("bytes_out", stats.bytes_out, tally.bytes_out),
        ("accepted", stats.accepted, tally.accepted - tally.refused),
        ("refused", stats.refused, tally.refused),
        ("refused, by cause", refusals, stats.refused),
        ("connections at the end", stats.connections, 0),
        ("closed", stats.closed, stats.accepted + stats.connected),
        ("closed, by cause", causes, stats.closed),
        ("datagrams_in", stats.datagrams_in, tally.datagrams_in),
        ("datagrams_out", stats.datagrams_out, tally.datagrams_out),
        (
            "datagrams_missed",
            stats.datagrams_missed,
            tally.datagrams_dropped,
        ),
    ];
    for (name, counted, expected) in pairs {
        if counted != expected {
            let text = format!("{name}: counted {counted}, expected {expected}; {stats}");
            return Err(("counters", text));
        }
    }
    causes_are_true(plan, world, stats)
}

/// Each cause of a close needs something that may have been the cause.
fn causes_are_true(plan: &Plan, world: &World, stats: &Stats) -> Found {
    let clients = |is_so: fn(&crate::world::client::Client) -> bool| {
        world.clients.iter().filter(|client| is_so(client)).count() as u64
    };
    let slow = clients(|client| client.excuse.is_some());
    let cut = clients(|client| client.end == Some(End::Own) || client.end == Some(End::Fin));
    let vanished = world.tally.faults[Fault::Vanished as usize];
    let is_chat = plan.kind == Kind::Chat;
    let many = u64::MAX;
    let has_idle = plan.millis("idle-timeout").is_some_and(|ms| ms > 0);
    let has_operator = world.clients.iter().any(|it| it.plan.door == Door::Stdin);
    let bounds = [
        ("idle", stats.closed_idle, if has_idle { many } else { 0 }),
        ("stalled", stats.closed_stalled, slow),
        (
            "slow consumer",
            stats.closed_slow_consumer,
            if is_chat { slow } else { 0 },
        ),
        ("timed out", stats.closed_timed_out, 0),
        ("error", stats.closed_error, vanished),
        ("reset", stats.closed_reset, cut),
        (
            "shutdown",
            stats.closed_shutdown,
            if world.stopped_at.is_some() || plan.kind == Kind::Sink {
                many
            } else {
                0
            },
        ),
        (
            "aborted",
            stats.closed_aborted,
            if has_operator { many } else { 0 },
        ),
    ];
    for (cause, count, most) in bounds {
        if count > most {
            let text = format!("{count} closed by '{cause}', and at most {most} may be; {stats}");
            return Err(("causes", text));
        }
    }
    Ok(())
}
