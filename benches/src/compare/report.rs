//! What the generator says of a run: the output of `edgecall load --json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One run, as the generator saw it. What is not needed here is kept as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Connections that were made.
    pub connected: u64,
    /// Answers within the measured time.
    pub messages: u64,
    /// The same per second.
    pub messages_per_s: f64,
    /// Whole lives of connections per second, if that was the load.
    pub connects_per_s: Option<f64>,
    /// Lines that members of a chat heard per second, if that was the load.
    pub delivered_per_s: Option<f64>,
    /// From the question to the answer.
    pub latency_us: Latency,
    /// Answers that were not what was asked for.
    pub mismatches: u64,
    /// What else went wrong, by its kind.
    pub errors: BTreeMap<String, u64>,
    /// The generator itself.
    pub client: Client,
    /// The server, with all its processes and threads.
    pub server: Option<Server>,
    /// What else it said.
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
    /// What else it said.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What the generator took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// Whether it, rather than the server, was at its limit.
    pub limited: bool,
    /// What else it said.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What the server took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Its own code, and the kernel's on its behalf, in microseconds.
    pub cpu_us_per_message: f64,
    /// The same for each line of a chat that a member heard.
    pub cpu_us_per_delivery: Option<f64>,
    /// The memory that each open connection added, in bytes, what is shared counted in parts; of
    /// connections that end at once there is none.
    pub pss_bytes_per_connection: Option<f64>,
    /// How often it gave up the core because it had to wait.
    pub voluntary_switches_per_message: f64,
    /// How often the core was taken from it.
    pub involuntary_switches_per_message: f64,
    /// Whether these are all: those of threads that came or went meanwhile are lost.
    pub switches_complete: bool,
    /// What else it said.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Report {
    /// Reads the generator's output. Errors: what is wrong with it.
    pub fn parse(json: &str) -> Result<Report, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    /// What went wrong, if anything did: a server that gives wrong answers, or drops clients, is
    /// not compared with one that does its work.
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
