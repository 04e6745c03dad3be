//! Puts a client on the reactor: limits, standard streams, the server, and what is said at the end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use edgeloop::{ending, print};
use edgeloop_reactor::{Address, Direction, Errno, Limits, Outbox, Protocol, Reactor, reason};

use crate::cli::Options;
use crate::datagram::ask::Ask;
use crate::datagram::post::Post;
use crate::logging;
use crate::output::{Output, STDOUT};
use crate::progress::Progress;
use crate::stream::StreamClient;

/// The tag of the connection to standard input.
pub(crate) const STDIN: u32 = 0;

/// What a server does with what it is sent, as far as its clients have to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Sends it back.
    Echo,
    /// Sends it back with a-z turned to A-Z.
    Upper,
    /// Answers nothing.
    Sink,
}

/// Whom to call, for what, and with how much patience.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Resolved, so that it can be used within the loop.
    pub(crate) server: Address,
    pub(crate) service: Service,
    /// What to send; `None` is standard input.
    pub(crate) message: Option<Vec<u8>>,
    /// For the connection and for the answer; zero is for ever.
    pub(crate) timeout: Duration,
    /// Attempts after the first.
    pub(crate) retries: u32,
}

impl Call {
    /// Whether an answer is expected, and printed.
    pub(crate) fn prints(&self) -> bool {
        self.service != Service::Sink
    }
}

/// A protocol that calls a server, and knows how it went.
pub(crate) trait Client: Protocol {
    /// Begins. Over UDP, `peers` are the addresses of the server, with a socket for each whose tag
    /// is the place in the list; there are none of a stream, to which the client connects itself.
    fn start(&mut self, peers: Vec<SocketAddr>, out: &mut Outbox);

    /// What went wrong, `None` if nothing did.
    fn failure(&self) -> Option<&str>;

    /// How much was sent and received, in one line.
    fn summary(&self) -> String;
}

/// Calls a server, to the end.
pub(crate) fn call(
    service: Service,
    server: &Address,
    message: Option<Vec<u8>>,
    options: &Options,
) -> Result<(), String> {
    logging::start(options.verbose)?;
    let call = Call {
        server: server
            .resolved()
            .map_err(|error| cannot_reach(server, &error))?,
        service,
        message,
        timeout: options.timeout(server),
        retries: options.retries(server),
    };
    let output = Output::of_process();
    let progress = match call.message {
        None => Progress::of_process(call.prints()),
        Some(_) => Progress::hidden(),
    };
    match (server, service) {
        (Address::Udp(_), Service::Sink) => run(&call, Post::new(&call, progress)),
        (Address::Udp(_), _) => run(&call, Ask::new(&call, output, progress)),
        _ => run(&call, StreamClient::new(&call, output, progress)),
    }
}

/// Runs a client to its end, and tells how it was.
fn run<C: Client>(call: &Call, client: C) -> Result<(), String> {
    let limits = Limits {
        connect_timeout: call.timeout,
        // Whoever reads our output may take as long as they like.
        stall_timeout: Duration::ZERO,
        grace: Duration::MAX,
        ..Limits::default()
    };
    let mut reactor = Reactor::new(client, limits).map_err(|error| reason(&error))?;
    let peers = match call.server {
        Address::Udp(_) => {
            peers(&mut reactor, &call.server).map_err(|error| cannot_reach(&call.server, &error))?
        }
        Address::Tcp(_) | Address::Unix(_) => Vec::new(),
    };
    if call.prints() {
        print::check()
            .and_then(|()| adopt(&mut reactor, io::stdout(), Direction::Output, STDOUT))
            .map_err(|error| format!("cannot write the answer: {}", reason(&error)))?;
    }
    if call.message.is_none() {
        adopt(&mut reactor, io::stdin(), Direction::Input, STDIN)
            .map_err(|error| format!("cannot read standard input: {}", reason(&error)))?;
    }
    reactor.call(|client, out| client.start(peers, out));
    reactor.run().map_err(|error| reason(&error))?;
    ending::begin(Duration::MAX);
    conclude(reactor)
}

/// What is said at the end.
fn conclude<C: Client>(reactor: Reactor<C>) -> Result<(), String> {
    let client = reactor.protocol();
    let (failure, summary) = (client.failure().map(str::to_owned), client.summary());
    // With it goes the progress bar, which would be in the way.
    drop(reactor);
    log::info!("{summary}");
    failure.map_or(Ok(()), Err)
}

/// Opens a UDP socket for each of the server's addresses; those that nothing can be sent to from
/// here are left out.
fn peers<C: Client>(reactor: &mut Reactor<C>, server: &Address) -> io::Result<Vec<SocketAddr>> {
    let mut peers = Vec::new();
    let mut failed = Errno::EADDRNOTAVAIL.into();
    for peer in server.resolve()? {
        match reactor.connect(&Address::Udp(peer.into()), peers.len() as u32) {
            Ok(()) => peers.push(peer),
            Err(error) => failed = error,
        }
    }
    if peers.is_empty() {
        Err(failed)
    } else {
        Ok(peers)
    }
}

/// Gives the reactor a copy of one of the process's own streams, since it closes what it adopts.
pub(crate) fn adopt<P: Protocol>(
    reactor: &mut Reactor<P>,
    stream: impl AsFd,
    direction: Direction,
    tag: u32,
) -> io::Result<()> {
    let copy = stream.as_fd().try_clone_to_owned()?;
    reactor.adopt(copy, direction, tag).map(drop)
}

pub(crate) fn cannot_reach(server: &Address, error: &io::Error) -> String {
    format!("cannot reach {server}: {}", reason(error))
}

/// Why an answer is none.
pub(crate) fn longer(server: &Address, answer: u64, question: u64) -> String {
    format!("the answer from {server} is longer than the question: {answer} bytes for {question}")
}
