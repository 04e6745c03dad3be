//! Servers as their users run them: each a process of its own.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use crate::compare::cores::Cores;
use crate::compare::process::{Process, adopt_orphans};

/// Where a server listens: on a port that the kernel chooses.
const ADDRESS: &str = "127.0.0.1:0";
/// The timeout of a real server. Its cost is in the figures, and it never strikes here.
const IDLE_TIMEOUT: &str = "10min";
/// How long a server that has failed may take to say so.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The service of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Every byte goes back to its client.
    Echo,
    /// Every member hears the lines of all others.
    Chat,
}

/// The model of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// This project's event loop.
    Reactor,
    /// A process for each connection.
    Fork,
    /// A thread for each connection.
    Thread,
    /// The library mio, an event queue, with the loop that an expert writes on it.
    Mio,
    /// Tasks of the library tokio, on one thread.
    Tokio,
}

impl Model {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Model; 5] = [
        Model::Reactor,
        Model::Fork,
        Model::Thread,
        Model::Mio,
        Model::Tokio,
    ];

    /// The command of the server. `program` is `benches`, which has all of them in it.
    fn command(self, program: &Path, service: Service) -> Command {
        let name = self.to_string();
        let mut command = Command::new(program);
        match (self, service) {
            (Model::Reactor | Model::Fork | Model::Thread, Service::Echo) => {
                command.arg0("edgeloop").args(["echo", "--model", &name]);
                command.args(["--quiet", "--idle-timeout", IDLE_TIMEOUT]);
            }
            (Model::Reactor, Service::Chat) => {
                command.arg0("edgeloop").args(["chat", "--rate", "0"]);
                command.args(["--quiet", "--idle-timeout", IDLE_TIMEOUT]);
            }
            (_, Service::Echo) => {
                command.args(["peer", "echo", &name]);
            }
            (_, Service::Chat) => {
                command.args(["peer", "chat", &name]);
            }
        }
        command.arg(ADDRESS);
        command
    }
}

impl fmt::Display for Model {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Model::Reactor => "reactor",
            Model::Fork => "fork",
            Model::Thread => "thread",
            Model::Mio => "mio",
            Model::Tokio => "tokio",
        })
    }
}

/// The cores of server and clients, decided once: a thread that is pinned to its core sees no other
/// to choose from.
#[must_use]
pub fn cores() -> Cores {
    static CORES: LazyLock<Cores> = LazyLock::new(|| Cores::choose().0);
    *CORES
}

/// A server that listens. It is killed with its children and waited for when this is dropped, and
/// killed when this process ends in another way.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
}

impl Server {
    /// Starts a server of `program`, which is `benches`, on a core of its own if there are two. An
    /// error is one line.
    pub fn start(program: &Path, service: Service, model: Model) -> Result<Server, String> {
        Self::of(model.command(program, service))
            .map_err(|error| format!("the server on {model}: {error}"))
    }

    fn of(command: Command) -> Result<Server, String> {
        adopt_orphans()?;
        let mut process = Process::start(command, cores().server)?;
        let address = process.address()?;
        let address = address
            .parse()
            .map_err(|_| format!("no address: {address}"))?;
        Ok(Server { process, address })
    }

    /// The address to connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the server, and returns its complaint, if it has one.
    pub fn complaint(&mut self) -> Option<String> {
        self.process.stop(LAST_WORDS);
        self.process.complaint()
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;
    use nix::sys::signal::kill;
    use nix::unistd::Pid;

    use super::*;

    fn shell(script: &str) -> Result<Server, String> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Server::of(command)
    }

    #[test]
    fn a_server_that_dies_is_an_error_in_a_line() {
        assert_eq!(shell("echo 'no luck' >&2").unwrap_err(), "no luck");
        assert_eq!(shell("exit 1").unwrap_err(), "sh does not listen");
        let error = Server::start(Path::new("/nowhere"), Service::Echo, Model::Mio).unwrap_err();
        assert!(
            error.starts_with("the server on mio: cannot start /nowhere"),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1);
    }

    #[test]
    fn nothing_that_a_server_has_started_outlives_it() {
        let server = shell("sleep 60 & echo 'listening on tcp://127.0.0.1:7' >&2; wait").unwrap();
        let leader: i32 = server.process.id().parse().unwrap();
        let group = Pid::from_raw(-leader);
        assert_eq!(kill(group, None), Ok(()));
        drop(server);
        assert_eq!(kill(group, None), Err(Errno::ESRCH));
    }

    #[test]
    fn what_a_server_complained_of_is_known() {
        // In one write, since a server that is asked for its complaint says no more.
        let server = |complaint| {
            let lines = format!("'listening on tcp://127.0.0.1:7\\n{complaint}'");
            shell(&format!("printf {lines} >&2")).unwrap()
        };
        assert_eq!(server("").address().port(), 7);
        assert_eq!(
            server("no memory\\n").complaint().as_deref(),
            Some("no memory")
        );
        assert_eq!(server("").complaint(), None);
    }
}
