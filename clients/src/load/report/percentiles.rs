//! Latencies in the format in which HdrHistogram prints percentile distributions.

use std::fmt::Write;

use hdrhistogram::Histogram;

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
