//! The plan of a comparison: servers, loads, numbers of connections, rounds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::model::Model;
use super::number::count;
use super::options::Options;
use super::workload::Workload;

/// Rounds that a plan has at most.
const MOST_ROUNDS: usize = 1_000;
/// The longest run, and the longest warm-up.
const LONGEST: Duration = Duration::from_secs(86_400);

/// One place on the horizontal axis of the plots of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The load.
    pub workload: Workload,
    /// Connections at a time.
    pub connections: usize,
}

/// The servers and points of a comparison, and the time for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The models, in the order in which each point is measured.
    pub models: Vec<Model>,
    /// The points of a round, in order: for each workload, fewest connections first.
    pub points: Vec<Point>,
    /// Rounds, in each of which every point is measured.
    pub rounds: usize,
    /// Measured time of a run, in milliseconds.
    pub duration_ms: u64,
    /// Time of a run before that, in milliseconds.
    pub warm_up_ms: u64,
    /// No run begins later than this after the first, in seconds.
    pub time_limit_s: Option<u64>,
}

impl Plan {
    /// The plan that the user asked for. An error is one line about the options.
    pub fn new(options: &Options) -> Result<Plan, String> {
        let quick = options.quick;
        let default_connections: &[usize] = match quick {
            false => &[1, 10, 100, 1_000, 5_000, 10_000],
            true => &[1, 10, 100, 1_000],
        };
        let mut connections = match &options.connections[..] {
            [] => default_connections.to_vec(),
            chosen => chosen.to_vec(),
        };
        connections.sort_unstable();
        connections.dedup();
        let rounds = options.rounds.unwrap_or(if quick { 3 } else { 5 });
        if connections[0] == 0 || rounds == 0 {
            return Err("connections and rounds are numbers of at least 1".into());
        }
        if rounds > MOST_ROUNDS {
            return Err(format!("there are at most {} rounds", count(MOST_ROUNDS)));
        }
        if options.duration.max(options.warm_up) > Some(LONGEST) {
            return Err("a run takes a day at most".into());
        }
        let milliseconds = |chosen: Option<Duration>, default| {
            chosen.map_or(default, |duration| duration.as_millis() as u64)
        };
        Ok(Plan {
            models: options.models.0.clone(),
            points: points(&connections, quick),
            rounds,
            duration_ms: milliseconds(options.duration, if quick { 200 } else { 2_000 }),
            warm_up_ms: milliseconds(options.warm_up, if quick { 50 } else { 500 }),
            time_limit_s: quick.then_some(105),
        })
    }

    /// The time that a run may take beyond the measured time, for connecting and ending.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_secs(if self.time_limit_s.is_some() { 8 } else { 30 })
    }

    /// Takes a model out.
    pub fn leave_out(&mut self, model: Model) {
        self.models.retain(|&other| other != model);
    }

    /// All runs in order: A B C, then B C A. So a disturbance by the rest of the machine hits all
    /// models alike, no model is always the first or always behind the same other one, and the
    /// rounds of a point are far apart.
    pub fn runs(&self) -> impl Iterator<Item = (usize, Point, Model)> {
        let points = || self.points.iter().copied();
        let models = |round| {
            let endless = self.models.iter().copied().cycle();
            endless.skip(round - 1).take(self.models.len())
        };
        (1..=self.rounds).flat_map(move |round| {
            points().flat_map(move |point| {
                let serving = models(round).filter(move |model| model.serves(point.workload));
                serving.map(move |model| (round, point, model))
            })
        })
    }

    /// The time of a run with its start and end, about.
    #[must_use]
    pub fn estimate(&self, point: Point, model: Model) -> Duration {
        let per_connection = match model {
            Model::Fork => Duration::from_micros(300),
            _ => Duration::from_micros(100),
        };
        let around = Duration::from_millis(350) + per_connection * point.connections as u32;
        Duration::from_millis(self.warm_up_ms + self.duration_ms) + around
    }
}

fn points(connections: &[usize], quick: bool) -> Vec<Point> {
    let of = |workload: Workload| {
        let chosen = workload.choose(connections, quick).into_iter();
        chosen.map(move |connections| Point {
            workload,
            connections,
        })
    };
    Workload::ALL.into_iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rounds: usize) -> Plan {
        let point = |workload, connections| Point {
            workload,
            connections,
        };
        Plan {
            models: vec![Model::Reactor, Model::Fork],
            points: vec![point(Workload::Echo, 1), point(Workload::Connect, 10)],
            rounds,
            duration_ms: 1,
            warm_up_ms: 1,
            time_limit_s: None,
        }
    }

    #[test]
    fn models_take_turns_at_each_point_and_rounds_follow_each_other() {
        let order: Vec<_> = plan(2)
            .runs()
            .map(|(round, point, model)| (round, point.connections, model.name()))
            .collect();
        let round = |number, [first, second]: [&'static str; 2]| {
            [(1, first), (1, second), (10, first), (10, second)]
                .map(|(connections, model)| (number, connections, model))
        };
        let rounds = [round(1, ["reactor", "fork"]), round(2, ["fork", "reactor"])];
        assert_eq!(order, rounds.concat());
    }

    #[test]
    fn a_model_without_a_server_for_a_load_is_not_asked_for_it() {
        let mut plan = plan(1);
        plan.models = vec![Model::Raw, Model::Libuv];
        plan.points[1].workload = Workload::Chat;
        let runs: Vec<_> = plan
            .runs()
            .map(|(_, point, model)| (point.workload, model))
            .collect();
        assert_eq!(
            runs,
            [
                (Workload::Echo, Model::Raw),
                (Workload::Echo, Model::Libuv),
                (Workload::Chat, Model::Raw)
            ]
        );
    }

    #[test]
    fn every_load_has_numbers_of_connections_of_its_own() {
        let count = |workload, quick| {
            let points = points(&[1, 10, 100, 1_000, 5_000], quick);
            let of_it = points.iter().filter(|point| point.workload == workload);
            of_it.count()
        };
        assert_eq!(Workload::ALL.map(|it| count(it, false)), [5, 4, 4, 3]);
        assert_eq!(Workload::ALL.map(|it| count(it, true)), [5, 2, 2, 2]);
    }
}
