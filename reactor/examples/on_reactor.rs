//! Rung 6: the echo server of the rungs below (`raw_epoll` to `with_protocol`), on [`Reactor`].
//!
//! This rung adds: everything but the protocol has gone into the reactor. Fair turns,
//! backpressure, half-close, limits and timeouts, stale events, running out of descriptors, signals
//! and an orderly end come with it. The protocol is all that is left to write, and it is tested
//! without a socket. Its outbox leads to every connection, which `chat` makes use of.
//!
//! ```sh
//! cargo run -p edgeloop-reactor --example on_reactor
//! nc -N 127.0.0.1 9876
//! ```
//!
//! Still missing is a program around it: options, a log, a way to run several. That is
//! `edgeloop echo`, in `servers/`.

use edgeloop_reactor::{ConnId, Data, Limits, Outbox, Protocol, Reactor};

struct Echo;

impl Protocol for Echo {
    fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
        out.send_back(data);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9876".into());
    let mut reactor = Reactor::new(Echo, Limits::default())?;
    reactor.handle_signals()?;
    for bound in reactor.listen_on(&address, 0)? {
        eprintln!("listening on {bound}");
    }
    Ok(reactor.run()?)
}
