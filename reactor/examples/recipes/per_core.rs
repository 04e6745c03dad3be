//! Recipe: a reactor per core. Each has a thread, a protocol and a socket of its own, all sockets
//! have the same address, and the kernel spreads the clients over them. The reactors share nothing
//! else, so there is no lock.
//!
//! The first reactor lives on the main thread and handles the signals. When it begins to stop, it
//! stops the others, so that the grace periods of all of them run at the same time.
//!
//! ```sh
//! cargo run --release -p edgeloop-reactor --example per_core
//! nc -N 127.0.0.1 9876 < README.md
//! ```

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle, available_parallelism};

use edgeloop_reactor::{Address, Bound, ConnId, Data, Limits, Outbox, Protocol, Reactor, Waker};

#[derive(Default)]
struct Echo {
    /// The other reactors, if this is the first.
    others: Vec<Waker>,
}

impl Protocol for Echo {
    fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
        out.send_back(data);
    }

    fn on_stop(&mut self, _: &mut Outbox) {
        for other in &self.others {
            // It fails only if the reactor is gone.
            let _ = other.stop();
        }
    }
}

/// Serves a share of the clients. A share that is bound and not served would leave its clients
/// waiting: if this fails, the share is dropped, and the other reactors get all clients.
fn serve(share: Vec<Bound>, started: Sender<Waker>) -> io::Result<()> {
    let mut reactor = Reactor::new(Echo::default(), Limits::default())?;
    for bound in share {
        reactor.serve(bound, 0)?;
    }
    // The receiver is gone only if the program is about to fail.
    let _ = started.send(reactor.waker()?);
    drop(started);
    reactor.run()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9876".into());
    let cores = available_parallelism()?.get();
    let limits = Limits::default();
    let mut shares = Bound::shares(&address.parse::<Address>()?, limits.backlog, cores)?;
    let own = shares.pop().unwrap_or_default();

    let mut reactor = Reactor::new(Echo::default(), limits)?;
    // Before the threads begin: they inherit the blocked signals.
    reactor.handle_signals()?;
    let (started, wakers) = channel();
    let spawn = |share| {
        let started = started.clone();
        thread::spawn(move || serve(share, started))
    };
    let threads: Vec<JoinHandle<io::Result<()>>> = shares.into_iter().map(spawn).collect();
    // Each thread has sent its waker, or has failed, when no sender is left.
    drop(started);
    let others = wakers.iter().collect();
    reactor.call(|echo, _| echo.others = others);
    for bound in own {
        eprintln!("listening on {}", reactor.serve(bound, 0)?);
    }
    reactor.run()?;
    for thread in threads {
        thread
            .join()
            .map_err(|_| "a reactor's thread has panicked")??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::every_split;

    use super::*;

    #[test]
    fn every_byte_comes_back() {
        assert_eq!(every_split(Echo::default, b"0123456789"), b"0123456789");
    }
}
