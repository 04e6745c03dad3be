//! Recipe: replies that take long to compute, in other threads. A line `N` is answered with the
//! number of primes up to N.
//!
//! Jobs go to the workers and replies come back through channels. A worker that has put a reply into
//! its channel uses a [`Waker`], and the reactor calls [`Protocol::on_wake`]. While the reply to a
//! client is computed, its connection is paused (one job for each client, so that replies keep their
//! order and the queue of jobs is bounded) and held: it is not idle, and neither its half-close nor
//! the stop of the server ends it before the reply is sent.
//!
//! ```sh
//! cargo run --release -p edgeloop-reactor --example worker_threads
//! printf '1000\n10000000\n' | nc -N 127.0.0.1 9876
//! ```

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use edgeloop_reactor::{Closed, ConnId, ConnMap, Data, Limits};
use edgeloop_reactor::{Opened, Outbox, Protocol, Reactor, Waker};

const WORKERS: usize = 4;
/// The largest N, and the longest line in bytes.
const LARGEST: u32 = 10_000_000;
const LINE_LIMIT: usize = 20;

struct Primes {
    clients: ConnMap<Client>,
    jobs: Sender<(ConnId, u32)>,
    replies: Receiver<(ConnId, u32)>,
}

#[derive(Default)]
struct Client {
    /// Lines not yet answered, the last one perhaps incomplete.
    input: Vec<u8>,
    /// A worker has its job.
    waits: bool,
}

impl Primes {
    /// Gives the client's next job to the workers.
    fn go_on(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(client) = self.clients.get_mut(id).filter(|client| !client.waits) else {
            return;
        };
        let end = client.input.iter().position(|byte| *byte == b'\n');
        if let Some(end) = end {
            let line: Vec<u8> = client.input.drain(..=end).collect();
            let number = str::from_utf8(&line)
                .ok()
                .and_then(|line| line.trim().parse().ok());
            if let Some(number) = number.filter(|number| *number <= LARGEST)
                && self.jobs.send((id, number)).is_ok()
            {
                client.waits = true;
                out.pause(id);
                return out.hold(id);
            }
        }
        if end.is_some() || client.input.len() > LINE_LIMIT {
            out.send(id, b"not a number up to 10000000\n");
            out.finish(id);
        }
        out.resume(id);
        out.release(id);
    }
}

impl Protocol for Primes {
    fn on_open(&mut self, id: ConnId, _: Opened, _: &mut Outbox) {
        self.clients.insert(id, Client::default());
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        if let Some(client) = self.clients.get_mut(id) {
            client.input.extend_from_slice(&data);
            self.go_on(id, out);
        }
    }

    /// One call may stand for many replies: each is taken.
    fn on_wake(&mut self, out: &mut Outbox) {
        while let Ok((id, count)) = self.replies.try_recv() {
            // The client may be gone: its id is no other client's.
            if let Some(client) = self.clients.get_mut(id) {
                client.waits = false;
                out.send(id, format!("{count}\n").as_bytes());
                self.go_on(id, out);
            }
        }
    }

    fn on_close(&mut self, id: ConnId, _: Closed, _: &mut Outbox) {
        self.clients.remove(id);
    }
}

/// Works until the protocol, and the other end of `jobs` with it, is gone.
fn work(jobs: &Mutex<Receiver<(ConnId, u32)>>, replies: &Sender<(ConnId, u32)>, waker: &Waker) {
    // Only one worker waits in `recv`, the others wait for the lock.
    while let Ok((id, number)) = jobs.lock().expect("no worker panics here").recv() {
        let sent = replies.send((id, primes_up_to(number)));
        if sent.is_err() || waker.wake().is_err() {
            return;
        }
    }
}

fn primes_up_to(number: u32) -> u32 {
    let is_prime = |n: &u32| (2..=n.isqrt()).all(|d| !n.is_multiple_of(d));
    (2..=number).filter(is_prime).count() as u32
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9876".into());
    let (jobs, job_receiver) = channel();
    let (reply_sender, replies) = channel();
    let clients = ConnMap::new();
    let protocol = Primes {
        clients,
        jobs,
        replies,
    };
    let mut reactor = Reactor::new(protocol, Limits::default())?;
    // Before the threads begin: they inherit the blocked signals.
    reactor.handle_signals()?;
    let job_receiver = Arc::new(Mutex::new(job_receiver));
    for _ in 0..WORKERS {
        let (jobs, replies, waker) = (job_receiver.clone(), reply_sender.clone(), reactor.waker()?);
        thread::spawn(move || work(&jobs, &replies, &waker));
    }
    let bound = reactor.listen_on(&address, 0)?;
    eprintln!("listening on {}", bound[0]);
    Ok(reactor.run()?)
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::Script;

    use super::*;

    #[test]
    fn each_client_has_one_job_at_a_time_and_a_half_close_waits_for_the_replies() {
        // The test takes the place of the workers.
        let (jobs, job_receiver) = channel();
        let (reply_sender, replies) = channel();
        let clients = ConnMap::new();
        let mut script = Script::new(Primes {
            clients,
            jobs,
            replies,
        });
        let client = script.open();
        script.data(client, b"10\n20\nten\n30\n");
        script.eof(client);
        assert_eq!(script.closed(client), None);
        for number in [10, 20] {
            let job = job_receiver.try_recv().unwrap();
            assert_eq!(job, (client, number));
            assert!(job_receiver.try_recv().is_err(), "two jobs at one time");
            reply_sender.send((client, primes_up_to(number))).unwrap();
            script.wake();
        }
        let replies = b"4\n8\nnot a number up to 10000000\n";
        assert_eq!(script.take_output(client), replies);
        assert_eq!(script.closed(client), Some(Closed::Eof));
    }
}
