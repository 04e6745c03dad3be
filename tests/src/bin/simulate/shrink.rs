//! Cutting a failing plan shorter: clients, steps, signals, faults and options are left out, one after
//! the other, for as long as the same check fails.

use crate::plan::{Plan, Step};
use crate::run::run;

/// Runs at the most.
const RUNS_MAX: usize = 3_000;

/// A shorter plan that fails the same check, and the number of runs that it took to find it.
pub(crate) fn shrink(plan: &Plan, check: &str) -> (Plan, usize) {
    let mut best = plan.clone();
    let mut runs = 0;
    loop {
        let shorter = candidates(&best).into_iter().find(|candidate| {
            runs += 1;
            runs < RUNS_MAX
                && run(candidate, false)
                    .failure
                    .is_some_and(|failure| failure.check == check)
        });
        match shorter {
            Some(shorter) => best = shorter,
            None => return (best, runs),
        }
    }
}

/// Plans that lack something, those that lack the most first.
fn candidates(plan: &Plan) -> Vec<Plan> {
    let mut candidates = Vec::new();
    let mut add = |change: &dyn Fn(&mut Plan)| {
        let mut candidate = plan.clone();
        change(&mut candidate);
        if candidate != *plan {
            candidates.push(candidate);
        }
    };
    // The numbers of clients stand in their lines, so a client that is left out leaves its place.
    for client in 0..plan.clients.len() {
        add(&|plan| plan.clients[client].steps.clear());
    }
    if plan
        .clients
        .last()
        .is_some_and(|client| client.steps.is_empty())
    {
        add(&|plan| plan.clients.truncate(plan.clients.len() - 1));
    }
    add(&|plan| plan.signals.clear());
    for rate in 0..plan.knobs.rates.len() {
        add(&|plan| plan.knobs.rates[rate] = 0);
    }
    for argument in (2..plan.arguments.len()).rev() {
        add(&|plan| drop(plan.arguments.remove(argument)));
    }
    for (client, steps) in plan.clients.iter().map(|it| &it.steps).enumerate() {
        for step in (0..steps.len()).rev() {
            add(&|plan| drop(plan.clients[client].steps.remove(step)));
        }
        for step in 0..steps.len() {
            add(&|plan| halve(&mut plan.clients[client].steps[step]));
        }
    }
    add(&|plan| plan.knobs.gap_us = 0);
    add(&|plan| plan.knobs.turn_us = 0);
    add(&|plan| plan.knobs.descriptors = 1_000);
    candidates
}

fn halve(step: &mut Step) {
    match step {
        Step::Flood(count) => *count /= 2,
        Step::Wait(ms) => *ms /= 2,
        Step::Send(text) => {
            if let Some(at) = text.trim_end().rfind('\n') {
                text.truncate(at + 1);
            }
        }
        _ => {}
    }
}
