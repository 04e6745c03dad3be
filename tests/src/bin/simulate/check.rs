//! The checks after a run: what each server promises, against what its clients have sent and
//! received.

mod chat;
mod counters;
mod sink;
mod streams;

use edgeloop_reactor::Stats;

use crate::plan::{Door, Kind, Plan};
use crate::world::World;
use crate::world::client::{Client, End};
use crate::world::conn::Conn;
use crate::world::{MS, Object};

/// The name of the check that failed, and what it found.
pub(crate) type Found = Result<(), (&'static str, String)>;

/// Grace that is enough for a client that reads at once, in milliseconds.
const ENOUGH_GRACE_MS: u64 = 2_000;

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
    }
}

/// What was between a client and the server.
fn conn_of<'a>(world: &'a World, client: &Client) -> Option<&'a Conn> {
    match &world.objects[client.conn?] {
        Object::Conn(conn) => Some(conn),
        _ => None,
    }
}

/// Whether a stop of this run cut off connections whose clients did nothing wrong.
fn cuts_off(plan: &Plan, world: &World) -> bool {
    let stops = plan
        .signals
        .iter()
        .filter(|(_, signal)| matches!(*signal, libc::SIGTERM | libc::SIGINT));
    world.grace_ns < ENOUGH_GRACE_MS * MS || stops.count() > 1
}
