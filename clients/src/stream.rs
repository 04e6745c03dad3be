//! Standard input to a server, the server to standard output, both at once.
//!
//! Three connections in one reactor, so nothing can deadlock: whoever cannot take more has its
//! source paused, and the others go on.

use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId, Data, Opened, Outbox, Protocol};

/// The tags of the three connections.
pub(crate) const STDIN: u32 = 0;
pub(crate) const STDOUT: u32 = 1;
pub(crate) const SERVER: u32 = 2;

pub(crate) struct StreamClient {
    /// How long to wait for more of the answer once everything is sent.
    timeout: Duration,
    stdin: Option<ConnId>,
    stdout: Option<ConnId>,
    server: Option<ConnId>,
    /// All of standard input is on its way, and the server was told so.
    all_sent: bool,
    /// Standard output takes no more for now, so that it is we who make the server wait.
    output_full: bool,
    /// The server's address, for messages.
    address: String,
    failure: Option<String>,
}

impl StreamClient {
    pub(crate) fn new(address: String, timeout: Duration) -> Self {
        StreamClient {
            timeout,
            stdin: None,
            stdout: None,
            server: None,
            all_sent: false,
            output_full: false,
            address,
            failure: None,
        }
    }

    /// What went wrong, `None` if the server has answered to its end.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The first failure is the one to report.
    fn fail(&mut self, failure: String, out: &mut Outbox) {
        self.failure.get_or_insert(failure);
        out.stop();
    }

    /// Pauses or resumes whoever fills what is full: standard input fills the server, the server
    /// standard output.
    fn source_of(&self, id: ConnId) -> Option<ConnId> {
        if Some(id) == self.server {
            self.stdin
        } else {
            self.server
        }
    }

    fn wait_for_answer(&self, server: ConnId, out: &mut Outbox) {
        if self.all_sent && !self.output_full && !self.timeout.is_zero() {
            out.set_timer(server, self.timeout);
        }
    }
}

impl Protocol for StreamClient {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        match opened.tag {
            STDOUT => self.stdout = Some(id),
            STDIN => {
                self.stdin = Some(id);
                // Until there is somebody to send it to.
                out.pause(id);
            }
            _ => {
                self.server = Some(id);
                self.stdin.into_iter().for_each(|stdin| out.resume(stdin));
            }
        }
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        if Some(id) == self.server {
            self.stdout
                .into_iter()
                .for_each(|stdout| out.send(stdout, &data));
            self.wait_for_answer(id, out);
        } else {
            self.server
                .into_iter()
                .for_each(|server| out.send(server, &data));
        }
    }

    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        if Some(id) == self.server {
            if !self.all_sent {
                self.failure
                    .get_or_insert("server closed the connection".into());
            }
            out.finish(id);
        } else if let Some(server) = self.server {
            self.all_sent = true;
            out.half_close(server);
            self.wait_for_answer(server, out);
        }
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        if Some(id) == self.server {
            match why {
                // What is still to be printed is printed before the end.
                Closed::Eof | Closed::Finished | Closed::Shutdown => out.stop(),
                Closed::Reset => self.fail("server closed the connection".into(), out),
                why => self.fail(format!("connection to {}: {why}", self.address), out),
            }
        } else if Some(id) == self.stdout {
            match why {
                Closed::Finished | Closed::Shutdown => {}
                // Nobody reads any more, as in `edgecall echo | head`: a quiet end.
                Closed::Reset => out.stop(),
                why => self.fail(format!("cannot write the answer: {why}"), out),
            }
        }
    }

    fn on_timer(&mut self, _: ConnId, out: &mut Outbox) {
        self.fail(format!("no answer from {} in time", self.address), out);
    }

    fn on_high_water(&mut self, id: ConnId, out: &mut Outbox) {
        self.source_of(id)
            .into_iter()
            .for_each(|source| out.pause(source));
        if Some(id) == self.stdout {
            self.output_full = true;
            self.server
                .into_iter()
                .for_each(|server| out.clear_timer(server));
        }
    }

    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        self.source_of(id)
            .into_iter()
            .for_each(|source| out.resume(source));
        if Some(id) == self.stdout {
            self.output_full = false;
            self.server
                .into_iter()
                .for_each(|server| self.wait_for_answer(server, out));
        }
    }

    fn on_connect_error(&mut self, _: u32, why: Closed, out: &mut Outbox) {
        self.fail(format!("cannot reach {}: {why}", self.address), out);
    }
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::{Peer, Script};

    use super::*;

    fn open(script: &mut Script<StreamClient>) -> [ConnId; 3] {
        [STDOUT, STDIN, SERVER].map(|tag| {
            script.open_as(Opened {
                peer: Peer::Stream,
                tag,
            })
        })
    }

    #[test]
    fn input_is_sent_and_answers_are_printed_to_their_end() {
        let mut script = Script::new(StreamClient::new("server".into(), Duration::from_secs(1)));
        let [stdout, stdin, server] = open(&mut script);
        script.data(stdin, b"question");
        script.data(server, b"ans");
        script.eof(stdin);
        assert!(script.is_half_closed(server) && !script.is_stopped());
        script.data(server, b"wer");
        script.eof(server);
        script.close(server, Closed::Eof);
        assert_eq!(script.take_output(server), b"question");
        assert_eq!(script.take_output(stdout), b"answer");
    }

    #[test]
    fn nothing_is_read_from_input_before_there_is_a_server() {
        let mut script = Script::new(StreamClient::new("server".into(), Duration::ZERO));
        let stdin = script.open_as(Opened {
            peer: Peer::Stream,
            tag: STDIN,
        });
        assert!(script.is_paused(stdin));
        let server = script.open_as(Opened {
            peer: Peer::Stream,
            tag: SERVER,
        });
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
    fn time_does_not_count_while_our_own_output_is_full() {
        let mut script = Script::new(StreamClient::new("server".into(), Duration::from_secs(2)));
        let [stdout, stdin, _] = open(&mut script);
        script.high_water(stdout, true);
        script.eof(stdin);
        script.advance(Duration::from_secs(60));
        assert!(!script.is_stopped());
        script.high_water(stdout, false);
        script.advance(Duration::from_secs(2));
        assert_eq!(
            script.protocol().failure(),
            Some("no answer from server in time")
        );
    }

    #[test]
    fn a_server_that_goes_first_is_a_failure() {
        let mut script = Script::new(StreamClient::new("server".into(), Duration::ZERO));
        let [_, stdin, server] = open(&mut script);
        script.data(stdin, b"question");
        script.eof(server);
        assert_eq!(
            script.protocol().failure(),
            Some("server closed the connection")
        );
        assert!(script.closed(server).is_some());
    }

    #[test]
    fn silence_after_the_last_byte_is_a_failure() {
        let mut script = Script::new(StreamClient::new("server".into(), Duration::from_secs(2)));
        let [_, stdin, server] = open(&mut script);
        script.advance(Duration::from_secs(10));
        script.eof(stdin);
        script.advance(Duration::from_millis(1_999));
        script.data(server, b"x");
        script.advance(Duration::from_millis(1_999));
        assert!(!script.is_stopped());
        script.advance(Duration::from_millis(1));
        assert_eq!(
            script.protocol().failure(),
            Some("no answer from server in time")
        );
        assert!(script.is_stopped());
    }
}
