//! Binding to all that a name stands for, with one port.

use std::io;
use std::net::SocketAddr;

use nix::errno::Errno;

use crate::sources::address::Address;

/// How often another port is tried if the kernel's choice is free for some of the numbers only.
const PORT_ATTEMPTS: usize = 32;

/// Where binding failed, and why.
type Failure = (SocketAddr, Errno);

/// The numbers of an address to which binding was tried so far, and what was bound to each.
struct Attempt<T> {
    bound: Vec<(T, SocketAddr)>,
    /// Numbers that this machine does not have.
    missing: Vec<Failure>,
}

/// Binds to each number of an address, but for those that this machine does not have. `bind_to` binds
/// to one, and returns the address with the port that the kernel chose.
pub(super) fn bind<T>(
    address: &Address,
    mut bind_to: impl FnMut(SocketAddr) -> nix::Result<(T, SocketAddr)>,
) -> io::Result<Vec<(T, SocketAddr)>> {
    let numbers = address.resolve()?;
    let any_port = numbers.iter().all(|at| at.port() == 0);
    // Rejected ports stay bound, so that the kernel chooses another one the next time.
    let mut rejected = Vec::new();
    loop {
        let mut attempt = Attempt {
            bound: Vec::new(),
            missing: Vec::new(),
        };
        match attempt.bind(&numbers, &mut bind_to) {
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

impl<T> Attempt<T> {
    /// Binds to each of the numbers, with the port of the first.
    fn bind(
        &mut self,
        numbers: &[SocketAddr],
        bind_to: &mut impl FnMut(SocketAddr) -> nix::Result<(T, SocketAddr)>,
    ) -> Result<(), Failure> {
        for at in numbers {
            let mut at = *at;
            if let Some((_, first)) = self.bound.first() {
                at.set_port(first.port());
            }
            match bind_to(at) {
                Ok(bound) => self.bound.push(bound),
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
