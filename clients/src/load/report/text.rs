//! A report as text: for people, and the latencies for plotters.

use std::fmt::{self, Write};

use hdrhistogram::Histogram;
use indicatif::{BinaryBytes, HumanCount};

use super::{Client, Latency, Options, Report, Server, ratio};

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.options)?;
        let (messages, rate) = (HumanCount(self.messages), Rate(self.messages_per_s));
        let unit = self.options.unit();
        writeln!(
            out,
            "{unit:<12}{messages} in {:.2} s: {rate}",
            self.elapsed_s
        )?;
        if let (Some(lines), Some(rate)) = (self.delivered, self.delivered_per_s) {
            writeln!(out, "heard       {}: {}", HumanCount(lines), Rate(rate))?;
        }
        let bytes = |bytes: u64| {
            let rate = ratio(bytes as f64, self.elapsed_s) as u64;
            format!("{} ({}/s)", BinaryBytes(bytes), BinaryBytes(rate))
        };
        writeln!(out, "sent        {}", bytes(self.bytes_sent))?;
        if self.bytes_received > 0 {
            writeln!(out, "received    {}", bytes(self.bytes_received))?;
        }
        if self.latency_us.count > 0 {
            writeln!(out, "latency     {}", self.latency_us)?;
        }
        let is_shared = self.options.threads > 1;
        let each = if is_shared { " each" } else { "" };
        writeln!(out, "generator   {}{each}", self.client)?;
        if let Some(server) = &self.server {
            writeln!(out, "server      {server}")?;
        }
        for (what, count) in &self.mismatch_kinds {
            writeln!(out, "MISMATCH    {what}: {}", HumanCount(*count))?;
        }
        for (what, count) in &self.errors {
            writeln!(out, "ERROR       {what}: {}", HumanCount(*count))?;
        }
        for note in &self.notes {
            writeln!(out, "note        {note}")?;
        }
        Ok(())
    }
}

impl Options {
    /// The unit of the messages.
    pub(super) fn unit(&self) -> &'static str {
        match self.kind.as_str() {
            "chat" | "sink" => "lines",
            "connect" => "connections",
            _ => "messages",
        }
    }
}

impl fmt::Display for Options {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options {
            kind,
            address,
            connections,
            size,
            depth,
            ..
        } = self;
        write!(
            out,
            "{kind} {address}: {connections} connections, {size} bytes, depth {depth}"
        )?;
        match self.rate {
            Some(rate) => write!(out, ", planned {rate}/s")?,
            None => out.write_str(", closed loop")?,
        }
        write!(out, ", {} s", self.duration_s)?;
        if self.warm_up_s > 0.0 {
            write!(out, " after {} s of warm-up", self.warm_up_s)?;
        }
        if let Some(talkers) = self.talkers {
            write!(out, ", {talkers} talk")?;
        }
        if self.threads > 1 {
            write!(out, ", {} threads", self.threads)?;
        }
        if self.sources > 1 {
            write!(out, ", {} sources", self.sources)?;
        }
        if let Some(rate) = self.connect_rate {
            write!(out, ", {rate} connects/s")?;
        }
        Ok(())
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency {
            min,
            mean,
            p50,
            p90,
            p99,
            p999,
            max,
            ..
        } = *self;
        let [min, mean, p50, p90] = [min, mean, p50, p90].map(Micros);
        let [p99, p999, max] = [p99, p999, max].map(Micros);
        write!(
            out,
            "min {min}, mean {mean}, p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, max {max}"
        )
    }
}

impl fmt::Display for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.2} µs of CPU a message", self.cpu_us_per_message)?;
        if let Some(each) = self.cpu_us_per_delivery {
            write!(out, ", {each:.3} µs a line heard")?;
        }
        write!(out, ", {:.0} % of a core", self.cpu_share * 100.0)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.2} µs of CPU a message", self.cpu_us_per_message)?;
        if let Some(each) = self.cpu_us_per_delivery {
            write!(out, ", {each:.3} µs a line heard")?;
        }
        write!(
            out,
            ", {:.0} % of a core, {:.3} voluntary and {:.3} involuntary switches a message\n\
             server      {}",
            self.cpu_share * 100.0,
            self.voluntary_switches_per_message,
            self.involuntary_switches_per_message,
            BinaryBytes(self.pss_bytes)
        )?;
        if let Some(each) = self.pss_bytes_per_connection {
            write!(out, " idle, {each:.0} bytes a connection")?;
        }
        let (processes, threads) = (self.processes, self.threads);
        write!(out, "; processes: {processes}, threads: {threads}")
    }
}

/// A rate, by the second.
struct Rate(f64);

impl fmt::Display for Rate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            rate if rate < 100.0 => write!(out, "{rate:.1}/s"),
            rate => write!(out, "{}/s", HumanCount(rate.round() as u64)),
        }
    }
}

/// A time in microseconds, in the unit that suits it.
struct Micros(f64);

impl fmt::Display for Micros {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us if us < 100.0 => write!(out, "{us:.1} µs"),
            us if us < 1e3 => write!(out, "{us:.0} µs"),
            us if us < 1e5 => write!(out, "{:.2} ms", us / 1e3),
            us if us < 1e6 => write!(out, "{:.0} ms", us / 1e3),
            us => write!(out, "{:.2} s", us / 1e6),
        }
    }
}

/// Steps of the percentiles for each halving of the distance to 100 %.
const STEPS: u32 = 5;

/// The latencies, in microseconds, as HdrHistogram's plotter reads them.
pub(in crate::load) fn percentiles(latency: &Histogram<u64>) -> String {
    let us = |nanos: u64| nanos as f64 / 1e3;
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut total = 0;
    for step in latency.iter_quantiles(STEPS) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (us(step.value_iterated_to()), step.quantile_iterated_to());
        let _ = match quantile < 1.0 {
            true => writeln!(
                text,
                "{value:12.3} {quantile:14.12} {total:10} {:14.2}",
                1.0 / (1.0 - quantile)
            ),
            false => writeln!(text, "{value:12.3} {quantile:14.12} {total:10}"),
        };
    }
    let (mean, deviation) = (latency.mean() / 1e3, latency.stdev() / 1e3);
    let _ = write!(
        text,
        "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n\
         #[Max     = {:12.3}, Total count    = {total:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {:12}]\n",
        us(latency.max()),
        latency.buckets(),
        (2 * 10u64.pow(latency.sigfig().into())).next_power_of_two(),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_in_the_format_that_plotters_read() {
        let mut latency = Histogram::new(3).expect("valid digits");
        (1..=10).for_each(|milliseconds| latency.saturating_record(milliseconds * 1_000_000));
        let text = percentiles(&latency);
        let mut lines = text.lines();
        let head = "       Value     Percentile TotalCount 1/(1-Percentile)";
        assert_eq!((lines.next(), lines.next()), (Some(head), Some("")));
        let rows: Vec<Vec<f64>> = lines
            .by_ref()
            .take_while(|line| !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .map(|word| word.parse().unwrap())
                    .collect()
            })
            .collect();
        assert!(rows.is_sorted_by(|one, next| one[0] <= next[0] && one[1] < next[1]));
        let (last, others) = rows.split_last().expect("rows");
        assert_eq!((last[1], last[2], last.len()), (1.0, 10.0, 3));
        assert!(others.iter().all(|row| row.len() == 4));
        assert_eq!(lines.count(), 2);
    }
}
