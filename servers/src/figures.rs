//! Figures of a server's own, for `--stats` and `/metrics`.

use std::fmt;
use std::time::Duration;

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
