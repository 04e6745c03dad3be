//! A client of the simulated world: what it has done of its plan, has sent and has received.

use std::collections::VecDeque;

use crate::plan::{ClientPlan, Reader};

/// The end of a connection, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The server's FIN, after all it had sent.
    Fin,
    /// The server's reset.
    Reset,
    /// The client made an end itself, and hears no more.
    Own,
    /// There was no server.
    Refused,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) plan: ClientPlan,
    /// The next step of the plan.
    pub(crate) step: usize,
    /// The connection, once the client has connected: its object in the world.
    pub(crate) conn: Option<usize>,
    pub(crate) reader: Reader,
    /// Times of the next step, read and write, in nanoseconds.
    pub(crate) step_ns: u64,
    pub(crate) read_ns: u64,
    pub(crate) write_ns: u64,
    /// Bytes that are yet to be sent.
    pub(crate) outgoing: VecDeque<u8>,
    /// The client ends its side with the last of these bytes.
    pub(crate) fin_follows: bool,
    /// The client has ended its side.
    pub(crate) has_ended: bool,
    /// Bytes that are on their way or arrived, and how many were so at which time.
    pub(crate) sent: Vec<u8>,
    pub(crate) sent_at: Vec<(usize, u64)>,
    /// Bytes that came back, and how many had at which time.
    pub(crate) received: Vec<u8>,
    pub(crate) received_at: Vec<(usize, u64)>,
    /// Bytes that are yet to come of a Telnet command, in each direction: neither `sent` nor
    /// `received` has any of them.
    pub(crate) command_out: u8,
    pub(crate) command_in: u8,
    /// Datagrams sent and received.
    pub(crate) letters_out: Vec<Vec<u8>>,
    pub(crate) letters_in: Vec<Vec<u8>>,
    pub(crate) end: Option<End>,
    /// The time of the end, in nanoseconds.
    pub(crate) end_ns: u64,
    /// The length of `received` when all clients had done what they had planned, if the client was
    /// connected then.
    pub(crate) settled: Option<usize>,
    /// Why the server need not have served this client to the end.
    pub(crate) excuse: Option<&'static str>,
}

impl Client {
    pub(crate) fn new(plan: ClientPlan) -> Client {
        let start = plan.at_ms * 1_000_000;
        Client {
            plan,
            step: 0,
            conn: None,
            reader: Reader::Fast,
            step_ns: start,
            read_ns: start,
            write_ns: start,
            outgoing: VecDeque::new(),
            fin_follows: false,
            has_ended: false,
            sent: Vec::new(),
            sent_at: Vec::new(),
            received: Vec::new(),
            received_at: Vec::new(),
            command_out: 0,
            command_in: 0,
            letters_out: Vec::new(),
            letters_in: Vec::new(),
            end: None,
            end_ns: 0,
            settled: None,
            excuse: None,
        }
    }

    /// The first reason counts.
    pub(crate) fn excuse(&mut self, why: &'static str) {
        self.excuse.get_or_insert(why);
    }

    /// Bytes have left or arrived: the text in them, without Telnet commands. `left` bytes of a command
    /// are yet to come. No text has a byte 255, since it is UTF-8.
    pub(crate) fn text_of(bytes: impl IntoIterator<Item = u8>, left: &mut u8) -> Vec<u8> {
        let is_text = |byte: &u8| {
            if *byte == 255 && *left == 0 {
                *left = 3;
            }
            let is_command = *left > 0;
            *left = left.saturating_sub(1);
            !is_command
        };
        bytes.into_iter().filter(is_text).collect()
    }

    /// Whether the client has done all that it had planned, or can do no more.
    pub(crate) fn is_done(&self) -> bool {
        self.end.is_some()
            || self.step == self.plan.steps.len() && self.outgoing.is_empty() && !self.fin_follows
    }
}
