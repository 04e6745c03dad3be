//! The common parts of the benchmarks over real connections: servers as processes, and clients that
//! drive them. The comparison of whole programs is in [`compare`], the count of their instructions
//! in [`cost`], servers on other libraries in [`peers`].
//!
//! A [`Server`](server::Server) is a process of its own. [`Echo`](echo::Echo) keeps connections
//! open and sends on all of them before it receives on any; [`visit`](echo::visit) connects,
//! exchanges one message and closes; a [`Room`](room::Room) is full of members who chat. Every
//! failure is an error, and so is a wrong byte in an answer: a benchmark that does not check
//! measures how fast its server is wrong.

pub mod compare;
pub mod cost;
mod dial;
pub mod echo;
pub mod peers;
pub mod room;
pub mod server;
pub mod setup;
mod sys;

use std::fmt::Display;
use std::panic::resume_unwind;

/// A message of this length, in which no two neighbours are the same.
#[must_use]
pub fn message(bytes: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(bytes).collect()
}

/// The value; an error ends the benchmarks with a line.
///
/// A function that criterion calls has no way to return an error. Unwinding ends the servers on its
/// way, and unlike a panic prints nothing of its own.
pub fn or_end<T>(result: Result<T, impl Display>) -> T {
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        resume_unwind(Box::new(()))
    })
}
