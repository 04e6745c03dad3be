//! A program that connects: it calls several names at once, each of which has several addresses, and
//! sends back whatever it hears.
//!
//! The addresses are the clients of the plan, with the door [`Door::Called`](crate::plan::Door). One
//! port is one client.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use edgeloop::Turns;
use edgeloop_reactor::{
    Address, Closed, ConnId, Data, HostPort, Limits, Opened, Outbox, Protocol, Reactor, Stats,
};

use crate::plan::{Door, Plan};
use crate::world::CALLED_PORT;

/// The program's side: what became of each call.
#[derive(Debug, Default)]
struct Caller {
    calls: BTreeMap<ConnId, Progress>,
    /// The first thing that should not have happened.
    wrong: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Asked,
    Open,
    Over,
}

impl Caller {
    /// A call goes on from one state to another.
    fn goes(&mut self, id: ConnId, from: Progress, to: Progress) {
        let before = self.calls.insert(id, to);
        if before != Some(from) {
            let text = format!("a call is {to:?}, and was {before:?}");
            self.wrong.get_or_insert(text);
        }
    }
}

impl Protocol for Caller {
    fn on_open(&mut self, id: ConnId, _: Opened, _: &mut Outbox) {
        self.goes(id, Progress::Asked, Progress::Open);
    }

    fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
        out.send_back(data);
    }

    fn on_close(&mut self, id: ConnId, _: Closed, _: &mut Outbox) {
        self.goes(id, Progress::Open, Progress::Over);
    }

    fn on_connect_error(&mut self, id: ConnId, _: u64, _: Closed, _: &mut Outbox) {
        self.goes(id, Progress::Asked, Progress::Over);
    }
}

/// Starts the program, which calls all names of the plan in its first turn.
pub(crate) fn start(plan: &Plan) -> Result<Box<dyn Turns>, String> {
    let mut limits = Limits::default();
    if let Some(budget) = plan.bytes("turn-budget") {
        limits.turn_budget = budget;
    }
    if let Some(ms) = plan.millis("connect-timeout") {
        limits.connect_timeout = std::time::Duration::from_millis(ms);
    }
    let failed = |error: io::Error| error.to_string();
    let mut reactor = Reactor::new(Caller::default(), limits).map_err(failed)?;
    reactor.handle_signals().map_err(failed)?;
    reactor.call(|caller, out| {
        for (tag, numbers) in names(plan) {
            let name: HostPort = HostPort::from(numbers[0]).with_numbers(numbers);
            let id = out.connect(Address::Tcp(name), tag.into());
            caller.calls.insert(id, Progress::Asked);
        }
    });
    Ok(Box::new(Calling(reactor)))
}

/// The addresses of each name, by its number.
fn names(plan: &Plan) -> BTreeMap<u8, Vec<SocketAddr>> {
    let mut names: BTreeMap<u8, Vec<SocketAddr>> = BTreeMap::new();
    for (port, client) in (CALLED_PORT..).zip(&plan.clients) {
        if let Door::Called(name, _) = client.door {
            let at = (Ipv4Addr::LOCALHOST, port).into();
            names.entry(name).or_default().push(at);
        }
    }
    names
}

struct Calling(Reactor<Caller>);

impl Turns for Calling {
    fn turn(&mut self) -> io::Result<()> {
        self.0.turn()
    }

    fn is_done(&self) -> bool {
        self.0.is_done()
    }

    fn stats(&self) -> Stats {
        self.0.stats()
    }

    fn failure(&self) -> Option<String> {
        let Caller { calls, wrong } = self.0.protocol();
        let left = calls.values().find(|progress| **progress != Progress::Over);
        let left = left.map(|progress| format!("a call is left {progress:?} at the end"));
        wrong.clone().or(left)
    }
}
