//! Members of a chat: one blocking client at a time, or hundreds driven by one thread.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};

use crate::PATIENCE;
use crate::client::{dial, reset, with_deadlines};
use crate::server::Launch;

/// The chat server on a TCP port that the kernel picks, with these options.
pub fn chat(options: &[&str]) -> Launch {
    Launch::new("chat", &["127.0.0.1:0"]).args(options)
}

/// Connects so that the kernel buffers only about 30 KiB for a client that does not read: the
/// window is small, and so are the segments, from which the server's kernel derives its own buffer
/// size.
#[must_use]
pub fn dial_stingy(server: SocketAddr) -> TcpStream {
    let kind = SockType::Stream;
    let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None).expect("socket");
    setsockopt(&socket, sockopt::RcvBuf, &4096).expect("SO_RCVBUF");
    setsockopt(&socket, sockopt::TcpMaxSeg, &536).expect("TCP_MAXSEG");
    connect(socket.as_raw_fd(), &SockaddrStorage::from(server)).expect("connect");
    with_deadlines(TcpStream::from(socket))
}

/// Fails if a line could do more to a terminal than show itself: if it has control characters other
/// than the tab, or characters that change the direction of text or begin another line.
pub fn assert_harmless(line: &str) {
    let obeyed = |char: char| {
        let is_bidi = matches!(char, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let ends_a_line = matches!(char, '\u{2028}' | '\u{2029}');
        (char.is_control() && char != '\t') || is_bidi || ends_a_line
    };
    assert!(!line.contains(obeyed), "not harmless: {line:?}");
}

/// One member, with blocking reads. Every line that it reads must be harmless to a terminal.
#[derive(Debug)]
pub struct Guest {
    lines: BufReader<TcpStream>,
}

impl Guest {
    /// Connects, and reads the question for a name.
    #[must_use]
    pub fn knock(server: SocketAddr) -> Self {
        Self::on(dial(server))
    }

    /// As [`knock`](Self::knock), on this connection.
    #[must_use]
    pub fn on(stream: TcpStream) -> Self {
        let lines = BufReader::new(stream);
        let mut guest = Self { lines };
        let question = guest.next();
        assert!(question.contains("name"), "{question:?} asks for no name");
        guest
    }

    /// Connects, gives this name, and reads the list of members.
    #[must_use]
    pub fn join(server: SocketAddr, name: &str) -> Self {
        Self::knock(server).joined(name)
    }

    /// Gives a name, and reads the list of members.
    #[must_use]
    pub fn joined(mut self, name: &str) -> Self {
        self.say(name);
        let present = self.next();
        assert!(present.starts_with("* The room "), "{present:?}");
        self
    }

    /// Joins several members in turn. Each has read the announcements of the later ones.
    #[must_use]
    pub fn join_all<const N: usize>(server: SocketAddr, names: [&str; N]) -> [Self; N] {
        let mut guests: Vec<Self> = Vec::new();
        for name in names {
            let guest = Self::join(server, name);
            hear_all(&mut guests, &format!("* {name} has entered the room"));
            guests.push(guest);
        }
        guests.try_into().expect("as many as there are names")
    }

    /// The connection.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.lines.get_ref()
    }

    /// Sends bytes as they are.
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        let written = self.stream().write_all(bytes.as_ref());
        written.expect("the server accepts the bytes");
    }

    /// Sends a line.
    pub fn say(&self, line: impl AsRef<[u8]>) {
        self.send([line.as_ref(), b"\n"].concat());
    }

    /// Reads the next line, without its newline.
    #[allow(clippy::should_implement_trait, reason = "it does not end, it fails")]
    pub fn next(&mut self) -> String {
        let line = self.read_line();
        line.unwrap_or_else(|| panic!("the connection has ended"))
    }

    /// As [`next`](Self::next), or `None` at the end of the connection.
    fn read_line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let read = self.lines.read_until(b'\n', &mut line);
        read.expect("a line within a while");
        let end = line.pop()?;
        assert_eq!(end, b'\n', "a line without its end: {line:?}");
        let line = String::from_utf8(line).expect("UTF-8");
        assert_harmless(&line);
        Some(line)
    }

    /// Checks that the next line is this one.
    pub fn hears(&mut self, line: &str) {
        assert_eq!(self.next(), line);
    }

    /// Waits for this line, and returns the lines before it.
    pub fn hears_at_last(&mut self, line: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            match self.next() {
                heard if heard == line => return before,
                heard => before.push(heard),
            }
        }
    }

    /// Checks that the server closes the connection without another line.
    pub fn hears_the_end(&mut self) {
        assert_eq!(self.read_line(), None);
    }

    /// All lines until the server closes the connection.
    pub fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.read_line()).collect()
    }

    /// Half-closes the connection.
    pub fn end(&self) {
        self.stream().shutdown(Shutdown::Write).expect("shutdown");
    }

    /// Closes the connection with an RST.
    pub fn reset(self) {
        reset(self.lines.into_inner());
    }
}

/// Checks that this line is the next one for each of these members.
pub fn hear_all<'a>(guests: impl IntoIterator<Item = &'a mut Guest>, line: &str) {
    guests.into_iter().for_each(|guest| guest.hears(line));
}

/// Any number of members, numbered from 0. No member blocks another: [`Crowd::turn`] sends and
/// reads on every connection that is ready.
#[derive(Debug, Default)]
pub struct Crowd {
    people: Vec<Person>,
    block: Vec<u8>,
}

#[derive(Debug)]
struct Person {
    /// `None` once either side has closed it.
    stream: Option<TcpStream>,
    unsent: Vec<u8>,
    /// Half-close the stream once `unsent` is empty.
    leaves: bool,
    /// The beginning of a line that is not complete yet.
    begun: Vec<u8>,
    /// How many of the first lines have arrived: the question for a name and the list of members.
    greetings: u8,
    deaf: bool,
}

const GREETINGS: u8 = 2;

impl Crowd {
    /// Adds a member: a fresh connection, and the name to give on it. Returns its number.
    pub fn enter(&mut self, stream: TcpStream, name: &str) -> usize {
        stream.set_nonblocking(true).expect("O_NONBLOCK");
        self.people.push(Person {
            stream: Some(stream),
            unsent: format!("{name}\n").into_bytes(),
            leaves: false,
            begun: Vec::new(),
            greetings: 0,
            deaf: false,
        });
        self.people.len() - 1
    }

    /// How many members have ever entered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.people.len()
    }

    /// Whether no member has ever entered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    /// Queues a line of this member.
    pub fn say(&mut self, number: usize, line: &str) {
        let unsent = &mut self.people[number].unsent;
        unsent.extend_from_slice(line.as_bytes());
        unsent.push(b'\n');
    }

    /// Half-closes the connection once the queued lines are sent. The member still reads until the
    /// server closes its half.
    pub fn leave(&mut self, number: usize) {
        self.people[number].leaves = true;
    }

    /// Closes the connection with an RST.
    pub fn reset(&mut self, number: usize) {
        if let Some(stream) = self.people[number].stream.take() {
            reset(stream);
        }
    }

    /// Makes this member stop reading, or read again.
    pub fn set_deaf(&mut self, number: usize, deaf: bool) {
        self.people[number].deaf = deaf;
    }

    /// Whether this member has read the list of members.
    #[must_use]
    pub fn has_joined(&self, number: usize) -> bool {
        self.people[number].greetings == GREETINGS
    }

    /// Whether either side has closed the connection.
    #[must_use]
    pub fn has_ended(&self, number: usize) -> bool {
        self.people[number].stream.is_none()
    }

    /// Waits until some connection is ready, then sends and reads on all that are. `hear` is called
    /// for each line that a member reads after the list of members. Fails if no connection becomes
    /// ready for [`PATIENCE`].
    pub fn turn(&mut self, mut hear: impl FnMut(usize, &str)) {
        let ready = self.wait();
        self.block.resize(64 * 1024, 0);
        for (number, events) in ready {
            let person = &mut self.people[number];
            if events.contains(PollFlags::POLLOUT) {
                person.send();
            }
            if events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                person.read(&mut self.block, |line| hear(number, line));
            }
        }
    }

    /// The members whose connections are ready, and for what.
    fn wait(&self) -> Vec<(usize, PollFlags)> {
        let (numbers, mut descriptors): (Vec<_>, Vec<_>) = self
            .people
            .iter()
            .enumerate()
            .filter_map(|(number, person)| {
                let events = person.awaited();
                let stream = person.stream.as_ref()?;
                (!events.is_empty()).then(|| (number, PollFd::new(stream.as_fd(), events)))
            })
            .unzip();
        let patience = PollTimeout::try_from(PATIENCE).expect("some seconds");
        let count = poll(&mut descriptors, patience).expect("poll");
        assert!(count > 0, "no connection becomes ready any more");
        let events = |descriptor: &PollFd| descriptor.revents().unwrap_or(PollFlags::POLLERR);
        let events = descriptors.iter().map(events);
        numbers
            .into_iter()
            .zip(events)
            .filter(|(_, events)| !events.is_empty())
            .collect()
    }
}

impl Person {
    fn awaited(&self) -> PollFlags {
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, !self.deaf);
        events.set(PollFlags::POLLOUT, !self.unsent.is_empty() || self.leaves);
        events
    }

    fn send(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        match stream.write(&self.unsent) {
            Ok(count) => drop(self.unsent.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The next read reports the error.
            Err(_) => self.unsent.clear(),
        }
        if self.unsent.is_empty() && mem::take(&mut self.leaves) {
            // An error means that the server has closed the stream first.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    fn read(&mut self, block: &mut [u8], hear: impl FnMut(&str)) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        match stream.read(block) {
            Ok(0) => self.stream = None,
            Ok(count) => self.take_in(&block[..count], hear),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                self.stream = None;
            }
        }
    }

    fn take_in(&mut self, bytes: &[u8], mut hear: impl FnMut(&str)) {
        self.begun.extend_from_slice(bytes);
        let Some(last) = self.begun.iter().rposition(|&byte| byte == b'\n') else {
            return;
        };
        let text = str::from_utf8(&self.begun[..last]).expect("UTF-8");
        for line in text.split('\n') {
            if self.greetings < GREETINGS {
                self.greetings += 1;
            } else {
                hear(line);
            }
        }
        self.begun.drain(..=last);
    }
}
