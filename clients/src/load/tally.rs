//! The counts of a worker.

use std::collections::BTreeMap;

use edgeloop::web::frame::Code;
use edgeloop_reactor::Closed;
use hdrhistogram::Histogram;

use super::clock::Nanos;

/// A difference between the bytes received and those expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mismatch {
    /// The bytes are no part of a message that was sent.
    Garbled,
    /// A message that came before, or is too late.
    Repeated,
    /// A message that is due later: others are missing.
    Skipped,
    /// A message of another connection.
    Foreign,
    /// More bytes than were asked for.
    Unasked,
}

impl Mismatch {
    pub(super) fn name(self) -> &'static str {
        match self {
            Mismatch::Garbled => "garbled",
            Mismatch::Repeated => "repeated",
            Mismatch::Skipped => "skipped",
            Mismatch::Foreign => "of another connection",
            Mismatch::Unasked => "unasked",
        }
    }
}

/// Any other error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// A connection could not be opened.
    Connect(Closed),
    /// A connection ended before the load ended it.
    Closed(Closed),
    /// No WebSocket was opened, for this reason.
    Handshake(String),
    /// The server has broken this rule of WebSocket.
    Frame(&'static str),
    /// The server has closed a WebSocket before the load did, or has given another code than the load.
    CloseFrame(Option<Code>),
    /// The server has ended the stream of a WebSocket without a close frame.
    NoCloseFrame,
    /// The server did not ask a member for its name in time.
    NotAsked,
    /// The chat did not let a member in, and sent this text; empty if it sent nothing in time.
    NotJoined(String),
    /// A UDP socket could not be opened, or the server's port is closed.
    Refused(Closed),
    /// A reply did not come in time.
    NoAnswer,
    /// The server did not end the stream in time after the load had.
    NoEnd,
}

impl Problem {
    fn name(self) -> String {
        match self {
            Problem::Connect(why) => format!("connect: {why}"),
            Problem::Closed(why) => format!("closed early: {why}"),
            Problem::Handshake(why) => format!("handshake: {why}"),
            Problem::Frame(why) => format!("WebSocket: {why}"),
            Problem::CloseFrame(Some(Code(code))) => {
                format!("closed by the server with code {code}")
            }
            Problem::CloseFrame(None) => "closed by the server without a code".into(),
            Problem::NoCloseFrame => "the stream ended without a close frame".into(),
            Problem::NotAsked => "the server did not ask for a name in time".into(),
            Problem::NotJoined(answer) if answer.is_empty() => "not let into the chat".into(),
            Problem::NotJoined(answer) => format!("not let into the chat: {answer}"),
            Problem::Refused(why) => format!("refused: {why}"),
            Problem::NoAnswer => "no answer in time".into(),
            Problem::NoEnd => "no end of the stream in time".into(),
        }
    }
}

/// Of chat: lines of talkers that were under way when a probe was sent (see `probe.rs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// Heard before the probe.
    pub(super) kept: u64,
    /// Heard after it.
    pub(super) overtaken: u64,
}

/// The counts of one worker, or of all together. A message counts for the time at which it was sent,
/// or planned, so that the slow ones at the end are not left out.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// Connections that were open, and took part.
    pub(super) connected: u64,
    /// Messages answered; of chat, heard by all members; of sink, taken by the kernel.
    pub(super) messages: u64,
    /// Of chat: lines times their listeners.
    pub(super) delivered: u64,
    /// Messages that were due and not sent until the end, since those before them were not answered.
    /// Their latency so far is recorded.
    pub(super) behind: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) latency: Histogram<u64>,
    pub(super) order: Order,
    pub(super) mismatches: BTreeMap<Mismatch, u64>,
    pub(super) problems: BTreeMap<String, u64>,
}

/// The longest latency that is recorded as it is: an hour. A longer one counts as an hour.
const LATENCY_MAX: Nanos = 3_600_000_000_000;
/// Decimal digits of a latency that the histogram keeps.
const DIGITS: u8 = 3;

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            connected: 0,
            messages: 0,
            delivered: 0,
            behind: 0,
            bytes_sent: 0,
            bytes_received: 0,
            latency: Histogram::new_with_bounds(1, LATENCY_MAX, DIGITS).expect("valid bounds"),
            order: Order::default(),
            mismatches: BTreeMap::new(),
            problems: BTreeMap::new(),
        }
    }
}

impl Tally {
    pub(super) fn problem(&mut self, problem: Problem, count: u64) {
        if count > 0 {
            *self.problems.entry(problem.name()).or_default() += count;
        }
    }

    /// Adds the counts of another worker.
    pub(super) fn merge(&mut self, other: &Tally) {
        self.connected += other.connected;
        self.messages += other.messages;
        self.delivered += other.delivered;
        self.behind += other.behind;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.latency += &other.latency;
        self.order.kept += other.order.kept;
        self.order.overtaken += other.order.overtaken;
        for (mismatch, count) in &other.mismatches {
            *self.mismatches.entry(*mismatch).or_default() += count;
        }
        for (problem, count) in &other.problems {
            *self.problems.entry(problem.clone()).or_default() += count;
        }
    }

    pub(super) fn mismatch_count(&self) -> u64 {
        self.mismatches.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let mut one = Tally {
            messages: 2,
            ..Tally::default()
        };
        one.latency.saturating_record(5);
        one.problem(Problem::NoAnswer, 1);
        one.mismatches.insert(Mismatch::Garbled, 1);
        let mut all = Tally::default();
        all.merge(&one);
        all.merge(&one);
        assert_eq!((all.messages, all.latency.len()), (4, 2));
        assert_eq!(all.mismatch_count(), 2);
        assert_eq!(all.problems.into_values().sum::<u64>(), 2);
    }
}
