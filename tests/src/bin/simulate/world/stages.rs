//! The course of a run: the clients do what they have planned; everything settles; they end; the
//! server is told to stop, and has to.

use super::World;
use super::conn::Conn;
use super::objects::Object;
use super::words::{MS, Stage};
use crate::plan::{Door, Reader};

/// Time for everything that was said to be heard, at the slowest rate of a room that is behind.
const SETTLING_NS: u64 = 400_000 * MS;
/// Time for the ends of connections; a server lingers for 2 s.
const CLOSING_NS: u64 = 30_000 * MS;
/// Time for a stop, beyond its grace.
const STOPPING_NS: u64 = 5_000 * MS;
/// The plans of clients end after this at the latest.
const SCRIPTS_NS: u64 = 1_200_000 * MS;

impl World {
    /// The time of the next stage; `None` if clients decide it.
    pub(super) fn stage_ends(&self) -> u64 {
        match self.stage {
            Stage::Scripts if self.clients.iter().all(|client| client.is_done()) => self.now,
            Stage::Scripts => SCRIPTS_NS,
            Stage::Settling { until } | Stage::Closing { until } | Stage::Stopping { until } => {
                until
            }
        }
    }

    /// Time was lost: the end of a stage waits for it.
    pub(super) fn postpone(&mut self, ns: u64) {
        match &mut self.stage {
            Stage::Scripts => {}
            Stage::Settling { until } | Stage::Closing { until } | Stage::Stopping { until } => {
                *until += ns;
            }
        }
    }

    /// Goes on to the next stage; after the last one, the run has failed.
    pub(super) fn go_to_next_stage(&mut self, why: &str) {
        let stage = self.stage;
        self.note(|| format!("next stage after {stage:?}: {why}"));
        match self.stage {
            Stage::Scripts => {
                self.stage = Stage::Settling {
                    until: self.now + SETTLING_NS,
                };
                for client in &mut self.clients {
                    client.reader = Reader::Fast;
                    client.read_ns = self.now;
                }
            }
            Stage::Settling { .. } => {
                self.look_at_unread();
                self.stage = Stage::Closing {
                    until: self.now + CLOSING_NS,
                };
                self.end_clients();
            }
            Stage::Closing { .. } => self.stop_server(libc::SIGTERM),
            Stage::Stopping { .. } => {
                self.fail("end", format!("told to stop, it does not end: {why}"))
            }
        }
    }

    /// SIGTERM or SIGINT.
    pub(super) fn stop_server(&mut self, signal: i32) {
        if self.stopped_at.is_none() {
            self.stopped_at = Some(self.now);
            self.stopped_early = !matches!(self.stage, Stage::Closing { .. });
            for object in &mut self.objects {
                if let Object::Conn(conn) = object {
                    conn.taken_by_end.get_or_insert(conn.taken);
                    conn.given_by_stop = conn.given;
                }
            }
            self.stage = Stage::Stopping {
                until: self.now + self.grace_ns + STOPPING_NS,
            };
        }
        self.send_signal(signal);
    }

    pub(super) fn send_signal(&mut self, signal: i32) {
        self.note(|| format!("signal {signal}"));
        if let Some(object) = self.signal_object
            && let Object::Signals(pending) = &mut self.objects[object]
        {
            if !pending.contains(&signal) {
                pending.push_back(signal);
            }
            self.raise(object, libc::EPOLLIN as u32);
        }
    }

    /// After all that time, no input may be left that the server could have read.
    fn look_at_unread(&mut self) {
        let stdout_owes = self.stdout_owes();
        let is_left = |conn: &Conn| {
            conn.watched && !conn.closed && !conn.inbound.is_empty() && !conn.owes && !conn.dead
        };
        let left = self.objects.iter().find_map(|object| match object {
            Object::Conn(conn) if is_left(conn) => Some((conn.client, conn.inbound.len())),
            _ => None,
        });
        if let Some((client, bytes)) = left.filter(|_| !stdout_owes) {
            let text = format!("{bytes} bytes of client {client} were never read");
            self.fail("forgotten", text);
        }
    }

    /// Standard output takes nothing, so clients wait.
    pub(super) fn stdout_owes(&self) -> bool {
        let stdout = self
            .clients
            .iter()
            .find(|client| client.plan.door == Door::Stdout);
        let stdout = stdout.and_then(|client| client.conn);
        stdout.is_some_and(|object| match &self.objects[object] {
            Object::Conn(conn) => conn.owes,
            _ => false,
        })
    }

    /// Notes how much each client has heard, and ends its side.
    fn end_clients(&mut self) {
        for index in 0..self.clients.len() {
            let now = self.now;
            let client = &mut self.clients[index];
            if client.end.is_some() || client.conn.is_none() || client.excuse == Some("vanished") {
                continue;
            }
            client.settled = Some(client.received.len());
            if client.plan.door == Door::Stdout {
                continue;
            }
            client.fin_follows = true;
            client.write_ns = now + index as u64 * MS;
        }
    }
}
