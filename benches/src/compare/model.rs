//! The servers that are compared.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::workload::Workload;

/// A way to serve connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// `edgeloop` on its reactor.
    Reactor,
    /// A process for each connection.
    Fork,
    /// A thread for each connection.
    Thread,
    /// The peer on mio.
    Mio,
    /// The peer on tokio.
    Tokio,
    /// The peer in C that calls epoll itself.
    Raw,
    /// The peer on io_uring.
    Uring,
    /// The peer on libuv.
    Libuv,
    /// The peer on libev.
    Libev,
    /// The peer on libevent.
    Libevent,
}

impl Model {
    /// All of them, in the order in which they are measured and shown.
    pub const ALL: [Model; 10] = [
        Model::Reactor,
        Model::Fork,
        Model::Thread,
        Model::Mio,
        Model::Tokio,
        Model::Raw,
        Model::Uring,
        Model::Libuv,
        Model::Libev,
        Model::Libevent,
    ];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Model::Reactor => "reactor",
            Model::Fork => "fork",
            Model::Thread => "thread",
            Model::Mio => "mio",
            Model::Tokio => "tokio",
            Model::Raw => "raw",
            Model::Uring => "uring",
            Model::Libuv => "libuv",
            Model::Libev => "libev",
            Model::Libevent => "libevent",
        }
    }

    /// A description, in a sentence.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Model::Reactor => {
                "this project: one thread asks the kernel which connections have something to do \
                 (edge-triggered epoll) and serves one after the other"
            }
            Model::Fork => {
                "a process for each connection, which waits until its client says something"
            }
            Model::Thread => {
                "a thread for each connection; as with processes, the kernel's scheduler decides \
                 whose turn it is"
            }
            Model::Mio => {
                "an event loop on mio, a thin Rust library over epoll, written for this comparison"
            }
            Model::Tokio => {
                "a task for each connection on tokio, the most widely used asynchronous runtime \
                 for Rust, all on one thread"
            }
            Model::Raw => {
                "an event loop in C that calls epoll itself and does nothing else: about the least \
                 that a loop can cost"
            }
            Model::Uring => {
                "a loop in C on io_uring: the kernel receives and sends by itself, and one call \
                 hands over all that is to be done and waits for all that is done"
            }
            Model::Libuv => "an event loop in C on libuv, the library under Node.js",
            Model::Libev => "an event loop in C on libev, a thin library over epoll",
            Model::Libevent => {
                "an event loop in C on libevent, the library under Tor, with its bufferevents, \
                 which take more calls to the kernel and less code of the program"
            }
        }
    }

    /// Whether there is a server of this model for that load.
    #[must_use]
    pub fn serves(self, workload: Workload) -> bool {
        let has_chat = !matches!(
            self,
            Model::Uring | Model::Libuv | Model::Libev | Model::Libevent
        );
        has_chat || workload != Workload::Chat
    }
}

impl fmt::Display for Model {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The models that the user has chosen, in the order of [`Model::ALL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Models(pub Vec<Model>);

impl FromStr for Models {
    type Err = String;

    /// Names with commas between them, or `all`.
    fn from_str(text: &str) -> Result<Models, String> {
        if text == "all" {
            return Ok(Models(Model::ALL.to_vec()));
        }
        let known = Model::ALL.map(Model::name);
        let names: Vec<&str> = text.split(',').map(str::trim).collect();
        if let Some(name) = names.iter().find(|name| !known.contains(name)) {
            let known = known.join(", ");
            return Err(format!("there is no `{name}`; there are {known}, and all"));
        }
        let is_chosen = |model: &Model| names.contains(&model.name());
        Ok(Models(Model::ALL.into_iter().filter(is_chosen).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_chosen_by_name_and_keep_their_order() {
        let chosen = |text: &str| text.parse::<Models>().map(|Models(models)| models);
        assert_eq!(
            chosen("raw, reactor,raw"),
            Ok(vec![Model::Reactor, Model::Raw])
        );
        assert_eq!(chosen("all"), Ok(Model::ALL.to_vec()));
        for wrong in ["", "mio,", "Mio", "select"] {
            let error = chosen(wrong).unwrap_err();
            assert!(error.ends_with("libev, libevent, and all"), "{error}");
        }
    }
}
