//! The cost of a message: the difference of a long and a short run, divided by the messages that
//! only the long one has.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use edgeloop_reactor::process::raise_descriptor_limit;
use serde::Serialize;

use super::clients::Clients;
use super::counted::{Counted, Counts};
use super::load::Load;
use crate::compare::model::Model;

/// The cost of a message to a server.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Instructions in user space, for a message.
    pub instructions: f64,
    /// System calls for a message, without clock reads.
    pub system_calls: f64,
    /// Reads of the clock in a turn: a wait that brings events, and all that follows from them.
    pub clock_reads: f64,
    /// Turns in a round: one for each gate, and one more if connections are accepted before they are
    /// read.
    pub turns: f64,
}

impl Cost {
    /// The cost, from the counts of so many rounds.
    fn of(counts: Counts, load: Load, rounds: usize) -> Cost {
        let of = |count: u64, all: usize| count as f64 / all as f64;
        let messages = rounds * load.messages();
        Cost {
            instructions: of(counts.instructions, messages),
            system_calls: of(counts.system_calls + counts.waits, messages),
            clock_reads: of(counts.clock_reads, counts.waits as usize),
            turns: of(counts.waits, rounds),
        }
    }
}

/// The costs of one server.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The server's model.
    pub model: Model,
    /// A cost for each load that it serves.
    pub costs: BTreeMap<Load, Cost>,
}

/// Runs a server twice. If there is a name for callgrind's profiles, each run has one, with its own
/// extension.
pub fn measure(load: Load, server: &Command, profiles: Option<&Path>) -> Result<Cost, String> {
    raise_descriptor_limit().map_err(|error| format!("descriptors: {error}"))?;
    let [short, long] = load.rounds();
    let profile = |run| profiles.map(|name| name.with_extension(run));
    let before = run(load, server, [short, long], profile("short").as_deref())?;
    let after = run(load, server, [long, long], profile("long").as_deref())?;
    Ok(Cost::of(after - before, load, long - short))
}

/// The counts of a server that serves so many rounds. It is stopped as often as in `stops` rounds.
fn run(
    load: Load,
    server: &Command,
    [rounds, stops]: [usize; 2],
    profile: Option<&Path>,
) -> Result<Counts, String> {
    let server = Counted::start(server, profile)?;
    let gate = server.gate();
    let drive = || {
        let mut clients: Box<dyn Clients> = load.clients(server.address(), gate)?;
        (0..rounds).try_for_each(|_| clients.round(gate))?;
        for _ in 0..(stops - rounds) * load.gates() {
            gate.at_once(|| Ok(()))?;
        }
        Ok(clients)
    };
    match drive() {
        // The clients are there until the server has ended, so it sees nothing of their end.
        Ok(clients) => {
            let counts = server.end();
            drop(clients);
            counts
        }
        Err(error) => Err(server.why(&error)),
    }
}
