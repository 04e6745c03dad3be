//! The generator's report on a run: the output of `edgecall load --json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One run, as the generator saw it. Members without a field here are kept as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Connections that were made.
    pub connected: u64,
    /// Answers within the measured time.
    pub messages: u64,
    /// These answers per second.
    pub messages_per_s: f64,
    /// Connections that were opened, used and closed, per second, if that was the load.
    pub connects_per_s: Option<f64>,
    /// Lines that members of a chat heard per second, if that was the load.
    pub delivered_per_s: Option<f64>,
    /// Time from the question to the answer.
    pub latency_us: Latency,
    /// Answers that were wrong.
    pub mismatches: u64,
    /// Other failures, by their kind.
    pub errors: BTreeMap<String, u64>,
    /// The generator itself.
    pub client: Client,
    /// The server, with all its processes and threads.
    pub server: Option<Server>,
    /// Other members of the JSON.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Percentiles, in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the answers came within this time.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p999: f64,
    /// Other members of the JSON.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// The generator's own use of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// Whether the generator was at its limit, and not the server.
    pub limited: bool,
    /// Other members of the JSON.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// The server's use of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Processor time of its own code, and of the kernel on its behalf, in microseconds.
    pub cpu_us_per_message: f64,
    /// Processor time for each line of a chat that a member heard, in microseconds.
    pub cpu_us_per_delivery: Option<f64>,
    /// Memory that each open connection added, in bytes, with shared memory counted in parts;
    /// `None` for connections that end at once.
    pub pss_bytes_per_connection: Option<f64>,
    /// How often it gave up the core because it had to wait.
    pub voluntary_switches_per_message: f64,
    /// How often the core was taken from it.
    pub involuntary_switches_per_message: f64,
    /// Whether these counts are complete: threads that came or went during the run have none.
    pub switches_complete: bool,
    /// Other members of the JSON.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Report {
    /// Reads the generator's output. An error is one line about it.
    pub fn parse(json: &str) -> Result<Report, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    /// The reason why a run failed, if it did: a server that gives wrong answers, or drops clients,
    /// is not compared with a server that does its work.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let mismatches =
            (self.mismatches > 0).then(|| format!("{} wrong answers", self.mismatches));
        let errors = self.errors.iter().filter(|&(_, &count)| count > 0);
        let errors = errors.map(|(kind, count)| format!("{kind} ({count} times)"));
        let nothing =
            (self.messages == 0).then(|| "not one answer in the time that is measured".to_owned());
        let all: Vec<String> = mismatches
            .into_iter()
            .chain(errors)
            .chain(nothing)
            .collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}
