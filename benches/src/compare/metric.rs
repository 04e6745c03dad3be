//! The metrics: one plot and one table for each.

use super::report::{Report, Server};
use super::scale::Kind;
use super::workload::Workload;

/// The direction in which a figure gets better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The greater figure is the better one.
    More,
    /// The smaller figure is the better one.
    Less,
}

impl Better {
    /// The direction as a note beside a plot.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Better::More => "more is better",
            Better::Less => "less is better",
        }
    }
}

/// A figure that each run has.
#[derive(Debug)]
pub struct Metric {
    /// The name in file names and in links of the page.
    pub id: &'static str,
    /// The title above the plot.
    pub title: &'static str,
    /// The unit of the vertical axis.
    pub unit: &'static str,
    /// The short unit that a table of many adds to the title; empty if the title names it.
    pub symbol: &'static str,
    /// The load whose runs have this figure.
    pub workload: Workload,
    /// The direction in which it gets better.
    pub better: Better,
    /// The division of the vertical axis.
    pub scale: Kind,
    /// The smallest number of connections at which it has a meaning.
    pub fewest_connections: usize,
    /// A difference too small to matter, however many per cent it may be.
    pub negligible: f64,
    /// Whether a generator at its limit spoils it.
    pub needs_generator: bool,
    /// Whether a summary shows it at more than one number of connections.
    pub is_central: bool,
    /// Reads it from a run; `None` if this run does not have it.
    pub value: fn(&Report) -> Option<f64>,
    /// An explanation of the plot, for a reader who has not seen one of its kind.
    pub shows: &'static str,
    /// The things that the plot does not show.
    pub hides: &'static str,
}

impl Metric {
    /// Its title and unit, for a table of many.
    #[must_use]
    pub fn name(&self) -> String {
        match self.symbol {
            "" => self.title.to_owned(),
            symbol => format!("{}, {symbol}", self.title),
        }
    }
}

/// Metrics of one kind of load.
#[derive(Debug)]
pub struct Section {
    /// The heading above its plots.
    pub title: &'static str,
    /// A description of the load.
    pub load: &'static str,
    /// Its plots.
    pub metrics: &'static [Metric],
}

/// All metrics, in the order of the page.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    SECTIONS.iter().flat_map(|section| section.metrics)
}

/// The part of the page that has plots.
pub const SECTIONS: &[Section] = &[
    Section {
        title: "Small messages",
        load: "Each connection stays open. Its client sends 64 bytes, waits until they have come \
               back, checks them, and sends the next.",
        metrics: &[RATE, CPU],
    },
    Section {
        title: "How long an answer takes",
        load: "The same runs, seen by the clients: the time from sending a message until all of it \
               is back.",
        metrics: &[P50, P99, P999],
    },
    Section {
        title: "What a connection takes",
        load: "The same runs, seen by the kernel: memory, and how often it had to switch from one \
               task to another.",
        metrics: &[MEMORY, SWITCHES],
    },
    Section {
        title: "Short connections",
        load: "Each client connects, sends 64 bytes, waits until they are back, ends its half of \
               the connection, waits for the end of the other half, closes, and begins anew.",
        metrics: &[CONNECTS, CONNECT_CPU],
    },
    Section {
        title: "Large messages",
        load: "As with the small messages, but each has 16 KiB, so that copying weighs more than \
               the notice of it.",
        metrics: &[THROUGHPUT, BULK_CPU],
    },
    Section {
        title: "A chat",
        load: "Ten of the members talk, or all if there are fewer: each says lines of 64 bytes, \
               and has at most four on their way. Every line goes to all others, and every \
               member checks that each arrives once and in order. Here the work is no longer one \
               answer to one question, so it matters how a server hands on a line: at once, with a \
               call for each member and line, or several lines together in one call for each \
               member. edgeloop serves chat on its reactor alone, so fork and thread are programs \
               written for this comparison. There is none on io_uring, libuv, libev \
               or libevent.",
        metrics: &[DELIVERED, DELIVERY_CPU, FAN_OUT],
    },
];

const RATE: Metric = Metric {
    id: "rate",
    title: "Messages per second",
    unit: "messages/s",
    symbol: "",
    workload: Workload::Echo,
    better: Better::More,
    scale: Kind::Linear,
    fewest_connections: 1,
    negligible: 0.0,
    needs_generator: true,
    is_central: true,
    value: |report| Some(report.messages_per_s),
    shows: "The number of messages that a server on one core answers in a second. With one \
            connection, server and client wait for each other nearly all the time, and no model \
            can do much about that. With more connections there is always something to do, and the \
            limit is the cost of a message: its processor time, in the next plot, sets the most \
            that one core can answer. The generator has one core too, and for each message it does \
            what an event loop does, a send and a receive. So beside a good loop the generator is \
            often the slower side. Those marks are hollow: the server could have answered at least \
            as many.",
    hides: "The effect of several cores. Threads and processes would use them without being asked; \
            a reactor needs one for each core (--workers).",
};

const CPU: Metric = Metric {
    id: "cpu",
    title: "Processor time per message",
    unit: "µs per message",
    symbol: "µs",
    workload: Workload::Echo,
    better: Better::Less,
    scale: Kind::Log,
    fewest_connections: 1,
    negligible: 0.0,
    needs_generator: false,
    is_central: true,
    value: |report| of_server(report, |server| server.cpu_us_per_message),
    shows: "The time for which an answer keeps the server's core busy, in the server's own code \
            and in the kernel on its behalf. Most of it is the kernel's work for the two calls \
            that receive and send, which every model has to make. The rest is finding the next \
            connection with something to do: one question to epoll for many connections, or a \
            switch to another thread or process for each message.",
    hides: "The clients' side, and kernel work that is charged to no process. Waiting does not \
            count, so this figure depends less than others on what else the machine does.",
};

const P50: Metric = Metric {
    id: "p50",
    title: "Latency: half of the answers",
    unit: "µs",
    symbol: "µs",
    workload: Workload::Echo,
    better: Better::Less,
    scale: Kind::Log,
    fewest_connections: 1,
    negligible: 0.0,
    needs_generator: true,
    is_central: false,
    value: |report| Some(report.latency_us.p50),
    shows: "Half of the answers came within this time (the median). With many connections it grows \
            with their number: all of them ask at once, and most of the time is spent in the \
            queue. Twice as many waiting connections, at the same rate, wait twice as long.",
    hides: "The owner of the queue. Where the mark is hollow, answers lay ready while the \
            generator was busy with others, and the server's own part is smaller. The next two \
            plots show how late the late answers are.",
};

const P99: Metric = Metric {
    id: "p99",
    title: "Latency: 99 of 100 answers",
    unit: "µs",
    symbol: "µs",
    workload: Workload::Echo,
    better: Better::Less,
    scale: Kind::Log,
    fewest_connections: 1,
    negligible: 0.0,
    needs_generator: true,
    is_central: false,
    value: |report| Some(report.latency_us.p99),
    shows: "One answer in a hundred took longer than this. The distance to the plot before shows \
            how fair a model is: a loop that serves one connection after the other lets all wait \
            about equally long, a scheduler may let some wait for several rounds.",
    hides: "Independent users. These clients ask again only when they have their answer, so a \
            server that pauses is asked less meanwhile, and its pause counts less than it would in \
            the world (coordinated omission).",
};

const P999: Metric = Metric {
    id: "p999",
    title: "Latency: 999 of 1,000 answers",
    unit: "µs",
    symbol: "µs",
    workload: Workload::Echo,
    better: Better::Less,
    scale: Kind::Log,
    fewest_connections: 1,
    negligible: 0.0,
    needs_generator: true,
    is_central: false,
    value: |report| Some(report.latency_us.p999),
    shows: "One answer in a thousand took longer than this: hiccups of the server, of the clients \
            and of the machine.",
    hides: "The origin of a hiccup. Look at the spread of the rounds before you believe a \
            difference.",
};

const MEMORY: Metric = Metric {
    id: "memory",
    title: "Memory per connection",
    unit: "bytes",
    symbol: "bytes",
    workload: Workload::Echo,
    better: Better::Less,
    scale: Kind::Log,
    // A page has 4,096 bytes: divided by a few connections, it hides all else.
    fewest_connections: 1_000,
    negligible: 0.0,
    needs_generator: false,
    is_central: false,
    value: |report| report.server.as_ref()?.pss_bytes_per_connection,
    shows: "The memory that each open connection adds to the server, all its processes together, \
            while all clients are silent; memory that several processes share is counted once \
            (PSS). In an event loop a connection is an entry in a table. A thread has a stack, and \
            a process has its own copy of every page that it has written to.",
    hides: "The kernel's own memory: the socket, which all models need, and for each thread or \
            process a second stack of 16 KiB and more. Figures below some 30 bytes mean nothing: \
            pages that are shared with other programs count for less while more of those run.",
};

const SWITCHES: Metric = Metric {
    id: "switches",
    title: "Context switches per message",
    unit: "switches per message",
    symbol: "",
    workload: Workload::Echo,
    better: Better::Less,
    scale: Kind::Linear,
    fewest_connections: 1,
    negligible: 0.01,
    needs_generator: false,
    is_central: false,
    value: |report| {
        let server = report
            .server
            .as_ref()
            .filter(|server| server.switches_complete)?;
        Some(server.voluntary_switches_per_message + server.involuntary_switches_per_message)
    },
    shows: "How often the kernel took the server, or one of its threads or processes, off the \
            core: because it had to wait, or because its time was up. Each switch costs a \
            microsecond or more, and cold caches afterwards. A process or thread of its own has to \
            wait after each message; a loop waits only when no client has anything to say.",
    hides: "System calls. Those enter the kernel too, but they come back to the same task.",
};

const CONNECTS: Metric = Metric {
    id: "connects",
    title: "Connections per second",
    unit: "connections/s",
    symbol: "",
    workload: Workload::Connect,
    better: Better::More,
    scale: Kind::Linear,
    fewest_connections: 1,
    negligible: 0.0,
    needs_generator: true,
    is_central: false,
    value: |report| report.connects_per_s,
    shows: "The number of connections that a server accepts, answers and closes in a second. Here \
            a process or a thread has to be made for each, and taken down again.",
    hides: "Servers that start their processes or threads beforehand and use them again, as many \
            real ones do.",
};

const CONNECT_CPU: Metric = Metric {
    id: "connect-cpu",
    title: "Processor time per connection",
    unit: "µs per connection",
    symbol: "µs",
    workload: Workload::Connect,
    better: Better::Less,
    scale: Kind::Linear,
    fewest_connections: 1,
    negligible: 0.0,
    needs_generator: false,
    is_central: false,
    value: |report| of_server(report, |server| server.cpu_us_per_message),
    shows: "The time for which such a connection keeps the server's core busy, with all kernel \
            work to make and to end sockets, threads and processes.",
    hides: "Work that the kernel puts off and then charges to no process.",
};

const THROUGHPUT: Metric = Metric {
    id: "throughput",
    title: "Throughput",
    unit: "MB/s, each way",
    symbol: "MB/s",
    workload: Workload::Bulk,
    better: Better::More,
    scale: Kind::Linear,
    fewest_connections: 1,
    negligible: 0.0,
    needs_generator: true,
    is_central: false,
    value: |report| {
        Some(report.messages_per_s * Workload::Bulk.message_bytes() as f64 / 1_000_000.0)
    },
    shows: "The millions of bytes that go to the server in a second; as many come back. The larger \
            a message, the less the way of announcing it matters.",
    hides: "A network. A card with 10 Gbit/s carries 1,250 MB/s.",
};

const BULK_CPU: Metric = Metric {
    id: "bulk-cpu",
    title: "Processor time per large message",
    unit: "µs per message",
    symbol: "µs",
    workload: Workload::Bulk,
    better: Better::Less,
    scale: Kind::Linear,
    fewest_connections: 1,
    negligible: 0.0,
    needs_generator: false,
    is_central: false,
    value: |report| of_server(report, |server| server.cpu_us_per_message),
    shows: "The time for which an answer of 16 KiB keeps the server's core busy. Every byte is \
            copied twice: from the kernel to the server, and back.",
    hides: "Clients that do not fit into the processor's caches, as these may.",
};

const DELIVERED: Metric = Metric {
    id: "delivered",
    title: "Lines delivered per second",
    unit: "lines/s, counted where they arrive",
    symbol: "",
    workload: Workload::Chat,
    better: Better::More,
    scale: Kind::Log,
    fewest_connections: 1,
    negligible: 0.0,
    needs_generator: true,
    is_central: false,
    value: |report| report.delivered_per_s,
    shows: "The number of lines that members hear in a second, all together: one line among 1,000 \
            members is 999 here. A server that hands each member all gathered lines in one call \
            delivers several times as many as a server that makes a call for each line.",
    hides: "Members on slow lines. Here all members read at once, and the server waits for none of \
            them.",
};

const DELIVERY_CPU: Metric = Metric {
    id: "delivery-cpu",
    title: "Processor time per delivered line",
    unit: "µs per delivered line",
    symbol: "µs",
    workload: Workload::Chat,
    better: Better::Less,
    scale: Kind::Log,
    fewest_connections: 1,
    negligible: 0.0,
    needs_generator: false,
    is_central: false,
    value: |report| report.server.as_ref()?.cpu_us_per_delivery,
    shows: "The time for which a line keeps the server's core busy for each member that hears it. \
            A call to the kernel takes a microsecond or more. Where the figure is far below that, \
            lines have shared calls.",
    hides: "The time that a line waited for others to share a call with: see the next plot.",
};

const FAN_OUT: Metric = Metric {
    id: "fan-out",
    title: "Latency: 99 of 100 deliveries",
    unit: "µs",
    symbol: "µs",
    workload: Workload::Chat,
    better: Better::Less,
    scale: Kind::Log,
    fewest_connections: 1,
    negligible: 0.0,
    needs_generator: true,
    is_central: false,
    value: |report| Some(report.latency_us.p99),
    shows: "The time from saying a line until a member has heard it; one delivery in a hundred \
            took longer. It grows with the members, because one line is then as many deliveries, \
            and one member has to be the last.",
    hides: "The server alone: the generator has to read all these lines too, one member after the \
            other, and a line waits there as well.",
};

fn of_server(report: &Report, value: fn(&Server) -> f64) -> Option<f64> {
    report.server.as_ref().map(value)
}
