//! Runs one client on a reactor: chooses the protocol, and reports the outcome.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use edgeloop::ending;
use edgeloop_reactor::process::reason;
use edgeloop_reactor::{Address, Limits, Reactor};
use nix::errno::Errno;

use crate::cli::Options;
use crate::client::{Call, Client, STDIN, Service, adopt_input, adopt_output};
use crate::datagram::ask::Ask;
use crate::datagram::post::Post;
use crate::dial::{cannot_reach, resolve};
use crate::logging;
use crate::output::{Output, STDOUT};
use crate::progress::Progress;
use crate::stream::StreamClient;

/// Calls a server, to the end.
pub(crate) fn call(
    service: Service,
    server: &Address,
    message: Option<Vec<u8>>,
    options: &Options,
) -> Result<(), String> {
    logging::start(options.verbose)?;
    let call = Call {
        server: resolve(server)?,
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

/// Runs a client to its end.
fn run<C: Client>(call: &Call, client: C) -> Result<(), String> {
    let limits = Limits {
        connect_timeout: call.timeout,
        // The reader of standard output may take as long as it likes.
        stall_timeout: Duration::ZERO,
        grace: Duration::MAX,
        ..Limits::default()
    };
    let mut reactor = Reactor::new(client, limits)
        .map_err(|error| format!("cannot start the event loop: {}", reason(&error)))?;
    let peers = match call.server {
        Address::Udp(_) => peers(&mut reactor, &call.server)
            .map_err(|error| cannot_reach(&call.server, reason(&error)))?,
        Address::Tcp(_) | Address::Unix(_) => Vec::new(),
    };
    if call.prints() {
        adopt_output(&mut reactor, STDOUT, "cannot write the answer")?;
    }
    if call.message.is_none() {
        adopt_input(&mut reactor, STDIN)?;
    }
    reactor.call(|client, out| client.start(peers, out));
    reactor.run().map_err(|error| reason(&error))?;
    ending::begin(Duration::MAX);
    conclude(reactor)
}

/// Logs the summary, and returns the failure if there was one.
fn conclude<C: Client>(reactor: Reactor<C>) -> Result<(), String> {
    let client = reactor.protocol();
    let (failure, summary) = (client.failure().map(str::to_owned), client.summary());
    // The progress bar goes with it, which would be in the way of the summary.
    drop(reactor);
    log::info!("{summary}");
    failure.map_or(Ok(()), Err)
}

/// Opens a UDP socket for each of the server's addresses. An address to which there is no route is
/// left out.
fn peers<C: Client>(reactor: &mut Reactor<C>, server: &Address) -> io::Result<Vec<SocketAddr>> {
    let mut peers = Vec::new();
    let mut failed = Errno::EADDRNOTAVAIL.into();
    for peer in server.resolve()? {
        match reactor.connect(&Address::Udp(peer.into()), peers.len() as u64) {
            Ok(_) => peers.push(peer),
            Err(error) => failed = error,
        }
    }
    if peers.is_empty() {
        Err(failed)
    } else {
        Ok(peers)
    }
}
