//! The metrics and their names: those of the counters of `--stats`, in the forms of Prometheus.
//!
//! A counter is named in the pattern that takes [`Stats`] apart, which has no `..`: a new one does not
//! compile until it has a place here.

use edgeloop_reactor::{Stats, TurnTimes};

use super::process::Process;
use super::text::Text;
use crate::figures::{Figure, Value};

/// The counter of closes: by cause, where the cause is known.
const CLOSES: &str = "edgeloop_connections_closed_total";

/// The counters of reactors together, and the times of their turns.
pub(super) fn reactors(text: &mut Text, stats: &Stats, turns: &TurnTimes, count: usize) {
    times(text, turns, count);
    counters(text, stats);
}

fn times(text: &mut Text, turns: &TurnTimes, count: usize) {
    text.gauge("edgeloop_reactors", "Reactors, a thread for each.", count);
    text.counter(
        "edgeloop_busy_seconds_total",
        "Time of all turns: a reactor that never waits has one second a second.",
        turns.busy.as_secs_f64(),
    );
    text.histogram(
        "edgeloop_turn_duration_seconds",
        "Time of a turn of the loop, without its wait.",
        turns,
    );
}

#[expect(
    clippy::too_many_lines,
    reason = "a table, in which each counter comes once"
)]
fn counters(text: &mut Text, stats: &Stats) {
    let Stats {
        turns,
        events,
        stale,
        reads,
        writes,
        again,
        accepts,
        controls,
        bytes_in,
        bytes_out,
        bytes_pending,
        budget_spent,
        turns_cut,
        paused,
        timers,
        datagrams_in,
        datagrams_out,
        datagrams_lost,
        datagrams_expired,
        datagrams_missed,
        connections,
        peak,
        accepted,
        connected,
        connect_errors,
        // The sum of its causes.
        refused: _,
        refused_limit,
        refused_address,
        refused_descriptors,
        refused_setup,
        accept_paused,
        // The sum of its causes.
        closed: _,
        closed_eof,
        closed_finished,
        closed_aborted,
        closed_reset,
        closed_idle,
        closed_stalled,
        closed_slow_consumer,
        closed_max_pending,
        closed_displaced,
        closed_timed_out,
        closed_shutdown,
        closed_error,
    } = *stats;

    let causes = [
        ("eof", closed_eof),
        ("finished", closed_finished),
        ("aborted", closed_aborted),
        ("reset", closed_reset),
        ("idle", closed_idle),
        ("stalled", closed_stalled),
        ("slow_consumer", closed_slow_consumer),
        ("displaced", closed_displaced),
        ("timed_out", closed_timed_out),
        ("shutdown", closed_shutdown),
        ("error", closed_error),
    ];
    let refusals = [
        ("limit", refused_limit),
        ("address", refused_address),
        ("descriptors", refused_descriptors),
        ("setup", refused_setup),
    ];
    connections_now(text, connections, peak);
    accepts_and_refusals(text, accepted, &refusals);
    text.counters(CLOSES, "Connections closed, by cause.", "cause", &causes);
    let help = "Output of all connections that waits in memory of the process.";
    text.gauge("edgeloop_pending_bytes", help, bytes_pending);
    let mut count = |name, help, value: u64| {
        text.counter(&format!("edgeloop_{name}_total"), help, value);
    };
    count(
        "connections_shed",
        "Slow consumers closed for --max-pending.",
        closed_max_pending,
    );
    count(
        "connections_paused",
        "Times an input was paused for --high-water.",
        paused,
    );
    count("connects", "Outbound connects that succeeded.", connected);
    count(
        "connect_errors",
        "Outbound connects that failed.",
        connect_errors,
    );
    count(
        "accept_paused",
        "Times accepting was put off for want of a resource.",
        accept_paused,
    );
    count("received_bytes", "Bytes received.", bytes_in);
    count("sent_bytes", "Bytes that the kernel took.", bytes_out);
    count("datagrams_received", "Datagrams received.", datagrams_in);
    count(
        "datagrams_sent",
        "Datagrams that the kernel took.",
        datagrams_out,
    );
    count(
        "datagrams_lost",
        "Datagrams that were not sent.",
        datagrams_lost,
    );
    count(
        "datagrams_expired",
        "Replies whose time to live was used up.",
        datagrams_expired,
    );
    count(
        "datagrams_missed",
        "Datagrams dropped by the kernel.",
        datagrams_missed,
    );
    count(
        "turns",
        "Turns of the loop, each of which is one epoll_wait(2).",
        turns,
    );
    count(
        "turns_cut",
        "Turns before which sources were left waiting.",
        turns_cut,
    );
    count(
        "budget_spent",
        "Times a connection had spent its read budget.",
        budget_spent,
    );
    count("events", "Events that epoll_wait(2) returned.", events);
    count(
        "stale_events",
        "Events of connections that were closed.",
        stale,
    );
    count("timers", "Timers that fired.", timers);
    count("read_calls", "System calls that read.", reads);
    count("write_calls", "System calls that write.", writes);
    count(
        "again_calls",
        "Reads and writes that failed with EAGAIN.",
        again,
    );
    count("accept_calls", "Calls of accept4(2).", accepts);
    count("epoll_ctl_calls", "Calls of epoll_ctl(2).", controls);
}

/// Figures of a server's own.
pub(super) fn figures(text: &mut Text, figures: &[Figure]) {
    for Figure { name, help, value } in figures {
        let name = format!("edgeloop_{name}");
        match value {
            Value::Count(count) => text.counter(&format!("{name}_total"), help, count),
            Value::Number(number) => text.gauge(&name, help, number),
            Value::Time(time) => text.gauge(&format!("{name}_seconds"), help, time.as_secs_f64()),
        }
    }
}

/// The counters of a server that has a process or a thread for each client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clients {
    /// Clients now.
    pub(crate) open: u64,
    /// The most at one time.
    pub(crate) peak: u64,
    pub(crate) accepted: u64,
    /// Refused, whatever the cause.
    pub(crate) refused: u64,
    pub(crate) refused_limit: u64,
    pub(crate) refused_address: u64,
}

/// The metrics of such a server, which counts connections only.
pub(super) fn clients(text: &mut Text, clients: &Clients) {
    let Clients {
        open,
        peak,
        accepted,
        refused,
        refused_limit,
        refused_address,
    } = *clients;
    let setup = refused - refused_limit - refused_address;
    let refusals = [
        ("limit", refused_limit),
        ("address", refused_address),
        ("setup", setup),
    ];
    connections_now(text, open, peak);
    accepts_and_refusals(text, accepted, &refusals);
    text.counter(CLOSES, "Connections closed.", accepted - open);
}

fn connections_now(text: &mut Text, open: u64, peak: u64) {
    text.gauge("edgeloop_connections", "Connections open now.", open);
    text.gauge(
        "edgeloop_connections_peak",
        "The most connections open at one time; of several reactors, the sum of their peaks.",
        peak,
    );
}

fn accepts_and_refusals(text: &mut Text, accepted: u64, refusals: &[(&str, u64)]) {
    text.counter(
        "edgeloop_connections_accepted_total",
        "Connections accepted and served.",
        accepted,
    );
    text.counters(
        "edgeloop_connections_refused_total",
        "Connections closed as soon as they were accepted, by cause.",
        "cause",
        refusals,
    );
}

/// Figures of the process, under the names that all exporters share.
pub(super) fn process(text: &mut Text, process: &Process) {
    let help = "The version of the program.";
    text.info(
        "edgeloop_build_info",
        help,
        ("version", env!("CARGO_PKG_VERSION")),
    );
    text.gauge(
        "process_start_time_seconds",
        "Start time of the process since the Unix epoch in seconds.",
        process.start_seconds,
    );
    if let Some(cpu) = process.cpu_seconds {
        let help = "Total user and system CPU time spent in seconds.";
        text.counter("process_cpu_seconds_total", help, cpu);
    }
    if let Some(resident) = process.resident_bytes {
        let help = "Resident memory size in bytes.";
        text.gauge("process_resident_memory_bytes", help, resident);
    }
}
