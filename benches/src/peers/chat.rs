//! Chat servers: on event loops, with threads, with processes.
//!
//! The protocol is the least that `edgecall load --kind chat` needs of `edgeloop chat`: see
//! `speech.rs`.

pub mod fork;
pub mod mio;
mod speech;
pub mod thread;
pub mod tokio;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::TcpListener;

use clap::ValueEnum;

/// The library or the model of a chat peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Library {
    /// An event queue, and nothing more.
    Mio,
    /// Tasks, here on one thread.
    Tokio,
    /// A thread for each member.
    Thread,
    /// A process for each member.
    Fork,
}

impl Library {
    /// Serves until accepting or waiting fails.
    pub fn serve(self, listener: TcpListener) -> io::Result<Infallible> {
        match self {
            Library::Mio => mio::serve(listener),
            Library::Tokio => tokio::serve(listener),
            Library::Thread => thread::serve(&listener),
            Library::Fork => fork::serve(listener),
        }
    }
}

impl fmt::Display for Library {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Library::Mio => "mio",
            Library::Tokio => "tokio",
            Library::Thread => "thread",
            Library::Fork => "fork",
        })
    }
}
