//! The loads: the behaviour of the clients in a run.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::number::count;

/// The behaviour of the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// Connections stay open, and each has one small message on its way.
    Echo,
    /// Connections stay open, and each has one large message on its way.
    Bulk,
    /// Each client connects, exchanges a small message, ends, closes, and begins anew.
    Connect,
    /// Some members talk, and all others hear them.
    Chat,
}

impl Workload {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Workload; 4] = [
        Workload::Echo,
        Workload::Bulk,
        Workload::Connect,
        Workload::Chat,
    ];

    /// The generator's name for it.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Workload::Echo | Workload::Bulk => "echo",
            Workload::Connect => "connect",
            Workload::Chat => "chat",
        }
    }

    /// The word for the clients, under the horizontal axis.
    #[must_use]
    pub fn clients(self) -> &'static str {
        match self {
            Workload::Echo | Workload::Bulk | Workload::Connect => "connections",
            Workload::Chat => "members",
        }
    }

    /// A number of clients in words: `1 connection`, `1,000 members`.
    #[must_use]
    pub fn counted(self, number: usize) -> String {
        match (self, number) {
            (Workload::Chat, 1) => "1 member".into(),
            (_, 1) => "1 connection".into(),
            _ => format!("{} {}", count(number), self.clients()),
        }
    }

    /// The size of a message.
    #[must_use]
    pub fn message_bytes(self) -> usize {
        match self {
            Workload::Echo | Workload::Connect | Workload::Chat => 64,
            Workload::Bulk => 16 * 1024,
        }
    }

    /// Messages that a client, or a talker in a chat, has on their way.
    #[must_use]
    pub fn depth(self) -> usize {
        match self {
            Workload::Echo | Workload::Bulk | Workload::Connect => 1,
            Workload::Chat => 4,
        }
    }

    /// The numbers of connections, in ascending order, at which this load shows something that the
    /// other loads do not. With `quick`, all loads but the first keep the smallest and the
    /// greatest.
    pub(super) fn choose(self, connections: &[usize], quick: bool) -> Vec<usize> {
        let worthwhile = match (self, quick) {
            (Workload::Echo, _) => 1..=usize::MAX,
            (Workload::Bulk | Workload::Connect, false) => 1..=1_000,
            (Workload::Bulk | Workload::Connect, true) => 1..=100,
            // A single member has no other to hear.
            (Workload::Chat, _) => 2..=1_000,
        };
        let chosen = connections.iter().copied();
        let mut chosen: Vec<usize> = chosen.filter(|count| worthwhile.contains(count)).collect();
        if quick && self != Workload::Echo && chosen.len() > 2 {
            chosen.drain(1..chosen.len() - 1);
        }
        chosen
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Workload::Echo => "echo, 64 bytes",
            Workload::Bulk => "echo, 16 KiB",
            Workload::Connect => "connect, exchange, close",
            Workload::Chat => "chat",
        })
    }
}
