//! Recipe: HTTP/1.1, with the [`httparse`] crate as the parser. It answers every GET and HEAD with
//! a greeting, keeps connections alive, answers pipelined requests in order, and bounds a request's
//! head in bytes and in time.
//!
//! ```sh
//! cargo run -p edgeloop-reactor --example http_hello
//! curl -i http://127.0.0.1:9876/ http://127.0.0.1:9876/again
//! ```

use std::time::{Duration, SystemTime};

use edgeloop_reactor::{Closed, ConnId, ConnMap, Data, Limits, Outbox, Protocol, Reactor};

/// The longest head of a request, in bytes, and the most headers in it.
const HEAD_LIMIT: usize = 8 * 1024;
const HEADERS: usize = 64;
/// The time within which a head that has begun must be complete.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

struct Hello {
    /// The wall clock: a test has one of its own.
    clock: fn() -> SystemTime,
    /// The value of the `Date` header, and the second since the start that it is for.
    date: (u64, String),
    /// Heads of which a part has arrived.
    partial: ConnMap<Vec<u8>>,
}

struct Request {
    /// The length of the head: the next request begins behind it.
    len: usize,
    is_head: bool,
    keep_alive: bool,
}

/// The first request; `None` if a part is still to come; the status line if it is refused.
fn parse(input: &[u8]) -> Result<Option<Request>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let len = match parsed.parse(input) {
        Ok(httparse::Status::Complete(len)) if len <= HEAD_LIMIT => len,
        Ok(httparse::Status::Partial) if input.len() < HEAD_LIMIT => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            return Err("431 Request Header Fields Too Large");
        }
        Err(_) => return Err("400 Bad Request"),
    };
    let mut keep_alive = parsed.version == Some(1);
    for header in parsed.headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let has = |word: &str| {
            let mut words = header.value.split(|byte| *byte == b',');
            words.any(|value| value.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
        };
        // A body that is not read would be taken for the next request.
        if is("transfer-encoding") || is("content-length") && header.value != b"0" {
            return Err("413 Content Too Large");
        }
        if is("connection") {
            keep_alive = !has("close") && (keep_alive || has("keep-alive"));
        }
    }
    let is_head = match parsed.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err("501 Not Implemented"),
    };
    Ok(Some(Request {
        len,
        is_head,
        keep_alive,
    }))
}

impl Hello {
    fn new(clock: fn() -> SystemTime) -> Hello {
        let date = (0, httpdate::fmt_http_date(clock()));
        let partial = ConnMap::new();
        Hello {
            clock,
            date,
            partial,
        }
    }

    /// Answers a request, and ends the connection unless it is to be kept alive.
    fn reply(
        &mut self,
        id: ConnId,
        status: &str,
        keep_alive: bool,
        is_head: bool,
        out: &mut Outbox,
    ) {
        let second = out.now().as_secs();
        if self.date.0 != second {
            self.date = (second, httpdate::fmt_http_date((self.clock)()));
        }
        let body = if status == "200 OK" { "hello\n" } else { "" };
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let head = format!(
            "HTTP/1.1 {status}\r\nDate: {}\r\nConnection: {connection}\r\nContent-Length: {}\r\n\r\n",
            self.date.1,
            body.len()
        );
        out.send(id, head.as_bytes());
        out.send(id, if is_head { b"" } else { body.as_bytes() });
        if !keep_alive {
            out.finish(id);
        }
    }
}

impl Protocol for Hello {
    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        let mut input = self.partial.remove(id).unwrap_or_default();
        let had_begun = !input.is_empty();
        input.extend_from_slice(&data);
        let mut rest = &input[..];
        while !rest.is_empty() {
            match parse(rest) {
                Ok(Some(request)) => {
                    rest = &rest[request.len..];
                    self.reply(id, "200 OK", request.keep_alive, request.is_head, out);
                    if !request.keep_alive {
                        return;
                    }
                }
                Ok(None) => break,
                Err(status) => return self.reply(id, status, false, false, out),
            }
        }
        if rest.is_empty() {
            out.clear_timer(id);
        } else {
            // A head that comes byte by byte gets no more time with each.
            if !had_begun || rest.len() < input.len() {
                out.set_timer(id, HEAD_TIMEOUT);
            }
            self.partial.insert(id, rest.to_vec());
        }
    }

    fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
        self.reply(id, "408 Request Timeout", false, false, out);
    }

    fn on_close(&mut self, id: ConnId, _: Closed, _: &mut Outbox) {
        self.partial.remove(id);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9876".into());
    let limits = Limits {
        idle_timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    let mut reactor = Reactor::new(Hello::new(SystemTime::now), limits)?;
    reactor.handle_signals()?;
    let bound = reactor.listen_on(&address, 0)?;
    eprintln!("listening on {}", bound[0]);
    Ok(reactor.run()?)
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::{Script, every_split};

    use super::*;

    fn fresh() -> Hello {
        Hello::new(|| SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn pipelined_requests_are_answered_in_order_wherever_they_are_cut() {
        let requests =
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\n\r\nGET / HTTP/1.0\r\n\r\nGET";
        let head = |connection| {
            let date = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
            format!(
                "HTTP/1.1 200 OK\r\n{date}Connection: {connection}\r\nContent-Length: 6\r\n\r\n"
            )
        };
        let (kept, last) = (head("keep-alive"), head("close"));
        let replies = format!("{kept}hello\n{kept}{last}hello\n");
        assert_eq!(every_split(fresh, requests), replies.as_bytes());
    }

    #[test]
    fn heads_that_are_too_long_too_slow_or_wrong_are_refused() {
        let long = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(HEAD_LIMIT));
        for (input, status) in [
            (&long[..], "431"),
            ("nonsense\r\n\r\n", "400"),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "413"),
            ("BREW / HTTP/1.1\r\n\r\n", "501"),
            ("GET / HT", "408"),
        ] {
            let mut script = Script::new(fresh());
            let client = script.open();
            script.data(client, input.as_bytes());
            script.advance(HEAD_TIMEOUT);
            let reply = script.take_output(client);
            assert_eq!(&reply[9..12], status.as_bytes());
            assert_eq!(script.closed(client), Some(Closed::Finished));
        }
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_gets_no_more_time_with_each() {
        let mut script = Script::new(fresh());
        let client = script.open();
        for byte in b"GET / HTTP/1.1\r\nA: b" {
            script.data(client, &[*byte]);
            script.advance(HEAD_TIMEOUT / 10);
        }
        assert_eq!(&script.take_output(client)[9..12], b"408");
    }
}
