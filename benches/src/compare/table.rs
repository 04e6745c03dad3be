//! A metric as a table under its plot; and all of them as one, at the head of the page.

use std::fmt::Write;

use super::metric::{Better, Metric, metrics};
use super::model::Model;
use super::number::{count, percent, rounded};
use super::page::escape;
use super::record::Comparison;
use super::series::{self, Mark, Series};
use super::verdict::{best, with};

/// One row: a figure of every model.
struct Row {
    connections: usize,
    cells: Vec<Cell>,
}

/// One model's figure.
struct Cell {
    /// The median, a cross where the model could go no further, or a dash.
    text: String,
    /// How far the furthest round is from it.
    deviation: Option<String>,
    is_measured: bool,
    /// Of all, or level with that one.
    is_best: bool,
}

/// The table under a plot.
#[must_use]
pub fn html(comparison: &Comparison, metric: &Metric) -> String {
    let serving = |model: &&Model| model.serves(metric.workload);
    let models: Vec<Model> = comparison
        .plan
        .models
        .iter()
        .filter(serving)
        .copied()
        .collect();
    let mut rows = String::new();
    for row in self::rows(comparison, metric, &models) {
        let _ = writeln!(
            rows,
            r#"<tr><th scope="row">{}</th>{}</tr>"#,
            count(row.connections),
            row.cells.iter().map(Cell::html).collect::<String>()
        );
    }
    format!(
        r#"<p class="caption">{}: the median, and how far the furthest round is from it</p>
<div class="wide" tabindex="0" role="region" aria-label="{}, as a table"><table><thead><tr><th scope="col">{}</th>{}</tr></thead><tbody>
{rows}</tbody></table></div>"#,
        escape(metric.unit),
        escape(metric.title),
        metric.workload.clients(),
        heads(&models)
    )
}

/// All metrics, each where it tells most.
#[must_use]
pub fn summary(comparison: &Comparison) -> String {
    let mut rows = String::new();
    for metric in metrics() {
        for (index, mut row) in selected(comparison, metric).into_iter().enumerate() {
            row.cells.iter_mut().for_each(|cell| cell.deviation = None);
            let link = format!(
                r##"<a href="#{}">{}</a>"##,
                metric.id,
                escape(&metric.name())
            );
            let with = with(metric.workload, &[row.connections]);
            let _ = writeln!(
                rows,
                r#"<tr><th scope="row" aria-label="{}, {with}">{} <small>{with}</small></th>{}</tr>"#,
                escape(&metric.name()),
                if index == 0 { &link } else { "" },
                row.cells.iter().map(Cell::html).collect::<String>()
            );
        }
    }
    format!(
        r#"<div class="wide" tabindex="0" role="region" aria-label="All figures, as a table"><table class="summary"><thead><tr><td></td>{}</tr></thead><tbody>
{rows}</tbody></table></div>"#,
        heads(&comparison.plan.models)
    )
}

fn heads(models: &[Model]) -> String {
    models.iter().fold(String::new(), |mut heads, model| {
        let _ = write!(heads, r#"<th scope="col" class="{model}">{model}</th>"#);
        heads
    })
}

impl Cell {
    fn html(&self) -> String {
        let class = if self.is_best { r#" class="best""# } else { "" };
        let deviation = self
            .deviation
            .as_ref()
            .map(|part| format!("<small>{part}</small>"));
        let deviation = deviation.unwrap_or_default();
        format!("<td{class}>{}{deviation}</td>", escape(&self.text))
    }
}

/// A median, and by a sign whether it is the server's: `≥ 250,000` could be more if the generator
/// had not been the limit, and `≤ 310` could be less.
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
            cells: models.iter().map(cell).collect(),
        }
    };
    series::connections(comparison, metric)
        .into_iter()
        .map(row)
        .collect()
}

fn cell(series: Option<&Series>, metric: &Metric, connections: usize, is_best: bool) -> Cell {
    let stop = series.and_then(|series| series.stop.as_ref());
    let stops = stop.is_some_and(|stop| stop.connections <= connections);
    match series.and_then(|series| series.at(connections)) {
        Some(mark) => Cell {
            text: figure(mark, metric),
            deviation: mark
                .spread
                .deviation()
                .map(|part| format!("±{}", percent(part))),
            is_measured: true,
            is_best,
        },
        None => Cell {
            text: if stops { "✕" } else { "–" }.into(),
            deviation: None,
            is_measured: false,
            is_best: false,
        },
    }
}

/// The rows for a summary, of those that have figures: 1,000 connections or what is next to it, a
/// number that a server should be at ease with; and, where models differ most, also the fewest and
/// the most.
fn selected(comparison: &Comparison, metric: &Metric) -> Vec<Row> {
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
