//! Comparisons of the models in words, made only where the figures allow them.

use super::metric::{Better, Metric, metrics};
use super::model::Model;
use super::number::{count, listed, ratio};
use super::record::Comparison;
use super::series::{self, Mark, Series};
use super::stats::Spread;
use super::workload::Workload;

/// Medians that differ by less than this part are level: rounds differ by more.
pub const TIE: f64 = 0.05;

/// The models with the best median at one number of connections: the best itself and all that are
/// level with it, if there are others to compare it with.
///
/// No model is the best if the generator held up one that is behind: that one might have been the
/// best.
#[must_use]
pub fn best(all: &[Series], metric: &Metric, connections: usize) -> Vec<Model> {
    let mark = |series: &Series| Some((series.model, *series.at(connections)?));
    let marks: Vec<(Model, Mark)> = all.iter().filter_map(mark).collect();
    let one_before_other = |one: &Spread, other: &Spread| match metric.better {
        Better::More => other.median.total_cmp(&one.median),
        Better::Less => one.median.total_cmp(&other.median),
    };
    let best = marks
        .iter()
        .map(|&(_, mark)| mark.spread)
        .min_by(one_before_other);
    let Some(best) = best.filter(|_| marks.len() > 1) else {
        return Vec::new();
    };
    let (first, behind): (Vec<_>, Vec<_>) = marks
        .into_iter()
        .partition(|(_, mark)| are_level(metric, &best, &mark.spread));
    if behind.iter().any(|(_, mark)| mark.generator_limited) {
        return Vec::new();
    }
    first.into_iter().map(|(model, _)| model).collect()
}

/// Whether a difference is too small to be believed: the medians are close, or each of them lies
/// within the rounds of the other.
fn are_level(metric: &Metric, best: &Spread, other: &Spread) -> bool {
    let close = (best.median.abs() * TIE).max(metric.negligible);
    (best.median - other.median).abs() <= close
        || (best.contains(other.median) && other.contains(best.median))
}

/// All sentences under the plot of a metric.
#[must_use]
pub fn all(comparison: &Comparison, metric: &Metric) -> Vec<String> {
    let all = Series::all(comparison, metric);
    let connections = series::connections(comparison, metric);
    let said = [
        sentence(&all, metric, &connections),
        ratios(&all, metric, &connections),
        limited(&all, metric),
    ];
    said.into_iter().flatten().collect()
}

/// The best models at each number of connections, in a sentence; `None` if there is no best at any.
#[must_use]
pub fn sentence(all: &[Series], metric: &Metric, connections: &[usize]) -> Option<String> {
    let bests = connections
        .iter()
        .map(|&count| (count, best(all, metric, count)));
    let bests: Vec<_> = bests.collect();
    let phrases: Vec<String> = bests
        .chunk_by(|(_, before), (_, after)| before == after)
        .filter(|alike| !alike[0].1.is_empty())
        .map(|alike| {
            let numbers: Vec<usize> = alike.iter().map(|&(count, _)| count).collect();
            format!(
                "{} {}",
                best_names(&alike[0].1, all.len()),
                with(metric.workload, &numbers)
            )
        })
        .collect();
    (!phrases.is_empty()).then(|| format!("Best median: {}.", phrases.join("; ")))
}

/// The ratios of the others to the reactor, at the greatest number of connections that most of them
/// reached; `None` if there is nothing to compare.
#[must_use]
pub fn ratios(all: &[Series], metric: &Metric, connections: &[usize]) -> Option<String> {
    let reached = |count: usize| {
        all.iter()
            .filter(|series| series.at(count).is_some())
            .count()
    };
    let at = connections
        .iter()
        .copied()
        .max_by_key(|&count| (reached(count), count))?;
    let median = |series: &Series| Some(series.at(at)?.spread.median);
    let reactor = all.iter().find(|series| series.model == Model::Reactor)?;
    let unit = median(reactor).filter(|&unit| unit > metric.negligible)?;
    let others = all.iter().filter(|series| series.model != Model::Reactor);
    let beside = |series: &Series| {
        let times = ratio(median(series)? / unit);
        Some(format!("{} {times}", series.model))
    };
    let others: Vec<String> = others.filter_map(beside).collect();
    let with = with(metric.workload, &[at]);
    (!others.is_empty()).then(|| format!("If the reactor is 1, {with}: {}.", others.join(", ")))
}

/// The models beside which the generator was the limit, in a sentence; `None` if that spoils
/// nothing here.
#[must_use]
pub fn limited(all: &[Series], metric: &Metric) -> Option<String> {
    let of = |series: &Series| {
        let limited = series.marks.iter().filter(|mark| mark.generator_limited);
        let counts: Vec<String> = limited.map(|mark| count(mark.connections)).collect();
        (!counts.is_empty()).then(|| format!("{} (at {})", series.model, listed(&counts)))
    };
    let models: Vec<String> = all.iter().filter_map(of).collect();
    let consequence = match metric.better {
        Better::More => "these servers could have done more",
        Better::Less => "these times contain its own queue",
    };
    let limited = !models.is_empty();
    limited.then(|| {
        format!(
            "The generator was the limit beside {}: {consequence}.",
            listed(&models)
        )
    })
}

/// The metrics in which one of these models is best, or level with the best: a phrase for each.
#[must_use]
pub fn strengths(comparison: &Comparison, models: &[Model]) -> Vec<String> {
    let of_metric = |metric: &Metric| {
        let all = Series::all(comparison, metric);
        let strong = |count: &usize| {
            best(&all, metric, *count)
                .iter()
                .any(|model| models.contains(model))
        };
        let mut numbers = series::connections(comparison, metric);
        numbers.retain(strong);
        let where_it_is = match numbers[..] {
            [] => return None,
            [one] => metric.workload.counted(one),
            _ => {
                let counts: Vec<String> = numbers.iter().map(|&number| count(number)).collect();
                format!("{} {}", listed(&counts), metric.workload.clients())
            }
        };
        Some(format!("{}, at {where_it_is}", metric.title))
    };
    metrics().filter_map(of_metric).collect()
}

fn best_names(models: &[Model], of: usize) -> String {
    match models {
        [one] => one.to_string(),
        all if all.len() == of => "all level".into(),
        several => {
            let names: Vec<String> = several.iter().map(Model::to_string).collect();
            format!("{}, level,", listed(&names))
        }
    }
}

/// Numbers of clients in words; of several, the first and the last.
#[must_use]
pub fn with(workload: Workload, numbers: &[usize]) -> String {
    match numbers {
        [one] => format!("with {}", workload.counted(*one)),
        [first, .., last] => format!("with {} to {}", count(*first), workload.counted(*last)),
        [] => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(model: Model, medians: &[(usize, f64)]) -> Series {
        let mark = |&(connections, median): &(usize, f64)| Mark {
            connections,
            spread: Spread::of(vec![median]).unwrap(),
            generator_limited: false,
        };
        Series {
            model,
            marks: medians.iter().map(mark).collect(),
            stop: None,
        }
    }

    /// One number of connections, measured in several rounds.
    fn rounds(model: Model, values: &[f64]) -> Series {
        let mark = Mark {
            connections: 1,
            spread: Spread::of(values.to_vec()).unwrap(),
            generator_limited: false,
        };
        Series {
            model,
            marks: vec![mark],
            stop: None,
        }
    }

    fn metric(id: &str) -> &'static Metric {
        metrics().find(|metric| metric.id == id).unwrap()
    }

    #[test]
    fn within_five_per_cent_is_level_and_beyond_is_not() {
        let all = [
            series(Model::Reactor, &[(1, 100.0)]),
            series(Model::Fork, &[(1, 95.0)]),
            series(Model::Thread, &[(1, 106.0)]),
            series(Model::Mio, &[(2, 1.0)]),
        ];
        let (rate, cpu) = (metric("rate"), metric("cpu"));
        assert_eq!(best(&all, rate, 1), [Model::Thread]);
        assert_eq!(best(&all[..2], rate, 1), [Model::Reactor, Model::Fork]);
        assert_eq!(best(&all, cpu, 1), [Model::Fork]);
        assert_eq!(
            best(&all, cpu, 2),
            [],
            "there is no other to compare it with"
        );
    }

    #[test]
    fn medians_that_might_be_each_others_rounds_are_level() {
        let noisy = rounds(Model::Reactor, &[80.0, 100.0, 130.0]);
        let as_noisy = rounds(Model::Mio, &[90.0, 120.0, 125.0]);
        let steady = rounds(Model::Tokio, &[119.0, 120.0, 121.0]);
        let cpu = metric("cpu");
        assert_eq!(
            best(&[noisy.clone(), as_noisy], cpu, 1),
            [Model::Reactor, Model::Mio]
        );
        assert_eq!(best(&[noisy, steady], cpu, 1), [Model::Reactor]);
    }

    #[test]
    fn no_model_is_best_before_one_that_the_generator_held_up() {
        let mut all = [
            rounds(Model::Reactor, &[100.0]),
            rounds(Model::Mio, &[120.0]),
            rounds(Model::Fork, &[50.0]),
        ];
        let rate = metric("rate");
        assert_eq!(best(&all, rate, 1), [Model::Mio]);
        all[1].marks[0].generator_limited = true;
        assert_eq!(best(&all, rate, 1), [Model::Mio], "it can only be better");
        all[0].marks[0].generator_limited = true;
        assert_eq!(
            best(&all, rate, 1),
            [],
            "the figures do not say how much better each is"
        );
        assert_eq!(sentence(&all, rate, &[1]), None);
    }

    #[test]
    fn a_generator_at_its_limit_is_named_with_what_follows() {
        let mut all = [series(Model::Reactor, &[(1, 2.0), (10, 4.0), (100, 5.0)])];
        assert_eq!(limited(&all, metric("rate")), None);
        all[0].marks[1..]
            .iter_mut()
            .for_each(|mark| mark.generator_limited = true);
        assert_eq!(
            limited(&all, metric("rate")).unwrap(),
            "The generator was the limit beside reactor (at 10 and 100): these servers could have \
             done more."
        );
        let of_latency = limited(&all, metric("p99")).unwrap();
        assert!(
            of_latency.ends_with("these times contain its own queue."),
            "{of_latency}"
        );
    }

    #[test]
    fn a_negligible_difference_is_none() {
        let all = [
            series(Model::Reactor, &[(1, 0.002)]),
            series(Model::Mio, &[(1, 0.004)]),
            series(Model::Fork, &[(1, 1.0)]),
        ];
        let switches = metric("switches");
        assert_eq!(best(&all, switches, 1), [Model::Reactor, Model::Mio]);
        assert_eq!(ratios(&all, switches, &[1]), None);
    }

    #[test]
    fn points_with_the_same_winners_are_named_together() {
        let all = [
            series(
                Model::Reactor,
                &[(1, 9.0), (10, 20.0), (100, 30.0), (1_000, 40.0)],
            ),
            series(
                Model::Fork,
                &[(1, 10.0), (10, 5.0), (100, 5.0), (1_000, 5.0)],
            ),
            series(
                Model::Mio,
                &[(1, 10.0), (10, 5.0), (100, 5.0), (1_000, 39.0)],
            ),
        ];
        assert_eq!(
            sentence(&all, metric("rate"), &[1, 10, 100, 1_000]).unwrap(),
            "Best median: fork and mio, level, with 1 connection; reactor with 10 to 100 \
             connections; reactor and mio, level, with 1,000 connections."
        );
    }

    #[test]
    fn a_point_without_a_winner_is_not_counted_among_its_neighbours() {
        let medians = [(1, 9.0), (10, 9.0), (100, 9.0)];
        let mut all = [
            series(Model::Reactor, &medians),
            series(
                Model::Fork,
                &medians.map(|(connections, _)| (connections, 5.0)),
            ),
        ];
        all[1].marks[1].generator_limited = true;
        assert_eq!(
            sentence(&all, metric("rate"), &[1, 10, 100]).unwrap(),
            "Best median: reactor with 1 connection; reactor with 100 connections."
        );
    }

    #[test]
    fn no_difference_is_said_to_be_none() {
        let all = [Model::Reactor, Model::Fork].map(|model| series(model, &[(1, 5.0)]));
        let said = sentence(&all, metric("cpu"), &[1]);
        assert_eq!(said.unwrap(), "Best median: all level with 1 connection.");
        assert_eq!(sentence(&all[..1], metric("cpu"), &[1]), None);
    }

    #[test]
    fn ratios_are_taken_where_most_models_are() {
        let all = [
            series(Model::Reactor, &[(1, 2.0), (10, 4.0), (100, 5.0)]),
            series(Model::Fork, &[(1, 2.0), (10, 10.0)]),
        ];
        assert_eq!(
            ratios(&all, metric("cpu"), &[1, 10, 100]).unwrap(),
            "If the reactor is 1, with 10 connections: fork 2.50."
        );
        assert_eq!(ratios(&all[1..], metric("cpu"), &[1, 10, 100]), None);
    }
}
