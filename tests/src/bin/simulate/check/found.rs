//! Definitions that all checks have in common.

use crate::plan::Plan;
use crate::world::World;
use crate::world::client::Client;
use crate::world::conn::Conn;
use crate::world::objects::Object;
use crate::world::words::MS;

/// The name of the check that failed, and what it found.
pub(crate) type Found = Result<(), (&'static str, String)>;

/// Grace that is enough for a client that reads at once, in milliseconds.
const ENOUGH_GRACE_MS: u64 = 2_000;

/// The connection of a client, if it has come to have one.
pub(super) fn conn_of<'a>(world: &'a World, client: &Client) -> Option<&'a Conn> {
    match &world.objects[client.conn?] {
        Object::Conn(conn) => Some(conn),
        _ => None,
    }
}

/// Whether a stop of this run cut off connections whose clients did nothing wrong.
pub(super) fn cuts_off(plan: &Plan, world: &World) -> bool {
    let stops = plan
        .signals
        .iter()
        .filter(|(_, signal)| matches!(*signal, libc::SIGTERM | libc::SIGINT));
    world.grace_ns < ENOUGH_GRACE_MS * MS || stops.count() > 1
}
