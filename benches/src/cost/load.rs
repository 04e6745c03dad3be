//! Four loads, each in rounds of a known number of messages.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::clients::{Callers, Clients, Party, Senders, Speakers};
use super::gate::Gate;
use crate::compare::model::Model;
use crate::compare::programs::{ANY_PORT, Programs};
use crate::compare::workload::Workload;
use crate::room::deliveries;

/// Connections, or datagrams, of a round: the server finds so many in one turn.
const CROWD: usize = 64;
/// Members of the chat, ten of which talk.
const MEMBERS: usize = 1_000;

/// The work of the clients in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Load {
    /// Each of 64 connections sends 64 bytes, and reads them.
    Echo,
    /// 64 clients connect and send 64 bytes, read them, half-close, read the end, and close.
    Connect,
    /// 64 datagrams of 64 bytes go to one socket, and come back.
    Datagram,
    /// Each of ten members says a line of 64 bytes, and 1,000 read it, except for its author.
    Chat,
}

impl Load {
    /// All of them, in the order of the table.
    pub const ALL: [Load; 4] = [Load::Echo, Load::Connect, Load::Datagram, Load::Chat];

    /// The name in JSON and in names of files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Load::Echo => "echo",
            Load::Connect => "connect",
            Load::Datagram => "datagram",
            Load::Chat => "chat",
        }
    }

    /// Messages, cycles, datagrams or delivered lines in a round.
    #[must_use]
    pub fn messages(self) -> usize {
        match self {
            Load::Echo | Load::Connect | Load::Datagram => CROWD,
            Load::Chat => deliveries(MEMBERS),
        }
    }

    /// Stops of the server in a round.
    #[must_use]
    pub fn gates(self) -> usize {
        match self {
            Load::Connect => 2,
            Load::Echo | Load::Datagram | Load::Chat => 1,
        }
    }

    /// Rounds of the short run, enough to be warm, and of the long one.
    #[must_use]
    pub fn rounds(self) -> [usize; 2] {
        match self {
            Load::Echo | Load::Datagram => [20, 220],
            Load::Connect => [10, 60],
            Load::Chat => [5, 35],
        }
    }

    /// The command of a model's server; `None` where there is none for this load.
    #[must_use]
    pub fn server(self, programs: &Programs, model: Model) -> Option<Command> {
        let (workload, scheme) = match self {
            Load::Echo => (Workload::Echo, ""),
            Load::Connect => (Workload::Connect, ""),
            Load::Datagram if model == Model::Reactor => (Workload::Echo, "udp://"),
            Load::Datagram => return None,
            Load::Chat => (Workload::Chat, ""),
        };
        let address = format!("{scheme}{ANY_PORT}");
        let serves = model.serves(workload);
        serves.then(|| programs.server_at(model, workload, &address))
    }

    /// Connects the clients.
    pub(super) fn clients(self, to: SocketAddr, gate: Gate) -> io::Result<Box<dyn Clients>> {
        Ok(match self {
            Load::Echo => Box::new(Speakers::connect(to, CROWD)?),
            Load::Connect => Box::new(Callers::new(to, CROWD)),
            Load::Datagram => Box::new(Senders::new(to, CROWD)?),
            Load::Chat => Box::new(Party::enter(to, MEMBERS, gate)?),
        })
    }
}

impl fmt::Display for Load {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Load::Echo => "echoed message",
            Load::Connect => "connect-echo-close",
            Load::Datagram => "datagram",
            Load::Chat => "delivered chat line",
        })
    }
}
