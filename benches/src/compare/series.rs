//! The rounds of one metric, condensed: a line of a plot, a column of a table.

use super::metric::Metric;
use super::model::Model;
use super::plan::Point;
use super::record::Comparison;
use super::stats::Spread;

/// A model's figures of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The model of the server.
    pub model: Model,
    /// The figures, fewest connections first.
    pub marks: Vec<Mark>,
    /// The point at which the model could not go on, if there was one.
    pub stop: Option<Stop>,
}

/// The figure at one number of connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// The number of connections.
    pub connections: usize,
    /// The rounds, condensed.
    pub spread: Spread,
    /// Whether the generator was at its limit in most rounds, so that this figure is the
    /// generator's rather than the server's.
    pub generator_limited: bool,
}

/// The end of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The number of connections at which the model failed.
    pub connections: usize,
    /// The reason, in a line.
    pub reason: String,
}

impl Series {
    /// The series of all models that serve this load, in the order of the plan.
    #[must_use]
    pub fn all(comparison: &Comparison, metric: &Metric) -> Vec<Series> {
        let models = comparison.plan.models.iter();
        models
            .filter(|model| model.serves(metric.workload))
            .map(|&model| Series::of(comparison, metric, model))
            .collect()
    }

    fn of(comparison: &Comparison, metric: &Metric, model: Model) -> Series {
        let points = points(comparison, metric);
        let stop = points.iter().find_map(|point| {
            Some(Stop {
                connections: point.connections,
                reason: comparison.failure(*point, model)?.to_owned(),
            })
        });
        let mark = |point: &Point| {
            let reports = || comparison.reports(*point, model);
            let limited = reports().filter(|report| report.client.limited).count();
            Some(Mark {
                connections: point.connections,
                spread: Spread::of(reports().filter_map(metric.value).collect())?,
                generator_limited: metric.needs_generator && 2 * limited > reports().count(),
            })
        };
        Series {
            model,
            marks: points.iter().filter_map(mark).collect(),
            stop,
        }
    }

    /// The figure at so many connections.
    #[must_use]
    pub fn at(&self, connections: usize) -> Option<&Mark> {
        self.marks
            .iter()
            .find(|mark| mark.connections == connections)
    }
}

/// The points of the plan at which a metric means something.
fn points(comparison: &Comparison, metric: &Metric) -> Vec<Point> {
    let points = comparison.plan.points.iter().copied();
    let of_it = points.filter(|point| {
        point.workload == metric.workload && point.connections >= metric.fewest_connections
    });
    of_it.collect()
}

/// The numbers of connections on the horizontal axis.
#[must_use]
pub fn connections(comparison: &Comparison, metric: &Metric) -> Vec<usize> {
    let points = points(comparison, metric);
    points.iter().map(|point| point.connections).collect()
}
