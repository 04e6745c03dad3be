//! Figures of a server's own, for `--stats` and `/metrics`.

use std::fmt;
use std::time::Duration;

use edgeloop_reactor::Stats;

/// A figure that is not among the reactor's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name in `--stats`; in the metrics it has the prefix of the program and the suffix of its kind.
    pub name: &'static str,
    /// A sentence about it.
    pub help: &'static str,
    /// Its value now.
    pub value: Value,
}

/// The value of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number that only grows.
    Count(u64),
    /// A number that goes up and down.
    Number(u64),
    /// A time that goes up and down.
    Time(Duration),
}

/// The counters of a reactor and the figures of its server, or the sums of several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) stats: Stats,
    pub(crate) own: Vec<Figure>,
}

impl Counters {
    /// Adds those of another server of the same kind. Of two times the longer one counts.
    pub(crate) fn merge(&mut self, other: &Counters) {
        self.stats.merge(&other.stats);
        for figure in &other.own {
            match self.own.iter_mut().find(|own| own.name == figure.name) {
                Some(own) => own.value.merge(figure.value),
                None => self.own.push(*figure),
            }
        }
    }
}

impl Value {
    fn merge(&mut self, other: Value) {
        match (self, other) {
            (Value::Count(sum), Value::Count(more)) | (Value::Number(sum), Value::Number(more)) => {
                *sum += more;
            }
            (Value::Time(longest), Value::Time(time)) => *longest = time.max(*longest),
            _ => {}
        }
    }
}

/// Figures as they follow the counters in a line of `--stats`: `name=value`, a time in milliseconds.
pub(crate) struct Pairs<'a>(pub(crate) &'a [Figure]);

impl fmt::Display for Pairs<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Figure { name, value, .. } in self.0 {
            match value {
                Value::Count(count) | Value::Number(count) => write!(out, " {name}={count}")?,
                Value::Time(time) => write!(out, " {name}_ms={}", time.as_millis())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_several_servers_are_one_sum() {
        let figure = |name, value| Figure {
            name,
            help: "",
            value,
        };
        let counters = |count, seconds| Counters {
            stats: Stats::default(),
            own: vec![
                figure("gaps", Value::Count(count)),
                figure("pending", Value::Number(count)),
                figure("lag", Value::Time(Duration::from_secs(seconds))),
            ],
        };
        let mut sum = Counters::default();
        for (count, seconds) in [(1, 5), (2, 7), (4, 6)] {
            sum.merge(&counters(count, seconds));
        }
        assert_eq!(sum.own, counters(7, 7).own);
        assert_eq!(Pairs(&sum.own).to_string(), " gaps=7 pending=7 lag_ms=7000");
    }
}
