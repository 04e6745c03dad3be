//! What a comparison has found out: `comparison.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::model::Model;
use super::number;
use super::plan::{Plan, Point};
use super::report::Report;
use super::stats::Spread;

/// All that was measured, and where and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// When it began: `2026-01-31T12:00:00Z`.
    pub date: String,
    /// What the user typed.
    pub command: String,
    /// What it ran on.
    pub machine: Machine,
    /// Which cores the server and the generator had.
    pub cores: String,
    /// Of each program and library that took part.
    pub versions: BTreeMap<String, String>,
    /// How the servers and the generator were started.
    pub commands: Vec<String>,
    /// What was to be measured.
    pub plan: Plan,
    /// What a reader should know before believing any of it.
    pub warnings: Vec<String>,
    /// In the order in which they were measured.
    pub runs: Vec<Run>,
}

/// One model at one point in one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// From 1.
    pub round: usize,
    /// What the clients did.
    #[serde(flatten)]
    pub point: Point,
    /// Who served them.
    pub model: Model,
    /// The part of the cores' time that other programs took meanwhile.
    pub others: f64,
    /// What came out.
    pub outcome: Outcome,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every answer came, and was right.
    Measured(Box<Report>),
    /// Not so; and why, in a line.
    Failed(String),
}

impl Comparison {
    /// The rounds of a model at a point.
    pub fn outcomes(&self, point: Point, model: Model) -> impl Iterator<Item = &Outcome> {
        let runs = self.runs.iter();
        let of_it = runs.filter(move |run| run.point == point && run.model == model);
        of_it.map(|run| &run.outcome)
    }

    /// Those that were measured.
    pub fn reports(&self, point: Point, model: Model) -> impl Iterator<Item = &Report> {
        self.outcomes(point, model).filter_map(Outcome::report)
    }

    /// Why a model has nothing to show at a point: it failed each time.
    #[must_use]
    pub fn failure(&self, point: Point, model: Model) -> Option<&str> {
        if self.reports(point, model).next().is_some() {
            return None;
        }
        self.outcomes(point, model).find_map(Outcome::failure)
    }

    /// Whether it makes sense to ask a model for this: it has not failed with fewer connections,
    /// and not twice with as many.
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

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.iter().all(|run| run.outcome.report().is_none())
    }

    /// The most memory that a connection of this model has taken in any run with a number of them,
    /// in bytes; 0 before there is one.
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

    /// How many rounds the medians are of, which differ where the time was up or one failed:
    /// `5 rounds`, `2 to 3 rounds`.
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

    /// Runs that failed where others of the same model at the same point did not: which, and why.
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

    /// Why it failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        match self {
            Outcome::Measured(_) => None,
            Outcome::Failed(why) => Some(why),
        }
    }
}
