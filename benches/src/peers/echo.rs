//! Echo servers on other event loops.

pub mod mio;
pub mod tokio;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::TcpListener;

use clap::ValueEnum;

/// The library of an echo peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Library {
    /// An event queue, and nothing more.
    Mio,
    /// Tasks, here on one thread.
    Tokio,
}

impl Library {
    /// Serves until accepting or waiting fails.
    pub fn serve(self, listener: TcpListener) -> io::Result<Infallible> {
        match self {
            Library::Mio => mio::serve(listener),
            Library::Tokio => tokio::serve(listener),
        }
    }
}

impl fmt::Display for Library {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Library::Mio => "mio",
            Library::Tokio => "tokio",
        })
    }
}
