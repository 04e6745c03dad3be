//! A metric as a picture: SVG, made by hand.
//!
//! Colours come from `plot.css`, which the page includes once and each file of its own carries
//! along; so they follow the reader's light or dark scheme. Models differ in colour, in the shape
//! of their marks and by a label at the end of the line, each of which is enough on its own.

use std::fmt::Write;

use super::metric::Metric;
use super::model::Model;
use super::number::{count, rounded, rounds, short_count, tick};
use super::record::Comparison;
use super::scale::{Kind, Scale};
use super::series::{self, Mark, Series};
use super::shape::shape;
use super::text::{escape, wrapped};

/// Colours and fonts of all plots.
pub const STYLE: &str = include_str!("plot.css");

/// The size of a plot in its own units; the page scales it.
const WIDTH: f64 = 460.0;
/// The height without the notes under the plot.
const HEIGHT: f64 = 326.0;
/// The height above the plot in a file of its own: room for a title.
const HEAD: f64 = 42.0;
/// The scale of such a file, unless the page that includes it sets another.
const MAGNIFICATION: f64 = 1.5;
const LEFT: f64 = 54.0;
const RIGHT: f64 = WIDTH - 92.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = HEIGHT - 54.0;

/// The distance between two lines of text.
const LINE: f64 = 16.0;
/// Characters in a line of a note.
const NOTE_CHARACTERS: usize = 68;
/// The distance between the middles of two numbers on the horizontal axis.
const BETWEEN_COUNTS: f64 = 27.0;
/// The greatest distance of such a number from its place.
const COUNT_SHIFT: f64 = 9.0;
/// The distance between two models at the same place, so that neither hides the other's spread.
const DODGE: f64 = 3.5;
/// The greatest distance between the first and the last of them: with more, they would seem to
/// belong to the next place.
const DODGE_OF_ALL: f64 = 18.0;

/// A plot as a file of its own, which says by itself what it shows.
#[must_use]
pub fn document(comparison: &Comparison, metric: &Metric) -> String {
    let (drawing, height) = draw(comparison, metric);
    let height = height + HEAD;
    let better = metric.better.in_words();
    let rounds = comparison.rounds();
    let about = format!(
        "{}; {better}; median and range of {rounds}",
        metric.workload
    );
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 -{HEAD} {WIDTH} {height}" width="{}" height="{}">
<title>{title}</title>
<style>
{STYLE}</style>
<rect class="surface" y="-{HEAD}" width="{WIDTH}" height="{HEAD}"/>
<text class="title" x="8" y="-20">{title}</text><text class="about" x="8" y="-3">{}</text>
{drawing}</svg>
"#,
        WIDTH * MAGNIFICATION,
        height * MAGNIFICATION,
        escape(&about),
        title = escape(metric.title),
    )
}

/// A plot to stand in a page that has the [`STYLE`].
#[must_use]
pub fn svg(comparison: &Comparison, metric: &Metric) -> String {
    let (drawing, height) = draw(comparison, metric);
    format!(
        r#"<svg class="plot" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{}">{drawing}</svg>"#,
        escape(metric.title)
    )
}

/// The drawing of a plot, and its height.
fn draw(comparison: &Comparison, metric: &Metric) -> (String, f64) {
    let all = Series::all(comparison, metric);
    let connections = series::connections(comparison, metric);
    let marks = all.iter().flat_map(|series| &series.marks);
    let ends = marks.flat_map(|mark| [mark.spread.min, mark.spread.max]);
    let axes = Axes {
        x: Scale::of_counts(&connections),
        y: Scale::covering(metric.scale, ends),
    };
    let notes = notes(&all, metric);
    let height = HEIGHT + notes.len() as f64 * LINE;
    let mut svg = format!(r#"<rect class="surface" width="{WIDTH}" height="{height}"/>"#);
    let unit = match metric.scale {
        Kind::Linear => metric.unit.to_owned(),
        Kind::Log => format!("{}, logarithmic", metric.unit),
    };
    svg += &axes.draw(&unit, metric.workload.clients());
    let gaps = all.len().saturating_sub(1) as f64;
    let dodge = DODGE.min(DODGE_OF_ALL / gaps.max(1.0));
    // In reverse, so that the first series covers the others.
    for (index, series) in all.iter().enumerate().rev() {
        svg += &axes.line(series, (index as f64 - gaps / 2.0) * dodge, metric);
    }
    svg += &axes.labels(&all);
    for (index, note) in notes.iter().enumerate() {
        let y = HEIGHT + (index as f64 + 0.25) * LINE;
        let note = escape(note);
        let _ = write!(svg, r#"<text class="note" x="8" y="{y}">{note}</text>"#);
    }
    (svg, height)
}

/// The two axes, which place all else.
struct Axes {
    x: Scale,
    y: Scale,
}

impl Axes {
    fn x(&self, connections: usize) -> f64 {
        LEFT + self.x.place(connections as f64) * (RIGHT - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - self.y.place(value) * (BOTTOM - TOP)
    }

    fn draw(&self, unit: &str, clients: &str) -> String {
        let mut svg = String::from(r#"<g class="axes">"#);
        for &value in &self.y.ticks {
            let (y, label) = (self.y(value), tick(value));
            let _ = write!(
                svg,
                r#"<path class="grid" d="M{LEFT} {y:.1}H{RIGHT}"/><text class="value" x="{}" y="{:.1}">{label}</text>"#,
                LEFT - 8.0,
                y + 4.5
            );
        }
        let counts: Vec<usize> = self.x.ticks.iter().map(|&tick| tick as usize).collect();
        let places: Vec<f64> = counts.iter().map(|&count| self.x(count)).collect();
        for (x, (label_x, count)) in places.iter().zip(beside(&places).into_iter().zip(counts)) {
            let _ = write!(svg, r#"<path class="axis" d="M{x:.1} {BOTTOM}v5"/>"#);
            if let Some(x) = label_x {
                let (y, label) = (BOTTOM + 20.0, short_count(count));
                let _ = write!(
                    svg,
                    r#"<text class="count" x="{x:.1}" y="{y}">{label}</text>"#
                );
            }
        }
        let _ = write!(
            svg,
            r#"<path class="axis" d="M{LEFT} {BOTTOM}H{RIGHT}"/><text class="unit" x="8" y="18">{}</text><text class="count" x="{}" y="{}">{clients}</text></g>"#,
            escape(unit),
            f64::midpoint(LEFT, RIGHT),
            BOTTOM + 38.0
        );
        svg
    }

    /// A model's line: the medians, with the least and the greatest round at each.
    fn line(&self, series: &Series, shift: f64, metric: &Metric) -> String {
        let model = series.model;
        let mut svg = format!(r#"<g class="series {model}" data-model="{model}">"#);
        let places: Vec<(f64, f64)> = series
            .marks
            .iter()
            .map(|mark| (self.x(mark.connections) + shift, self.y(mark.spread.median)))
            .collect();
        let _ = write!(svg, r#"<path class="line" d="{}"/>"#, path(&places));
        if let Some(stop) = &series.stop {
            let (from, y) = places.last().map_or((LEFT, BOTTOM), |&place| place);
            let to = self.x(stop.connections) + shift;
            let _ = write!(
                svg,
                r#"<path class="gap" d="M{from:.1} {y:.1}H{to:.1}"/><path class="stop" d="M{to:.1} {y:.1}m-5 -5l10 10m0 -10l-10 10"/>"#
            );
        }
        for (mark, &(x, y)) in series.marks.iter().zip(&places) {
            let (low, high) = (self.y(mark.spread.min), self.y(mark.spread.max));
            let hollow = if mark.generator_limited {
                " hollow"
            } else {
                ""
            };
            let _ = write!(
                svg,
                r#"<g class="point"><title>{}</title><path class="spread" d="M{x:.1} {low:.1}V{high:.1}m-3 0h6M{x:.1} {low:.1}m-3 0h6"/><path class="mark{hollow}" d="{}"/></g>"#,
                escape(&hint(model, mark, metric)),
                shape(model, x, y)
            );
        }
        svg + "</g>"
    }

    /// Names at the right edge, no two in the same place, each with a thin line to its series.
    fn labels(&self, all: &[Series]) -> String {
        let last = |series: &Series| {
            let mark = series.marks.last();
            let stop = series.stop.as_ref().map(|stop| stop.connections);
            let connections = stop.or(mark.map(|mark| mark.connections))?;
            let y = mark.map_or(BOTTOM, |mark| self.y(mark.spread.median));
            Some((series.model, self.x(connections), y))
        };
        let mut ends: Vec<(Model, f64, f64)> = all.iter().filter_map(last).collect();
        ends.sort_by(|(.., one), (.., other)| one.total_cmp(other));
        let mut svg = String::from(r#"<g class="labels">"#);
        let heights: Vec<f64> = ends.iter().map(|&(.., y)| y).collect();
        for ((model, x, y), at) in ends.into_iter().zip(apart(heights)) {
            let (from, to) = (x + 12.0, RIGHT + 8.0);
            let _ = write!(
                svg,
                r#"<g class="{model}"><path class="leader" d="M{from:.1} {y:.1}L{to} {at:.1}"/><path class="mark" d="{}"/><text class="label" x="{}" y="{:.1}">{model}</text></g>"#,
                shape(model, to + 7.0, at),
                to + 15.0,
                at + 4.5
            );
        }
        svg + "</g>"
    }
}

/// Moves heights, in ascending order, away from each other until lines of text fit there, and keeps
/// them inside.
fn apart(mut heights: Vec<f64>) -> Vec<f64> {
    let mut least = TOP;
    for height in &mut heights {
        *height = height.max(least);
        least = *height + LINE;
    }
    let mut most = BOTTOM;
    for height in heights.iter_mut().rev() {
        *height = height.min(most);
        most = *height - LINE;
    }
    heights
}

/// The places of numbers beside each other, from these wanted places in ascending order: each at
/// most a bit to the left of its own, or nowhere if that is not enough.
fn beside(places: &[f64]) -> Vec<Option<f64>> {
    let mut most = f64::INFINITY;
    let mut written: Vec<Option<f64>> = places
        .iter()
        .rev()
        .map(|&place| {
            let at = place.min(most);
            let is_near = place - at <= COUNT_SHIFT;
            is_near.then(|| {
                most = at - BETWEEN_COUNTS;
                at
            })
        })
        .collect();
    written.reverse();
    written
}

fn path(places: &[(f64, f64)]) -> String {
    let steps = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}"));
    let steps: Vec<String> = steps.collect();
    if steps.is_empty() {
        String::new()
    } else {
        format!("M{}", steps.join("L"))
    }
}

/// The text that appears when the pointer rests on a mark.
fn hint(model: Model, mark: &Mark, metric: &Metric) -> String {
    let spread = mark.spread;
    let [median, min, max] = [spread.median, spread.min, spread.max].map(rounded);
    let limited = if mark.generator_limited {
        "; the generator was the limit, not the server"
    } else {
        ""
    };
    format!(
        "{model}, {}: {median} {} ({min} to {max} in {}){limited}",
        metric.workload.counted(mark.connections),
        metric.unit,
        rounds(spread.rounds)
    )
}

/// The ends of the series and their reasons, models with the same reason together, in lines that
/// fit.
fn notes(all: &[Series], metric: &Metric) -> Vec<String> {
    let is_empty = |series: &Series| series.marks.is_empty() && series.stop.is_none();
    if all.iter().all(is_empty) {
        return vec![match metric.fewest_connections {
            1 => "Nothing was measured here.".to_owned(),
            fewest => {
                let fewest = metric.workload.counted(fewest);
                format!("Nothing was measured here: it takes at least {fewest}.")
            }
        }];
    }
    let mut stops = Vec::new();
    for series in all {
        let Some(stop) = &series.stop else { continue };
        match stops
            .iter_mut()
            .find(|(other, _): &&mut (_, Vec<Model>)| *other == stop)
        {
            Some((_, models)) => models.push(series.model),
            None => stops.push((stop, vec![series.model])),
        }
    }
    let note = |(stop, models): &(&series::Stop, Vec<Model>)| {
        let names: Vec<&str> = models.iter().map(|model| model.name()).collect();
        let at = count(stop.connections);
        let text = format!("✕ {} at {at}: {}", names.join(", "), stop.reason);
        wrapped(&text, NOTE_CHARACTERS)
    };
    stops.iter().flat_map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_distance_and_stay_inside() {
        for heights in [
            vec![100.0, 100.0, 100.0],
            vec![TOP, TOP + 1.0, BOTTOM - 1.0, BOTTOM, BOTTOM],
            vec![BOTTOM; 5],
        ] {
            let moved = apart(heights.clone());
            assert!(
                moved.windows(2).all(|two| two[1] - two[0] >= LINE - 0.001),
                "{moved:?}"
            );
            assert!(
                moved.iter().all(|&at| (TOP..=BOTTOM).contains(&at)),
                "{moved:?}"
            );
        }
        assert_eq!(apart(vec![50.0, 100.0]), [50.0, 100.0]);
    }

    #[test]
    fn numbers_on_the_axis_keep_their_distance_or_are_left_out() {
        let written = beside(&[100.0, 200.0, 221.0]);
        assert_eq!(written, [Some(100.0), Some(194.0), Some(221.0)]);
        let crowded = beside(&[100.0, 105.0, 110.0, 200.0]);
        assert_eq!(crowded, [None, None, Some(110.0), Some(200.0)]);
        assert_eq!(beside(&[]), []);
    }
}
