//! Recipe: request and answer over UDP, with timeout and retry, both server and client.
//!
//! A datagram may be lost, doubled or late. So each request has a number, which its answer repeats,
//! and is sent again, after twice the time, until an answer with that number has come or the last
//! try has failed. All requests are under way at once; the protocol's one timer is set for the
//! earliest deadline of them. The server keeps nothing, so a request that comes twice is answered
//! twice.
//!
//! ```sh
//! cargo run -p edgeloop-reactor --example udp_retry serve udp://127.0.0.1:9876
//! cargo run -p edgeloop-reactor --example udp_retry ask udp://127.0.0.1:9876 one two three
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use edgeloop_reactor::{Address, Datagram, Limits, Outbox, Protocol, Reactor};

/// The wait for an answer to the first try; each try after it waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const TRIES: u32 = 5;
const TAG: u64 = 0;

/// Sends each datagram back in capitals.
struct Server;

impl Protocol for Server {
    fn on_datagram(&mut self, mut datagram: Datagram<'_>, out: &mut Outbox) {
        // Four bytes of number, then text.
        if let Some(text) = datagram.data.get_mut(4..) {
            text.make_ascii_uppercase();
            out.send_back(datagram.data);
        }
    }
}

struct Client {
    server: SocketAddr,
    requests: Vec<Request>,
}

/// Its number is its place in the list.
struct Request {
    text: String,
    tries: u32,
    /// When to send it (again), on the clock of [`Outbox::now`].
    due: Duration,
    /// The outcome: an answer, or none after the last try.
    outcome: Option<Result<String, ()>>,
}

impl Client {
    fn new(server: SocketAddr, texts: impl Iterator<Item = String>) -> Client {
        let request = |text| Request {
            text,
            tries: 0,
            due: Duration::ZERO,
            outcome: None,
        };
        let requests = texts.map(request).collect();
        Client { server, requests }
    }

    /// Sends what is due, and sets the timer for what is due next.
    fn go_on(&mut self, out: &mut Outbox) {
        let now = out.now();
        let open = |request: &&mut Request| request.outcome.is_none();
        for (number, request) in (0_u32..).zip(&mut self.requests) {
            if request.outcome.is_some() || request.due > now {
                continue;
            }
            if request.tries == TRIES {
                request.outcome = Some(Err(()));
                continue;
            }
            let datagram = [&number.to_be_bytes()[..], request.text.as_bytes()].concat();
            out.send_to(TAG, self.server, &datagram);
            request.due = now + FIRST_WAIT * (1 << request.tries);
            request.tries += 1;
        }
        match self
            .requests
            .iter_mut()
            .filter(open)
            .map(|request| request.due)
            .min()
        {
            Some(due) => out.set_service_timer_at(due),
            None => out.stop(),
        }
    }
}

impl Protocol for Client {
    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.go_on(out);
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox) {
        if let Some((number, text)) = datagram.data.split_first_chunk()
            && let Some(request) = self.requests.get_mut(u32::from_be_bytes(*number) as usize)
            && request.outcome.is_none()
        {
            request.outcome = Some(Ok(String::from_utf8_lossy(text).into_owned()));
            self.go_on(out);
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let address = arguments
        .next()
        .ok_or("usage: udp_retry serve|ask udp://HOST:PORT [WORD...]")?;
    let address = address.parse::<Address>()?;
    if command == "serve" {
        let mut reactor = Reactor::new(Server, Limits::default())?;
        reactor.handle_signals()?;
        let bound = reactor.listen(&address, TAG)?;
        eprintln!("listening on {}", bound[0]);
        return Ok(reactor.run()?);
    }
    let server = *address.resolve()?.first().ok_or("no such host")?;
    let mut reactor = Reactor::new(Client::new(server, arguments), Limits::default())?;
    // A socket with one peer takes datagrams from that peer alone.
    reactor.connect(&Address::Udp(server.into()), TAG)?;
    reactor.call(Client::go_on);
    reactor.run()?;
    for request in &reactor.protocol().requests {
        match &request.outcome {
            Some(Ok(answer)) => println!("{}: {answer}", request.text),
            _ => println!("{}: no answer", request.text),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::Script;

    use super::*;

    #[test]
    fn a_request_is_sent_again_until_its_own_answer_comes_and_no_more_than_five_times() {
        let server = SocketAddr::from(([127, 0, 0, 1], 9));
        let texts = ["one", "two"].map(String::from).into_iter();
        let mut script = Script::new(Client::new(server, texts));
        script.call(Client::go_on);
        assert_eq!(script.take_datagrams().len(), 2);
        script.advance(Duration::from_millis(199));
        script.datagram(server, b"\0\0\0\x01TWO");
        script.datagram(server, b"\0\0\0\x01twice");
        script.datagram(server, b"\0\0\0\x02no such request");
        script.datagram(server, b"\0");
        script.advance(Duration::from_millis(1));
        assert_eq!(script.take_datagrams(), [(server, b"\0\0\0\0one".to_vec())]);
        script.advance(Duration::from_millis(200 * (2 + 4 + 8)));
        assert_eq!(script.take_datagrams().len(), 3);
        assert!(!script.is_stopped());
        script.advance(Duration::from_millis(200 * 16));
        assert!(script.is_stopped() && script.take_datagrams().is_empty());
        let outcomes = script
            .protocol()
            .requests
            .iter()
            .map(|request| &request.outcome);
        assert!(outcomes.eq([&Some(Err(())), &Some(Ok("TWO".into()))]));
    }

    #[test]
    fn the_server_answers_in_capitals_with_the_number_as_it_was() {
        let mut script = Script::new(Server);
        let client = SocketAddr::from(([127, 0, 0, 1], 5000));
        script.datagram(client, b"abcdefg");
        script.datagram(client, b"abc");
        assert_eq!(script.take_datagrams(), [(client, b"abcdEFG".to_vec())]);
    }
}
