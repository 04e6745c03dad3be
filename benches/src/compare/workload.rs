//! The loads: what the clients of a run do.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::number::count;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// Connections stay open, and each has one small message on its way.
    Echo,
    /// The same with large messages.
    Bulk,
    /// Connect, exchange a small message, end, close, again and again.
    Connect,
    /// Some talk, and everybody hears them.
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

    /// What the generator calls it.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Workload::Echo | Workload::Bulk => "echo",
            Workload::Connect => "connect",
            Workload::Chat => "chat",
        }
    }

    /// What there are several of, on the horizontal axis.
    #[must_use]
    pub fn clients(self) -> &'static str {
        match self {
            Workload::Echo | Workload::Bulk | Workload::Connect => "connections",
            Workload::Chat => "members",
        }
    }

    /// How many of them, in words: `1 connection`, `1,000 members`.
    #[must_use]
    pub fn counted(self, number: usize) -> String {
        match (self, number) {
            (Workload::Chat, 1) => "1 member".into(),
            (_, 1) => "1 connection".into(),
            _ => format!("{} {}", count(number), self.clients()),
        }
    }

    /// How large a message is.
    #[must_use]
    pub fn message_bytes(self) -> usize {
        match self {
            Workload::Echo | Workload::Connect | Workload::Chat => 64,
            Workload::Bulk => 16 * 1024,
        }
    }

    /// How many messages a client, or of a chat one who talks, has on their way.
    #[must_use]
    pub fn depth(self) -> usize {
        match self {
            Workload::Echo | Workload::Bulk | Workload::Connect => 1,
            Workload::Chat => 4,
        }
    }

    /// Those of these numbers of connections, in ascending order, at which it shows something that
    /// the others do not. In a hurry, the ends have to do for all but the first load.
    pub(super) fn choose(self, connections: &[usize], quick: bool) -> Vec<usize> {
        let worthwhile = match (self, quick) {
            (Workload::Echo, _) => 1..=usize::MAX,
            (Workload::Bulk | Workload::Connect, false) => 1..=1_000,
            (Workload::Bulk | Workload::Connect, true) => 1..=100,
            // Alone, nobody hears anything.
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
