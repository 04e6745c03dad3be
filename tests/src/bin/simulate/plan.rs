//! A plan: everything that one simulated run consists of, as data.
//!
//! A plan is made from a seed ([`Plan::of_seed`]), executed, and, if it fails, cut shorter. What
//! happens in a run depends on its plan only: the plan's seed also starts the random numbers that
//! place each fault, at the rates that stand here.

use serde::{Deserialize, Serialize};

/// The server under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Every byte comes back.
    Echo,
    /// Every byte comes back, a-z as A-Z.
    Upper,
    /// Everything is printed, nothing comes back.
    Sink,
    /// A conversation.
    Chat,
    /// No server but a program that connects.
    Calls,
}

impl Kind {
    pub(crate) const ALL: [Kind; 5] =
        [Kind::Echo, Kind::Upper, Kind::Sink, Kind::Chat, Kind::Calls];

    /// The subcommand of `edgeloop`, if it is one of its servers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Echo => "echo",
            Kind::Upper => "upper",
            Kind::Sink => "sink",
            Kind::Chat => "chat",
            Kind::Calls => "calls",
        }
    }
}

/// Declares [`Fault`] with the name of each kind, as it is printed.
macro_rules! faults {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// The kinds of faults. Those that are drawn at random have a rate in [`Knobs::rates`]; the
        /// others are made by clients, or follow from the plan's sizes. All are counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault { $($(#[$doc])* $kind,)* }

        impl Fault {
            pub(crate) const ALL: &[Fault] = &[$(Fault::$kind),*];

            pub(crate) fn name(self) -> &'static str {
                match self { $(Fault::$kind => $name,)* }
            }
        }
    };
}

faults! {
    /// `EINTR` of a read, a write or an accept.
    Interrupted = "EINTR",
    /// `EINTR` of epoll_wait(2).
    WaitInterrupted = "EINTR of a wait",
    /// `ENOBUFS` or `ENOMEM` of a read or a write.
    NoMemory = "ENOBUFS, ENOMEM",
    /// A read returns less than there is, where that is allowed: on a Unix socket, and on TCP after a
    /// hang-up or urgent data was reported.
    ShortRead = "short read",
    /// A write takes less than there is room for.
    ShortWrite = "short write",
    /// A write fails with `EAGAIN` although there is room; an edge follows.
    Refused = "EAGAIN of a write",
    /// An event is reported again, although nothing has happened since.
    Duplicate = "duplicate event",
    /// An event is held back until the next wait.
    Late = "late event",
    /// The events of a batch are shuffled.
    Shuffled = "shuffled batch",
    /// A client acts between two system calls of one turn.
    MidTurn = "client acts within a turn",
    /// accept4(2) fails with `ECONNABORTED`, and the client is gone.
    Aborted = "ECONNABORTED",
    /// accept4(2) fails with `ENFILE` or `EMFILE`, for a while.
    NoDescriptor = "ENFILE, EMFILE",
    /// accept4(2) fails with `ENOBUFS` or `ENOMEM`.
    AcceptNoMemory = "ENOBUFS, ENOMEM of accept",
    /// epoll_ctl(2) fails with `ENOMEM` or `ENOSPC`.
    ControlRefused = "ENOMEM, ENOSPC of epoll_ctl",
    /// The clock jumps on by up to three minutes, as when the process was stopped.
    Jump = "clock jump",
    /// The wall clock is set.
    WallClock = "wall clock set",
    /// There is no epoll_pwait2(2).
    Coarse = "no epoll_pwait2",
    /// Urgent data.
    Urgent = "urgent data",
    /// The descriptors of the process are used up.
    Exhausted = "descriptors used up",
    /// The listener's queue is full.
    Backlog = "backlog full",
    /// The client resets the connection.
    Reset = "RST",
    /// FIN in the same edge as data.
    DataAndFin = "data and FIN in one edge",
    /// The client vanishes without a word.
    Vanished = "peer vanished",
    /// The client stops reading.
    Stalled = "peer stalled",
    /// The client reads a few bytes now and then.
    Dripped = "peer drips",
    /// A datagram finds the socket's receive buffer full.
    Dropped = "datagram dropped",
    /// A signal other than the last SIGTERM.
    Signal = "signal",
    /// A number of a closed descriptor is given out again.
    Reused = "descriptor number reused",
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) kind: Kind,
    /// The command line of the server, its subcommand included.
    pub(crate) arguments: Vec<String>,
    pub(crate) knobs: Knobs,
    pub(crate) clients: Vec<ClientPlan>,
    /// Signals: milliseconds after the start, and the signal's number.
    pub(crate) signals: Vec<(u64, i32)>,
}

impl Plan {
    /// The value of an option of the server.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let value = |argument: &'_ String| -> Option<usize> {
            let rest = argument.strip_prefix("--")?.strip_prefix(name)?;
            rest.starts_with('=').then_some(name.len() + 3)
        };
        self.arguments
            .iter()
            .find_map(|argument| Some(&argument[value(argument)?..]))
    }

    /// Whether the server has this flag.
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.arguments.iter().any(|argument| argument == flag)
    }

    /// An option that is a time, in milliseconds.
    pub(crate) fn millis(&self, name: &str) -> Option<u64> {
        let time = edgeloop::values::duration(self.option(name)?).ok()?;
        Some(time.as_millis() as u64)
    }

    /// An option that is a number of bytes.
    pub(crate) fn bytes(&self, name: &str) -> Option<usize> {
        edgeloop::values::size(self.option(name)?).ok()
    }
}

/// Sizes of the simulated kernel, and the rates of its faults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Knobs {
    /// Bytes of a socket's receive buffer.
    pub(crate) room_in: usize,
    /// Bytes of a socket's send buffer.
    pub(crate) room_out: usize,
    /// Bytes that a client puts on the wire at once, at the most.
    pub(crate) piece: usize,
    /// Microseconds between two pieces.
    pub(crate) gap_us: u64,
    /// Microseconds that a turn takes, at the most.
    pub(crate) turn_us: u64,
    /// Descriptors that the process may have.
    pub(crate) descriptors: usize,
    /// The rate of each kind of fault, in thousandths, by its place in [`Fault::ALL`].
    pub(crate) rates: Vec<u16>,
}

/// The way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Door {
    Tcp,
    Unix,
    Udp,
    /// The other end of the server's standard input.
    Stdin,
    /// The other end of the server's standard output.
    Stdout,
    /// The client waits to be called, as one of the addresses of the name with this number. The time in
    /// its plan is that from the call to its answer.
    Called(u8, Answer),
}

/// The answer of an address to a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Accepts,
    Refuses,
    Never,
    /// connect(2) itself says so.
    AcceptsAtOnce,
    RefusesAtOnce,
}

/// A client, and what it does one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClientPlan {
    pub(crate) door: Door,
    /// Milliseconds after the start.
    pub(crate) at_ms: u64,
    pub(crate) steps: Vec<Step>,
}

impl ClientPlan {
    /// A client that is there when the server starts.
    pub(crate) fn from_the_start(door: Door, steps: Vec<Step>) -> ClientPlan {
        ClientPlan {
            door,
            at_ms: 0,
            steps,
        }
    }
}

/// One step of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Sends these bytes, as fast as the connection takes them; the next step follows when all are on
    /// their way. Over UDP: one datagram.
    Send(String),
    /// Sends so many bytes that count from 0 to 250, one million at the most.
    Flood(usize),
    /// Sends a Telnet command, by its verb and option (RFC 854). It is no part of the text.
    Telnet(u8, u8),
    /// Waits for so many milliseconds.
    Wait(u64),
    /// Reads as this says from here on.
    Read(Reader),
    /// Sends one byte of urgent data.
    Urgent,
    /// Ends its side.
    Fin,
    /// Closes its end, read or not.
    Close,
    /// Resets the connection.
    Rst,
    /// Vanishes without a word: no byte is acknowledged any more.
    Vanish,
}

/// The manner in which a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reader {
    /// All there is, at once.
    Fast,
    /// So many bytes every so many milliseconds.
    Slow(usize, u64),
    /// Nothing.
    Stopped,
}
