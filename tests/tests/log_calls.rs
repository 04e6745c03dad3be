//! Each line that the log has at its default level is one that no stranger can cause, or goes through
//! `RateLimitedLog`. A new call of `log::info!`, `log::warn!` or `log::error!` belongs into the table
//! below with the reason why no stranger can cause it.

use std::collections::BTreeMap;

use tests::source::{rust_files, workspace};

/// Files with such calls, their number, and why no stranger can cause the lines.
const CALLS: &[(&str, usize, &str)] = &[
    ("reactor/src/rate_limited_log.rs", 2, "the limit itself"),
    ("reactor/src/reactor.rs", 2, "a stop, and its end"),
    ("reactor/src/sources/bound.rs", 1, "a listener is closed"),
    ("reactor/src/sources/bound/names.rs", 1, "at start"),
    (
        "servers/src/backplane/redis.rs",
        1,
        "the operator's Redis: once when it is back",
    ),
    ("servers/src/chat.rs", 2, "SIGHUP; at start"),
    (
        "servers/src/chat/outage.rs",
        1,
        "the operator's Redis: once when it is out of reach for 5 s",
    ),
    (
        "servers/src/chat/syncing.rs",
        1,
        "the operator's Redis: once when entries are missing",
    ),
    (
        "servers/src/chat/transcript.rs",
        3,
        "the file: once when it fails, once when it is back",
    ),
    ("servers/src/limits.rs", 2, "at start"),
    ("servers/src/logging.rs", 2, "SIGHUP"),
    ("servers/src/models/acceptor.rs", 2, "a stop, and its end"),
    (
        "servers/src/talk.rs",
        2,
        "the calling side, for its own call",
    ),
    ("servers/src/workers/printer.rs", 1, "the end"),
    ("servers/src/workers/supervisor.rs", 1, "SIGUSR1 or --stats"),
];

#[test]
fn a_stranger_causes_no_line_of_the_log_without_a_limit() {
    let workspace = workspace();
    let crates = ["reactor", "servers"];
    let files = crates.map(|name| rust_files(&workspace.join(name).join("src")));
    let mut found = BTreeMap::new();
    for (path, text) in files.into_iter().flatten() {
        let calls = ["info!(", "warn!(", "log::error!(", "log::log!("];
        let count: usize = calls.iter().map(|call| text.matches(call).count()).sum();
        if count > 0 {
            let name = path.strip_prefix(&workspace).expect("in the workspace");
            found.insert(name.display().to_string(), count);
        }
    }
    let known: BTreeMap<String, usize> = CALLS
        .iter()
        .map(|(file, count, _)| ((*file).to_owned(), *count))
        .collect();
    assert_eq!(found, known, "the left side is what the files have");
}
