//! epoll: the interest list, and the wait, in which time passes.

use std::mem;

use super::World;
use super::objects::Object;
use super::words::{Bits, Errno, MS, Moment, Watch};
use crate::plan::{Fault, Kind};

/// Turns without one system call other than waits that end at once, after which the server spins.
const EMPTY_TURNS_MAX: u64 = 300;
/// Turns of a run at the most.
const TURNS_MAX: u64 = 400_000;
/// A ready source is visited within so many turns and so much time.
const PATIENCE_TURNS: u64 = 64;
const PATIENCE_NS: u64 = 2_000 * MS;
/// Waits for which an event is held back at the most.
const LATE_MAX: u8 = 3;

/// Reported whether asked for or not.
const ALWAYS: Bits = (libc::EPOLLERR | libc::EPOLLHUP) as Bits;

impl World {
    /// epoll_ctl(2).
    pub(crate) fn control(
        &mut self,
        operation: i32,
        fd: i32,
        interest: Bits,
        token: u64,
    ) -> Result<i32, Errno> {
        let object = self.object(fd, "epoll_ctl")?;
        match operation {
            libc::EPOLL_CTL_ADD => {
                self.tally.adds += 1;
                let is_conn = matches!(
                    self.objects[object],
                    Object::Conn(_) | Object::Connecting(_)
                );
                if is_conn && self.draw(Fault::ControlRefused) {
                    let errnos = [libc::ENOMEM, libc::ENOSPC];
                    return Err(errnos[self.below(2)]);
                }
                if let Object::Conn(conn) = &mut self.objects[object] {
                    conn.watched = true;
                }
            }
            libc::EPOLL_CTL_MOD if self.watches.contains_key(&object) => {
                // A connection that gets another token; a listener's is no new watch.
                let is_conn = matches!(self.objects[object], Object::Conn(_));
                self.tally.adds += u64::from(is_conn);
            }
            libc::EPOLL_CTL_DEL if self.watches.contains_key(&object) => {
                self.forget(object);
                return Ok(0);
            }
            _ => {
                self.fail(
                    "descriptors",
                    "epoll_ctl on a descriptor that was not added",
                );
                return Err(libc::ENOENT);
            }
        }
        if interest & libc::EPOLLET as u32 == 0 {
            self.fail("edges", "a descriptor was added without EPOLLET");
        }
        let watch = Watch {
            token,
            interest: interest | ALWAYS,
            is_pending: false,
            held_back: 0,
        };
        self.forget(object);
        self.watches.insert(object, watch);
        // Readiness that is there already is an edge.
        self.raise(object, self.ready(object));
        Ok(0)
    }

    /// The end of a watch: a pending event is dropped.
    pub(crate) fn forget(&mut self, object: usize) {
        if self
            .watches
            .remove(&object)
            .is_some_and(|watch| watch.is_pending)
        {
            self.pending.retain(|pending| *pending != object);
        }
    }

    /// Something has happened to an object: an edge, if these bits are of interest.
    pub(crate) fn raise(&mut self, object: usize, bits: Bits) {
        if let Some(watch) = self.watches.get_mut(&object)
            && watch.interest & bits != 0
            && !mem::replace(&mut watch.is_pending, true)
        {
            self.pending.push_back(object);
        }
    }

    /// epoll_wait(2) and epoll_pwait2(2): the events, at most `most`. `timeout` in nanoseconds.
    pub(crate) fn wait(
        &mut self,
        most: usize,
        timeout: Option<u64>,
    ) -> Result<Vec<(Bits, u64)>, Errno> {
        self.tally.turns += 1;
        self.look_for_forgotten();
        self.look_for_spinning(timeout);
        let turn_us = self.below(self.knobs.turn_us as usize + 1) as u64;
        self.now += 1_000 + turn_us * 1_000;
        self.move_clocks();
        let until = timeout.map(|timeout| self.now.saturating_add(timeout));
        if self.draw(Fault::WaitInterrupted) {
            return Err(libc::EINTR);
        }
        loop {
            if self.failure.is_some() {
                return Err(libc::EBADF);
            }
            self.act_on_all_due();
            if !self.pending.is_empty() {
                let events = self.hand_out(most);
                if !events.is_empty() {
                    self.tally.events += events.len() as u64;
                    return Ok(events);
                }
            }
            if until.is_some_and(|until| until <= self.now) {
                return Ok(Vec::new());
            }
            self.let_time_pass(until);
        }
    }

    /// The clock goes on to the end of the wait, or to the next act of a client.
    fn let_time_pass(&mut self, until: Option<u64>) {
        let next = self.next_due();
        match (next, until) {
            (Some(next), Some(until)) => self.now = next.min(until).max(self.now),
            (Some(at), None) | (None, Some(at)) => self.now = at.max(self.now),
            (None, None) => self.go_to_next_stage("nothing can happen any more"),
        }
    }

    fn move_clocks(&mut self) {
        if self.draw(Fault::Jump) {
            let jump = self.below(180_000) as u64 * MS;
            self.now += jump;
            self.postpone(jump);
            self.note(|| format!("the clock jumps by {} ms", jump / MS));
            for client in &mut self.clients {
                client.excuse("the clock has jumped");
            }
        }
        if self.draw(Fault::WallClock) {
            self.wall_ns +=
                self.below(7_200_000) as i128 * i128::from(MS) - 3_600_000 * i128::from(MS);
        }
    }

    /// The pending events, in the order of the edges or shuffled.
    fn hand_out(&mut self, most: usize) -> Vec<(Bits, u64)> {
        let mut pending: Vec<usize> = mem::take(&mut self.pending).into();
        if pending.len() > 1 && self.draw(Fault::Shuffled) {
            for last in (1..pending.len()).rev() {
                let other = self.below(last + 1);
                pending.swap(last, other);
            }
        }
        let mut events = Vec::new();
        for object in pending {
            let bits = self.ready(object);
            let is_late = !events.is_empty() && self.draw(Fault::Late);
            let Some(watch) = self.watches.get_mut(&object) else {
                continue;
            };
            let reported = bits & watch.interest;
            if events.len() == most || is_late && watch.held_back < LATE_MAX {
                watch.held_back += 1;
                self.pending.push_back(object);
                continue;
            }
            (watch.is_pending, watch.held_back) = (false, 0);
            if reported == 0 {
                continue;
            }
            events.push((reported, watch.token));
            self.was_told(object, reported);
            if self.draw(Fault::Duplicate) {
                self.raise(object, reported);
            }
        }
        events
    }

    /// Remembers what the server knows from here on.
    fn was_told(&mut self, object: usize, bits: Bits) {
        let moment = self.moment();
        let is_readable = bits & libc::EPOLLIN as u32 != 0;
        let is_writable = bits & libc::EPOLLOUT as u32 != 0;
        self.note(|| format!("event {bits:#06x} for object {object}"));
        match &mut self.objects[object] {
            Object::Conn(conn) => {
                let troubles = libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLPRI;
                conn.warned |= bits & troubles as u32 != 0;
                if is_readable && conn.has_input() {
                    conn.readable_since.get_or_insert(moment);
                }
                if is_writable && conn.owes {
                    conn.writable_since.get_or_insert(moment);
                }
                if is_readable && conn.fin && !conn.inbound.is_empty() {
                    self.count(Fault::DataAndFin);
                }
            }
            Object::Listener(listener) if !listener.queue.is_empty() => {
                listener.waiting_since.get_or_insert(moment);
            }
            Object::Udp(udp) if !udp.inbound.is_empty() && udp.room_at_ns.is_none() => {
                udp.waiting_since.get_or_insert(moment);
            }
            _ => {}
        }
    }

    /// The readiness that poll(2) would report of an object.
    fn ready(&self, object: usize) -> Bits {
        let input = |is_there: bool| if is_there { libc::EPOLLIN as u32 } else { 0 };
        match &self.objects[object] {
            Object::Conn(conn) => conn.ready(),
            Object::Listener(listener) => input(!listener.queue.is_empty()),
            Object::Udp(udp) => {
                let room = match udp.room_at_ns {
                    None => libc::EPOLLOUT as u32,
                    Some(_) => 0,
                };
                input(!udp.inbound.is_empty()) | room
            }
            Object::Signals(pending) => input(!pending.is_empty()),
            _ => 0,
        }
    }

    /// Fails if a source that the server knows to be ready was not visited for too long.
    fn look_for_forgotten(&mut self) {
        let now = self.moment();
        let is_old = |since: Option<Moment>| {
            since.is_some_and(|since| {
                now.turn - since.turn > PATIENCE_TURNS && now.ns - since.ns > PATIENCE_NS
            })
        };
        // Output that waits holds the input back; in a chat, other members' output does.
        let may_rest = self.stdout_owes() || self.stopped_at.is_some() || self.kind == Kind::Chat;
        let mut forgotten = None;
        for (number, object) in self.objects.iter_mut().enumerate() {
            let what = match object {
                Object::Conn(conn) if conn.closed || !conn.watched => continue,
                Object::Conn(conn) => {
                    if may_rest || conn.owes {
                        conn.readable_since = conn.readable_since.map(|_| now);
                    }
                    match (is_old(conn.readable_since), is_old(conn.writable_since)) {
                        (true, _) => "input is",
                        (_, true) => "room is",
                        _ => continue,
                    }
                }
                Object::Listener(listener) if is_old(listener.waiting_since) => "clients are",
                Object::Udp(udp) if is_old(udp.waiting_since) => "datagrams are",
                _ => continue,
            };
            forgotten = Some((number, what));
        }
        if let Some((number, what)) = forgotten {
            self.fail(
                "forgotten",
                format!("object {number}: {what} there, and forgotten"),
            );
        }
    }

    fn look_for_spinning(&mut self, timeout: Option<u64>) {
        let calls = mem::take(&mut self.calls);
        match calls == 0 && timeout == Some(0) {
            true => self.empty_turns += 1,
            false => self.empty_turns = 0,
        }
        if self.empty_turns > EMPTY_TURNS_MAX {
            self.fail("spinning", "turn after turn does nothing and does not wait");
        }
        if self.tally.turns > TURNS_MAX {
            self.fail("spinning", format!("more than {TURNS_MAX} turns"));
        }
    }
}
