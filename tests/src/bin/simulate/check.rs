//! The checks after a run: what each server promises, against what its clients have sent and
//! received.

mod calls;
mod chat;
mod counters;
mod found;
mod sink;
mod streams;

use edgeloop_reactor::Stats;

use self::found::Found;
use crate::plan::{Door, Kind, Plan};
use crate::world::World;
use crate::world::client::End;

/// All checks of a run that came to its end.
pub(crate) fn check(plan: &Plan, world: &World, stats: &Stats, failure: Option<&str>) -> Found {
    let stdout_was_closed = world
        .clients
        .iter()
        .any(|client| client.plan.door == Door::Stdout && client.end == Some(End::Own));
    if let Some(failure) = failure
        && !stdout_was_closed
    {
        return Err(("failure", failure.into()));
    }
    if world.open_descriptors() > 0 {
        let left = world.open_descriptors();
        return Err(("left", format!("{left} descriptors are open after the end")));
    }
    counters::check(plan, world, stats)?;
    match plan.kind {
        Kind::Echo | Kind::Upper => streams::check(plan, world, stats),
        Kind::Sink => sink::check(plan, world),
        Kind::Chat => chat::check(plan, world),
        Kind::Calls => calls::check(plan, world, stats),
    }
}
