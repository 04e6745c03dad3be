//! Standard input to a server, the server to standard output, both at once.
//!
//! All three are connections of one reactor, so nothing can deadlock: when one of them cannot take
//! more, its source is paused, and the others go on.

use std::net::SocketAddr;

use edgeloop_reactor::{Closed, ConnId, Data, Opened, Outbox, Peer, Protocol};

use crate::client::{Call, Client, STDIN, longer};
use crate::dial::Dial;
use crate::output::{Output, STDOUT};
use crate::progress::Progress;

/// The failure of a server that ends the stream before it has everything.
const GONE: &str = "server closed the connection";

/// Bytes a second of a reply that count as progress. A slow line brings more; with a lower bound, a
/// server that sends a byte now and then would keep its client for hours.
const PROGRESS: u128 = 1024;

/// A client over TCP or a Unix socket.
///
/// The client succeeds when the server ends the stream after the client has. The reply is complete
/// then; and a server without replies reports in this way that it has read everything.
///
/// The client fails when the reply is longer than the input, as no reply of an echo or upper-case
/// server is, or when the reply comes too slowly to be complete in reasonable time.
pub(crate) struct StreamClient {
    call: Call,
    dial: Dial,
    stdin: Option<ConnId>,
    server: Option<ConnId>,
    output: Output,
    progress: Progress,
    /// All input is sent, and this side of the stream ended.
    all_sent: bool,
    /// The server has ended the stream.
    server_ended: bool,
    sent: u64,
    received: u64,
    /// Bytes received when the timeout began.
    received_before: u64,
    failure: Option<String>,
}

impl StreamClient {
    pub(crate) fn new(call: &Call, output: Output, progress: Progress) -> Self {
        StreamClient {
            call: call.clone(),
            dial: Dial::new(call.server.clone(), call.retries),
            stdin: None,
            server: None,
            output,
            progress,
            all_sent: false,
            server_ended: false,
            sent: 0,
            received: 0,
            received_before: 0,
            failure: None,
        }
    }

    fn connected(&mut self, server: ConnId, peer: Peer, out: &mut Outbox) {
        match peer {
            Peer::Inet(at) => log::info!("connected to {} ({at})", self.call.server),
            _ => log::info!("connected to {}", self.call.server),
        }
        self.server = Some(server);
        self.progress.start();
        if let Some(message) = self.call.message.clone() {
            self.send(&message, out);
            self.end_sending(out);
        }
        self.stdin.into_iter().for_each(|stdin| out.resume(stdin));
    }

    fn send(&mut self, bytes: &[u8], out: &mut Outbox) {
        if let Some(server) = self.server {
            out.send(server, bytes);
            self.sent += bytes.len() as u64;
            self.progress.add(bytes.len());
        }
    }

    /// Ends this side of the stream.
    fn end_sending(&mut self, out: &mut Outbox) {
        if let Some(server) = self.server {
            self.all_sent = true;
            out.half_close(server);
            self.wait_for_server(out);
        }
    }

    /// Begins a timeout, in which the reply is to make progress. There is none before all is sent, nor
    /// while the server waits for standard output.
    fn wait_for_server(&mut self, out: &mut Outbox) {
        self.received_before = self.received;
        let limited = self.all_sent && !self.output.is_full() && !self.call.timeout.is_zero();
        if let Some(server) = self.server.filter(|_| limited) {
            out.set_timer(server, self.call.timeout);
        }
    }

    /// Whether the reply has made enough progress for another timeout.
    fn has_progressed(&self) -> bool {
        let enough = self.call.timeout.as_millis() * PROGRESS / 1000;
        let new = self.received - self.received_before;
        self.call.prints() && new > 0 && u128::from(new) >= enough
    }

    /// The failure when a timeout is over.
    fn too_late(&self) -> String {
        let (server, sent, received) = (&self.call.server, self.sent, self.received);
        if !self.call.prints() || received > 0 && received == sent {
            format!("{server} did not end the connection in time")
        } else if received == self.received_before {
            format!("no answer from {server} in time")
        } else {
            format!("the answer from {server} is too slow: {received} of {sent} bytes in time")
        }
    }

    /// Prints the reply to the bytes sent so far. A longer reply is a failure at once: it may have no
    /// end.
    fn print(&mut self, data: &[u8], out: &mut Outbox) {
        let surplus = self.received.saturating_sub(self.sent);
        let expected = data.len().saturating_sub(surplus as usize);
        self.output.print(&data[..expected], out);
        if surplus > 0 {
            let (server, sent, received) = (&self.call.server, self.sent, self.received);
            self.fail(longer(server, received, sent), out);
        }
    }

    /// The reply is complete.
    fn succeed(&mut self, out: &mut Outbox) {
        // The reply to a stream is printed byte for byte, the reply to a message as a text.
        if self.call.message.is_some() && self.call.prints() {
            self.output.end_line(out);
        }
        self.end(out);
    }

    /// Stops, with this failure unless there is one already.
    fn fail(&mut self, failure: String, out: &mut Outbox) {
        self.failure.get_or_insert(failure);
        self.end(out);
    }

    /// Stops. Bytes received are still printed, however long that takes.
    fn end(&mut self, out: &mut Outbox) {
        // Output pending for the server is dropped with the connection.
        let open = [self.stdin.take(), self.server.take()];
        open.into_iter().flatten().for_each(|id| out.close(id));
        self.output.end_text(out);
        out.clear_service_timer();
        out.stop();
    }
}

impl Client for StreamClient {
    fn start(&mut self, _: Vec<SocketAddr>, out: &mut Outbox) {
        self.dial.connect(out);
    }

    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn summary(&self) -> String {
        format!("sent {} bytes, received {} bytes", self.sent, self.received)
    }
}

impl Protocol for StreamClient {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        match opened.tag {
            STDOUT => self.output.open(id),
            STDIN => {
                self.stdin = Some(id);
                // The input is read once the server is connected.
                out.pause(id);
            }
            _ => self.connected(id, opened.peer, out),
        }
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        if Some(id) != self.server {
            return self.send(&data, out);
        }
        self.received += data.len() as u64;
        if self.call.prints() {
            self.print(&data, out);
        }
    }

    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        if Some(id) != self.server {
            // The connection may close now, as a pipe does, or later.
            self.stdin = None;
            return self.end_sending(out);
        }
        self.server_ended = true;
        if self.all_sent {
            // The connection closes by itself when the kernel has the last bytes.
            self.wait_for_server(out);
        } else {
            self.fail(GONE.into(), out);
        }
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        if Some(id) == self.server {
            match why {
                Closed::Eof | Closed::Finished if self.server_ended => self.succeed(out),
                Closed::Eof | Closed::Finished | Closed::Reset => self.fail(GONE.into(), out),
                why => self.fail(format!("connection to {}: {why}", self.call.server), out),
            }
        } else if Some(id) == self.stdin {
            self.fail(format!("cannot read standard input: {why}"), out);
        } else if self.output.is(id) {
            match why {
                Closed::Finished | Closed::Shutdown => {}
                // The reader is gone, as in `edgecall echo | head`: a quiet end.
                Closed::Reset => self.end(out),
                why => self.fail(format!("cannot write the answer: {why}"), out),
            }
        }
    }

    fn on_timer(&mut self, _: ConnId, out: &mut Outbox) {
        if self.has_progressed() {
            self.wait_for_server(out);
        } else {
            self.fail(self.too_late(), out);
        }
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.dial.connect(out);
    }

    fn on_connect_error(&mut self, _: ConnId, _: u64, why: Closed, out: &mut Outbox) {
        if let Err(failure) = self.dial.failed(why, out) {
            self.fail(failure, out);
        }
    }

    /// Pauses the source of the full connection: standard input for the server, the server for
    /// standard output.
    fn on_high_water(&mut self, id: ConnId, out: &mut Outbox) {
        if self.output.is(id) {
            self.output.set_full(true);
            self.server.into_iter().for_each(|server| {
                out.pause(server);
                out.clear_timer(server);
            });
        } else {
            self.stdin.into_iter().for_each(|stdin| out.pause(stdin));
        }
    }

    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        if self.output.is(id) {
            self.output.set_full(false);
            self.server
                .into_iter()
                .for_each(|server| out.resume(server));
            self.wait_for_server(out);
        } else {
            self.stdin.into_iter().for_each(|stdin| out.resume(stdin));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use edgeloop_reactor::{Script, SystemError};
    use nix::errno::Errno;

    use super::*;
    use crate::client::Service;
    use crate::dial::SERVER;

    const SECOND: Duration = Duration::from_secs(1);

    fn call(service: Service, message: Option<&[u8]>) -> Call {
        Call {
            server: "unix:/server".parse().unwrap(),
            service,
            message: message.map(<[u8]>::to_vec),
            timeout: 2 * SECOND,
            retries: 0,
        }
    }

    fn client(call: &Call) -> Script<StreamClient> {
        let client = StreamClient::new(call, Output::default(), Progress::hidden());
        let mut script = Script::new(client);
        script.call(|client, out| client.start(Vec::new(), out));
        script
    }

    fn echo() -> Script<StreamClient> {
        client(&call(Service::Echo, None))
    }

    fn open_as(script: &mut Script<StreamClient>, tag: u64) -> ConnId {
        if let Some(server) = script.connecting(tag) {
            script.connected(server);
            return server;
        }
        script.open_as(Opened::new(Peer::Stream, tag))
    }

    fn open(script: &mut Script<StreamClient>) -> [ConnId; 3] {
        [STDOUT, STDIN, SERVER].map(|tag| open_as(script, tag))
    }

    fn is_a_success(script: &Script<StreamClient>) -> bool {
        script.is_stopped() && script.protocol().failure().is_none()
    }

    fn failed(script: &Script<StreamClient>, failure: &str) {
        assert_eq!(script.protocol().failure(), Some(failure));
        assert!(script.is_stopped());
    }

    #[test]
    fn input_is_sent_and_answers_are_printed_to_their_end() {
        let mut script = echo();
        let [stdout, stdin, server] = open(&mut script);
        script.data(stdin, b"question");
        script.data(server, b"ans");
        script.eof(stdin);
        script.close(stdin, Closed::Reset);
        assert!(script.is_half_closed(server) && !script.is_stopped());
        script.data(server, b"wer");
        script.eof(server);
        script.close(server, Closed::Eof);
        assert!(is_a_success(&script));
        assert_eq!(script.take_output(server), b"question");
        assert_eq!(script.take_output(stdout), b"answer");
        let summary = script.protocol().summary();
        assert_eq!(summary, "sent 8 bytes, received 6 bytes");
    }

    #[test]
    fn nothing_is_read_from_input_before_there_is_a_server() {
        let mut script = echo();
        let stdin = open_as(&mut script, STDIN);
        assert!(script.is_paused(stdin));
        let server = open_as(&mut script, SERVER);
        assert!(!script.is_paused(stdin));
        script.high_water(server, true);
        assert!(
            script.is_paused(stdin),
            "what the server does not take waits where it comes from"
        );
        script.high_water(server, false);
        assert!(!script.is_paused(stdin));
    }

    #[test]
    fn the_server_waits_for_whoever_reads_our_output_and_input_does_not() {
        let mut script = echo();
        let [stdout, stdin, server] = open(&mut script);
        script.high_water(stdout, true);
        assert!(script.is_paused(server) && !script.is_paused(stdin));
        script.high_water(stdout, false);
        assert!(!script.is_paused(server));
    }

    #[test]
    fn time_does_not_count_while_our_own_output_is_full() {
        let mut script = echo();
        let [stdout, stdin, _] = open(&mut script);
        script.high_water(stdout, true);
        script.eof(stdin);
        script.advance(60 * SECOND);
        assert!(!script.is_stopped());
        script.high_water(stdout, false);
        script.advance(2 * SECOND);
        failed(&script, "no answer from unix:/server in time");
    }

    #[test]
    fn a_server_that_goes_first_is_a_failure() {
        for service in [Service::Echo, Service::Upper, Service::Sink] {
            let mut script = client(&call(service, None));
            let [_, stdin, server] = open(&mut script);
            script.data(stdin, b"question");
            script.eof(server);
            failed(&script, GONE);
            assert_eq!(script.closed(server), Some(Closed::Finished));
            assert_eq!(script.closed(stdin), Some(Closed::Finished));
        }
    }

    /// A half-close can fail because the server has reset the connection meanwhile.
    #[test]
    fn a_connection_that_closes_before_the_servers_end_is_a_failure() {
        for why in [Closed::Finished, Closed::Eof, Closed::Reset] {
            let mut script = echo();
            let [_, stdin, server] = open(&mut script);
            script.eof(stdin);
            script.close(server, why);
            failed(&script, GONE);
        }
    }

    #[test]
    fn silence_after_the_last_byte_is_a_failure() {
        let mut script = echo();
        let [_, stdin, server] = open(&mut script);
        script.advance(10 * SECOND);
        script.eof(stdin);
        script.advance(Duration::from_millis(1_999));
        assert!(!script.is_stopped());
        script.advance(Duration::from_millis(1));
        failed(&script, "no answer from unix:/server in time");
        assert_eq!(
            script.closed(server),
            Some(Closed::Finished),
            "what it does not take is not waited for"
        );
    }

    /// Half a second passes, then `bytes` bytes of the reply come.
    fn drip(script: &mut Script<StreamClient>, server: ConnId, bytes: usize) {
        script.advance(SECOND / 2);
        script.data(server, &vec![b'x'; bytes]);
    }

    #[test]
    fn an_answer_that_drips_is_a_failure_within_the_timeout() {
        for bytes in [1, 511] {
            let mut script = echo();
            let [_, stdin, server] = open(&mut script);
            script.data(stdin, &vec![b'x'; 100_000]);
            // Before all is sent, the answer may take its time.
            (0..10).for_each(|_| drip(&mut script, server, bytes));
            script.eof(stdin);
            (0..3).for_each(|_| drip(&mut script, server, bytes));
            assert!(!script.is_stopped());
            script.advance(SECOND / 2);
            failed(
                &script,
                &format!(
                    "the answer from unix:/server is too slow: {} of 100000 bytes in time",
                    13 * bytes
                ),
            );
        }
    }

    #[test]
    fn a_long_answer_may_take_long() {
        let mut script = echo();
        let [stdout, stdin, server] = open(&mut script);
        script.data(stdin, &vec![b'x'; 100_000]);
        script.eof(stdin);
        // Over any two seconds, a little more than 1 KiB a second.
        (0..125).for_each(|_| drip(&mut script, server, 800));
        script.eof(server);
        script.close(server, Closed::Eof);
        assert!(is_a_success(&script));
        assert_eq!(script.take_output(stdout).len(), 100_000);
    }

    #[test]
    fn a_server_that_has_answered_and_does_not_end_is_a_failure() {
        let mut script = echo();
        let [_, stdin, server] = open(&mut script);
        script.data(stdin, &[b'x'; 10_000]);
        script.eof(stdin);
        script.data(server, &[b'x'; 10_000]);
        script.advance(4 * SECOND);
        failed(&script, "unix:/server did not end the connection in time");
    }

    #[test]
    fn an_answer_that_is_longer_than_the_question_is_a_failure_at_once() {
        for (input_ends, question, answer, printed) in [
            (false, &b"hello"[..], &b"HELLO!"[..], &b"HELLO"[..]),
            (true, b"hello", b"HELLO\n", b"HELLO"),
            (false, b"", b"welcome", b""),
            (true, b"", b"welcome", b""),
        ] {
            let mut script = echo();
            let [stdout, stdin, server] = open(&mut script);
            script.data(stdin, question);
            if input_ends {
                script.eof(stdin);
            }
            script.data(server, answer);
            failed(
                &script,
                &format!(
                    "the answer from unix:/server is longer than the question: {} bytes for {}",
                    answer.len(),
                    question.len()
                ),
            );
            assert_eq!(script.take_output(stdout), printed);
        }
    }

    /// The pieces of the reply do not matter, nor how many of its bytes are right.
    #[test]
    fn what_is_sent_so_far_is_what_counts() {
        let mut script = echo();
        let [stdout, stdin, server] = open(&mut script);
        for _ in 0..3 {
            script.data(stdin, b"two");
            script.data(server, b"tw");
            script.data(server, b"o");
            assert!(!script.is_stopped());
        }
        script.data(server, b"x");
        failed(
            &script,
            "the answer from unix:/server is longer than the question: 10 bytes for 9",
        );
        assert_eq!(script.take_output(stdout), b"twotwotwo");
    }

    #[test]
    fn a_timeout_of_zero_is_for_ever() {
        let mut call = call(Service::Echo, None);
        call.timeout = Duration::ZERO;
        let mut script = client(&call);
        let [_, stdin, _] = open(&mut script);
        script.eof(stdin);
        script.advance(1_000_000 * SECOND);
        assert!(!script.is_stopped());
    }

    #[test]
    fn what_a_sink_says_is_discarded_and_buys_it_no_time() {
        let mut script = client(&call(Service::Sink, None));
        let [stdout, stdin, server] = open(&mut script);
        script.data(stdin, b"text");
        script.data(server, b"welcome");
        script.eof(stdin);
        assert_eq!(script.take_output(server), b"text");
        script.advance(SECOND);
        script.data(server, b"still here");
        script.advance(SECOND);
        failed(&script, "unix:/server did not end the connection in time");
        assert_eq!(script.take_output(stdout), b"");
        let summary = script.protocol().summary();
        assert_eq!(summary, "sent 4 bytes, received 17 bytes");
    }

    #[test]
    fn a_sink_has_everything_when_it_has_ended() {
        let mut script = client(&call(Service::Sink, None));
        let [_, stdin, server] = open(&mut script);
        script.eof(stdin);
        assert!(!script.is_stopped());
        script.eof(server);
        script.close(server, Closed::Eof);
        assert!(is_a_success(&script));
    }

    #[test]
    fn a_message_is_sent_as_it_is_and_its_answer_ends_in_a_newline() {
        for (message, answer, printed) in [
            (
                &b"hello, world"[..],
                &b"HELLO, WORLD"[..],
                &b"HELLO, WORLD\n"[..],
            ),
            (b"hello\n", b"HELLO\n", b"HELLO\n"),
            (b"", b"", b"\n"),
        ] {
            let mut script = client(&call(Service::Upper, Some(message)));
            let [stdout, server] = [STDOUT, SERVER].map(|tag| open_as(&mut script, tag));
            assert_eq!(script.take_output(server), message);
            assert!(script.is_half_closed(server));
            script.data(server, answer);
            script.eof(server);
            script.close(server, Closed::Eof);
            assert!(is_a_success(&script));
            assert_eq!(script.take_output(stdout), printed);
        }
    }

    #[test]
    fn an_answer_that_breaks_off_is_printed_as_far_as_it_came() {
        let mut script = client(&call(Service::Upper, Some(b"hello")));
        let [stdout, server] = [STDOUT, SERVER].map(|tag| open_as(&mut script, tag));
        script.data(server, b"HE");
        script.close(server, Closed::Reset);
        failed(&script, GONE);
        assert_eq!(script.take_output(stdout), b"HE");
    }

    #[test]
    fn a_connect_is_tried_again_after_a_second() {
        let refused = Closed::Error(SystemError::new(Errno::ECONNREFUSED as i32));
        let mut call = call(Service::Echo, None);
        call.retries = 2;
        let mut script = client(&call);
        for _ in 0..2 {
            let (attempt, to, _) = script.take_connects().remove(0);
            assert_eq!(to, "unix:/server");
            script.connect_error(attempt, refused);
            script.advance(Duration::from_millis(999));
            assert_eq!(script.take_connects(), []);
            script.advance(Duration::from_millis(1));
        }
        let (attempt, ..) = script.take_connects().remove(0);
        script.connect_error(attempt, refused);
        failed(&script, "cannot reach unix:/server: Connection refused");
    }

    #[test]
    fn a_reader_that_is_gone_is_a_quiet_end() {
        let mut script = echo();
        let [stdout, _, server] = open(&mut script);
        script.close(stdout, Closed::Reset);
        assert!(is_a_success(&script));
        assert_eq!(script.closed(server), Some(Closed::Finished));
    }

    #[test]
    fn our_own_streams_can_fail() {
        for (tag, failure) in [
            (STDOUT, "cannot write the answer: I/O error"),
            (STDIN, "cannot read standard input: I/O error"),
        ] {
            let mut script = echo();
            let ids = open(&mut script);
            let id = ids[usize::from(tag == STDIN)];
            script.close(id, Closed::Error(SystemError::new(Errno::EIO as i32)));
            failed(&script, failure);
        }
    }
}
