//! Failures that are kept, each with its story: a plan that failed, cut shorter.
//!
//! Each of these plans was found with one rule of the reactor or of a server broken on purpose, and
//! guards that rule. A fault that is found in the field or by a new seed is added here when it is
//! mended.
//!
//! A plan's faults are placed by random numbers, so a change of the simulated kernel may move them. A
//! regression that has lost its point is made anew, by undoing the mend that it is about.

use serde::Deserialize;

use crate::plan::Plan;

/// A plan that failed while a rule was broken.
#[derive(Debug, Deserialize)]
pub(crate) struct Regression {
    pub(crate) name: String,
    /// The rule, and what goes wrong without it.
    pub(crate) story: String,
    pub(crate) plan: Plan,
}

/// The files in `regressions/`.
const FILES: &[&str] = &[
    include_str!("regressions/connect-in-a-full-turn.json"),
    include_str!("regressions/crowd.json"),
    include_str!("regressions/data-and-fin.json"),
    include_str!("regressions/held-lines.json"),
    include_str!("regressions/last-words-of-a-stop.json"),
    include_str!("regressions/linger.json"),
    include_str!("regressions/low-water.json"),
    include_str!("regressions/no-descriptor.json"),
    include_str!("regressions/no-memory.json"),
    include_str!("regressions/partial-write.json"),
    include_str!("regressions/spin.json"),
    include_str!("regressions/stop-with-pending-output.json"),
];

/// All regressions.
pub(crate) fn all() -> Vec<Regression> {
    let parse = |text: &&str| serde_json::from_str(text).expect("a regression's file");
    FILES.iter().map(parse).collect()
}
