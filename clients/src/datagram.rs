//! Clients over UDP: a datagram for each line of standard input.
//!
//! [`ask`] waits for each reply before it sends the next line; [`post`] expects none. They share
//! the contents of this file: the lines, and the addresses of the server.

pub(crate) mod ask;
pub(crate) mod post;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;

use edgeloop::line::{Line, LineAssembler};
use edgeloop_reactor::{Address, Outbox};

/// The most bytes that a datagram can hold: 65,535 less the headers of IPv4 and UDP (ip(7), udp(7)).
const DATAGRAM_MAX: usize = 65_507;

/// The datagrams to send, in order: each line of standard input without its end, which is `\n` or
/// `\r\n`, or one message.
///
/// Standard input is paused while lines wait, so that no more wait than one read brings.
#[derive(Debug, Default)]
struct Lines {
    assembler: LineAssembler,
    queue: Queue,
}

/// Datagrams that wait to be sent.
#[derive(Debug, Default)]
struct Queue {
    datagrams: VecDeque<Vec<u8>>,
    /// Why no more will follow these; `None` as long as more may.
    end: Option<End>,
}

impl Queue {
    fn push(&mut self, line: Line<'_>) {
        match self.end {
            None if line.cut => self.end = Some(End::TooLong("a line of standard input")),
            None => self.datagrams.push_back(line.text.to_vec()),
            // After a line that cannot be sent, no line is sent.
            Some(_) => {}
        }
    }
}

/// Why there is no more to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The input has ended.
    Regular,
    /// The line or message named here does not fit in a datagram.
    TooLong(&'static str),
}

impl End {
    fn result(self) -> Result<(), String> {
        match self {
            End::Regular => Ok(()),
            End::TooLong(what) => Err(format!(
                "{what} is longer than a datagram can be: {DATAGRAM_MAX} bytes"
            )),
        }
    }
}

/// The next step of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    /// Send this.
    Datagram(Vec<u8>),
    /// Read more lines.
    Read,
    End(End),
}

impl Lines {
    /// The lines of standard input, or the message.
    fn new(message: Option<Vec<u8>>) -> Self {
        let mut lines = Lines::default();
        match message {
            None => {}
            Some(message) if message.len() > DATAGRAM_MAX => {
                lines.queue.end = Some(End::TooLong("the message"));
            }
            Some(message) => {
                lines.queue.datagrams.push_back(message);
                lines.queue.end = Some(End::Regular);
            }
        }
        lines
    }

    fn feed(&mut self, bytes: &[u8]) {
        let Lines { assembler, queue } = self;
        assembler.feed(bytes, DATAGRAM_MAX, |line| queue.push(line));
    }

    /// Standard input has ended.
    fn finish(&mut self) {
        let Lines { assembler, queue } = self;
        assembler.finish(DATAGRAM_MAX, |line| queue.push(line));
        queue.end.get_or_insert(End::Regular);
    }

    fn next(&mut self) -> Next {
        match (self.queue.datagrams.pop_front(), self.queue.end) {
            (Some(datagram), _) => Next::Datagram(datagram),
            (None, Some(end)) => Next::End(end),
            (None, None) => Next::Read,
        }
    }

    /// Queues datagrams that are to be sent again, before all others.
    fn put_back(&mut self, datagrams: Vec<Vec<u8>>) {
        for datagram in datagrams.into_iter().rev() {
            self.queue.datagrams.push_front(datagram);
        }
    }
}

/// The addresses of the server, in the resolver's order.
///
/// To connect a UDP socket sends nothing, so it is not known beforehand which address the server
/// has. The first one is used until the network reports a closed port (ICMP, udp(7)), or a reply is
/// missing.
#[derive(Debug, Default)]
struct Peers {
    addresses: Vec<SocketAddr>,
    current: usize,
}

impl Peers {
    /// `addresses` has at least one.
    fn new(addresses: Vec<SocketAddr>, server: &Address) -> Self {
        if let Some(first) = addresses.first() {
            log::info!("datagrams go to {server} ({first})");
        }
        Peers {
            addresses,
            current: 0,
        }
    }

    /// Sends to the address in use, from the socket whose tag is its index.
    fn send(&self, bytes: &[u8], out: &mut Outbox) {
        if let Some(to) = self.addresses.get(self.current) {
            out.send_to(self.current as u64, *to, bytes);
        }
    }

    fn is_current(&self, tag: u64) -> bool {
        self.current == tag as usize
    }

    /// The server is not at the address in use: goes on to the next. False if there is none.
    fn advance(&mut self, why: impl fmt::Display) -> bool {
        let (here, next) = (self.current, self.current + 1);
        let (Some(here), Some(there)) = (self.addresses.get(here), self.addresses.get(next)) else {
            return false;
        };
        log::info!("{here}: {why}; trying {there}");
        self.current = next;
        true
    }
}

/// Traffic both ways. Bytes are those of the datagrams, without their headers.
#[derive(Debug, Default)]
struct Traffic {
    sent_bytes: u64,
    sent: u64,
    /// Of those sent, copies of earlier ones.
    again: u64,
    received_bytes: u64,
    received: u64,
    /// Of those received, replies that were not waited for.
    late: u64,
}

impl Traffic {
    fn count_sent(&mut self, bytes: &[u8]) {
        self.sent += 1;
        self.sent_bytes += bytes.len() as u64;
    }

    /// The kernel had no room for a datagram that was counted.
    fn count_unsent(&mut self, bytes: &[u8]) {
        self.sent -= 1;
        self.sent_bytes -= bytes.len() as u64;
    }

    fn count_received(&mut self, bytes: &[u8]) {
        self.received += 1;
        self.received_bytes += bytes.len() as u64;
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, received) = (self.sent_bytes, self.received_bytes);
        write!(out, "sent {sent} bytes, received {received} bytes")?;
        let Traffic {
            sent,
            again,
            received,
            late,
            ..
        } = self;
        write!(out, "; datagrams: {sent} sent, {again} of them again")?;
        write!(out, "; {received} received, {late} of them late")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &mut Lines) -> (Vec<Vec<u8>>, Next) {
        let mut datagrams = Vec::new();
        loop {
            match lines.next() {
                Next::Datagram(datagram) => datagrams.push(datagram),
                last => return (datagrams, last),
            }
        }
    }

    #[test]
    fn each_line_is_a_datagram_wherever_the_input_is_cut() {
        let input = b"one\n\ntwo\r\n\0\xff\nlast";
        let expected = [&b"one"[..], b"", b"two", b"\0\xff", b"last"].map(<[u8]>::to_vec);
        for cut in 0..input.len() {
            let mut lines = Lines::new(None);
            lines.feed(&input[..cut]);
            lines.feed(&input[cut..]);
            lines.finish();
            assert_eq!(
                all(&mut lines),
                (expected.to_vec(), Next::End(End::Regular))
            );
        }
    }

    #[test]
    fn what_was_put_back_comes_first() {
        let mut lines = Lines::new(None);
        lines.feed(b"a\nb\nc\n");
        let two = [lines.next(), lines.next()].map(|next| match next {
            Next::Datagram(datagram) => datagram,
            other => panic!("{other:?}"),
        });
        lines.put_back(two.to_vec());
        let expected = [b"a", b"b", b"c"].map(|text| text.to_vec());
        assert_eq!(all(&mut lines), (expected.to_vec(), Next::Read));
    }

    #[test]
    fn what_is_too_long_is_an_end() {
        let longest = vec![b'x'; DATAGRAM_MAX];
        let too_long = vec![b'x'; DATAGRAM_MAX + 1];
        let mut lines = Lines::new(None);
        lines.feed(&[&longest[..], b"\n", &too_long, b"\nnot sent\n"].concat());
        lines.finish();
        let end = End::TooLong("a line of standard input");
        assert_eq!(all(&mut lines), (vec![longest.clone()], Next::End(end)));
        let expected = "a line of standard input is longer than a datagram can be: 65507 bytes";
        assert_eq!(end.result(), Err(expected.into()));

        let mut lines = Lines::new(Some(longest.clone()));
        assert_eq!(all(&mut lines), (vec![longest], Next::End(End::Regular)));
        let mut lines = Lines::new(Some(too_long));
        assert_eq!(lines.next(), Next::End(End::TooLong("the message")));
    }
}
