//! A metric as a table: its rows, with the median of each model.

use super::metric::{Better, Metric};
use super::model::Model;
use super::number::{count, percent, rounded};
use super::record::Comparison;
use super::series::{self, Mark, Series};
use super::verdict::{best, with};

/// The table under a plot.
#[derive(Debug)]
pub struct Table {
    /// Its columns: the models that serve the load.
    pub models: Vec<Model>,
    /// A row for each number of connections, fewest first.
    pub rows: Vec<Row>,
}

/// The figures of all models with as many connections.
#[derive(Debug)]
pub struct Row {
    /// Their number.
    connections: usize,
    /// Their number in digits: `1,000`.
    pub count: String,
    /// Their number in words: `with 1,000 connections`.
    pub with: String,
    /// A cell for each column.
    pub cells: Vec<Cell>,
}

/// One model's figure.
#[derive(Debug)]
pub struct Cell {
    /// The median, a cross where the model could go no further, or a dash.
    pub text: String,
    /// The distance of the furthest round from the median.
    pub deviation: Option<String>,
    /// Whether there is a median.
    is_measured: bool,
    /// Whether the median is the best, or level with it.
    pub is_best: bool,
}

impl Table {
    /// All that was measured of a metric.
    #[must_use]
    pub fn of(comparison: &Comparison, metric: &Metric) -> Table {
        let mut models = comparison.plan.models.clone();
        models.retain(|model| model.serves(metric.workload));
        let rows = rows(comparison, metric, &models);
        Table { models, rows }
    }
}

/// The rows of a metric for a summary, of those that have figures, with a cell for every model of
/// the plan.
///
/// One is at 1,000 connections or the next number below, which a server should hold with ease. Of a
/// central metric, in which models differ most, the first and the last row come on top.
#[must_use]
pub fn selected(comparison: &Comparison, metric: &Metric) -> Vec<Row> {
    let mut rows = rows(comparison, metric, &comparison.plan.models);
    rows.retain(|row| row.cells.iter().any(|cell| cell.is_measured));
    let middle = rows
        .iter()
        .rposition(|row| row.connections <= 1_000)
        .unwrap_or(0);
    let last = rows.len().saturating_sub(1);
    let ends = if metric.is_central {
        [0, last]
    } else {
        [middle; 2]
    };
    let rows = rows.into_iter().enumerate();
    let chosen = rows.filter(|(index, _)| *index == middle || ends.contains(index));
    chosen.map(|(_, row)| row).collect()
}

/// A median, with a sign if it is not the server's limit but the generator's: the server could have
/// reached more than `≥ 250,000`, or less than `≤ 310`.
#[must_use]
pub fn figure(mark: &Mark, metric: &Metric) -> String {
    let median = rounded(mark.spread.median);
    match (mark.generator_limited, metric.better) {
        (false, _) => median,
        (true, Better::More) => format!("≥ {median}"),
        (true, Better::Less) => format!("≤ {median}"),
    }
}

fn rows(comparison: &Comparison, metric: &Metric, models: &[Model]) -> Vec<Row> {
    let all = Series::all(comparison, metric);
    let row = |connections| {
        let best = best(&all, metric, connections);
        let cell = |model: &Model| {
            let series = all.iter().find(|series| series.model == *model);
            cell(series, metric, connections, best.contains(model))
        };
        Row {
            connections,
            count: count(connections),
            with: with(metric.workload, &[connections]),
            cells: models.iter().map(cell).collect(),
        }
    };
    series::connections(comparison, metric)
        .into_iter()
        .map(row)
        .collect()
}

fn cell(series: Option<&Series>, metric: &Metric, connections: usize, is_best: bool) -> Cell {
    let mark = series.and_then(|series| series.at(connections));
    let stop = series.and_then(|series| series.stop.as_ref());
    let stops = stop.is_some_and(|stop| stop.connections <= connections);
    let without = if stops { "✕" } else { "–" };
    let deviation = mark.and_then(|mark| mark.spread.deviation());
    Cell {
        text: mark.map_or(without.to_owned(), |mark| figure(mark, metric)),
        deviation: deviation.map(|part| format!("±{}", percent(part))),
        is_measured: mark.is_some(),
        is_best,
    }
}
