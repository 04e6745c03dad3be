//! Servers on other libraries, to be measured beside ours.
//!
//! Each is written for this one task as an expert of its library would write it. On event loops
//! that is: one epoll_ctl(2) in a connection's life where the library allows it, no read that is
//! known to find nothing, one read buffer for all connections, a half-close answered in good order.
//! The peers are opponents in a benchmark and no servers: there are no limits, no timeouts, and any
//! error of the listener ends them.
//!
//! The peers in [`echo`] and [`chat`] are part of this program: `benches peer` becomes one of them.
//! The peers in [`native`] are programs in C.

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
use edgeloop_reactor::process::raise_descriptor_limit;
use nix::sys::signal::SigSet;
use nix::sys::socket::{Backlog, setsockopt, sockopt};

/// As long as that of `edgeloop`, for thousands of clients that connect at once.
const BACKLOG: i32 = 4096;

/// The peer to become, and its address.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    peer: Peer,
}

#[derive(Debug, Subcommand)]
enum Peer {
    /// Send back what comes in
    Echo {
        /// The library under it
        library: echo::Library,
        /// The address to listen on
        address: SocketAddr,
    },
    /// Serve one conversation of all members
    Chat {
        /// The library under it
        library: chat::Library,
        /// The address to listen on
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
    // The comparison has some signals blocked for itself, and a child inherits that.
    SigSet::empty().thread_set_mask()?;
    raise_descriptor_limit()?;
    let listener = listen(address)?;
    eprintln!("listening on tcp://{}", listener.local_addr()?);
    serve(listener)
}

/// A non-blocking listener, whose connections are accepted as non-blocking too.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    // Each connection inherits it, so that none needs a call of its own.
    setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
    // The standard library's queue is short, and a second listen(2) changes its length.
    nix::sys::socket::listen(&listener, Backlog::new(BACKLOG)?)?;
    Ok(listener)
}
