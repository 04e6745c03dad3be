//! Recipe: a client that connects again, whatever happens to its server. It prints what the server
//! sends.
//!
//! The waits between two attempts grow, so that a server in trouble is left in peace, and are
//! jittered, so that a thousand clients of a server that was restarted do not come back in the same
//! moment. A connection that brings nothing before it ends counts as a failed attempt: a server that
//! accepts and closes is not hammered either. The protocol's own timer does the waiting, since there
//! is no connection then that could have one.
//!
//! ```sh
//! cargo run -p edgeloop-reactor --example reconnect 127.0.0.1:9876
//! nc -l 127.0.0.1 9876        # some time later; type, end it, start it again
//! ```

use std::hash::{BuildHasher, RandomState};
use std::io::stdout;
use std::os::fd::AsFd;
use std::time::Duration;

use edgeloop_reactor::{Address, Closed, ConnId, Data, Direction, Limits};
use edgeloop_reactor::{Opened, Outbox, Protocol, Reactor};

/// Tags: the connection to the server, and standard output.
const SERVER: u64 = 0;
const OUTPUT: u64 = 1;

/// The first wait and the longest, before jitter.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

struct Client {
    to: Address,
    output: Option<ConnId>,
    server: Option<ConnId>,
    /// Standard output is slower than the server.
    is_full: bool,
    /// Attempts since the server last sent something.
    failures: u32,
    /// The state of the jitter's generator; any number but 0.
    random: u64,
}

impl Client {
    fn new(to: Address, seed: u64) -> Client {
        Client {
            to,
            output: None,
            server: None,
            is_full: false,
            failures: 0,
            random: seed | 1,
        }
    }

    /// Connects again after a while: between half of the wait and all of it.
    fn retry(&mut self, out: &mut Outbox) {
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(20));
        let wait = wait.min(LONGEST_WAIT);
        self.failures += 1;
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let jitter = f64::from(self.random as u16) / f64::from(u16::MAX);
        out.set_service_timer(wait.mul_f64(0.5 + 0.5 * jitter));
    }
}

impl Protocol for Client {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        if opened.tag == OUTPUT {
            self.output = Some(id);
            out.connect(self.to.clone(), SERVER);
        } else {
            self.server = Some(id);
            if self.is_full {
                out.pause(id);
            }
        }
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        out.connect(self.to.clone(), SERVER);
    }

    fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
        self.failures = 0;
        out.broadcast(self.output, &data);
    }

    fn on_connect_error(&mut self, _: ConnId, _: u64, why: Closed, out: &mut Outbox) {
        eprintln!("cannot connect to {}: {why}", self.to);
        self.retry(out);
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        if Some(id) == self.output {
            // Nothing reads what would be printed.
            out.stop();
        } else if why != Closed::Shutdown {
            eprintln!("lost {}: {why}", self.to);
            self.server = None;
            self.retry(out);
        }
    }

    /// Standard output is slow: the server, which causes that output, is paused.
    fn on_high_water(&mut self, _: ConnId, out: &mut Outbox) {
        self.is_full = true;
        self.server.into_iter().for_each(|server| out.pause(server));
    }

    fn on_low_water(&mut self, _: ConnId, out: &mut Outbox) {
        self.is_full = false;
        self.server
            .into_iter()
            .for_each(|server| out.resume(server));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let to = std::env::args().nth(1).unwrap_or("127.0.0.1:9876".into());
    // A number, or a name that is looked up once, here: the loop does not wait for a resolver.
    let to = to.parse::<Address>()?.resolved()?;
    let client = Client::new(to, RandomState::new().hash_one(()));
    let mut reactor = Reactor::new(client, Limits::default())?;
    reactor.handle_signals()?;
    let output = stdout().as_fd().try_clone_to_owned()?;
    reactor.adopt(output, Direction::Output, OUTPUT)?;
    Ok(reactor.run()?)
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::{Peer, Script};

    use super::*;

    /// The wait, in ms, before the next attempt, and the id of its connection.
    fn wait(script: &mut Script<Client>) -> (u32, ConnId) {
        let mut waits = 1..60_000;
        let attempt = waits.find_map(|wait| {
            script.advance(Duration::from_millis(1));
            let (id, ..) = script.take_connects().pop()?;
            Some((wait, id))
        });
        attempt.expect("it tries again")
    }

    #[test]
    fn waits_grow_to_a_bound_differ_and_begin_anew_once_the_server_has_sent_something() {
        let mut script = Script::new(Client::new("127.0.0.1:9".parse().unwrap(), 7));
        let output = script.open_as(Opened::new(Peer::Stream, OUTPUT));
        let (mut server, ..) = script.take_connects()[0];
        let mut before = Vec::new();
        for _ in 0..10 {
            script.connect_error(server, Closed::TimedOut);
            let (wait, next) = wait(&mut script);
            before.push(wait);
            server = next;
        }
        for (wait, most) in before
            .iter()
            .zip([250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000])
        {
            assert!((most / 2..=most).contains(wait), "{before:?}");
        }
        assert!(
            before[7..]
                .iter()
                .all(|wait| (15_000..=30_000).contains(wait))
        );
        assert_ne!(before[8], before[9], "no jitter");

        script.connected(server);
        script.eof(server);
        let (after_silence, server) = wait(&mut script);
        assert!(
            after_silence > 10_000,
            "a connection without a word is no success"
        );
        script.connected(server);
        script.data(server, b"hello\n");
        script.close(server, Closed::Reset);
        assert_eq!(script.take_output(output), b"hello\n");
        assert!(wait(&mut script).0 <= 500);
    }
}
