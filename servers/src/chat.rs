//! The chat server: rooms in which everyone with `nc` can talk.
//!
//! The wire protocol is Budget Chat (<https://protohackers.com/problem/3>) for a member that types
//! no command: a line asking for a name, the name, and then lines. Rooms and commands come on top.
//! Only lines of the server begin with `* `.
//!
//! The chat is one state machine on one thread. So a room has one order of lines, which all its
//! members see, and a member enters or leaves between two lines. A line is formatted once, in
//! `Chat::page`, and stored once, however many members it is for.
//!
//! All that members do and others see is appended to a log (`backplane/`) first, and happens when it is read
//! there: `applying.rs`. The log of a chat on one reactor is read at once.
//!
//! [`Chat`] is the only [`Protocol`] here: the other files add methods to it, or hold one part of
//! its state. Each callback below finds the member by its [`ConnId`] and hands the event on: bytes
//! to `input.rs`, a timer to whatever the member waits for (its room's queue, the next piece of
//! the message of the day, its pace, or its name), a crossed high-water mark to `queue.rs`.
//! A connection is a *newcomer* until it has given a legal name, and a *member* from then on; both
//! have an entry in `Chat::members`.
//!
//! | file | subject |
//! |---|---|
//! | `chat.rs` | connections: from the first byte to the leave |
//! | `options.rs`, `settings.rs` | the command line, and what it sets |
//! | `keys.rs`, `input.rs`, `pace.rs` | from bytes to lines, and their rate |
//! | `telling.rs` | lines for the others |
//! | `gate.rs`, `queue.rs`, `bounds.rs` | limits on those lines, and members that wait |
//! | `commands.rs`, `command.rs` | commands: what they do, and their syntax |
//! | `applying.rs`, `judging.rs` | what happens when an entry of the log is read |
//! | `sharing.rs` | the log of several servers, in Redis |
//! | `numbers.rs` | the members in the log |
//! | `others.rs`, `met.rs`, `syncing.rs`, `outage.rs` | the members of other servers; when the log is lost, or out of reach |
//! | `rooms.rs`, `room.rs`, `history.rs`, `member.rs` | rooms and their members |
//! | `ranking.rs` | the rooms in the order of `/rooms` |
//! | `name.rs`, `text.rs` | legal names, and harmless text |
//! | `returning.rs`, `absences.rs`, `members.rs` | a page that has lost its connection, and comes back |
//! | `taking_over.rs`, `arrivals.rs` | a page that comes back to another server |
//! | `seat.rs` | what such a page has received |
//! | `service.rs`, `waits.rs` | the service timer; what it and an outage are about |
//! | `ignored.rs`, `bans.rs`, `addresses.rs` | ignore lists; the operator's bans, and whom they hit |
//! | `greeting.rs`, `reading.rs`, `motd.rs` | the message of the day: shown, read, and found |
//! | `operator.rs`, `operator_commands.rs`, `console.rs` | the server's terminal: state, input, output |
//! | `transcript.rs` | the record of all lines |

mod absences;
mod addresses;
mod applying;
mod arrivals;
mod bans;
mod bounds;
mod command;
mod commands;
mod console;
mod gate;
mod greeting;
mod history;
mod ignored;
mod input;
mod judging;
mod keys;
mod member;
mod members;
mod met;
mod motd;
mod name;
mod numbers;
mod operator;
mod operator_commands;
mod options;
mod others;
mod outage;
mod pace;
mod queue;
mod ranking;
mod reading;
mod returning;
mod room;
mod rooms;
mod seat;
mod service;
mod settings;
mod sharing;
mod syncing;
mod taking_over;
mod telling;
#[cfg(test)]
mod tests;
mod text;
mod transcript;
mod waits;

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeloop_reactor::{
    Address, Closed, ConnId, ConnMap, Data, Limits, Opened, Outbox, Peer, Protocol, RateLimitedLog,
    Waker,
};
use slab::Slab;

use self::absences::Absences;
use self::addresses::Addresses;
use self::arrivals::Arrivals;
use self::bounds::{Bounds, ENTRY};
use self::ignored::IgnoredNames;
use self::member::{Awaited, Kept, Member};
use self::members::Members;
use self::met::Met;
use self::name::{Directory, Illegal, Rules};
use self::numbers::Numbers;
use self::operator::Operator;
pub(crate) use self::options::ChatCommand;
use self::pace::Rates;
use self::ranking::Ranking;
use self::room::Room;
use self::seat::{Seat, Token, Visit};
pub use self::settings::Settings;
use self::settings::{LOG, STDIN, STDOUT};
pub use self::transcript::Transcript;
use self::waits::{NEWCOMER_WAIT, Outage, Service};
use crate::backplane::entry::{Body, Origin, Present};
use crate::backplane::local::Local;
use crate::backplane::log::Log;
use crate::backplane::membership::{Bans, Refusal};
use crate::backplane::redis::Target;
use crate::backplane::replica::Replica;
use crate::figures::Figure;
use crate::harmless::harmless;
use crate::screen::Screen;
use crate::server::{CLIENT, Server, StandardStreams};

/// The room that every member enters first.
const LOBBY: &str = "lobby";
/// Number of the lobby, which is the first room and never ends.
const LOBBY_NUMBER: u32 = 0;
/// Time before another attempt to write the transcript while its pipe is full.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// Entries of the log that may follow each other at once: a room that fills or empties.
const ENTRIES_AT_ONCE: u64 = 100;
/// The answer to a member or an operator that means a name which is not in use.
const NOBODY: &str = "nobody has this name";
/// Bytes of a refused name that the log shows.
const SHOWN_MAX: usize = 40;
const WELCOME: &[u8] = b"Welcome! What is your name?\n";

/// The protocol: every connection, room and name of one server.
///
/// A room is known by its number, its slot in `rooms`. A member holds the number of its room and its
/// place there; the room holds the [`ConnId`]s of its members.
#[derive(Debug)]
pub struct Chat {
    settings: Settings,
    /// The rules by which names are read and compared.
    name_rules: Rules,
    bounds: Bounds,
    /// Rate limit of each member; `None` if there is none.
    rates: Option<Rates>,
    /// The message of the day, as it is shown.
    motd: Arc<[u8]>,
    /// Connections that have not left, with or without a name.
    members: Members,
    /// The members in the log.
    numbers: Numbers,
    /// The log of all that members do and others see.
    log: Box<dyn Log>,
    /// The copy of the state that other servers share; `None` if there are none.
    replica: Option<Box<Replica>>,
    /// Where the log is once the server listens, and the number of its reactor; `None`: in this process.
    backplane: Option<(Target, usize)>,
    /// Time since 1970 when the reactor's clock was 0.
    started_at: Duration,
    /// For each member that may come back on another connection, what it has received.
    seats: ConnMap<Box<Seat>>,
    /// The members by the tokens of their seats.
    tokens: HashMap<Token, ConnId>,
    absences: Absences,
    arrivals: Arrivals,
    /// Connections whose members have others, or other servers: they are to be closed.
    replaced: Vec<ConnId>,
    /// The member that has each name.
    names: Directory<ConnId>,
    /// Names on at least one ignore list.
    ignored: IgnoredNames,
    rooms: Slab<Room>,
    room_by_name: Directory<u32>,
    ranking: Ranking,
    /// Rooms with steps that are yet to be summed up.
    crowded: Vec<u32>,
    /// Time of the last summary.
    summed_up_at: Duration,
    addresses: Addresses,
    /// Time of the last turn in which the log was read, and bytes that were read in it.
    read_at: Duration,
    read_bytes: usize,
    met: Met,
    /// Rooms that are behind on this server, of which other servers were told.
    behind: Vec<u32>,
    /// Numbers of members that leave in this turn, if there is a replica.
    leaving: Vec<u64>,
    outage: Outage,
    /// The bans, if there is no replica that has them.
    bans: Bans,
    operator: Operator,
    transcript: Option<Transcript>,
    /// The log of what members and newcomers do: their steps, and names that were refused.
    entries: RateLimitedLog,
    service: Service,
    /// Bytes of replies of the current callback so far.
    replied: usize,
    /// Output being formatted, one or more whole lines. It is a field so that its memory is reused.
    page: Vec<u8>,
}

impl Chat {
    /// A chat without members.
    #[must_use]
    pub fn new(settings: Settings, transcript: Option<Transcript>) -> Self {
        let bounds = Bounds::new(&settings);
        let name_rules = Rules {
            unicode: settings.unicode_names,
            plain: settings.plain,
        };
        let mut chat = Chat {
            rates: bounds.rates,
            bounds,
            motd: reading::message(settings.motd.as_deref().unwrap_or_default()),
            addresses: Addresses::new(settings.operator),
            read_at: Duration::ZERO,
            read_bytes: 0,
            met: Met::default(),
            behind: Vec::new(),
            leaving: Vec::new(),
            outage: Outage::default(),
            bans: Bans::default(),
            settings,
            name_rules,
            members: Members::default(),
            numbers: Numbers::default(),
            log: Box::new(Local::new(Origin::default())),
            replica: None,
            backplane: None,
            started_at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            seats: ConnMap::new(),
            tokens: HashMap::new(),
            absences: Absences::new(&Limits::default()),
            arrivals: Arrivals::default(),
            replaced: Vec::new(),
            names: Directory::new(name_rules),
            ignored: IgnoredNames::default(),
            rooms: Slab::new(),
            room_by_name: Directory::new(name_rules),
            ranking: Ranking::default(),
            crowded: Vec::new(),
            summed_up_at: Duration::ZERO,
            operator: Operator::new(Screen::default(), false),
            transcript,
            entries: RateLimitedLog::new(log::Level::Info, ENTRIES_AT_ONCE),
            service: Service::default(),
            replied: 0,
            page: Vec::new(),
        };
        chat.room(LOBBY);
        chat
    }

    /// Shares the rooms of this chat, which has no members yet, with all servers that read this log. `me`:
    /// the run of this server; `name`: its name, for people.
    pub(crate) fn share(&mut self, log: Box<dyn Log>, me: Origin, name: &str) {
        self.log = log;
        self.replica = Some(Box::new(Replica::new(me, name)));
        // Another server's operator may ban them.
        self.addresses = Addresses::new(true);
    }

    /// Reads the message of the day again, if it came from a file. On an error the old one stays.
    fn reload_motd(&mut self) {
        let Some(path) = &self.settings.motd_file else {
            return;
        };
        match motd::reread(path) {
            Ok(text) => self.motd = reading::message(&text),
            Err(why) => log::warn!("the message of the day stays as it is: {why}"),
        }
    }

    /// The time since 1970. Transcripts go by the clock of the system; without one, a clock of the reactor
    /// that costs no system call does.
    fn clock(&self, out: &Outbox) -> Duration {
        let system = || SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let system = self.transcript.as_ref().and_then(|_| system());
        system.unwrap_or(self.started_at + out.now())
    }

    fn millis(&self, out: &Outbox) -> u64 {
        self.clock(out).as_millis() as u64
    }

    /// Does what is due about once a second.
    fn look_after(&mut self, out: &mut Outbox) {
        self.sum_up(out);
        self.tell_all_behind(out);
        self.miss_the_absent(out);
        self.tell_operator_what_is_missing(out);
        if let Some(transcript) = &mut self.transcript {
            transcript.flush();
            if transcript.is_waiting() {
                self.tick_in(RETRY_INTERVAL, out);
            }
        }
    }

    /// Sets the operator's screen. `has_log`: the log does not go to the same terminal.
    pub(crate) fn set_screen(&mut self, screen: Screen, has_log: bool) {
        self.operator = Operator::new(screen, has_log);
    }

    fn welcome(&mut self, id: ConnId, peer: Peer, out: &mut Outbox) {
        self.addresses.opened(id, &peer);
        self.members.insert(id, Member::new(peer));
        self.ask_for_name(id, out);
    }

    fn ask_for_name(&mut self, id: ConnId, out: &mut Outbox) {
        self.send(id, WELCOME, out);
        if !self.settings.login_timeout.is_zero() {
            out.set_timer(id, self.settings.login_timeout);
        }
    }

    fn log_in(&mut self, id: ConnId, wanted: &[u8], out: &mut Outbox) {
        let peer = self.members.get(id).and_then(Member::peer);
        let address = peer.as_ref().and_then(addresses::banned);
        match self.free_name(wanted, id, address, out) {
            Ok(name) => self.claim(id, &name, address, out),
            Err(illegal) => self.refuse(id, wanted, illegal, out),
        }
    }

    /// A newcomer claims a name, and with it a place in the lobby.
    fn claim(&mut self, id: ConnId, name: &str, address: Option<IpAddr>, out: &mut Outbox) {
        let (name, room) = (self.name_rules.forms(name), self.name_rules.forms(LOBBY));
        let present = Present {
            number: self.numbers.of(id),
            name: name.lent(),
            room: room.lent(),
            address,
            token: self.seats.get(id).map(|seat| seat.token.digest()),
        };
        out.clear_timer(id);
        if !self.append(Body::Join(present), out)
            && let Some(member) = self.members.get_mut(id)
        {
            member.extra_mut().awaits = Some(Awaited::Join);
            out.set_timer(id, NEWCOMER_WAIT);
        }
    }

    /// Dismisses a newcomer whose name is not legal, or taken. A member that has lost its name may try
    /// again.
    fn refuse(&mut self, id: ConnId, wanted: &[u8], illegal: Illegal, out: &mut Outbox) {
        let wanted = harmless(&wanted[..wanted.len().min(SHOWN_MAX)]);
        let peer = self.members.get_mut(id).and_then(Member::take_peer);
        let from = peer.map(|peer| peer.to_string()).unwrap_or_default();
        let reason = illegal.reason();
        let entry = format!("refused the name '{wanted}' from {from}: {reason}");
        self.note(&entry, out);
        let member = self.members.get(id);
        if illegal != Illegal::Banned && member.is_some_and(Member::has_lost_name) {
            return self.ask_again(id, reason, out);
        }
        self.dismiss(id, reason, out);
    }

    fn out_of_patience(&mut self, id: ConnId, out: &mut Outbox) {
        let peer = self.members.get_mut(id).and_then(Member::take_peer);
        let from = peer.map(|peer| peer.to_string()).unwrap_or_default();
        self.note(&format!("refused {from}: no name in time"), out);
        self.dismiss(id, "you gave no name in time", out);
    }

    /// Tells a newcomer the reason, and ends its connection. The reason has to arrive, so the
    /// connection lingers; until it is closed it counts against the limits.
    fn dismiss(&mut self, id: ConnId, why: &str, out: &mut Outbox) {
        self.reply(id, why, out);
        out.finish(id);
        self.forget(id, out);
    }

    /// The name that a line asks for, if member `id` may have it. `address`: address of a newcomer,
    /// which may be banned too.
    fn free_name<'a>(
        &mut self,
        line: &'a [u8],
        id: ConnId,
        address: Option<IpAddr>,
        out: &mut Outbox,
    ) -> Result<Cow<'a, str>, Illegal> {
        let name = self.name_rules.legal(line)?;
        self.check_claim(&name, id, address, out)?;
        Ok(name)
    }

    /// Checks that member `id` may have a legal name.
    fn check_claim(
        &mut self,
        name: &str,
        id: ConnId,
        address: Option<IpAddr>,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        if self.is_banned(name, address, out) {
            return Err(Refusal::Banned);
        }
        self.names.check(name, Some(id))?;
        match &self.replica {
            Some(replica) => {
                replica.check(&self.name_rules.forms(name).lent(), self.numbers.of(id))
            }
            None => Ok(()),
        }
    }

    /// A member leaves, with or without last words. A newcomer is forgotten.
    fn part(&mut self, id: ConnId, why: &str, farewell: &[u8], out: &mut Outbox) {
        if self.members.get(id).is_some_and(Member::is_leaving) {
            return;
        }
        // Before the announcement: if only this member held the room back, the room is open now.
        self.fall(id, out);
        if !self.note_leave(id, why, out) {
            return self.forget(id, out);
        }
        let number = self.numbers.of(id);
        if self.replica.is_some() && farewell.is_empty() {
            // Those that leave in one turn do so in one entry.
            self.leaving.push(number);
            self.serve_log_soon(out);
            return self.stay_until_read(id, out);
        }
        let leave = Body::Leave {
            members: Cow::Borrowed(&[number]),
            farewell,
        };
        if !self.append(leave, out) {
            self.stay_until_read(id, out);
        }
    }

    /// The leave of a member is not read yet. Until then it has its name and its place, but neither a
    /// connection nor a way back.
    fn stay_until_read(&mut self, id: ConnId, out: &mut Outbox) {
        self.leave_queue(id, out);
        self.give_seat_up(id);
        if let Some(member) = self.members.get_mut(id) {
            member.lose_connection();
            member.extra_mut().awaits = Some(Awaited::Leave);
        }
        self.members.set_away(id);
    }

    fn give_seat_up(&mut self, id: ConnId) {
        let arriving = self.arrivals.remove(id);
        if let Some(seat) = self.take_seat(id).or(arriving) {
            self.tokens.remove(&seat.token);
        }
    }

    /// Writes to the log of the server why a member leaves; false if it is a newcomer.
    fn note_leave(&mut self, id: ConnId, why: &str, out: &mut Outbox) -> bool {
        let member = self.members.get(id).filter(|member| member.has_joined());
        let told = member.map(|member| format!("{} has left: {why}", member.name()));
        if let Some(told) = &told {
            self.note(told, out);
        }
        told.is_some()
    }

    /// A member has its name no more. After a gap another one may have been given it already.
    fn free(&mut self, name: &str, id: ConnId) {
        if self.names.get(name) == Some(id) {
            self.names.remove(name);
        }
    }

    /// Removes a member from the queue, its room, the names and the ignore lists.
    fn forget(&mut self, id: ConnId, out: &mut Outbox) {
        if self.has_asked(id) {
            return self.lose_asking(id);
        }
        self.fall(id, out);
        self.leave_queue(id, out);
        self.leave(id, out);
        self.give_seat_up(id);
        self.numbers.forget(id);
        if let Some(mut member) = self.members.remove(id) {
            let mut ignored = member.take_ignored();
            out.charge(ignored.len() * ENTRY);
            ignored.clear(&mut self.ignored);
            if member.has_joined() {
                self.free(member.name(), id);
            }
        }
    }
}

impl Protocol for Chat {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        match opened.tag {
            CLIENT => self.welcome(id, opened.peer, out),
            STDOUT => self.operator.stdout = Some(id),
            STDIN => self.operator.sits_down(id, out),
            _ => drop(self.offer(|log, out| log.on_open(id, out), out)),
        }
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        if self.offer(|log, out| log.on_data(id, &data, out), out) {
            return;
        }
        if Some(id) == self.operator.stdin {
            self.operate(&data, out);
        } else {
            self.read(id, &data, out);
        }
    }

    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        if self.offer(|log, out| log.on_close(id, Closed::Eof, out), out) {
            return out.close(id);
        }
        if Some(id) == self.operator.stdin {
            return self.operator_has_ended(out);
        }
        if let Some(seat) = self.seat_mut(id) {
            seat.is_done = true;
        }
        self.read_end(id, out);
    }

    fn on_connect_error(&mut self, id: ConnId, tag: u64, why: Closed, out: &mut Outbox) {
        self.offer(|log, out| log.on_connect_error(id, tag, why, out), out);
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        if self.offer(|log, out| log.on_close(id, why, out), out) {
            return;
        }
        match why {
            // All connections close, and no member is left to tell.
            Closed::Shutdown => self.forget(id, out),
            why => self.depart(id, why.reason(), out),
        }
        self.addresses.closed(id);
        self.operator_is_full(id, false, out);
        self.operator.closed(id);
    }

    fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            if Some(id) == self.operator.stdin {
                self.let_operator_go_on(out);
            }
            return;
        };
        match member.kept() {
            Some(Kept {
                room: Some(room), ..
            }) => self.call_up(*room, out),
            None if member.is_reading() => self.show_more(id, out),
            _ if self.replica.is_some() && !member.has_joined() => self.has_waited(id, out),
            None if !member.has_joined() => self.out_of_patience(id, out),
            _ => self.go_on(id, None, out),
        }
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.serve(out);
    }

    fn on_wake(&mut self, out: &mut Outbox) {
        self.serve_log(out);
    }

    fn on_reload(&mut self, out: &mut Outbox) {
        if let Some(transcript) = &mut self.transcript {
            transcript.reopen();
            self.tick(out);
        }
        self.reload_motd();
    }

    fn on_stop(&mut self, out: &mut Outbox) {
        self.keep_none(out);
        self.operator.gets_up(out);
        if self.replica.is_some() {
            self.append(Body::Stop, out);
            self.log.stop(out);
            self.serve_log(out);
        }
    }

    fn on_high_water(&mut self, id: ConnId, out: &mut Outbox) {
        self.rise(id, out);
        self.operator_is_full(id, true, out);
    }

    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        if self.fall(id, out) {
            self.catch_up(id, out);
        }
        self.operator_is_full(id, false, out);
    }
}

impl Server for Chat {
    fn streams(&self) -> StandardStreams {
        self.settings.streams()
    }

    fn on_start(&mut self, waker: Waker, out: &mut Outbox) {
        self.log.wake_with(waker);
        self.serve_log(out);
    }

    fn on_redraw(&mut self, out: &mut Outbox) {
        self.operator.redraw(out);
    }

    fn on_listening(&mut self, at: &[Address], out: &mut Outbox) {
        self.begin_to_share(at, out);
    }

    fn figures(&self, now: Duration) -> Vec<Figure> {
        self.figures_of_log(now)
    }

    /// Sets the limits from the chat's own bounds: a member's pending output comes from other
    /// members, and it is their input that waits for it.
    fn adjust(&mut self, limits: &mut Limits) {
        if let lines @ 1.. = self.settings.history {
            let most = history::BYTES_MAX / 1024;
            log::info!("history: the last {lines} lines of a room, {most} KiB of them at the most");
        }
        self.bounds.has_others = self.replica.is_some() || self.backplane.is_some();
        self.bounds.adjust(&self.settings, limits);
        limits.own_tags.extend(LOG);
        self.absences = Absences::new(limits);
    }

    fn takes_query(&self, query: &str) -> bool {
        query.is_empty() || Visit::parse(query).is_some()
    }

    fn on_visit(&mut self, id: ConnId, opened: Opened, query: &str, out: &mut Outbox) {
        self.bounds.has_headers = true;
        match Visit::parse(query) {
            Some(visit) => self.visit(id, opened.peer, visit, out),
            None => self.on_open(id, opened, out),
        }
    }

    fn take_replaced(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.replaced)
    }

    fn on_lost(&mut self, id: ConnId, out: &mut Outbox) {
        self.read_end(id, out);
    }

    fn on_served(&mut self, out: &mut Outbox) {
        self.keep_none(out);
        self.operator.leave(out);
        if self.replica.is_some() {
            // The log's connections would keep the server.
            out.stop();
        }
    }

    fn reloads(&self) -> bool {
        self.transcript.is_some() || self.settings.motd_file.is_some()
    }
}
