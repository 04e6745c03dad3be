//! Binding to all that a name stands for, with one port.

use std::io;
use std::net::SocketAddr;

use nix::errno::Errno;

use super::{Shared, inet_sockets};
use crate::address::Address;

/// How often another port is tried if the kernel's choice is free for some of the numbers only.
const PORT_ATTEMPTS: usize = 32;

/// Where binding failed, and why.
type Failure = (SocketAddr, Errno);

/// The numbers of an address to which binding was tried so far.
#[derive(Default)]
struct Attempt {
    bound: Vec<Shared>,
    /// Numbers that this machine does not have.
    missing: Vec<Failure>,
}

/// `count` sockets for each number of an address, but for those that this machine does not have.
pub(super) fn bind(address: &Address, count: usize) -> io::Result<Vec<Shared>> {
    let numbers = address.resolve()?;
    let any_port = numbers.iter().all(|at| at.port() == 0);
    // Rejected ports stay bound, so that the kernel chooses another one the next time.
    let mut rejected = Vec::new();
    loop {
        let mut attempt = Attempt::default();
        match attempt.bind(address, &numbers, count) {
            Ok(()) => {
                attempt.log_missing(address);
                return Ok(attempt.bound);
            }
            // Another program has the port that the kernel chose for the first number.
            Err((_, Errno::EADDRINUSE))
                if any_port && !attempt.bound.is_empty() && rejected.len() < PORT_ATTEMPTS =>
            {
                rejected.push(attempt);
            }
            Err((_, errno)) if numbers.len() == 1 => return Err(errno.into()),
            Err((at, errno)) => {
                let kind = io::Error::from(errno).kind();
                return Err(io::Error::new(kind, format!("{at}: {}", errno.desc())));
            }
        }
    }
}

impl Attempt {
    /// Binds to each of the numbers, with the port of the first.
    fn bind(
        &mut self,
        address: &Address,
        numbers: &[SocketAddr],
        count: usize,
    ) -> Result<(), Failure> {
        for at in numbers {
            let mut at = *at;
            if let Some((_, first)) = self.bound.first() {
                at.set_port(first.port());
            }
            match inet_sockets(address, at, count) {
                Ok(shared) => self.bound.push(shared),
                Err(errno) if is_missing(errno) => self.missing.push((at, errno)),
                Err(errno) => return Err((at, errno)),
            }
        }
        match self.missing.last() {
            Some(last) if self.bound.is_empty() => Err(*last),
            _ => Ok(()),
        }
    }

    fn log_missing(&self, address: &Address) {
        for (at, errno) in &self.missing {
            log::warn!("{address} is served without {at}: {}", errno.desc());
        }
    }
}

/// Whether an address is not this machine's: a name in `/etc/hosts` may be, and its family off.
fn is_missing(errno: Errno) -> bool {
    matches!(errno, Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT)
}
