//! A bounded run of the simulated world, and past failures: see `src/bin/simulate/main.rs`.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Seeds for each server, which take some seconds also without optimisation.
const SEEDS: &str = "400";

fn simulate(arguments: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_simulate");
    let output = Command::new(program).args(arguments).output();
    let output = output.expect("simulate cannot be run");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{complained}");
    printed
}

fn seeds_pass(server: &str) {
    let printed = simulate(&["--seeds", SEEDS, "--server", server]);
    assert!(
        printed.contains(&format!("{server}: {SEEDS} seeds")),
        "{printed}"
    );
}

#[test]
fn echo_in_a_simulated_world() {
    seeds_pass("echo");
}

#[test]
fn upper_in_a_simulated_world() {
    seeds_pass("upper");
}

#[test]
fn sink_in_a_simulated_world() {
    seeds_pass("sink");
}

#[test]
fn chat_in_a_simulated_world() {
    seeds_pass("chat");
}

#[test]
fn a_program_that_connects_in_a_simulated_world() {
    seeds_pass("calls");
}

#[test]
fn past_failures_stay_mended() {
    let printed = simulate(&["--regressions"]);
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/simulate/regressions");
    // A file that the program does not include would never run.
    for file in fs::read_dir(files).expect("a directory") {
        let path = file.expect("an entry").path();
        let name = path.file_stem().and_then(OsStr::to_str).expect("UTF-8");
        let title = format!("{name}: ");
        assert!(
            printed.lines().any(|line| line.starts_with(&title)),
            "{name} did not run"
        );
    }
}

/// A run depends on its seed only, whatever ran before it in the process.
#[test]
fn a_seed_is_one_run() {
    let alone = simulate(&["--server", "chat", "--from", "7", "--seeds", "1", "--trace"]);
    let behind = simulate(&["--server", "chat", "--from", "6", "--seeds", "2", "--trace"]);
    let end = alone.rsplit_once("chat: 1 seeds").expect("figures").0;
    assert!(
        !end.is_empty() && behind.contains(end),
        "seed 7 is another run behind seed 6"
    );
}
