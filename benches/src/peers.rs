//! Servers that others could have written, to be measured beside ours.
//!
//! Each is what somebody who knows its library well would write for this one task. On event loops
//! that is: one epoll_ctl(2) in a connection's life where the library allows it, no read that is
//! known to find nothing, one read buffer for all connections, a half-close answered in good order.
//! They are opponents in a benchmark and no servers: there are no limits, no timeouts, and any
//! error of the listener ends them.
//!
//! Those in [`echo`] and [`chat`] are part of this program: `benches peer` becomes one of them.
//! Those in [`native`] are programs in C.

mod buffer;
pub mod chat;
pub mod echo;
mod mio;
pub mod native;
mod tokio;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};

use clap::{Args, Subcommand};
use edgeloop_reactor::raise_descriptor_limit;
use nix::sys::signal::SigSet;
use nix::sys::socket::{Backlog, setsockopt, sockopt};

/// As long as that of `edgeloop`, for thousands who connect at once.
const BACKLOG: i32 = 4096;

/// Which peer is to serve, and where.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    peer: Peer,
}

#[derive(Debug, Subcommand)]
enum Peer {
    /// Send back what comes in
    Echo {
        /// What it is built on
        library: echo::Library,
        /// Where to listen
        address: SocketAddr,
    },
    /// One conversation for everybody who connects
    Chat {
        /// What it is built on
        library: chat::Library,
        /// Where to listen
        address: SocketAddr,
    },
}

/// The process of a peer: says where it listens, and serves until it is killed.
pub fn run(options: &Options) -> Result<(), String> {
    let (name, served) = match options.peer {
        Peer::Echo { library, address } => {
            (library.to_string(), start(address, |at| library.serve(at)))
        }
        Peer::Chat { library, address } => {
            (library.to_string(), start(address, |at| library.serve(at)))
        }
    };
    match served {
        Ok(never) => match never {},
        Err(error) => Err(format!("{name}: {error}")),
    }
}

fn start(
    address: SocketAddr,
    serve: impl FnOnce(TcpListener) -> io::Result<Infallible>,
) -> io::Result<Infallible> {
    // Whoever compares us has some blocked for itself, and a child inherits that.
    SigSet::empty().thread_set_mask()?;
    raise_descriptor_limit()?;
    let listener = listen(address)?;
    eprintln!("listening on tcp://{}", listener.local_addr()?);
    serve(listener)
}

/// A listener that never waits, and whose connections never do either once they are accepted.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    // Each connection inherits it, so that none needs a call of its own.
    setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
    // The standard library's queue is short, and a second listen(2) changes its length.
    nix::sys::socket::listen(&listener, Backlog::new(BACKLOG)?)?;
    Ok(listener)
}
