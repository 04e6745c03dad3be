//! The text format of Prometheus, version 0.0.4: families of samples, each with its help and its type.
//!
//! Names and help texts are this program's own and need no escapes; only the values of labels are escaped.

use std::fmt::{Display, Write};
use std::iter::zip;

use edgeloop_reactor::TurnTimes;

/// The media type of the format.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics, to which one family after another is added.
#[derive(Debug, Default)]
pub(super) struct Text {
    text: String,
}

impl Text {
    /// The page.
    pub(super) fn into_string(self) -> String {
        self.text
    }

    /// A number that only grows, until the process starts anew. Its name ends in `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, "counter");
        self.sample(name, None, value);
    }

    /// A number that goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, "gauge");
        self.sample(name, None, value);
    }

    /// A gauge that is 1, and tells something by the value of its label.
    pub(super) fn info(&mut self, name: &str, help: &str, label: (&str, &str)) {
        self.head(name, help, "gauge");
        self.sample(name, Some(label), 1);
    }

    /// Counters that differ in the value of one label, and add up to a whole.
    pub(super) fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.head(name, help, "counter");
        for (value, count) in values {
            self.sample(name, Some((label, value)), count);
        }
    }

    /// A histogram of times, in seconds.
    pub(super) fn histogram(&mut self, name: &str, help: &str, times: &TurnTimes) {
        self.head(name, help, "histogram");
        let bucket = format!("{name}_bucket");
        let bounds = TurnTimes::BOUNDS.map(|bound| bound.as_secs_f64().to_string());
        let mut so_far = 0;
        for (bound, count) in zip(&bounds, times.counts) {
            so_far += count;
            self.sample(&bucket, Some(("le", bound)), so_far);
        }
        let all: u64 = times.counts.iter().sum();
        self.sample(&bucket, Some(("le", "+Inf")), all);
        self.sample(&format!("{name}_sum"), None, times.busy.as_secs_f64());
        self.sample(&format!("{name}_count"), None, all);
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, label: Option<(&str, &str)>, value: impl Display) {
        match label {
            None => self.line(format_args!("{name} {value}")),
            Some((label, text)) => {
                let text = escaped(text);
                self.line(format_args!("{name}{{{label}=\"{text}\"}} {value}"));
            }
        }
    }

    fn line(&mut self, line: impl Display) {
        let _ = writeln!(self.text, "{line}");
    }
}

/// The value of a label as it stands between quotes.
fn escaped(value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('"', r#"\""#);
    value.replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_family_is_its_help_its_type_and_its_samples() {
        let mut text = Text::default();
        text.counter("a_total", "Things.", 3);
        text.counters("b_total", "Ends.", "cause", &[("eof", 1), ("\\\"\n", 2)]);
        text.gauge("c_seconds", "Time.", 0.000_025);
        let expected = "# HELP a_total Things.\n# TYPE a_total counter\na_total 3\n\
            # HELP b_total Ends.\n# TYPE b_total counter\nb_total{cause=\"eof\"} 1\n\
            b_total{cause=\"\\\\\\\"\\n\"} 2\n\
            # HELP c_seconds Time.\n# TYPE c_seconds gauge\nc_seconds 0.000025\n";
        assert_eq!(text.into_string(), expected);
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up() {
        let mut times = TurnTimes::default();
        (times.counts[0], times.counts[1], times.counts[19]) = (2, 3, 4);
        times.busy = Duration::from_millis(41_500);
        let mut text = Text::default();
        text.histogram("h_seconds", "Turns.", &times);
        let text = text.into_string();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines[..2],
            [
                "h_seconds_bucket{le=\"0.00001\"} 2",
                "h_seconds_bucket{le=\"0.000025\"} 5"
            ]
        );
        let end = [
            "h_seconds_bucket{le=\"10\"} 5",
            "h_seconds_bucket{le=\"+Inf\"} 9",
            "h_seconds_sum 41.5",
            "h_seconds_count 9",
        ];
        assert_eq!(lines[18..], end);
    }
}
