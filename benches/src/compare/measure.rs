//! The whole comparison: all runs of the plan, one after the other.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant, SystemTime};

use edgeloop_reactor::Signals;
use edgeloop_reactor::process::reason;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use super::cores::Cores;
use super::limits::Limits;
use super::machine::Machine;
use super::model::Model;
use super::neighbours::Neighbours;
use super::options::Options;
use super::plan::{Plan, Point};
use super::process::{Missing, adopt_orphans};
use super::programs::{Programs, commands};
use super::record::{Comparison, Outcome, Run};
use super::run::Bench;
use super::verdict::with;

const TEMPLATE: &str = "{msg}\n{elapsed} {wide_bar} {eta} left";

/// How this program was built, as an argument of cargo.
const RELEASE: &str = if cfg!(debug_assertions) {
    ""
} else {
    " --release"
};

/// Measures all that the user asked for, or as much of it as the user waits for. If nothing could
/// be measured, the error is the reason.
pub fn measure(options: &Options) -> Result<Comparison, String> {
    let mut plan = Plan::new(options)?;
    let mut programs = Programs::find(options)?;
    let left_out = programs.compile(&plan.models)?;
    left_out
        .iter()
        .for_each(|(model, _)| plan.leave_out(*model));
    if let (true, Some((_, why))) = (plan.models.is_empty(), left_out.first()) {
        return Err(format!("nothing is measured: {why}"));
    }
    // From here on, a signal that ends the comparison is an event like any other.
    let signals = Signals::new().map_err(|error| format!("signals: {}", reason(&error)))?;
    adopt_orphans()?;
    let (cores, warning) = match options.no_pin {
        true => (Cores::ANY, Some("Nothing is pinned (--no-pin).".into())),
        false => Cores::choose(),
    };
    let mut comparison = describe(plan, &programs, cores);
    comparison.warnings.extend(warning);
    let left_out = left_out
        .iter()
        .map(|(model, why)| format!("{model} is left out: {why}."));
    comparison.warnings.extend(left_out);
    comparison.warnings.extend(unfair());
    let bench = Bench {
        programs,
        cores,
        signals,
    };
    run_all(&mut comparison, &bench);
    comparison.warnings.iter().for_each(|warning| say(warning));
    match comparison.runs.iter().find_map(|run| run.outcome.failure()) {
        Some(failure) if comparison.is_empty() => Err(format!("nothing is measured: {failure}")),
        _ if comparison.is_empty() => Err("nothing is measured: interrupted".into()),
        _ => Ok(comparison),
    }
}

/// The peers in Rust are part of this program, and as fast as it was built to be.
fn unfair() -> Option<String> {
    let why = "Without --release, the peers of this program are not optimised: their figures mean \
               nothing.";
    RELEASE.is_empty().then(|| why.into())
}

/// A comparison without a run.
fn describe(plan: Plan, programs: &Programs, cores: Cores) -> Comparison {
    let machine = Machine::here();
    let command: Vec<String> = env::args().skip(1).collect();
    Comparison {
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        command: format!("cargo run{RELEASE} -p benches -- {}", command.join(" ")),
        cores: cores.describe(),
        versions: programs.versions(&plan.models),
        commands: commands(&plan),
        warnings: Vec::new(),
        machine,
        plan,
        runs: Vec::new(),
    }
}

fn run_all(comparison: &mut Comparison, bench: &Bench) {
    let plan = comparison.plan.clone();
    let limits = Limits::here();
    let progress = progress(&plan);
    let begin = Instant::now();
    for (round, point, model) in plan.runs() {
        let time_limit = plan.time_limit_s.map(Duration::from_secs);
        if time_limit.is_some_and(|limit| begin.elapsed() + plan.estimate(point, model) > limit) {
            let ended = format!("The time was up in round {round} of {}.", plan.rounds);
            comparison.warnings.push(ended);
            break;
        }
        progress.set_message(format!(
            "round {round} of {}: {}, {}, {model}",
            plan.rounds,
            point.workload,
            with(point.workload, &[point.connections]),
        ));
        if comparison.is_worth_trying(point, model) {
            let neighbours = Neighbours::watch(bench.cores);
            let Some(outcome) = attempt(comparison, bench, &limits, point, model) else {
                let ended = format!("Interrupted in round {round} of {}.", plan.rounds);
                comparison.warnings.push(ended);
                break;
            };
            comparison.runs.push(Run {
                round,
                point,
                model,
                others: neighbours.share(),
                outcome,
            });
        }
        progress.inc(plan.estimate(point, model).as_millis() as u64);
    }
}

/// `None`: the user has ended the comparison.
fn attempt(
    comparison: &Comparison,
    bench: &Bench,
    limits: &Limits,
    point: Point,
    model: Model,
) -> Option<Outcome> {
    let bytes_each = comparison.bytes_per_connection(model);
    if let Some(why) = limits.forbid(model, point.connections, bytes_each) {
        return Some(Outcome::Failed(why));
    }
    match bench.run(&comparison.plan, point, model) {
        Ok(report) => Some(Outcome::Measured(Box::new(report))),
        Err(Missing::Failed(why)) => Some(Outcome::Failed(why)),
        Err(Missing::Interrupted) => None,
    }
}

/// The progress bar: what is running, and how long the rest will take. Its length is the estimate
/// in milliseconds, which the time that has passed corrects.
fn progress(plan: &Plan) -> ProgressBar {
    let estimates = plan
        .runs()
        .map(|(_, point, model)| plan.estimate(point, model));
    let limit = plan.time_limit_s.map_or(Duration::MAX, Duration::from_secs);
    let estimate = estimates.sum::<Duration>().min(limit);
    let whole_seconds = Duration::from_secs(estimate.as_secs().max(1));
    let runs = plan.runs().count();
    say(&format!(
        "runs: {runs}, about {}",
        humantime::format_duration(whole_seconds)
    ));
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let target = ProgressDrawTarget::stderr_with_hz(2);
    let bar = ProgressBar::with_draw_target(Some(estimate.as_millis() as u64), target)
        .with_finish(ProgressFinish::AndClear);
    bar.enable_steady_tick(Duration::from_secs(1));
    match ProgressStyle::with_template(TEMPLATE) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Tells the user. An error is ignored: standard error may be closed.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
