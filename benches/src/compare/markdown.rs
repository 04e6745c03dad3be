//! The most telling figures as one table for a README: few enough columns for its width.

use super::metric::{Metric, metrics};
use super::model::Model;
use super::record::Comparison;
use super::series::{self, Series};
use super::table::figure;
use super::verdict::best;

/// The number of connections of a column.
#[derive(Clone, Copy, Debug)]
enum Pick {
    /// The smallest number that was measured.
    Fewest,
    /// 1,000, or the next number below, which a server should hold with ease.
    Thousand,
    /// The greatest number that was measured.
    Most,
}

/// The columns: a metric's id, its short name in a head, and the number of connections.
const COLUMNS: &[(&str, &str, Pick)] = &[
    ("cpu", "CPU µs per message", Pick::Fewest),
    ("cpu", "CPU µs per message", Pick::Thousand),
    ("cpu", "CPU µs per message", Pick::Most),
    ("rate", "messages/s", Pick::Thousand),
    ("p99", "p99 latency, µs", Pick::Thousand),
    ("memory", "bytes per connection", Pick::Most),
    ("connects", "connects/s", Pick::Most),
    ("delivery-cpu", "chat: CPU µs per line heard", Pick::Most),
];

/// One column, found in a comparison.
struct Column {
    metric: &'static Metric,
    head: &'static str,
    connections: usize,
    series: Vec<Series>,
    best: Vec<Model>,
}

/// A row for each model, and under the table the place and the manner of the measurement.
#[must_use]
pub fn markdown(comparison: &Comparison) -> String {
    let columns = columns(comparison);
    let heads = columns.iter().map(|column| {
        let clients = column.metric.workload.counted(column.connections);
        format!("{}<br>{clients}", column.head)
    });
    let mut lines = vec![
        line("model".to_owned(), heads),
        line("---".to_owned(), columns.iter().map(|_| "---:".to_owned())),
    ];
    for &model in &comparison.plan.models {
        let name = match model {
            Model::Reactor => "**reactor**".to_owned(),
            other => other.name().to_owned(),
        };
        lines.push(line(name, columns.iter().map(|column| column.cell(model))));
    }
    lines.push(String::new());
    lines.push(origin(comparison));
    lines.join("\n") + "\n"
}

fn line(first: String, rest: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = std::iter::once(first).chain(rest).collect();
    format!("| {} |", cells.join(" | "))
}

fn columns(comparison: &Comparison) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for &(id, head, pick) in COLUMNS {
        let Some(metric) = metrics().find(|metric| metric.id == id) else {
            continue;
        };
        let series = Series::all(comparison, metric);
        let mut measured = series::connections(comparison, metric);
        measured.retain(|&connections| series.iter().any(|it| it.at(connections).is_some()));
        let picked = match pick {
            Pick::Fewest => measured.first(),
            Pick::Thousand => measured.iter().rfind(|&&connections| connections <= 1_000),
            Pick::Most => measured.last(),
        };
        let Some(&connections) = picked else { continue };
        let is_there =
            |column: &Column| column.metric.id == id && column.connections == connections;
        if !columns.iter().any(is_there) {
            columns.push(Column {
                metric,
                head,
                connections,
                best: best(&series, metric, connections),
                series,
            });
        }
    }
    columns
}

impl Column {
    fn cell(&self, model: Model) -> String {
        let series = self.series.iter().find(|series| series.model == model);
        let mark = series.and_then(|series| series.at(self.connections));
        match mark.map(|mark| figure(mark, self.metric)) {
            Some(figure) if self.best.contains(&model) => format!("**{figure}**"),
            Some(figure) => figure,
            None => "–".to_owned(),
        }
    }
}

fn origin(comparison: &Comparison) -> String {
    let machine = &comparison.machine;
    format!(
        "Medians of {}; bold: the best, and all that are level with it; ≥ and ≤: the generator was \
         the limit, not the server, and no model is best where such a one is behind. \
         {}, {} cores, {}; {}. `{}`, {}.",
        comparison.rounds(),
        machine.processor,
        machine.cores,
        machine.kernel,
        comparison.cores,
        comparison.command,
        comparison.date.split('T').next().unwrap_or_default()
    )
}
