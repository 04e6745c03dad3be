//! The page: one HTML file that needs nothing else. Its words are in `templates/page.html`.

use askama::Template;

use super::metric;
use super::model::Model;
use super::number::{percent, rounds};
use super::plot;
use super::record::Comparison;
use super::shape;
use super::table;
use super::verdict;

/// Below this part of the cores' time, other programs do not matter.
const QUIET: f64 = 0.02;

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    comparison: &'a Comparison,
}

/// The page about a comparison.
#[must_use]
pub fn page(comparison: &Comparison) -> String {
    Page { comparison }.to_string()
}

impl Page<'_> {
    fn origin(&self) -> String {
        let machine = &self.comparison.machine;
        format!(
            "{} · {}, {} cores · {} · medians of {}",
            self.comparison.date,
            machine.processor,
            machine.cores,
            machine.kernel,
            self.comparison.rounds()
        )
    }

    /// Reasons to doubt the figures, for the head of the page.
    fn warnings(&self) -> Vec<String> {
        let mut all = self.comparison.warnings.clone();
        let others = self.comparison.others();
        all.extend(others.filter(|others| others.median > QUIET).map(|others| {
            format!(
                "The machine was not quiet: other programs took {} of the time of these cores, \
                 and {} in the worst run.",
                percent(others.median),
                percent(others.max)
            )
        }));
        all.extend(self.comparison.exceptions().map(|(run, why)| {
            format!(
                "Round {}: {} failed at \"{}\" {}, and that is not counted: {why}.",
                run.round,
                run.model,
                run.point.workload,
                verdict::with(run.point.workload, &[run.point.connections])
            )
        }));
        all
    }

    /// Where a loop is no gain; `None` if there is nothing to set beside a loop.
    fn strengths(&self) -> Option<Vec<String>> {
        let blocking = [Model::Fork, Model::Thread];
        let mut models = self.comparison.plan.models.iter();
        let are_there = models.any(|model| blocking.contains(model));
        are_there.then(|| verdict::strengths(self.comparison, &blocking))
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let plan = &self.comparison.plan;
        let versions = self.comparison.versions.iter();
        let versions: Vec<String> = versions
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        let run = format!(
            "{} ms, after {} ms that do not count; a new server for each",
            plan.duration_ms, plan.warm_up_ms
        );
        let order = format!(
            "{}; in each, all loads; in these, all numbers of connections; with each of these, \
             all models in turn",
            rounds(plan.rounds)
        );
        let others = self.comparison.others().map_or_else(String::new, |others| {
            let [median, max] = [others.median, others.max].map(percent);
            format!(
                "took {median} of the time of these cores in the median run, {max} in the worst"
            )
        });
        let mut facts = vec![
            ("Date", self.comparison.date.clone()),
            ("Command", self.comparison.command.clone()),
            ("Cores used", self.comparison.cores.clone()),
            ("A run", run),
            ("Order", order),
            ("Versions", versions.join(", ")),
            ("Other programs", others),
        ];
        facts.extend(self.comparison.machine.facts());
        facts
    }
}
