//! A datagram for each line, and no reply to any.
//!
//! Whether they arrive is not known, but a loss that this machine notices is not silent: a datagram
//! that the kernel has no room for is sent again until it has, and a closed port is a failure, if
//! the network reports it before the end.
//!
//! The lines of a file could be sent faster than a server receives them, and most would be dropped at
//! the receiver's full buffer. So datagrams leave in small bursts.

use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId, Data, Datagram, Opened, Outbox, Protocol};

use super::{Lines, Next, Peers, Traffic};
use crate::client::{Call, Client};
use crate::dial::cannot_reach;
use crate::progress::Progress;

/// Datagrams in a burst: a receive buffer of the default size holds 256 small ones.
const BURST: usize = 64;
/// Bytes after which a burst ends: the same buffer holds three times as many (socket(7),
/// `rmem_default`).
const BURST_BYTES: usize = 64 * 1024;
/// Time from one burst to the next.
const PACE: Duration = Duration::from_millis(1);

/// The client of a server that answers nothing.
pub(crate) struct Post {
    call: Call,
    peers: Peers,
    lines: Lines,
    stdin: Option<ConnId>,
    progress: Progress,
    /// Datagrams sent since the timer was set; empty if it is not set.
    burst: Vec<Vec<u8>>,
    /// Of these, the ones that the kernel gave back.
    unsent: Vec<Vec<u8>>,
    /// Start of the time in which the kernel has taken nothing.
    blocked_since: Option<Duration>,
    /// A burst was sent, and the network did not report a closed port.
    proven: bool,
    traffic: Traffic,
    failure: Option<String>,
}

impl Post {
    pub(crate) fn new(call: &Call, progress: Progress) -> Self {
        Post {
            lines: Lines::new(call.message.clone()),
            call: call.clone(),
            peers: Peers::default(),
            stdin: None,
            progress,
            burst: Vec::new(),
            unsent: Vec::new(),
            blocked_since: None,
            proven: false,
            traffic: Traffic::default(),
            failure: None,
        }
    }

    /// Sends the next burst, unless the last one's time is not over. The end comes after the last
    /// burst's time too: a closed port of this machine is reported by then.
    fn go_on(&mut self, out: &mut Outbox) {
        if !self.burst.is_empty() {
            return;
        }
        let mut bytes = 0;
        while self.burst.len() < BURST && bytes < BURST_BYTES {
            match self.lines.next() {
                Next::Datagram(datagram) => {
                    bytes += datagram.len();
                    self.peers.send(&datagram, out);
                    self.traffic.count_sent(&datagram);
                    self.burst.push(datagram);
                }
                Next::Read => {
                    self.stdin.into_iter().for_each(|stdin| out.resume(stdin));
                    break;
                }
                Next::End(end) if self.burst.is_empty() => {
                    self.failure = end.result().err();
                    return self.end(out);
                }
                Next::End(_) => break,
            }
        }
        if !self.burst.is_empty() {
            out.set_service_timer(PACE);
        }
    }

    /// Datagrams that the kernel gave back go with the next burst. Returns whether the kernel has taken
    /// nothing for the whole timeout.
    fn take_back(&mut self, now: Duration) -> bool {
        let blocked = self.unsent.len() == self.burst.len();
        let since = self.blocked_since.take().unwrap_or(now);
        self.blocked_since = blocked.then_some(since);
        self.lines.put_back(mem::take(&mut self.unsent));
        self.burst.clear();
        blocked && !self.call.timeout.is_zero() && now >= since.saturating_add(self.call.timeout)
    }

    /// Stops, with this failure unless there is one already.
    fn fail(&mut self, failure: String, out: &mut Outbox) {
        self.failure.get_or_insert(failure);
        self.end(out);
    }

    fn end(&mut self, out: &mut Outbox) {
        self.stdin
            .take()
            .into_iter()
            .for_each(|stdin| out.abort(stdin));
        out.clear_service_timer();
        out.stop();
    }
}

impl Client for Post {
    fn start(&mut self, peers: Vec<SocketAddr>, out: &mut Outbox) {
        self.peers = Peers::new(peers, &self.call.server);
        self.go_on(out);
    }

    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn summary(&self) -> String {
        self.traffic.to_string()
    }
}

impl Protocol for Post {
    fn on_open(&mut self, id: ConnId, _: Opened, _: &mut Outbox) {
        self.stdin = Some(id);
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        self.lines.feed(&data);
        self.progress.add(data.len());
        // The input goes on when all of these lines are sent.
        out.pause(id);
        self.go_on(out);
    }

    fn on_eof(&mut self, _: ConnId, out: &mut Outbox) {
        // The connection may close now, as a pipe does, or later.
        self.stdin = None;
        self.lines.finish();
        self.go_on(out);
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, _: &mut Outbox) {
        self.traffic.count_received(&datagram.data);
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.proven = true;
        if self.take_back(out.now()) {
            let server = &self.call.server;
            return self.fail(format!("cannot send to {server}: no room in time"), out);
        }
        self.go_on(out);
    }

    fn on_connect_error(&mut self, _: ConnId, tag: u64, why: Closed, out: &mut Outbox) {
        if !self.peers.is_current(tag) {
            return;
        }
        if !self.proven && self.peers.advance(why) {
            self.traffic.again += self.burst.len() as u64;
            self.lines.put_back(mem::take(&mut self.burst));
            self.unsent.clear();
            return self.go_on(out);
        }
        self.fail(cannot_reach(&self.call.server, why), out);
    }

    fn on_unsent(&mut self, tag: u64, datagram: Vec<u8>, _: &mut Outbox) {
        if self.peers.is_current(tag) {
            self.traffic.count_unsent(&datagram);
            self.unsent.push(datagram);
        }
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        if Some(id) == self.stdin {
            self.fail(format!("cannot read standard input: {why}"), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::{Peer, Script, SystemError};
    use nix::errno::Errno;

    use super::*;
    use crate::client::{STDIN, Service};

    const REFUSED: Closed = Closed::Error(SystemError::new(Errno::ECONNREFUSED as i32));

    /// The server's addresses.
    fn at(place: u16) -> SocketAddr {
        ([127, 0, 0, 1], 8888 + place).into()
    }

    /// A client, and its standard input.
    fn client(addresses: u16) -> (Script<Post>, ConnId) {
        client_with(Duration::from_secs(2), addresses)
    }

    fn client_with(timeout: Duration, addresses: u16) -> (Script<Post>, ConnId) {
        let call = Call {
            server: "udp://server:8888".parse().unwrap(),
            service: Service::Sink,
            message: None,
            timeout,
            retries: 2,
        };
        let mut script = Script::new(Post::new(&call, Progress::hidden()));
        let (peer, tag) = (Peer::Stream, STDIN);
        let stdin = script.open_as(Opened::new(peer, tag));
        let peers = (0..addresses).map(at).collect();
        script.call(|client, out| client.start(peers, out));
        (script, stdin)
    }

    /// Lines with the numbers from 0.
    fn numbered(count: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
        let lines: Vec<Vec<u8>> = (0..count)
            .map(|number| number.to_string().into_bytes())
            .collect();
        (lines.join(&b'\n'), lines)
    }

    fn sent(script: &mut Script<Post>) -> Vec<Vec<u8>> {
        let sent = script.take_datagrams();
        sent.into_iter().map(|(_, bytes)| bytes).collect()
    }

    fn failed(script: &Script<Post>, failure: &str) {
        assert_eq!(script.protocol().failure(), Some(failure));
        assert!(script.is_stopped());
    }

    #[test]
    fn each_line_is_sent_once_in_bursts() {
        let (mut script, stdin) = client(1);
        let (input, lines) = numbered(2 * BURST + 1);
        script.data(stdin, &input);
        script.eof(stdin);
        assert!(script.is_paused(stdin));
        for burst in lines.chunks(BURST) {
            assert_eq!(sent(&mut script), burst);
            assert!(!script.is_stopped());
            script.advance(PACE);
        }
        assert!(script.is_stopped());
        assert_eq!(script.protocol().failure(), None);
        let summary = script.protocol().summary();
        assert!(
            summary.contains("datagrams: 129 sent, 0 of them again"),
            "{summary}"
        );
    }

    #[test]
    fn a_burst_has_a_bounded_number_of_bytes() {
        let (mut script, stdin) = client(1);
        let line = "x".repeat(40_000) + "\n";
        script.data(stdin, line.repeat(5).as_bytes());
        let mut bursts = vec![sent(&mut script).len()];
        while script.is_paused(stdin) {
            script.advance(PACE);
            bursts.push(sent(&mut script).len());
        }
        bursts.retain(|&lines| lines > 0);
        assert_eq!(bursts.iter().sum::<usize>(), 5);
        assert!(
            bursts.iter().all(|&lines| (1..=2).contains(&lines)),
            "{bursts:?}"
        );
    }

    #[test]
    fn a_word_now_and_then_is_sent_at_once() {
        let (mut script, stdin) = client(1);
        for line in [&b"one\n"[..], b"\n", b"three\n"] {
            script.data(stdin, line);
            assert_eq!(sent(&mut script), [&line[..line.len() - 1]]);
            script.advance(PACE);
            assert!(!script.is_paused(stdin));
        }
    }

    #[test]
    fn what_the_kernel_gives_back_goes_first() {
        let (mut script, stdin) = client(1);
        let (input, lines) = numbered(BURST + 2);
        script.data(stdin, &input);
        script.eof(stdin);
        assert_eq!(sent(&mut script), lines[..BURST]);
        script.unsent(0, &lines[5]);
        script.unsent(0, &lines[BURST - 1]);
        script.advance(PACE);
        let expected = [5, BURST - 1, BURST].map(|place| lines[place].clone());
        assert_eq!(sent(&mut script), expected);
        script.advance(PACE);
        assert_eq!(
            sent(&mut script),
            lines[BURST + 1..],
            "the line that lacks its newline"
        );
        script.advance(PACE);
        assert!(script.is_stopped());
        let summary = script.protocol().summary();
        assert!(summary.contains("datagrams: 66 sent"), "{summary}");
    }

    #[test]
    fn a_kernel_that_takes_nothing_is_given_up() {
        let (mut script, stdin) = client(1);
        script.data(stdin, b"a\nb\n");
        let mut waited = Duration::ZERO;
        while !script.is_stopped() {
            assert!(waited <= Duration::from_secs(2), "still there");
            for line in sent(&mut script) {
                script.unsent(0, &line);
            }
            script.advance(PACE);
            waited += PACE;
        }
        assert!(waited >= Duration::from_secs(2), "after {waited:?}");
        failed(&script, "cannot send to udp://server:8888: no room in time");
        let summary = script.protocol().summary();
        assert!(summary.starts_with("sent 0 bytes"), "{summary}");
    }

    #[test]
    fn a_kernel_that_takes_one_at_a_time_is_not() {
        let (mut script, stdin) = client_with(5 * PACE, 1);
        let (input, lines) = numbered(3 * BURST);
        script.data(stdin, &input);
        script.eof(stdin);
        let mut taken = Vec::new();
        while !script.is_stopped() {
            let burst = sent(&mut script);
            taken.push(burst[0].clone());
            burst[1..].iter().for_each(|line| script.unsent(0, line));
            script.advance(PACE);
        }
        assert_eq!(script.protocol().failure(), None);
        assert_eq!(taken, lines);
    }

    #[test]
    fn the_first_burst_is_repeated_at_the_next_address() {
        let (mut script, stdin) = client(2);
        script.data(stdin, b"a\nb\n");
        let to = |place| [(at(place), b"a".to_vec()), (at(place), b"b".to_vec())];
        assert_eq!(script.take_datagrams(), to(0));
        script.udp_error(0, REFUSED);
        assert_eq!(script.take_datagrams(), to(1));
        script.udp_error(0, REFUSED);
        script.advance(PACE);
        assert!(!script.is_stopped());
        script.udp_error(1, REFUSED);
        failed(
            &script,
            "cannot reach udp://server:8888: Connection refused",
        );
    }

    #[test]
    fn a_refusal_is_a_failure_also_when_all_is_sent() {
        let (mut script, stdin) = client(1);
        script.data(stdin, b"line");
        script.eof(stdin);
        assert!(!script.is_stopped());
        script.udp_error(0, REFUSED);
        failed(
            &script,
            "cannot reach udp://server:8888: Connection refused",
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_a_failure_after_what_comes_before_it() {
        let (mut script, stdin) = client(1);
        script.data(stdin, format!("short\n{}", "x".repeat(65_508)).as_bytes());
        assert_eq!(sent(&mut script), [b"short"]);
        script.advance(PACE);
        assert_eq!(sent(&mut script), [b""; 0]);
        let failure = "a line of standard input is longer than a datagram can be: 65507 bytes";
        failed(&script, failure);
    }
}
