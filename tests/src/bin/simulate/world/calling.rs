//! Connects of the program, and the answers of the clients that it calls.

use super::World;
use super::conn::{Conn, Family};
use super::objects::{Address, Connecting, Object};
use super::sockets::parse;
use super::words::{Errno, MS};
use crate::plan::{Answer, Door};

/// The port of the first client.
pub(crate) const CALLED_PORT: u16 = 30_000;

impl World {
    /// connect(2) of a stream socket.
    pub(crate) fn call(&mut self, fd: i32, name: &[u8]) -> Result<i32, Errno> {
        let object = self.object(fd, "connect")?;
        self.act_within_turn();
        let port = match parse(name) {
            Address::Inet(at) => at.port(),
            Address::Unix => return Err(self.unknown("connect to this address")),
        };
        let client = usize::from(port - CALLED_PORT);
        let plan = &self.clients[client].plan;
        let Door::Called(_, answer) = plan.door else {
            return Err(self.unknown("connect to this client"));
        };
        let at = self.now + plan.at_ms * MS;
        self.note(|| format!("object {object} calls client {client}: {answer:?}"));
        let answer = match answer {
            Answer::AcceptsAtOnce => {
                self.answer(object, client, true);
                return Ok(0);
            }
            Answer::RefusesAtOnce => {
                let errnos = [libc::ECONNREFUSED, libc::ENETUNREACH];
                return Err(errnos[self.below(2)]);
            }
            Answer::Never => None,
            Answer::Accepts => Some((at, true)),
            Answer::Refuses => Some((at, false)),
        };
        self.objects[object] = Object::Connecting(Connecting { client, answer });
        Err(libc::EINPROGRESS)
    }

    /// The time of the next answer.
    pub(super) fn next_answer(&self) -> Option<u64> {
        let answers = self.objects.iter().enumerate();
        let answers = answers.filter_map(|(object, it)| match it {
            Object::Connecting(Connecting { answer, .. }) if self.is_open(object) => *answer,
            _ => None,
        });
        answers.map(|(at, _)| at).min()
    }

    /// All answers that are due.
    pub(super) fn answer_calls(&mut self) {
        for object in 0..self.objects.len() {
            if let Object::Connecting(Connecting { client, answer }) = self.objects[object]
                && self.is_open(object)
                && let Some((at, accepts)) = answer
                && at <= self.now
            {
                self.answer(object, client, accepts);
            }
        }
    }

    fn answer(&mut self, object: usize, client: usize, accepts: bool) {
        let (room_in, room_out) = (self.knobs.room_in, self.knobs.room_out);
        let mut conn = Conn::new(Family::Tcp, client, room_in, room_out);
        conn.heard_ns = self.now;
        conn.keepalive_ns = self.keepalive_ns();
        conn.watched = self.watches.contains_key(&object);
        let bits = match accepts {
            true => libc::EPOLLOUT as u32,
            false => conn.reset(libc::ECONNREFUSED),
        };
        self.objects[object] = Object::Conn(conn);
        if accepts {
            let client = &mut self.clients[client];
            client.conn = Some(object);
            client.step_ns = self.now;
        }
        self.note(|| format!("client {client} answers object {object}: {accepts}"));
        self.raise(object, bits);
    }
}
