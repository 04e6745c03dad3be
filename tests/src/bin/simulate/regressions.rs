//! Past failures, each with its story: a plan that once failed, cut shorter.
//!
//! A plan's faults are placed by random numbers, so a change of the simulated kernel may move them. A
//! regression that has lost its point is made anew, by undoing the mend that it is about.

use serde::Deserialize;

use crate::plan::Plan;

/// A plan that once failed.
#[derive(Debug, Deserialize)]
pub(crate) struct Regression {
    pub(crate) name: String,
    /// What went wrong, and why.
    pub(crate) story: String,
    pub(crate) plan: Plan,
}

/// The files in `regressions/`.
const FILES: &[&str] = &[];

/// All regressions.
pub(crate) fn all() -> Vec<Regression> {
    let parse = |text: &&str| serde_json::from_str(text).expect("a regression's file");
    FILES.iter().map(parse).collect()
}
