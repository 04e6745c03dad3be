//! The words that the clients share: the service, the call, and the process's own streams.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use edgeloop::print;
use edgeloop_reactor::process::reason;
use edgeloop_reactor::{Address, Direction, Outbox, Protocol, Reactor};

/// The tag of the connection to standard input.
pub(crate) const STDIN: u64 = 0;

/// The service of a server, as far as its clients have to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// The reply is what was sent.
    Echo,
    /// The reply is what was sent, with a-z turned to A-Z.
    Upper,
    /// There is no reply.
    Sink,
}

/// One run of a client: server, service, and how long to wait.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Resolved, so that the reactor can connect to it within the loop.
    pub(crate) server: Address,
    pub(crate) service: Service,
    /// The bytes to send; `None` is standard input.
    pub(crate) message: Option<Vec<u8>>,
    /// For the connection and for the reply; zero is for ever.
    pub(crate) timeout: Duration,
    /// Attempts after the first.
    pub(crate) retries: u32,
}

impl Call {
    /// Whether a reply is expected, and printed.
    pub(crate) fn prints(&self) -> bool {
        self.service != Service::Sink
    }
}

/// A protocol that calls a server, and knows the outcome.
pub(crate) trait Client: Protocol {
    /// Begins. Over UDP, `peers` are the addresses of the server; each has a socket whose tag is its
    /// index in the list. For a stream the list is empty: the client connects itself.
    fn start(&mut self, peers: Vec<SocketAddr>, out: &mut Outbox);

    /// The first failure, if there was one.
    fn failure(&self) -> Option<&str>;

    /// Bytes sent and received, in one line.
    fn summary(&self) -> String;
}

/// The failure of a reply that is longer than what was sent, both in bytes.
pub(crate) fn longer(server: &Address, answer: u64, question: u64) -> String {
    format!("the answer from {server} is longer than the question: {answer} bytes for {question}")
}

/// Makes standard input a connection of the reactor.
pub(crate) fn adopt_input<P: Protocol>(reactor: &mut Reactor<P>, tag: u64) -> Result<(), String> {
    adopt(reactor, io::stdin(), Direction::Input, tag)
        .map_err(|error| format!("cannot read standard input: {}", reason(&error)))
}

/// Makes standard output a connection of the reactor. `failure` begins the message of an error.
pub(crate) fn adopt_output<P: Protocol>(
    reactor: &mut Reactor<P>,
    tag: u64,
    failure: &str,
) -> Result<(), String> {
    print::check()
        .and_then(|()| adopt(reactor, io::stdout(), Direction::Output, tag))
        .map_err(|error| format!("{failure}: {}", reason(&error)))
}

/// Gives the reactor a copy of the descriptor, since the reactor closes what it adopts.
fn adopt<P: Protocol>(
    reactor: &mut Reactor<P>,
    stream: impl AsFd,
    direction: Direction,
    tag: u64,
) -> io::Result<()> {
    let copy = stream.as_fd().try_clone_to_owned()?;
    reactor.adopt(copy, direction, tag).map(drop)
}
