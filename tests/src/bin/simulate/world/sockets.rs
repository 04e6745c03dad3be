//! The calls on sockets, and the faults that they meet.

use std::collections::VecDeque;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::World;
use super::client::Client;
use super::conn::{Conn, Family};
use super::objects::{Address, Listener, Object, Udp};
use super::words::{Errno, MS};
use crate::plan::{ClientPlan, Door, Fault};

/// The first port that the kernel chooses, and the first of TCP and UDP clients.
const OWN_PORT: u16 = 9_000;
const CLIENT_PORT: u16 = 20_000;
/// Place of the number of dropped datagrams in `SO_MEMINFO`, an array of words.
const DROPS: usize = 8;

/// A datagram: its sender as a sockaddr, and its bytes.
type Letter = (Vec<u8>, Vec<u8>);

impl World {
    /// socket(2).
    pub(crate) fn socket(&mut self, domain: i32, kind: i32) -> Result<i32, Errno> {
        let is_datagram = kind & 0xff == libc::SOCK_DGRAM;
        let family = match domain {
            libc::AF_UNIX => Family::Unix,
            _ => Family::Tcp,
        };
        self.open(match is_datagram {
            true => Object::Udp(Udp {
                address: Address::Unix,
                inbound: VecDeque::new(),
                dropped: 0,
                room_at_ns: None,
                waiting_since: None,
            }),
            false => Object::Socket(family),
        })
    }

    /// bind(2).
    pub(crate) fn bind(&mut self, fd: i32, name: &[u8]) -> Result<i32, Errno> {
        let object = self.object(fd, "bind")?;
        let mut address = parse(name);
        if let Address::Inet(at) = &mut address
            && at.port() == 0
        {
            at.set_port(OWN_PORT + object as u16);
        }
        match &mut self.objects[object] {
            Object::Udp(udp) => udp.address = address,
            Object::Socket(family) => {
                let family = *family;
                self.objects[object] = Object::Listener(Listener {
                    family,
                    address,
                    backlog: 0,
                    queue: VecDeque::new(),
                    waiting_since: None,
                });
            }
            _ => return Err(libc::EINVAL),
        }
        Ok(0)
    }

    /// listen(2).
    pub(crate) fn listen(&mut self, fd: i32, backlog: i32) -> Result<i32, Errno> {
        let object = self.object(fd, "listen")?;
        match &mut self.objects[object] {
            Object::Listener(listener) => listener.backlog = backlog.max(1) as usize,
            _ => return Err(libc::EINVAL),
        }
        Ok(0)
    }

    /// getsockname(2): a sockaddr.
    pub(crate) fn name_of(&mut self, fd: i32) -> Result<Vec<u8>, Errno> {
        let object = self.object(fd, "getsockname")?;
        Ok(match &self.objects[object] {
            Object::Listener(Listener { address, .. }) | Object::Udp(Udp { address, .. }) => {
                sockaddr(*address)
            }
            Object::Connecting(_)
            | Object::Conn(Conn {
                family: Family::Tcp,
                ..
            }) => {
                let port = OWN_PORT + object as u16;
                sockaddr(Address::Inet((Ipv4Addr::LOCALHOST, port).into()))
            }
            _ => sockaddr(Address::Unix),
        })
    }

    /// setsockopt(2).
    pub(crate) fn set_option(
        &mut self,
        fd: i32,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<i32, Errno> {
        let object = self.object(fd, "setsockopt")?;
        let word = |at: usize| {
            let bytes = value
                .get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, i32::from_ne_bytes)
        };
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_LINGER) => {
                if let Object::Conn(conn) = &mut self.objects[object] {
                    conn.aborts = word(0) != 0 && word(4) == 0;
                }
            }
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => self.keepalive.0 = word(0) as u64,
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => self.keepalive.1 = word(0) as u64,
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => self.keepalive.2 = word(0) as u64,
            _ => {}
        }
        Ok(0)
    }

    /// getsockopt(2): the value.
    pub(crate) fn option(&mut self, fd: i32, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        let object = self.object(fd, "getsockopt")?;
        let now = self.now;
        match (&mut self.objects[object], level, name) {
            (_, libc::SOL_SOCKET, libc::SO_TYPE) => Ok(libc::SOCK_STREAM.to_ne_bytes().into()),
            (Object::Conn(conn), libc::SOL_SOCKET, libc::SO_ERROR) => {
                Ok(conn.error.take().unwrap_or(0).to_ne_bytes().into())
            }
            (Object::Conn(conn), libc::IPPROTO_TCP, libc::TCP_INFO) => {
                if conn.family == Family::Unix {
                    return Err(libc::EOPNOTSUPP);
                }
                let mut info = vec![0; size_of::<libc::tcp_info>()];
                let at = offset_of!(libc::tcp_info, tcpi_last_ack_recv);
                let unheard_ms = ((now - conn.heard_ns) / MS) as u32;
                info[at..at + 4].copy_from_slice(&unheard_ms.to_ne_bytes());
                Ok(info)
            }
            (Object::Udp(udp), libc::SOL_SOCKET, libc::SO_MEMINFO) => {
                let mut info = [0_u32; DROPS + 1];
                info[DROPS] = udp.dropped;
                Ok(info.iter().flat_map(|word| word.to_ne_bytes()).collect())
            }
            _ => Err(self.unknown(&format!("getsockopt {level} {name}"))),
        }
    }

    /// `FIONREAD` and `TIOCOUTQ`.
    pub(crate) fn queued(&mut self, fd: i32, request: u64) -> Result<i32, Errno> {
        let object = self.object(fd, "ioctl")?;
        match &self.objects[object] {
            Object::Conn(conn) if request == libc::FIONREAD => Ok(conn.inbound.len() as i32),
            Object::Conn(conn) if request == libc::TIOCOUTQ => Ok(conn.out.len() as i32),
            _ => Err(self.unknown(&format!("ioctl {request:#x}"))),
        }
    }

    /// Standard input or output, as it is duplicated: a Unix socket with a client of the plan behind
    /// it, or with one that reads everything.
    pub(crate) fn standard_stream(&mut self, door: Door) -> Result<i32, Errno> {
        let has_door = |client: &Client| client.plan.door == door;
        let client = self.clients.iter().position(has_door);
        let client = client.unwrap_or_else(|| {
            let plan = ClientPlan::from_the_start(door, Vec::new());
            self.clients.push(Client::new(plan));
            self.clients.len() - 1
        });
        let (room_in, room_out) = (self.knobs.room_in, self.knobs.room_out);
        let conn = Conn::new(Family::Unix, client, room_in, room_out);
        self.clients[client].conn = Some(self.objects.len());
        self.open(Object::Conn(conn))
    }

    /// accept4(2): the descriptor, and the peer's sockaddr.
    pub(crate) fn accept(&mut self, fd: i32) -> Result<(i32, Vec<u8>), Errno> {
        let object = self.object(fd, "accept4")?;
        self.tally.accepts += 1;
        self.act_within_turn();
        let moment = self.moment();
        if let Object::Listener(listener) = &mut self.objects[object] {
            listener.waiting_since = (!listener.queue.is_empty()).then_some(moment);
        }
        self.refusal_of_accept(object)?;
        let Object::Listener(listener) = &mut self.objects[object] else {
            return Err(libc::EINVAL);
        };
        let Some(&next) = listener.queue.front() else {
            return Err(libc::EAGAIN);
        };
        let family = listener.family;
        let fd = self.install(next)?;
        if let Object::Listener(listener) = &mut self.objects[object] {
            listener.queue.pop_front();
            listener.waiting_since = (!listener.queue.is_empty()).then_some(moment);
        }
        let keepalive_ns = self.keepalive_ns();
        self.tally.accepted += 1;
        let Object::Conn(conn) = &mut self.objects[next] else {
            return Err(libc::EINVAL);
        };
        conn.keepalive_ns = keepalive_ns;
        let client = conn.client;
        self.note(|| format!("accept: client {client} is object {next}"));
        Ok((
            fd,
            match family {
                Family::Unix => sockaddr(Address::Unix),
                Family::Tcp => sockaddr(Address::Inet(World::client_address(client))),
            },
        ))
    }

    /// Time after which a silent peer is given up, in nanoseconds; 0 is never.
    pub(super) fn keepalive_ns(&self) -> u64 {
        let (idle, interval, count) = self.keepalive;
        (idle + interval * count) * 1_000 * MS
    }

    /// The faults of accept4(2).
    fn refusal_of_accept(&mut self, object: usize) -> Result<(), Errno> {
        if self.draw(Fault::Interrupted) {
            return Err(libc::EINTR);
        }
        if self.draw(Fault::NoDescriptor) {
            self.shortage_ns = self.now + self.below(2_000) as u64 * MS;
        }
        // The kernel complains of missing descriptors before it looks.
        let open = self.open_descriptors();
        if open >= self.knobs.descriptors {
            self.count(Fault::Exhausted);
        }
        if self.now < self.shortage_ns || open >= self.knobs.descriptors {
            let errnos = [libc::ENFILE, libc::EMFILE];
            return Err(errnos[self.below(2)]);
        }
        if self.draw(Fault::AcceptNoMemory) {
            let errnos = [libc::ENOBUFS, libc::ENOMEM];
            return Err(errnos[self.below(2)]);
        }
        if let Object::Listener(listener) = &mut self.objects[object]
            && let Some(&next) = listener.queue.front()
            && self.draw(Fault::Aborted)
        {
            if let Object::Listener(listener) = &mut self.objects[object] {
                listener.queue.pop_front();
            }
            self.turn_away(next, "aborted in the queue");
            return Err(libc::ECONNABORTED);
        }
        Ok(())
    }

    /// A client that was not accepted is reset.
    fn turn_away(&mut self, object: usize, why: &'static str) {
        if let Object::Conn(conn) = &mut self.objects[object] {
            conn.closed = true;
            conn.reset_by_server = true;
            let client = conn.client;
            self.clients[client].excuse(why);
        }
    }

    /// recv(2).
    pub(crate) fn recv(&mut self, fd: i32, buffer: &mut [u8]) -> Result<usize, Errno> {
        let object = self.object(fd, "recv")?;
        self.tally.reads += 1;
        self.act_within_turn();
        let fault = self.fault_of_call();
        let short = self.draw(Fault::ShortRead);
        let moment = self.moment();
        let Object::Conn(conn) = &mut self.objects[object] else {
            return Err(self.unknown("recv on this descriptor"));
        };
        let result = match fault {
            Some(errno) => Err(errno),
            None => conn.read(buffer, short),
        };
        let goes_on = matches!(result, Ok(1..)) || fault.is_some();
        conn.readable_since = (goes_on && conn.has_input()).then_some(moment);
        let queued = conn.taken - conn.given.min(conn.taken);
        if self.stopped_at.is_none() && self.queued_max.is_some_and(|most| queued > most) {
            self.fail(
                "memory",
                format!("{queued} bytes wait for the peer of object {object}"),
            );
        }
        self.tally.bytes_in += result.unwrap_or(0) as u64;
        self.note(|| format!("recv on object {object}: {}", told(result)));
        result
    }

    /// send(2) and sendmsg(2).
    pub(crate) fn send<'a>(
        &mut self,
        fd: i32,
        slices: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<usize, Errno> {
        let object = self.object(fd, "send")?;
        self.tally.writes += 1;
        self.act_within_turn();
        let fault = match self.draw(Fault::Refused) {
            true => Some(libc::EAGAIN),
            false => self.fault_of_call(),
        };
        let short = self.draw(Fault::ShortWrite);
        let moment = self.moment();
        let Object::Conn(conn) = &mut self.objects[object] else {
            return Err(self.unknown("send on this descriptor"));
        };
        if conn.shut {
            self.fail(
                "end",
                format!("a write to object {object} after its shutdown"),
            );
            return Err(libc::EPIPE);
        }
        let result = match fault {
            Some(errno) => {
                conn.owes = true;
                conn.wants_room |= errno == libc::EAGAIN;
                Err(errno)
            }
            None => conn.write(slices, short),
        };
        // No edge follows where the kernel was not out of room: the server goes on by itself.
        let without_edge = result != Err(libc::EAGAIN) && conn.owes && !conn.wants_room;
        conn.writable_since = without_edge.then_some(moment);
        let mut bits = 0;
        if fault == Some(libc::EAGAIN) {
            bits = libc::EPOLLOUT as u32;
        }
        if conn.deaf && conn.family == Family::Tcp && result.is_ok() {
            let error = if conn.fin {
                libc::EPIPE
            } else {
                libc::ECONNRESET
            };
            bits |= conn.reset(error);
        }
        self.raise(object, bits);
        self.tally.bytes_out += result.unwrap_or(0) as u64;
        self.note(|| format!("send on object {object}: {}", told(result)));
        result
    }

    /// An error that has nothing to do with the socket.
    fn fault_of_call(&mut self) -> Option<Errno> {
        if self.draw(Fault::Interrupted) {
            return Some(libc::EINTR);
        }
        let errnos = [libc::ENOBUFS, libc::ENOMEM];
        self.draw(Fault::NoMemory).then(|| errnos[self.below(2)])
    }

    /// shutdown(2).
    pub(crate) fn shutdown(&mut self, fd: i32, how: i32) -> Result<i32, Errno> {
        let object = self.object(fd, "shutdown")?;
        let bits = match &mut self.objects[object] {
            Object::Conn(conn) if how == libc::SHUT_WR => conn.shut_down()?,
            _ => return Err(self.unknown("this shutdown")),
        };
        self.note(|| format!("shutdown of object {object}"));
        self.raise(object, bits);
        Ok(0)
    }

    /// The last descriptor of an object was closed.
    pub(super) fn last_close(&mut self, object: usize) {
        self.note(|| format!("close of object {object}"));
        let pending = match &self.objects[object] {
            Object::Conn(conn) => conn.out.len(),
            _ => 0,
        };
        let arrives = self.below(pending + 1);
        match &mut self.objects[object] {
            Object::Conn(conn) => {
                conn.taken_by_end.get_or_insert(conn.taken);
                conn.close_by_server(arrives);
                let client = conn.client;
                let door = self.clients[client].plan.door;
                let was_accepted = matches!(door, Door::Tcp | Door::Unix);
                if !conn.watched && was_accepted {
                    self.tally.refused += 1;
                    self.clients[client].excuse("refused");
                }
            }
            Object::Listener(listener) => {
                listener.waiting_since = None;
                for next in std::mem::take(&mut listener.queue) {
                    self.turn_away(next, "the listener was closed");
                }
            }
            Object::Udp(udp) => {
                udp.inbound.clear();
                udp.waiting_since = None;
            }
            Object::Signals(_) => self.signal_object = None,
            _ => {}
        }
    }

    /// signalfd(2).
    pub(crate) fn signalfd(&mut self) -> Result<i32, Errno> {
        let fd = self.open(Object::Signals(VecDeque::new()))?;
        self.signal_object = Some(self.objects.len() - 1);
        Ok(fd)
    }

    /// read(2): the number of a signal.
    pub(crate) fn read_signal(&mut self, fd: i32) -> Result<i32, Errno> {
        let object = self.object(fd, "read")?;
        match &mut self.objects[object] {
            Object::Signals(pending) => pending.pop_front().ok_or(libc::EAGAIN),
            _ => Err(self.unknown("read on this descriptor")),
        }
    }

    /// recvmmsg(2): datagrams and their senders, at most `most`.
    pub(crate) fn receive(&mut self, fd: i32, most: usize) -> Result<Vec<Letter>, Errno> {
        let object = self.object(fd, "recvmmsg")?;
        self.tally.reads += 1;
        self.act_within_turn();
        let fault = self.fault_of_call();
        let moment = self.moment();
        let Object::Udp(udp) = &mut self.objects[object] else {
            return Err(self.unknown("recvmmsg on this descriptor"));
        };
        udp.waiting_since = (!udp.inbound.is_empty()).then_some(moment);
        if let Some(errno) = fault {
            return Err(errno);
        }
        let count = most.min(udp.inbound.len());
        if count == 0 {
            return Err(libc::EAGAIN);
        }
        let taken: Vec<(usize, Vec<u8>)> = udp.inbound.drain(..count).collect();
        if udp.inbound.is_empty() {
            udp.waiting_since = None;
        }
        self.tally.datagrams_in += count as u64;
        self.tally.bytes_in += taken
            .iter()
            .map(|(_, bytes)| bytes.len() as u64)
            .sum::<u64>();
        self.note(|| format!("recvmmsg: {count} datagrams"));
        let named = taken.into_iter().map(|(client, bytes)| {
            let address = Address::Inet(World::client_address(client));
            (sockaddr(address), bytes)
        });
        Ok(named.collect())
    }

    /// sendmmsg(2): how many of the datagrams were taken.
    pub(crate) fn post(&mut self, fd: i32, letters: &[(&[u8], Vec<u8>)]) -> Result<usize, Errno> {
        let object = self.object(fd, "sendmmsg")?;
        self.tally.writes += 1;
        self.act_within_turn();
        if self.draw(Fault::Refused) {
            let pause = self.below(5_000) as u64 * 1_000;
            if let Object::Udp(udp) = &mut self.objects[object] {
                udp.room_at_ns = Some(self.now + pause);
                udp.waiting_since = None;
            }
            return Err(libc::EAGAIN);
        }
        match self.fault_of_call() {
            Some(libc::EINTR) => return Err(libc::EINTR),
            // The kernel drops the datagram.
            Some(errno) => {
                self.tally.datagrams_lost += 1;
                return Err(errno);
            }
            None => {}
        }
        let count = match self.draw(Fault::ShortWrite) {
            true => letters.len().div_ceil(2),
            false => letters.len(),
        };
        for (name, bytes) in &letters[..count] {
            let Address::Inet(to) = parse(name) else {
                return Err(libc::EINVAL);
            };
            let client = (to.port() - CLIENT_PORT) as usize;
            self.tally.datagrams_out += 1;
            self.tally.bytes_out += bytes.len() as u64;
            if let Some(client) = self.clients.get_mut(client) {
                client.letters_in.push(bytes.clone());
            }
        }
        self.note(|| format!("sendmmsg: {count} datagrams"));
        Ok(count)
    }

    pub(crate) fn client_address(client: usize) -> SocketAddr {
        let port = CLIENT_PORT + client as u16;
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }
}

fn told(result: Result<usize, Errno>) -> String {
    match result {
        Ok(count) => format!("{count} bytes"),
        Err(errno) => std::io::Error::from_raw_os_error(errno).to_string(),
    }
}

/// The address in a sockaddr.
pub(super) fn parse(name: &[u8]) -> Address {
    let family = name
        .get(..2)
        .map_or(0, |word| u16::from_ne_bytes([word[0], word[1]]));
    let port = name
        .get(2..4)
        .map_or(0, |word| u16::from_be_bytes([word[0], word[1]]));
    match i32::from(family) {
        libc::AF_INET => {
            let ip: [u8; 4] = name[4..8].try_into().unwrap_or_default();
            Address::Inet((IpAddr::from(Ipv4Addr::from(ip)), port).into())
        }
        libc::AF_INET6 => {
            let ip: [u8; 16] = name[8..24].try_into().unwrap_or_default();
            Address::Inet((IpAddr::from(Ipv6Addr::from(ip)), port).into())
        }
        _ => Address::Unix,
    }
}

/// A sockaddr.
fn sockaddr(address: Address) -> Vec<u8> {
    let family = match address {
        Address::Inet(SocketAddr::V4(_)) => libc::AF_INET,
        Address::Inet(SocketAddr::V6(_)) => libc::AF_INET6,
        Address::Unix => libc::AF_UNIX,
    };
    let mut name: Vec<u8> = (family as u16).to_ne_bytes().into();
    if let Address::Inet(at) = address {
        name.extend(at.port().to_be_bytes());
        match at.ip() {
            IpAddr::V4(ip) => {
                name.extend(ip.octets());
                name.extend([0; 8]);
            }
            IpAddr::V6(ip) => {
                name.extend([0; 4]);
                name.extend(ip.octets());
                name.extend([0; 4]);
            }
        }
    }
    name
}
