//! People in a chat: one at a time, or hundreds whom one thread keeps talking.

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

/// Connects so that the kernels hold no more than some 30 KiB for a client that does not read: a
/// small window, and small segments, by which the server's kernel measures its own buffer.
#[must_use]
pub fn dial_stingy(server: SocketAddr) -> TcpStream {
    let kind = SockType::Stream;
    let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None).expect("socket");
    setsockopt(&socket, sockopt::RcvBuf, &4096).expect("SO_RCVBUF");
    setsockopt(&socket, sockopt::TcpMaxSeg, &536).expect("TCP_MAXSEG");
    connect(socket.as_raw_fd(), &SockaddrStorage::from(server)).expect("connect");
    with_deadlines(TcpStream::from(socket))
}

/// Fails if a line would do anything to a terminal but show itself: controls (but the tab), and
/// characters that change the direction of text or begin another line.
pub fn assert_harmless(line: &str) {
    let obeyed = |char: char| {
        let is_bidi = matches!(char, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let ends_a_line = matches!(char, '\u{2028}' | '\u{2029}');
        (char.is_control() && char != '\t') || is_bidi || ends_a_line
    };
    assert!(!line.contains(obeyed), "not harmless: {line:?}");
}

/// One person, who waits for what is to be heard. All that is heard must be harmless.
#[derive(Debug)]
pub struct Guest {
    lines: BufReader<TcpStream>,
}

impl Guest {
    /// Connects, and is asked for a name.
    #[must_use]
    pub fn knock(server: SocketAddr) -> Self {
        Self::on(dial(server))
    }

    /// The same on this connection.
    #[must_use]
    pub fn on(stream: TcpStream) -> Self {
        let lines = BufReader::new(stream);
        let mut guest = Self { lines };
        let question = guest.next();
        assert!(question.contains("name"), "{question:?} asks for no name");
        guest
    }

    /// Connects under this name, and is told who is there.
    #[must_use]
    pub fn join(server: SocketAddr, name: &str) -> Self {
        Self::knock(server).joined(name)
    }

    /// Gives a name, and is told who is there.
    #[must_use]
    pub fn joined(mut self, name: &str) -> Self {
        self.say(name);
        let present = self.next();
        assert!(present.starts_with("* The room "), "{present:?}");
        self
    }

    /// Several who join one after another; each has heard of those who came later.
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
        written.expect("the server takes what is sent");
    }

    /// Sends a line.
    pub fn say(&self, line: impl AsRef<[u8]>) {
        self.send([line.as_ref(), b"\n"].concat());
    }

    /// The next line that is heard, without its end.
    #[allow(clippy::should_implement_trait, reason = "it does not end, it fails")]
    pub fn next(&mut self) -> String {
        let line = self.read_line();
        line.unwrap_or_else(|| panic!("the connection has ended"))
    }

    /// The same; `None` at the end of the connection.
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

    /// Checks that this line is what is heard next.
    pub fn hears(&mut self, line: &str) {
        assert_eq!(self.next(), line);
    }

    /// Waits for this line, and returns what was heard before it.
    pub fn hears_at_last(&mut self, line: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            match self.next() {
                heard if heard == line => return before,
                heard => before.push(heard),
            }
        }
    }

    /// Checks that the server ends the conversation, without another word.
    pub fn hears_the_end(&mut self) {
        assert_eq!(self.read_line(), None);
    }

    /// All that is heard until the server ends the conversation.
    pub fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.read_line()).collect()
    }

    /// Ends our half of the conversation.
    pub fn end(&self) {
        self.stream().shutdown(Shutdown::Write).expect("shutdown");
    }

    /// Ends the conversation with an RST.
    pub fn reset(self) {
        reset(self.lines.into_inner());
    }
}

/// Checks that this line is what each of these hears next.
pub fn hear_all<'a>(guests: impl IntoIterator<Item = &'a mut Guest>, line: &str) {
    guests.into_iter().for_each(|guest| guest.hears(line));
}

/// Any number of people, each known by a number from 0. Nobody waits for anybody: what they say is
/// sent and what they hear is read in [`Crowd::turn`], wherever that is possible.
#[derive(Debug, Default)]
pub struct Crowd {
    people: Vec<Person>,
    block: Vec<u8>,
}

#[derive(Debug)]
struct Person {
    /// `None` when either side has ended it.
    stream: Option<TcpStream>,
    unsent: Vec<u8>,
    /// Ends our half of the stream when all is sent.
    leaves: bool,
    /// What was read of a line that is not complete.
    begun: Vec<u8>,
    /// The question for the name and the list of those present, which everybody hears first.
    greetings: u8,
    deaf: bool,
}

const GREETINGS: u8 = 2;

impl Crowd {
    /// Somebody gives this name on a connection on which nothing was said yet.
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

    /// How many have ever entered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.people.len()
    }

    /// Whether nobody has ever entered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    /// Says a line, after all that is to be sent already.
    pub fn say(&mut self, number: usize, line: &str) {
        let unsent = &mut self.people[number].unsent;
        unsent.extend_from_slice(line.as_bytes());
        unsent.push(b'\n');
    }

    /// Ends this half of the conversation after all that is to be sent; what is said by others until
    /// the server ends its half is heard.
    pub fn leave(&mut self, number: usize) {
        self.people[number].leaves = true;
    }

    /// Ends the conversation with an RST.
    pub fn reset(&mut self, number: usize) {
        if let Some(stream) = self.people[number].stream.take() {
            reset(stream);
        }
    }

    /// Does not read what comes, or does so again.
    pub fn set_deaf(&mut self, number: usize, deaf: bool) {
        self.people[number].deaf = deaf;
    }

    /// Whether the server has told this one who is there.
    #[must_use]
    pub fn has_joined(&self, number: usize) -> bool {
        self.people[number].greetings == GREETINGS
    }

    /// Whether either side has ended the conversation.
    #[must_use]
    pub fn has_ended(&self, number: usize) -> bool {
        self.people[number].stream.is_none()
    }

    /// Waits until something can be sent or heard, and does so. `hear` is called for each line that
    /// somebody hears after the list of those present. Fails if nothing happens for [`PATIENCE`].
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

    /// Those for whom something can be done, and what.
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
        assert!(count > 0, "nobody hears anything any more");
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
            // Reading will tell.
            Err(_) => self.unsent.clear(),
        }
        if self.unsent.is_empty() && mem::take(&mut self.leaves) {
            // An error means that the server has ended the stream first.
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
