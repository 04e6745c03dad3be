//! The report of a run: its figures, as JSON for programs. `text.rs` shows them to people.

mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::HumanCount;
use nix::errno::Errno;
use serde::Serialize;

pub(super) use self::text::percentiles;
use super::conductor::{ServerWork, Work};
use super::options::{Kind, LoadOptions};
use super::run::Outcome;
use super::tally::Order;

/// The share of a core above which a program is taken to be the limit.
const BUSY: f64 = 0.9;

/// The whole report. The names are those of the JSON.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    options: Options,
    connected: u64,
    messages: u64,
    elapsed_s: f64,
    messages_per_s: f64,
    bytes_sent: u64,
    bytes_received: u64,
    delivered: Option<u64>,
    delivered_per_s: Option<f64>,
    connects_per_s: Option<f64>,
    latency_us: Latency,
    behind: u64,
    mismatches: u64,
    mismatch_kinds: BTreeMap<&'static str, u64>,
    errors: BTreeMap<String, u64>,
    client: Client,
    server: Option<Server>,
    /// Of chat: whether the server held the talkers back though it had time for other members.
    held_back: Option<bool>,
    interrupted: bool,
    /// Why the exit status is not 0.
    error: Option<String>,
    notes: Vec<String>,
}

/// The options of the run.
#[derive(Clone, Debug, Serialize)]
struct Options {
    kind: String,
    address: String,
    connections: u32,
    size: usize,
    depth: u32,
    duration_s: f64,
    warm_up_s: f64,
    rate: Option<f64>,
    threads: u32,
    sources: usize,
    connect_rate: Option<f64>,
    talkers: Option<u32>,
    timeout_s: f64,
    server_pid: Option<i32>,
}

/// Latencies, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    count: u64,
    min: f64,
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// The generator itself.
#[derive(Clone, Copy, Debug, Serialize)]
struct Client {
    cpu_us_per_message: f64,
    cpu_us_per_delivery: Option<f64>,
    /// The share of a core, for each thread.
    cpu_share: f64,
    limited: bool,
}

/// The server's process and all its descendants.
#[derive(Clone, Copy, Debug, Serialize)]
struct Server {
    cpu_us_per_message: f64,
    cpu_us_per_delivery: Option<f64>,
    /// The share of a core; of several processes, their sum.
    cpu_share: f64,
    pss_bytes: u64,
    /// Anonymous memory only. `None` for kind connect, which leaves no connection open.
    pss_bytes_per_connection: Option<f64>,
    voluntary_switches_per_message: f64,
    involuntary_switches_per_message: f64,
    /// Whether these are all switches: those of threads that came or went are not counted.
    switches_complete: bool,
    processes: u64,
    threads: u64,
}

impl Report {
    pub(super) fn new(options: &LoadOptions, sources: usize, outcome: &Outcome) -> Report {
        let tally = &outcome.tally;
        let elapsed_s = outcome.measured.as_secs_f64();
        let is_chat = options.kind == Kind::Chat;
        let server = outcome.figures.server.as_ref();
        let server = server.map(|server| Server::new(options, server, tally.connected));
        let client = Client::new(options, &outcome.figures.own, server);
        let mut report = Report {
            options: Options::new(options, sources),
            connected: tally.connected,
            messages: tally.messages,
            elapsed_s,
            messages_per_s: ratio(tally.messages as f64, elapsed_s),
            bytes_sent: tally.bytes_sent,
            bytes_received: tally.bytes_received,
            delivered: is_chat.then_some(tally.delivered),
            delivered_per_s: is_chat.then(|| ratio(tally.delivered as f64, elapsed_s)),
            connects_per_s: (options.kind == Kind::Connect)
                .then(|| ratio(tally.messages as f64, elapsed_s)),
            latency_us: Latency::new(&tally.latency),
            behind: tally.behind,
            mismatches: tally.mismatch_count(),
            mismatch_kinds: tally
                .mismatches
                .iter()
                .map(|(mismatch, count)| (mismatch.name(), *count))
                .collect(),
            errors: tally.problems.clone(),
            client,
            server,
            held_back: is_chat.then(|| are_held_back(tally.order, &client, server)),
            interrupted: outcome.interrupted,
            error: None,
            notes: Vec::new(),
        };
        report.error = outcome.failure.clone().or_else(|| report.find_wrong());
        report.notes = report.find_notes(outcome);
        report
    }

    /// The notes that a reader needs to understand the figures.
    fn find_notes(&self, outcome: &Outcome) -> Vec<String> {
        let notes = self.notes_on_load();
        let notes = notes.into_iter().chain(self.notes_on_server(outcome));
        notes
            .filter_map(|(holds, note)| holds.then_some(note))
            .collect()
    }

    /// Each note on the load, and whether it holds.
    fn notes_on_load(&self) -> [(bool, String); 6] {
        let behind = format!(
            "the planned rate was not kept: {} {} were due at the end and not sent",
            HumanCount(self.behind),
            self.options.unit()
        );
        let has_latencies = self.latency_us.count > 0;
        let is_out_of_ports = |error: &String| error.contains(Errno::EADDRNOTAVAIL.desc());
        [
            (
                self.interrupted,
                "interrupted: this is the report so far".into(),
            ),
            (
                self.client.limited && self.server.is_some(),
                "the generator, not the server, was the limit: give it more --threads and cores"
                    .into(),
            ),
            (
                self.client.limited && self.server.is_none(),
                "the generator was busy all the time and may have been the limit: --server-pid \
                 tells, more --threads and cores help"
                    .into(),
            ),
            (
                self.behind > 0 && has_latencies,
                format!("{behind}; the time they had waited is in the latencies"),
            ),
            (self.behind > 0 && !has_latencies, behind),
            (
                self.errors.keys().any(is_out_of_ports),
                "there was no port left to connect from: use --sources".into(),
            ),
        ]
    }

    /// Each note on the server, and whether it holds.
    fn notes_on_server(&self, outcome: &Outcome) -> [(bool, String); 4] {
        // A server is a sink as long as it sends nothing.
        let was_ever_right = outcome.answered > 0 && self.options.kind != Kind::Sink.to_string();
        let was_to_be_measured = self.options.server_pid.is_some() && outcome.failure.is_none();
        [
            (
                self.server.is_some_and(|server| !server.switches_complete),
                "threads of the server came or went: their context switches are not counted".into(),
            ),
            (
                self.server.is_none() && was_to_be_measured,
                "the server's process has ended: there are no figures of it".into(),
            ),
            (
                self.mismatches > 0 && !was_ever_right,
                format!(
                    "the server answers as none of its kind would: is it one for --kind {}?",
                    self.options.kind
                ),
            ),
            (
                self.held_back == Some(true),
                "the server's limit of what one member may say was measured: it let the talkers \
                 wait, and not a member that had been silent; `edgeloop chat --rate 0` has no limit"
                    .into(),
            ),
        ]
    }

    /// The report as JSON.
    pub(super) fn json(&self) -> String {
        // NaN and infinity become null, and JSON has a notation for everything else.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// The reason why the run failed, if it did.
    pub(super) fn verdict(&self) -> Result<(), String> {
        self.error.clone().map_or(Ok(()), Err)
    }

    fn find_wrong(&self) -> Option<String> {
        let errors = self.errors.values().sum();
        let all = [
            (self.mismatches, "mismatch", "mismatches"),
            (errors, "error", "errors"),
        ];
        let told = |&(count, one, many): &(u64, &str, &str)| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{} {many}", HumanCount(count))),
        };
        let wrong: Vec<String> = all.iter().filter_map(told).collect();
        (!wrong.is_empty()).then(|| wrong.join(", "))
    }
}

/// Lines overtaken from which on talkers count as held back.
const OVERTAKEN_MIN: u64 = 10;

/// Whether talkers had to wait while a silent member had not, though neither program lacked processor
/// time.
fn are_held_back(order: Order, client: &Client, server: Option<Server>) -> bool {
    let is_busy = client.cpu_share > BUSY || server.is_some_and(|it| it.cpu_share > BUSY);
    let is_rule = order.overtaken >= OVERTAKEN_MIN && order.overtaken > order.kept;
    is_rule && !is_busy
}

impl Options {
    fn new(options: &LoadOptions, sources: usize) -> Options {
        Options {
            kind: options.kind.to_string(),
            address: options.servers(),
            connections: options.connections,
            size: options.size,
            depth: options.depth,
            duration_s: options.duration.as_secs_f64(),
            warm_up_s: options.warm_up.as_secs_f64(),
            rate: options.rate,
            threads: options.threads,
            sources,
            connect_rate: options.connect_rate,
            talkers: (options.kind == Kind::Chat).then(|| options.talkers()),
            timeout_s: options.timeout().as_secs_f64(),
            server_pid: options.server_pid,
        }
    }
}

impl Latency {
    fn new(latency: &Histogram<u64>) -> Latency {
        let us = |nanos: u64| nanos as f64 / 1e3;
        let quantile = |quantile| us(latency.value_at_quantile(quantile).min(latency.max()));
        Latency {
            count: latency.len(),
            min: us(latency.min()),
            mean: latency.mean() / 1e3,
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: us(latency.max()),
        }
    }
}

impl Client {
    fn new(options: &LoadOptions, own: &Work, server: Option<Server>) -> Client {
        let threads = f64::from(options.threads);
        let cpu_share = ratio(own.cpu.as_secs_f64(), own.time.as_secs_f64()) / threads;
        let server_is_busy = server.is_some_and(|server| server.cpu_share > BUSY);
        Client {
            cpu_us_per_message: micros_each(own.cpu, own.answered),
            cpu_us_per_delivery: per_delivery(options, own),
            cpu_share,
            // A generator that only starts, and finds no server, may be busy too.
            limited: cpu_share > BUSY && own.answered > 0 && !server_is_busy,
        }
    }
}

impl Server {
    fn new(options: &LoadOptions, outcome: &ServerWork, connected: u64) -> Server {
        let (idle, work) = (&outcome.idle, &outcome.work);
        let messages = work.answered as f64;
        // A server may also have given back spare memory.
        let (before, after) = (idle.memory_before.anonymous, idle.memory.anonymous);
        let growth = after.saturating_sub(before);
        Server {
            cpu_us_per_message: micros_each(work.cpu, work.answered),
            cpu_us_per_delivery: per_delivery(options, work),
            cpu_share: ratio(work.cpu.as_secs_f64(), work.time.as_secs_f64()),
            pss_bytes: idle.memory.all,
            pss_bytes_per_connection: (options.kind != Kind::Connect)
                .then(|| ratio(growth as f64, connected as f64)),
            voluntary_switches_per_message: ratio(outcome.switches.voluntary as f64, messages),
            involuntary_switches_per_message: ratio(outcome.switches.involuntary as f64, messages),
            switches_complete: outcome.all_switches,
            processes: idle.extent.processes,
            threads: idle.extent.threads,
        }
    }
}

fn per_delivery(options: &LoadOptions, work: &Work) -> Option<f64> {
    (options.kind == Kind::Chat).then(|| micros_each(work.cpu, work.delivered))
}

fn micros_each(time: Duration, count: u64) -> f64 {
    ratio(time.as_secs_f64() * 1e6, count as f64)
}

/// A quotient; 0 if there is nothing to divide by.
fn ratio(dividend: f64, divisor: f64) -> f64 {
    match divisor > 0.0 {
        true => dividend / divisor,
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::conductor::{Figures, Idle};
    use crate::load::server::{Extent, Memory, Switches};
    use crate::load::tally::{Mismatch, Problem, Tally};

    /// Ten messages in two seconds; number N took N milliseconds.
    fn tally() -> Tally {
        let mut tally = Tally::default();
        (tally.connected, tally.messages) = (4, 10);
        (1..=10).for_each(|number| tally.latency.saturating_record(number * 1_000_000));
        tally
    }

    fn work(milliseconds: u64) -> Work {
        Work {
            cpu: Duration::from_millis(milliseconds),
            time: Duration::from_secs(1),
            answered: 10,
            delivered: 0,
        }
    }

    fn server(milliseconds: u64) -> ServerWork {
        ServerWork {
            idle: Idle {
                extent: Extent {
                    processes: 5,
                    threads: 6,
                    cpu: Duration::ZERO,
                },
                memory: Memory {
                    all: 90_000,
                    anonymous: 50_000,
                },
                memory_before: Memory {
                    all: 90_000,
                    anonymous: 10_000,
                },
            },
            work: work(milliseconds),
            switches: Switches {
                voluntary: 20,
                involuntary: 5,
            },
            all_switches: true,
        }
    }

    fn outcome(tally: Tally, own: Work, server: Option<ServerWork>) -> Outcome {
        Outcome {
            tally,
            measured: Duration::from_secs(2),
            answered: 10,
            figures: Figures { own, server },
            interrupted: false,
            failure: None,
        }
    }

    fn report(tally: Tally, own: Work, server: Option<ServerWork>) -> Report {
        let options = LoadOptions::of_test(Kind::Echo);
        Report::new(&options, 1, &outcome(tally, own, server))
    }

    #[test]
    fn figures_are_for_each_message_and_connection() {
        let report = report(tally(), work(500), Some(server(400)));
        let is = |figure: f64, expected: f64| assert!((figure - expected).abs() < expected / 1e3);
        is(report.elapsed_s, 2.0);
        is(report.messages_per_s, 5.0);
        is(report.latency_us.p50, 5_000.0);
        is(report.latency_us.mean, 5_500.0);
        is(report.latency_us.max, 10_000.0);
        is(report.client.cpu_us_per_message, 50_000.0);
        is(report.client.cpu_share, 0.5);
        let server = report.server.expect("was measured");
        is(server.cpu_us_per_message, 40_000.0);
        is(
            server.pss_bytes_per_connection.expect("connections"),
            10_000.0,
        );
        is(server.voluntary_switches_per_message, 2.0);
        is(server.involuntary_switches_per_message, 0.5);
        assert_eq!(report.verdict(), Ok(()));
    }

    #[test]
    fn who_was_the_limit_is_known_by_who_was_busy() {
        for (own, its, limited) in [
            (950, None, true),
            (850, None, false),
            (950, Some(500), true),
            (950, Some(950), false),
            (500, Some(950), false),
        ] {
            let report = report(tally(), work(own), its.map(server));
            assert_eq!(report.client.limited, limited, "{own}, {its:?}");
            let note = match its {
                Some(_) => "not the server, was the limit",
                None => "may have been the limit",
            };
            assert_eq!(report.to_string().contains(note), limited);
        }
    }

    /// A run that ended at once, since there was no server.
    #[test]
    fn whoever_had_nothing_to_do_was_not_the_limit() {
        let own = Work {
            answered: 0,
            ..work(950)
        };
        assert!(!report(Tally::default(), own, None).client.limited);
    }

    #[test]
    fn talkers_are_held_back_if_silent_members_are_not_and_no_processor_is_busy() {
        for (kept, overtaken, own, its, expected) in [
            (5, 100, 50, None, true),
            (5, 100, 50, Some(50), true),
            (110, 100, 50, None, false),
            (0, 9, 50, None, false),
            (5, 100, 950, None, false),
            (5, 100, 50, Some(950), false),
        ] {
            let mut tally = tally();
            tally.order = Order { kept, overtaken };
            let outcome = outcome(tally, work(own), its.map(server));
            let report = Report::new(&LoadOptions::of_test(Kind::Chat), 1, &outcome);
            assert_eq!(report.held_back, Some(expected), "{kept}, {overtaken}");
            assert_eq!(report.to_string().contains("--rate 0"), expected);
        }
    }

    /// The JSON has the reason too.
    #[test]
    fn a_run_that_did_not_take_place_has_a_reason() {
        let outcome = Outcome::failed("no luck".into());
        let report = Report::new(&LoadOptions::of_test(Kind::Echo), 0, &outcome);
        assert_eq!(report.verdict(), Err("no luck".into()));
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("JSON");
        assert_eq!(
            (&json["error"], &json["messages"]),
            (&"no luck".into(), &0.into())
        );
    }

    #[test]
    fn a_server_that_was_never_right_is_asked_for_its_kind() {
        for (kind, answered, is_told) in [
            (Kind::Echo, 0, true),
            (Kind::Echo, 1, false),
            (Kind::Sink, 1, true),
        ] {
            let mut tally = tally();
            tally.mismatches.insert(Mismatch::Unasked, 1);
            let outcome = Outcome {
                answered,
                ..outcome(tally, work(1), None)
            };
            let report = Report::new(&LoadOptions::of_test(kind), 1, &outcome);
            let question = format!("is it one for --kind {kind}?");
            assert_eq!(report.to_string().contains(&question), is_told);
        }
    }

    #[test]
    fn what_went_wrong_is_told_by_kinds_and_in_all() {
        let mut tally = tally();
        tally.mismatches.insert(Mismatch::Garbled, 1);
        tally.problem(Problem::NoAnswer, 1_200);
        let report = report(tally, work(1), None);
        let verdict = report.verdict().unwrap_err();
        assert_eq!(verdict, "1 mismatch, 1,200 errors");
        let text = report.to_string();
        assert!(text.contains("\nMISMATCH    garbled: 1\n"), "{text}");
        assert!(
            text.contains("\nERROR       no answer in time: 1,200\n"),
            "{text}"
        );
    }

    #[test]
    fn a_server_that_has_ended_is_told() {
        let mut options = LoadOptions::of_test(Kind::Echo);
        for (pid, is_told) in [(None, false), (Some(1), true)] {
            options.server_pid = pid;
            let report = Report::new(&options, 1, &outcome(tally(), work(1), None));
            assert_eq!(report.to_string().contains("has ended"), is_told);
        }
    }

    #[test]
    fn nothing_at_all_can_be_reported() {
        let report = report(Tally::default(), Work::default(), Some(server(0)));
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("JSON");
        assert_eq!(json["messages_per_s"], 0.0);
        assert_eq!(json["latency_us"]["p50"], 0.0);
        assert!(
            report
                .to_string()
                .lines()
                .next()
                .is_some_and(|line| line.starts_with("echo "))
        );
    }
}
