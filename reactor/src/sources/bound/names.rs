//! Binding to every number of a name, with one port.
//!
//! `localhost` is usually both 127.0.0.1 and `[::1]`, and a server that bound only one of them
//! could not be reached by half of its clients. Two cases need care. A machine may lack one of the
//! numbers, as with IPv6 off: that number is left out. And with port 0 the kernel chooses a port
//! for the first number that may be taken for the second: all are then bound anew with another
//! port.

use std::io;
use std::net::SocketAddr;

use nix::errno::Errno;

use crate::sources::address::Address;

/// Ports that are tried at most if the kernel's choice is free for some of the numbers only.
const PORT_ATTEMPTS: usize = 32;

/// A number to which binding failed, and the cause.
type Failure = (SocketAddr, Errno);

/// One attempt to bind to all numbers of an address with one port.
struct Attempt<T> {
    /// The result of each bind that succeeded, with its address and port.
    bound: Vec<(T, SocketAddr)>,
    /// Numbers that this machine does not have, which are left out.
    missing: Vec<Failure>,
}

/// Binds to each number of an address, except those that this machine does not have. `bind_to`
/// binds to one number, and returns the address with the port that the kernel chose. Errors: those
/// of the resolver and of `bind_to`, with the number in the text if there are several.
pub(super) fn bind<T>(
    address: &Address,
    mut bind_to: impl FnMut(SocketAddr) -> nix::Result<(T, SocketAddr)>,
) -> io::Result<Vec<(T, SocketAddr)>> {
    let numbers = address.resolve()?;
    let any_port = numbers.iter().all(|at| at.port() == 0);
    // A rejected port stays bound until the end, so that the kernel chooses another one.
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
            // The port that the kernel chose for the first number is taken for this one.
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
    /// Binds to each of the numbers, with the port that the first one got. Fails if none is this
    /// machine's.
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

    /// Warns of the numbers that were left out.
    fn log_missing(&self, address: &Address) {
        for (at, errno) in &self.missing {
            log::warn!("{address} is served without {at}: {}", errno.desc());
        }
    }
}

/// Whether an error says that this machine does not have the address. A name in `/etc/hosts` may
/// have addresses of a family that is off, or of another machine.
fn is_missing(errno: Errno) -> bool {
    matches!(errno, Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT)
}
