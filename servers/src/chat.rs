//! The chat server: one place for everybody with `nc`.
//!
//! What goes over the wire is Budget Chat (<https://protohackers.com/problem/3>) for who types no
//! command: a line asking for a name, the name, and then lines. Rooms and commands come on top.
//!
//! All of it is one state machine on one thread. So a room has one order of lines, which all its
//! members see, and whoever enters or leaves does so between two of them. A line is put together
//! once and stored once, however many it is for.
//!
//! | file | subject |
//! |---|---|
//! | `chat.rs` | connections: from the first byte to the leave |
//! | `commands.rs`, `command.rs` | what `/...` does, and how it is written |
//! | `room.rs`, `member.rs` | what is known of rooms and of people |
//! | `name.rs`, `text.rs` | what may be a name, and what may be said |
//! | `pace.rs` | how fast |
//! | `operator.rs`, `transcript.rs` | the server's own terminal, and the record |

mod command;
mod commands;
mod member;
mod name;
mod operator;
mod pace;
mod room;
mod text;
mod transcript;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId, ConnMap, Data, Limits, Opened, Outbox, Peer, Protocol};
use memchr::memchr;
use slab::Slab;

use self::command::Command;
use self::commands::reply;
use self::member::{Member, address_of};
use self::name::Illegal;
use self::operator::Operator;
use self::pace::Rate;
use self::room::{Room, Step, WINDOW};
pub use self::transcript::Transcript;
use crate::harmless::harmless;
use crate::line::Line;
use crate::serve::{CLIENT, Server, StandardStreams};

/// The tags of the operator's terminal.
const STDIN: u32 = 1;
const STDOUT: u32 = 2;

/// Where everybody starts.
const LOBBY: &str = "lobby";
const WELCOME: &[u8] = b"Welcome! What is your name?\n";
/// The shortest wait of who talks too fast: the timer need not run for every single line.
const WAIT_MIN: Duration = Duration::from_millis(50);

/// What can be chosen.
#[derive(Debug)]
pub struct Settings {
    /// The longest line, in bytes.
    pub max_line: usize,
    /// Lines a second that one may say for long, 0 for any number.
    pub rate: u32,
    /// Lines that one may say at once before that counts.
    pub burst: u32,
    /// How many lines of a room are shown to who enters it.
    pub history: usize,
    /// What is shown to who has joined.
    pub motd: Option<String>,
    /// How long one may take to give a name; zero is for ever.
    pub login_timeout: Duration,
    /// Connections from one address; `None` for any number.
    pub max_per_ip: Option<usize>,
    /// Letters of any script in names.
    pub unicode_names: bool,
    /// Budget Chat and nothing else: no commands, and every step announced.
    pub plain: bool,
    /// Who types at the server's terminal speaks to all.
    pub operator: bool,
}

/// The protocol.
#[derive(Debug)]
pub struct Chat {
    settings: Settings,
    rate: Option<Rate>,
    members: ConnMap<Member>,
    /// Everybody's name.
    names: HashMap<Box<str>, ConnId>,
    rooms: Slab<Room>,
    room_by_name: HashMap<Box<str>, u32>,
    /// Rooms in which somebody's coming or going is yet to be told.
    crowded: Vec<u32>,
    per_address: HashMap<IpAddr, usize>,
    operator: Operator,
    transcript: Option<Transcript>,
    /// The service timer is set.
    ticking: bool,
    /// Where lines are put together, kept for its memory.
    page: Vec<u8>,
}

impl Chat {
    /// Nobody is there yet.
    #[must_use]
    pub fn new(settings: Settings, transcript: Option<Transcript>) -> Self {
        Chat {
            rate: Rate::new(settings.rate, settings.burst),
            settings,
            members: ConnMap::new(),
            names: HashMap::new(),
            rooms: Slab::new(),
            room_by_name: HashMap::new(),
            crowded: Vec::new(),
            per_address: HashMap::new(),
            operator: Operator::default(),
            transcript,
            ticking: false,
            page: Vec::new(),
        }
    }

    fn welcome(&mut self, id: ConnId, peer: Peer, out: &mut Outbox) {
        let mut member = Member::new();
        let extra = member.extra_mut();
        extra.peer = Some(peer);
        if let (Some(max), Some(address)) = (self.settings.max_per_ip, address_of(&peer)) {
            let count = self.per_address.entry(address).or_default();
            if *count >= max {
                log::info!("refused {peer}: it has {max} connections already");
                let why = "too many connections from your address";
                return self.dismiss(id, why, out);
            }
            *count += 1;
            extra.address = Some(address);
        }
        self.members.insert(id, member);
        out.send(id, WELCOME);
        if !self.settings.login_timeout.is_zero() {
            out.set_timer(id, self.settings.login_timeout);
        }
    }

    /// Takes bytes apart into lines. What is needed for that is taken out of the member meanwhile.
    fn read(&mut self, id: ConnId, mut data: Data<'_>, out: &mut Outbox) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let (mut lines, mut telnet) = member.take_input();
        let mut answer = Vec::new();
        let count = telnet.filter(&mut data, &mut answer);
        out.send(id, &answer);
        lines.feed(&data[..count], self.settings.max_line, |line| {
            self.take_line(id, line, out);
        });
        if let Some(member) = self.members.get_mut(id) {
            member.put_input(lines, telnet);
        }
    }

    fn take_line(&mut self, id: ConnId, line: Line<'_>, out: &mut Outbox) {
        match self.members.get(id).map(Member::has_joined) {
            Some(true) => {}
            Some(false) => return self.log_in(id, line, out),
            // What follows the leave is heard by nobody.
            None => return,
        }
        if line.cut {
            let max = self.settings.max_line;
            let told = format!("* your line was cut after {max} bytes\n");
            out.send(id, told.as_bytes());
        }
        if !self.must_wait(id, line.text, out) {
            self.act(id, line.text, out);
        }
    }

    /// Whether a line comes too fast. Then it is held back, and nothing more is read.
    fn must_wait(&mut self, id: ConnId, line: &[u8], out: &mut Outbox) -> bool {
        let (Some(rate), Some(member)) = (self.rate, self.members.get_mut(id)) else {
            return false;
        };
        let wait = match member.extra() {
            Some(extra) if !extra.held.is_empty() => None,
            _ => match member.pace.spend(rate, out.now()) {
                Ok(()) => return false,
                Err(wait) => Some(wait),
            },
        };
        if let Some(wait) = wait {
            out.pause(id);
            out.set_timer(id, wait.max(WAIT_MIN));
        }
        let held = &mut member.extra_mut().held;
        held.extend_from_slice(line);
        held.push(b'\n');
        true
    }

    /// Lines that were held back have their turn, as many as the pace allows.
    fn release(&mut self, id: ConnId, out: &mut Outbox) {
        let (Some(rate), Some(member)) = (self.rate, self.members.get_mut(id)) else {
            return;
        };
        let held = std::mem::take(&mut member.extra_mut().held);
        let mut rest = &held[..];
        while let Some(end) = memchr(b'\n', rest) {
            let Some(member) = self.members.get_mut(id) else {
                return;
            };
            if let Err(wait) = member.pace.spend(rate, out.now()) {
                member.extra_mut().held = rest.to_vec();
                return out.set_timer(id, wait.max(WAIT_MIN));
            }
            self.act(id, &rest[..end], out);
            rest = &rest[end + 1..];
        }
        if let Some(member) = self.members.get_mut(id) {
            member.tidy();
            out.resume(id);
        }
    }

    /// A line of somebody who has joined.
    fn act(&mut self, id: ConnId, line: &[u8], out: &mut Outbox) {
        if line.starts_with(b"/") && !self.settings.plain {
            self.command(id, Command::parse(line), out);
        } else {
            self.say(id, line, out);
        }
    }

    fn say(&mut self, id: ConnId, text: &[u8], out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        self.page.clear();
        self.page.push(b'[');
        self.page.extend_from_slice(member.name().as_bytes());
        self.page.extend_from_slice(b"] ");
        text::clean(text, &mut self.page);
        self.page.push(b'\n');
        self.publish(id, out);
    }

    /// What stands on the page is a line that the others in the room hear, and those who come
    /// later.
    fn publish(&mut self, id: ConnId, out: &mut Outbox) {
        self.tell_others(id, out);
        let Some(member) = self.members.get(id) else {
            return;
        };
        let room = &mut self.rooms[member.room as usize];
        room.remember(out.now(), &self.page, self.settings.history);
        if let Some(transcript) = &mut self.transcript {
            transcript.note(&room.name, &self.page);
            self.tick(out);
        }
    }

    /// What stands on the page goes to all others in the room who care to hear it.
    fn tell_others(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let room = &self.rooms[member.room as usize];
        if room.ignoring == 0 {
            return out.broadcast(room.others(id), &self.page);
        }
        let members = &self.members;
        let cares = |&other: &ConnId| members.get(other).is_some_and(|member| !member.ignores(id));
        out.broadcast(room.others(id).filter(cares), &self.page);
    }

    fn log_in(&mut self, id: ConnId, line: Line<'_>, out: &mut Outbox) {
        let legal = match line.cut {
            true => Err(Illegal::TooLong),
            false => self.free_name(line.text),
        };
        match legal {
            Ok(name) => self.join(id, name, out),
            Err(illegal) => {
                let wanted = &line.text[..line.text.len().min(100)];
                let reason = illegal.reason();
                log::info!("refused the name {:?}: {reason}", harmless(wanted));
                self.dismiss(id, reason, out);
            }
        }
    }

    /// The name that a line asks for, if it may be had.
    fn free_name<'a>(&self, line: &'a [u8]) -> Result<&'a str, Illegal> {
        let name = name::legal(line, self.settings.unicode_names)?;
        match self.names.contains_key(name) {
            true => Err(Illegal::Taken),
            false => Ok(name),
        }
    }

    fn join(&mut self, id: ConnId, name: &str, out: &mut Outbox) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        out.clear_timer(id);
        member.set_name(name);
        let peer = member.extra_mut().peer.take();
        self.names.insert(name.into(), id);
        let from = peer.map(|peer| peer.to_string()).unwrap_or_default();
        log::info!("{name} has joined from {from}");
        self.enter(id, LOBBY, out);
        if let Some(motd) = &self.settings.motd {
            let lines = motd.lines().map(|line| format!("* {line}\n"));
            out.send(id, lines.collect::<String>().as_bytes());
        }
    }

    /// Says why, and ends the connection of somebody who has not joined.
    fn dismiss(&mut self, id: ConnId, why: &str, out: &mut Outbox) {
        reply(id, why, out);
        out.finish(id);
        self.forget(id);
    }

    fn enter(&mut self, id: ConnId, name: &str, out: &mut Outbox) {
        let number = self.room(name);
        let room = &mut self.rooms[number as usize];
        self.page.clear();
        if room.members().is_empty() {
            self.page.extend_from_slice(b"* The room is empty");
        } else {
            self.page.extend_from_slice(b"* The room contains: ");
            room.list(&self.members, self.settings.plain, &mut self.page);
        }
        self.page.push(b'\n');
        for (at, line) in room.history() {
            let age = text::age(out.now().saturating_sub(at));
            self.page.extend_from_slice(format!("* {age} ").as_bytes());
            self.page.extend_from_slice(line);
        }
        out.send(id, &self.page);
        let place = room.enter(id);
        if let Some(member) = self.members.get_mut(id) {
            (member.room, member.place) = (number, place);
            room.ignoring += usize::from(member.ignores_some());
        }
        self.announce(id, Step::In, b"", out);
    }

    /// The number of a room, which is made if there is none of this name.
    fn room(&mut self, name: &str) -> u32 {
        if let Some(number) = self.room_by_name.get(name) {
            return *number;
        }
        let number = self.rooms.insert(Room::new(name)) as u32;
        self.room_by_name.insert(name.into(), number);
        number
    }

    /// Tells the others in the room, or counts it for later if they hear too much of that.
    fn announce(&mut self, id: ConnId, step: Step, farewell: &[u8], out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let number = member.room;
        let room = &mut self.rooms[number as usize];
        if !self.settings.plain && !room.may_announce(step, out.now()) {
            if !self.crowded.contains(&number) {
                self.crowded.push(number);
            }
            return self.tick(out);
        }
        self.page.clear();
        self.page.extend_from_slice(b"* ");
        self.page.extend_from_slice(member.name().as_bytes());
        self.page.extend_from_slice(match step {
            Step::In => b" has entered the room",
            Step::Out => b" has left the room",
        });
        if !farewell.is_empty() {
            self.page.extend_from_slice(b" (");
            text::clean(farewell, &mut self.page);
            self.page.push(b')');
        }
        self.page.push(b'\n');
        out.broadcast(self.rooms[number as usize].others(id), &self.page);
    }

    /// Leaves the room, which ends with its last member.
    fn leave(&mut self, id: ConnId, farewell: &[u8], out: &mut Outbox) {
        self.announce(id, Step::Out, farewell, out);
        let Some(member) = self.members.get(id) else {
            return;
        };
        let (number, place) = (member.room, member.place);
        let room = &mut self.rooms[number as usize];
        room.ignoring -= usize::from(member.ignores_some());
        if let Some(moved) = room.leave(place)
            && let Some(moved) = self.members.get_mut(moved)
        {
            moved.place = place;
        }
        if room.members().is_empty() && &*room.name != LOBBY {
            self.room_by_name.remove(&room.name);
            self.rooms.remove(number as usize);
            self.crowded.retain(|&crowded| crowded != number);
        }
    }

    /// The last thing that is known of somebody.
    fn part(&mut self, id: ConnId, why: &str, farewell: &[u8], out: &mut Outbox) {
        if let Some(member) = self.members.get(id).filter(|member| member.has_joined()) {
            log::info!("{} has left: {why}", member.name());
            self.leave(id, farewell, out);
        }
        self.forget(id);
    }

    fn forget(&mut self, id: ConnId) {
        let Some(member) = self.members.remove(id) else {
            return;
        };
        self.names.remove(member.name());
        if let Some(address) = member.extra().and_then(|extra| extra.address)
            && let Some(count) = self.per_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
    }

    /// Lets the service timer run, if it does not.
    fn tick(&mut self, out: &mut Outbox) {
        if !std::mem::replace(&mut self.ticking, true) {
            out.set_service_timer(WINDOW);
        }
    }

    /// Tells rooms how many have come and gone.
    fn sum_up(&mut self, out: &mut Outbox) {
        for number in std::mem::take(&mut self.crowded) {
            let Some(room) = self.rooms.get_mut(number as usize) else {
                continue;
            };
            let [entered, left] = room.take_unannounced();
            let members = || room.members().iter().copied();
            for (count, step) in [(entered, "entered"), (left, "left")] {
                if count > 0 {
                    let told = format!("* {} {step}\n", text::people(count));
                    out.broadcast(members(), told.as_bytes());
                }
            }
        }
    }
}

impl Protocol for Chat {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        match opened.tag {
            CLIENT => self.welcome(id, opened.peer, out),
            STDOUT => self.operator.stdout = Some(id),
            _ => self.operator.stdin = Some(id),
        }
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        if Some(id) == self.operator.stdin {
            self.operate(&data, out);
        } else {
            self.read(id, data, out);
        }
    }

    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(member) = self.members.get_mut(id) {
            // The last line may lack its newline.
            let (mut lines, _) = member.take_input();
            let max = self.settings.max_line;
            lines.finish(max, |line| self.take_line(id, line, out));
        }
        out.finish(id);
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        match why {
            // Everybody goes, and there is nobody left to tell.
            Closed::Shutdown => self.forget(id),
            why => self.part(id, why.reason(), b"", out),
        }
        self.operator.closed(id);
    }

    fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
        match self.members.get(id).map(Member::has_joined) {
            Some(true) => self.release(id, out),
            Some(false) => {
                log::info!("connection {id:?} gave no name in time");
                self.dismiss(id, "you gave no name in time", out);
            }
            None => {}
        }
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.ticking = false;
        self.sum_up(out);
        if let Some(transcript) = &mut self.transcript {
            transcript.flush();
            if transcript.is_waiting() {
                self.tick(out);
            }
        }
    }

    /// A reader this slow is closed, since its limit is the same; there is no input to blame.
    fn on_high_water(&mut self, _: ConnId, _: &mut Outbox) {}

    fn on_low_water(&mut self, _: ConnId, _: &mut Outbox) {}
}

impl Server for Chat {
    fn streams(&self) -> StandardStreams {
        StandardStreams {
            stdin: self.settings.operator.then_some(STDIN),
            stdout: self.settings.operator.then_some(STDOUT),
        }
    }

    /// What waits for a member comes from others, who are not to wait for it: at the high-water
    /// mark it is cut off.
    fn adjust(&self, limits: &mut Limits) {
        limits.queue_limit = Some(limits.high_water);
    }
}
