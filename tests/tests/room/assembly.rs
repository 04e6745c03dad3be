//! Any number of members of several chats, by TCP and by WebSocket, driven by one thread.
//!
//! No member blocks another: [`Assembly::turn`] sends and reads on every connection that is ready. Each
//! member keeps all that it reads.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tests::PATIENCE;
use tests::chat::assert_harmless;
use tests::client::dial;
use tests::server::Server;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket, client};

/// How a member is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By TCP, as with `nc`.
    Tcp,
    /// By a WebSocket.
    Web,
    /// By a WebSocket with a token: the member is sent its own lines too.
    Tab,
}

impl Way {
    /// Each way in turn.
    pub(crate) fn of(number: usize) -> Way {
        [Way::Tcp, Way::Web, Way::Tab][number % 3]
    }
}

/// All members that have ever entered, numbered from 0.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    members: Vec<Member>,
}

/// A member, and what it has read.
#[derive(Debug)]
pub(crate) struct Member {
    /// The name with which it came.
    pub(crate) name: String,
    pub(crate) way: Way,
    /// All lines after the question for its name.
    pub(crate) heard: Vec<String>,
    /// It has asked for the end of its connection.
    pub(crate) has_left: bool,
    /// `None` once either side has closed the connection.
    wire: Option<Wire>,
    is_asked: bool,
}

#[derive(Debug)]
enum Wire {
    Tcp {
        stream: TcpStream,
        unsent: Vec<u8>,
        /// The beginning of a line that is not complete yet.
        begun: Vec<u8>,
        /// Half-close the stream once `unsent` is empty.
        ends: bool,
    },
    Web {
        socket: Box<WebSocket<TcpStream>>,
        /// Messages wait to be sent.
        is_waiting: bool,
        /// Messages may have been read together with the handshake.
        is_new: bool,
    },
}

impl Assembly {
    /// Adds a member: a fresh connection, and the name to give on it. Returns its number.
    pub(crate) fn enter(&mut self, server: &Server, way: Way, name: &str) -> usize {
        let wire = match way {
            Way::Tcp => Wire::tcp(server),
            Way::Web => Wire::web(server, ""),
            Way::Tab => Wire::web(server, &format!("token=0123456789abcdef-{name}")),
        };
        self.members.push(Member {
            name: name.to_owned(),
            way,
            heard: Vec::new(),
            has_left: false,
            wire: Some(wire),
            is_asked: false,
        });
        self.say(self.members.len() - 1, name);
        self.members.len() - 1
    }

    /// Members without connections that have read these lines.
    pub(crate) fn of(members: &[(&str, Way, &[&str])]) -> Assembly {
        let member = |(name, way, heard): &(&str, Way, &[&str])| Member {
            name: (*name).to_owned(),
            way: *way,
            heard: heard.iter().map(|&line| line.to_owned()).collect(),
            has_left: false,
            wire: None,
            is_asked: true,
        };
        let members = members.iter().map(member).collect();
        Assembly { members }
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn member(&self, who: usize) -> &Member {
        &self.members[who]
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Sends a line, now or as soon as the connection takes it.
    pub(crate) fn say(&mut self, who: usize, line: &str) {
        if let Some(wire) = &mut self.members[who].wire {
            wire.say(line);
        }
    }

    /// Ends a member's visit in good order. It still reads until the server ends the connection.
    pub(crate) fn leave(&mut self, who: usize) {
        let member = &mut self.members[who];
        member.has_left = true;
        if let Some(wire) = &mut member.wire {
            wire.leave();
        }
    }

    /// A member's server ends.
    pub(crate) fn note_cut(&mut self, who: usize) {
        self.members[who].has_left = true;
    }

    /// Sends and reads on all connections that are ready, after waiting so long for one at the most.
    pub(crate) fn turn(&mut self, most: Duration) {
        let (numbers, mut descriptors): (Vec<usize>, Vec<PollFd<'_>>) = self
            .members
            .iter()
            .enumerate()
            .filter_map(|(number, member)| {
                let wire = member.wire.as_ref()?;
                Some((number, PollFd::new(wire.descriptor(), wire.awaited())))
            })
            .unzip();
        let is_new = self.members.iter().any(Member::is_new);
        let most = if is_new { Duration::ZERO } else { most };
        let most = PollTimeout::try_from(most).expect("some seconds");
        poll(&mut descriptors, most).expect("poll");
        let events = descriptors.iter().map(|descriptor| descriptor.revents());
        let is_ready = |events: Option<PollFlags>| events.is_none_or(|events| !events.is_empty());
        let ready: Vec<usize> = numbers
            .into_iter()
            .zip(events)
            .filter(|(number, events)| is_ready(*events) || self.members[*number].is_new())
            .map(|(number, _)| number)
            .collect();
        ready.into_iter().for_each(|who| self.members[who].go_on());
    }

    /// Turns until a condition holds.
    pub(crate) fn until(&mut self, what: &str, mut is_done: impl FnMut(&Assembly) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_done(self) {
            let is_late = Instant::now() > deadline;
            assert!(!is_late, "still not so after {PATIENCE:?}: {what}");
            self.turn(Duration::from_millis(20));
        }
    }

    /// Turns for so long.
    pub(crate) fn turn_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(Duration::from_millis(20));
        }
    }

    /// Turns until all that are there have read the list of members.
    pub(crate) fn until_joined(&mut self) {
        self.until("all have joined", |assembly| {
            let mut present = assembly.members.iter().filter(|member| !member.has_left);
            present.all(Member::has_joined)
        });
    }

    /// Turns until these members have read this line.
    pub(crate) fn until_heard(&mut self, line: &str, who: &[usize]) {
        let mut left: Vec<usize> = who.to_vec();
        self.until(line, |assembly| {
            left.retain(|who| !assembly.members[*who].has_heard(line));
            left.is_empty()
        });
    }
}

impl Member {
    /// Whether the connection is open.
    pub(crate) fn is_connected(&self) -> bool {
        self.wire.is_some()
    }

    pub(crate) fn has_joined(&self) -> bool {
        self.heard
            .iter()
            .any(|line| line.starts_with("* The room "))
    }

    pub(crate) fn has_heard(&self, line: &str) -> bool {
        self.heard.iter().rev().any(|heard| heard == line)
    }

    fn is_new(&self) -> bool {
        matches!(self.wire, Some(Wire::Web { is_new: true, .. }))
    }

    fn go_on(&mut self) {
        let Some(wire) = &mut self.wire else {
            return;
        };
        let (mut lines, ended) = wire.go_on();
        if ended {
            self.wire = None;
        }
        if !self.is_asked && !lines.is_empty() {
            let question = lines.remove(0);
            assert!(question.contains("name"), "{question:?} asks for no name");
            self.is_asked = true;
        }
        lines.iter().for_each(|line| assert_harmless(line));
        self.heard.append(&mut lines);
    }
}

impl Wire {
    fn tcp(server: &Server) -> Wire {
        let stream = dial(server.tcp());
        stream.set_nonblocking(true).expect("O_NONBLOCK");
        Wire::Tcp {
            stream,
            unsent: Vec::new(),
            begun: Vec::new(),
            ends: false,
        }
    }

    fn web(server: &Server, query: &str) -> Wire {
        let address = format!("ws://{}/room?{query}", server.http());
        let address = address.trim_end_matches('?');
        let (socket, answer) = client(address, dial(server.http())).expect("a handshake");
        assert_eq!(answer.status(), 101);
        socket.get_ref().set_nonblocking(true).expect("O_NONBLOCK");
        Wire::Web {
            socket: Box::new(socket),
            is_waiting: false,
            is_new: true,
        }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Wire::Tcp { stream, .. } => stream.as_fd(),
            Wire::Web { socket, .. } => socket.get_ref().as_fd(),
        }
    }

    fn awaited(&self) -> PollFlags {
        let sends = match self {
            Wire::Tcp { unsent, ends, .. } => !unsent.is_empty() || *ends,
            Wire::Web { is_waiting, .. } => *is_waiting,
        };
        let mut events = PollFlags::POLLIN;
        events.set(PollFlags::POLLOUT, sends);
        events
    }

    fn say(&mut self, line: &str) {
        match self {
            Wire::Tcp { unsent, .. } => {
                unsent.extend_from_slice(line.as_bytes());
                unsent.push(b'\n');
            }
            Wire::Web {
                socket, is_waiting, ..
            } => {
                *is_waiting = true;
                match socket.write(Message::text(line)) {
                    Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
                    // The next read reports the error.
                    _ => {}
                }
            }
        }
    }

    fn leave(&mut self) {
        match self {
            Wire::Tcp { ends, .. } => *ends = true,
            Wire::Web {
                socket, is_waiting, ..
            } => {
                *is_waiting = true;
                let frame = CloseFrame {
                    code: CloseCode::Normal,
                    reason: "".into(),
                };
                // The next read reports an error.
                let _ = socket.close(Some(frame));
            }
        }
    }

    /// Sends and reads what can be now. Returns the lines that came, and whether the connection has
    /// ended.
    fn go_on(&mut self) -> (Vec<String>, bool) {
        let mut lines = Vec::new();
        let ended = match self {
            Wire::Tcp {
                stream,
                unsent,
                begun,
                ends,
            } => {
                send(stream, unsent, ends);
                let ended = read(stream, begun);
                if let Some(last) = begun.iter().rposition(|&byte| byte == b'\n') {
                    let text = str::from_utf8(&begun[..last]).expect("UTF-8");
                    lines.extend(text.split('\n').map(str::to_owned));
                    begun.drain(..=last);
                }
                ended
            }
            Wire::Web {
                socket,
                is_waiting,
                is_new,
            } => {
                *is_new = false;
                if *is_waiting {
                    *is_waiting = matches!(&socket.flush(), Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock);
                }
                receive(socket, &mut lines)
            }
        };
        (lines, ended)
    }
}

fn send(stream: &mut TcpStream, unsent: &mut Vec<u8>, ends: &mut bool) {
    if !unsent.is_empty() {
        match stream.write(unsent) {
            Ok(count) => drop(unsent.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The next read reports the error.
            Err(_) => unsent.clear(),
        }
    }
    if unsent.is_empty() && std::mem::take(ends) {
        // An error means that the server has closed the stream first.
        let _ = stream.shutdown(Shutdown::Write);
    }
}

/// Reads what has come; true at the end of the stream.
fn read(stream: &mut TcpStream, into: &mut Vec<u8>) -> bool {
    let mut block = [0; 16 * 1024];
    loop {
        match stream.read(&mut block) {
            Ok(0) => return true,
            Ok(count) => into.extend_from_slice(&block[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

/// Reads the text messages that have come; true at the end of the connection.
fn receive(socket: &mut WebSocket<TcpStream>, lines: &mut Vec<String>) -> bool {
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => lines.push(text.as_str().to_owned()),
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}
