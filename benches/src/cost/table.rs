//! The figures as text.

use std::fmt::Write;

use super::load::Load;
use super::measure::{Cost, Row};

const HEAD: &str = "\
User instructions for each; clock reads for each turn and system calls for each message of the first.
The server finds in one turn what all clients send: 64 messages, cycles or datagrams, or lines of 10
talkers among 1,000 members. Each figure is the difference of a long and a short run under callgrind.
";

/// A row for each server.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = format!("{HEAD}\n{:9}", "");
    for load in Load::ALL {
        let _ = write!(text, "  {load}");
    }
    text.push_str("  clock reads  system calls\n");
    for row in rows {
        let _ = write!(text, "{:9}", row.model.name());
        for load in Load::ALL {
            let instructions = row.costs.get(&load).map(|cost| cost.instructions);
            let _ = write!(text, "  {}", cell(instructions, load.to_string().len(), 1));
        }
        let of_echo = |figure: fn(&Cost) -> f64| row.costs.get(&Load::Echo).map(figure);
        let clock_reads = cell(of_echo(|cost| cost.clock_reads), 11, 2);
        let system_calls = cell(of_echo(|cost| cost.system_calls), 12, 3);
        let _ = writeln!(text, "  {clock_reads}  {system_calls}");
    }
    text
}

fn cell(figure: Option<f64>, width: usize, digits: usize) -> String {
    match figure {
        Some(figure) => format!("{figure:>width$.digits$}"),
        None => format!("{:>width$}", "-"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::compare::model::Model;

    #[test]
    fn a_load_that_a_server_does_not_serve_is_a_dash() {
        let cost = Cost {
            instructions: 484.04,
            system_calls: 2.015_625,
            clock_reads: 2.0,
            turns: 1.0,
        };
        let row = Row {
            model: Model::Libev,
            costs: BTreeMap::from([(Load::Echo, cost)]),
        };
        let table = table(&[row]);
        let cells: Vec<&str> = table.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(cells, ["libev", "484.0", "-", "-", "-", "2.00", "2.016"]);
    }
}
