//! Recipe: a key-value server with backpressure. `SET key value`, `GET key` and `LIST`, a line each.
//!
//! A `LIST` may be larger than all that should wait in memory, and a client may send requests for
//! ever and read no reply. So the server answers until enough is pending, which
//! [`Outbox::queued`] tells, and goes on in [`Protocol::on_again`] when there is room. Until then
//! the client is paused (no new requests) and held (its half-close waits for the replies).
//!
//! ```sh
//! cargo run -p edgeloop-reactor --example kv_server
//! printf 'SET a 1\nSET b 2\nGET a\nLIST\n' | nc -N 127.0.0.1 9876
//! ```

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use edgeloop_reactor::{Closed, ConnId, ConnMap, Data, Limits};
use edgeloop_reactor::{Opened, Outbox, Protocol, Reactor};

/// Pending output of a client, in bytes, above which its next reply waits.
const ENOUGH: usize = 64 * 1024;
/// The longest request, in bytes.
const LINE_LIMIT: usize = 4096;

#[derive(Default)]
struct Store {
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    clients: ConnMap<Client>,
}

#[derive(Default)]
struct Client {
    /// Requests not yet answered, the last one perhaps incomplete.
    input: Vec<u8>,
    /// The bytes of `input` that are answered.
    answered: usize,
    /// The key that a `LIST` under way has come to.
    listed: Option<Vec<u8>>,
}

impl Client {
    fn next_line(&mut self) -> Option<&[u8]> {
        let rest = &self.input[self.answered..];
        let len = rest.iter().position(|byte| *byte == b'\n')?;
        self.answered += len + 1;
        Some(&rest[..len])
    }
}

impl Store {
    /// Answers requests until none is left (true), or enough is pending.
    fn answer(&mut self, id: ConnId, out: &mut Outbox) -> bool {
        let Some(client) = self.clients.get_mut(id) else {
            return true;
        };
        while out.queued(id) < ENOUGH {
            if let Some(listed) = client.listed.take() {
                let mut rest = self.pairs.range((Excluded(listed), Unbounded));
                match rest.next() {
                    Some((key, value)) => {
                        out.send(id, &[key, &b" "[..], value, b"\n"].concat());
                        client.listed = Some(key.clone());
                    }
                    None => out.send(id, b"END\n"),
                }
            } else if let Some(line) = client.next_line() {
                let mut words = line.splitn(3, |byte| *byte == b' ');
                match (words.next(), words.next(), words.next()) {
                    (Some(b"SET"), Some(key), Some(value)) if !key.is_empty() => {
                        self.pairs.insert(key.to_vec(), value.to_vec());
                        out.send(id, b"OK\n");
                    }
                    (Some(b"GET"), Some(key), None) => match self.pairs.get(key) {
                        Some(value) => out.send(id, &[&value[..], b"\n"].concat()),
                        None => out.send(id, b"NONE\n"),
                    },
                    // No key is empty: the list begins after it.
                    (Some(b"LIST"), None, None) => client.listed = Some(Vec::new()),
                    _ => out.send(id, b"ERROR\n"),
                }
            } else {
                return true;
            }
        }
        false
    }
}

impl Protocol for Store {
    fn on_open(&mut self, id: ConnId, _: Opened, _: &mut Outbox) {
        self.clients.insert(id, Client::default());
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        if let Some(client) = self.clients.get_mut(id) {
            client.input.drain(..client.answered);
            client.answered = 0;
            client.input.extend_from_slice(&data);
        }
        if !self.answer(id, out) {
            out.pause(id);
            out.hold(id);
            out.again(id);
        } else if let Some(client) = self.clients.get(id)
            && client.input.len() - client.answered > LINE_LIMIT
        {
            out.send(id, b"ERROR\n");
            out.finish(id);
        }
    }

    fn on_again(&mut self, id: ConnId, out: &mut Outbox) {
        if self.answer(id, out) {
            out.resume(id);
            out.release(id);
        } else {
            out.again(id);
        }
    }

    fn on_close(&mut self, id: ConnId, _: Closed, _: &mut Outbox) {
        self.clients.remove(id);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9876".into());
    let mut reactor = Reactor::new(Store::default(), Limits::default())?;
    reactor.handle_signals()?;
    let bound = reactor.listen_on(&address, 0)?;
    eprintln!("listening on {}", bound[0]);
    Ok(reactor.run()?)
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::{Script, every_split};

    use super::*;

    #[test]
    fn replies_do_not_depend_on_how_requests_are_cut() {
        let requests = b"SET a 1\nSET b two words\nGET a\nGET c\nLIST\nGET\nGET b\n";
        let replies = b"OK\nOK\n1\nNONE\na 1\nb two words\nEND\nERROR\ntwo words\n";
        assert_eq!(every_split(Store::default, requests), replies);
    }

    #[test]
    fn a_list_larger_than_enough_comes_in_parts_and_whole() {
        let mut script = Script::new(Store::default());
        let client = script.open();
        let pair = |n: usize| format!("{n:04} {}\n", "x".repeat(1000));
        (0..1000).for_each(|n| script.data(client, format!("SET {}", pair(n)).as_bytes()));
        script.take_output(client);
        script.data(client, b"LIST\nGET none\n");
        script.eof(client);
        let list: String = (0..1000).map(pair).collect();
        let replies = String::from_utf8(script.take_output(client)).unwrap();
        assert!(replies == list + "END\nNONE\n");
        assert_eq!(script.closed(client), Some(Closed::Eof));
    }
}
