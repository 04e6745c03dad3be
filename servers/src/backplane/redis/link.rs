//! One connection to Redis: it is made, and made again.

use std::collections::VecDeque;
use std::time::Duration;

use edgeloop_reactor::{Address, ConnId, Outbox};

use super::resp::{Decoder, Nonsense, Value, command};
use crate::backplane::random::Random;

/// Time for a connect, and for the reply to a request that does not block.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Wait before the second attempt to connect.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// Longest wait before an attempt. Members wait for it too.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// A connection with requests of a kind `R` under way.
#[derive(Debug)]
pub(super) struct Link<R> {
    address: Address,
    tag: u64,
    state: State,
    decoder: Decoder,
    /// Requests without a reply, the oldest first, each with its deadline.
    requests: VecDeque<(R, Duration)>,
    /// Commands that are sent at the end of the callback.
    commands: Vec<u8>,
    random: Random,
    /// The wait before the next attempt, before its jitter.
    wait: Duration,
    /// Number of connections so far.
    pub(super) connects: u64,
    /// Why the last connection was lost, if the log of the server has not been told.
    pub(super) trouble: Option<String>,
    /// Requests of this connection were answered as they should be.
    is_well: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The next attempt is due at this time.
    Waiting(Duration),
    /// Until this time.
    Connecting(ConnId, Duration),
    Open(ConnId),
}

impl<R: Copy> Link<R> {
    pub(super) fn new(address: Address, tag: u64) -> Link<R> {
        Link {
            address,
            tag,
            state: State::Waiting(Duration::ZERO),
            decoder: Decoder::default(),
            requests: VecDeque::new(),
            commands: Vec::new(),
            random: Random::from_system(),
            wait: WAIT_MIN,
            connects: 0,
            trouble: None,
            is_well: false,
        }
    }

    /// The connection, open or under way.
    pub(super) fn id(&self) -> Option<ConnId> {
        match self.state {
            State::Waiting(_) => None,
            State::Connecting(id, _) | State::Open(id) => Some(id),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// The tag of its connects.
    pub(super) fn tag(&self) -> u64 {
        self.tag
    }

    pub(super) fn opened(&mut self, id: ConnId) {
        self.state = State::Open(id);
        self.connects += 1;
    }

    /// Adds a command, whose reply is due within `patience`.
    pub(super) fn ask(&mut self, request: R, words: &[&[u8]], patience: Duration, now: Duration) {
        command(&mut self.commands, words);
        self.requests.push_back((request, now + patience));
    }

    /// Whether a request of this kind has no reply yet.
    pub(super) fn any_request(&self, is_meant: impl Fn(R) -> bool) -> bool {
        self.requests.iter().any(|(request, _)| is_meant(*request))
    }

    /// The next reply among received bytes, with its request. Errors: the bytes are no reply, or there
    /// was no request.
    pub(super) fn reply(&mut self, bytes: &mut &[u8]) -> Result<Option<(R, Value)>, Nonsense> {
        let Some(value) = self.decoder.next(bytes)? else {
            return Ok(None);
        };
        let (request, _) = self.requests.pop_front().ok_or(Nonsense)?;
        Ok(Some((request, value)))
    }

    /// A request was answered as it should be: all is well.
    pub(super) fn note_well(&mut self) {
        (self.wait, self.is_well) = (WAIT_MIN, true);
    }

    /// Whether a request of this connection was answered as it should be.
    pub(super) fn is_well(&self) -> bool {
        self.is_well
    }

    /// The connection is of no use: it ends, and another one is made after a while. What was under way
    /// is lost.
    pub(super) fn fail(&mut self, why: &str, out: &mut Outbox) {
        if let Some(id) = self.id() {
            out.abort(id);
        }
        self.lost(why, out.now());
    }

    /// The connection has ended.
    pub(super) fn lost(&mut self, why: &str, now: Duration) {
        (self.trouble, self.is_well) = (Some(why.into()), false);
        self.decoder = Decoder::default();
        self.requests.clear();
        self.commands.clear();
        // Servers that lost the same connection do not come back all at once.
        let jitter = self.random.below(self.wait.as_millis() as u64 / 2 + 1);
        self.state = State::Waiting(now + self.wait / 2 + Duration::from_millis(jitter));
        self.wait = (2 * self.wait).min(WAIT_MAX);
    }

    /// Connects if it is time.
    pub(super) fn connect(&mut self, out: &mut Outbox) {
        let now = out.now();
        if let State::Waiting(at) = self.state
            && at <= now
        {
            let id = out.connect(self.address.clone(), self.tag);
            self.state = State::Connecting(id, now + PATIENCE);
        }
    }

    /// Sends what was asked, and sees to deadlines. Returns whether the connection was lost by that.
    pub(super) fn go_on(&mut self, out: &mut Outbox) -> bool {
        let now = out.now();
        match self.state {
            State::Connecting(_, deadline) if deadline <= now => {
                self.fail("no answer", out);
                return true;
            }
            State::Open(id) => {
                if self
                    .requests
                    .front()
                    .is_some_and(|(_, deadline)| *deadline <= now)
                {
                    self.fail("no reply", out);
                    return true;
                }
                out.send(id, &self.commands);
                self.commands.clear();
            }
            _ => {}
        }
        false
    }

    /// The time at which `go_on` has something to do.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Waiting(at) | State::Connecting(_, at) => Some(at),
            State::Open(_) => self.requests.front().map(|(_, deadline)| *deadline),
        }
    }
}
