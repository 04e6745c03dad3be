//! The results of a comparison: `comparison.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::model::Model;
use super::number;
use super::plan::{Plan, Point};
use super::report::Report;
use super::stats::Spread;

/// All results, and the place and manner of the measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The time of its start: `2026-01-31T12:00:00Z`.
    pub date: String,
    /// The command line of the user.
    pub command: String,
    /// The machine.
    pub machine: Machine,
    /// The cores of the server and the generator, in words.
    pub cores: String,
    /// The version of each program and library that took part.
    pub versions: BTreeMap<String, String>,
    /// The commands of the servers and the generator.
    pub commands: Vec<String>,
    /// The plan, of which the runs may be a part.
    pub plan: Plan,
    /// Reasons to doubt the figures.
    pub warnings: Vec<String>,
    /// The runs, in the order in which they were measured.
    pub runs: Vec<Run>,
}

/// One model at one point in one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The number of the round, from 1.
    pub round: usize,
    /// The load and the number of connections.
    #[serde(flatten)]
    pub point: Point,
    /// The model of the server.
    pub model: Model,
    /// The part of the cores' time that other programs took during the run.
    pub others: f64,
    /// The result.
    pub outcome: Outcome,
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every answer came, and was right.
    Measured(Box<Report>),
    /// The run failed, for this reason, in a line.
    Failed(String),
}

impl Comparison {
    /// The results of a model at a point, one for each round.
    pub fn outcomes(&self, point: Point, model: Model) -> impl Iterator<Item = &Outcome> {
        let runs = self.runs.iter();
        let of_it = runs.filter(move |run| run.point == point && run.model == model);
        of_it.map(|run| &run.outcome)
    }

    /// The reports of a model at a point, one for each round that did not fail.
    pub fn reports(&self, point: Point, model: Model) -> impl Iterator<Item = &Report> {
        self.outcomes(point, model).filter_map(Outcome::report)
    }

    /// The reason why a model has no figures at a point: it failed each time.
    #[must_use]
    pub fn failure(&self, point: Point, model: Model) -> Option<&str> {
        if self.reports(point, model).next().is_some() {
            return None;
        }
        self.outcomes(point, model).find_map(Outcome::failure)
    }

    /// Whether a model may still succeed at a point: it has not failed with fewer connections, and
    /// not twice with as many.
    #[must_use]
    pub fn is_worth_trying(&self, point: Point, model: Model) -> bool {
        let points = self.plan.points.iter().copied();
        let mut fewer = points.filter(|other| {
            other.workload == point.workload && other.connections < point.connections
        });
        let attempts = self.outcomes(point, model).count();
        fewer.all(|point| self.failure(point, model).is_none())
            && (attempts < 2 || self.failure(point, model).is_none())
    }

    /// Whether there is no report at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.iter().all(|run| run.outcome.report().is_none())
    }

    /// The greatest memory of a connection to this model in any run with 100 of them or more, in
    /// bytes; 0 before there is such a run.
    #[must_use]
    pub fn bytes_per_connection(&self, model: Model) -> f64 {
        let runs = self.runs.iter();
        let many = runs.filter(|run| run.model == model && run.point.connections >= 100);
        many.filter_map(|run| run.outcome.report()?.server.as_ref())
            .filter_map(|server| server.pss_bytes_per_connection)
            .fold(0.0, f64::max)
    }

    /// The part of the cores' time that other programs took, in all runs; `None` if there was no
    /// run.
    #[must_use]
    pub fn others(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().map(|run| run.others).collect())
    }

    /// The number of rounds behind the medians, which differs where the time was up or a round
    /// failed: `5 rounds`, `2 to 3 rounds`.
    #[must_use]
    pub fn rounds(&self) -> String {
        let runs = self.runs.iter();
        let counts = runs.map(|run| self.reports(run.point, run.model).count());
        let (mut fewest, mut most) = (usize::MAX, 0);
        for count in counts.filter(|&count| count > 0) {
            (fewest, most) = (fewest.min(count), most.max(count));
        }
        match fewest < most {
            true => format!("{fewest} to {}", number::rounds(most)),
            false => number::rounds(most),
        }
    }

    /// Runs that failed where others of the same model at the same point did not, with the reason.
    pub fn exceptions(&self) -> impl Iterator<Item = (&Run, &str)> {
        let failures = self
            .runs
            .iter()
            .filter_map(|run| Some((run, run.outcome.failure()?)));
        failures.filter(|(run, _)| self.failure(run.point, run.model).is_none())
    }
}

impl Outcome {
    fn report(&self) -> Option<&Report> {
        match self {
            Outcome::Measured(report) => Some(report),
            Outcome::Failed(_) => None,
        }
    }

    /// The reason of a failure.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        match self {
            Outcome::Measured(_) => None,
            Outcome::Failed(why) => Some(why),
        }
    }
}
