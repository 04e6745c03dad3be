//! `benches cost`, and its reference figures of `edgeloop`: a change that costs instructions is
//! seen here, on a busy machine too.

use std::io::{self, Write};
use std::process::Command;

use benches::compare::model::Model;
use benches::compare::programs::Programs;
use benches::cost::counted::valgrind;
use benches::cost::load::Load;
use benches::cost::measure::{Cost, measure};
use benches::cost::reference::{OURS, Reference, TOLERANCE, TOOLCHAIN, Toolchain};

/// Times that a load is counted before its figures are held to be wrong.
const ATTEMPTS: usize = 3;

/// Prints a line even if the test passes. The harness shows output of `println!` only if it fails.
fn report(line: &str) {
    let _ = writeln!(io::stderr(), "cost: {line}");
}

#[test]
fn a_message_costs_what_it_did() {
    if let Err(why) = valgrind() {
        return report(&format!("SKIPPED: {why}"));
    }
    let programs = Programs::servers(None).expect("edgeloop in release");
    let wrong: Vec<String> = OURS
        .iter()
        .filter_map(|reference| always_differs(&programs, reference))
        .collect();
    let toolchain = Toolchain::here().to_string();
    if toolchain == TOOLCHAIN {
        assert!(
            wrong.is_empty(),
            "{wrong:#?}; if this is meant, write it into benches/src/cost/reference.rs"
        );
    } else {
        report(&format!(
            "NOT HELD: the figures are of {TOOLCHAIN}; here is {toolchain}"
        ));
        wrong.iter().for_each(|line| report(line));
    }
}

/// The figures of a load that are not near their reference, in a line, if they are so each time. On a
/// busy machine a turn may be cut for its time, and a chat may announce its members in more lines.
fn always_differs(programs: &Programs, reference: &Reference) -> Option<String> {
    (1..ATTEMPTS).try_for_each(|_| differs(programs, reference).map(drop))?;
    differs(programs, reference)
}

/// The figures of a load that are not near their reference, in a line.
fn differs(programs: &Programs, reference: &Reference) -> Option<String> {
    let load = reference.load;
    let server = load
        .server(programs, Model::Reactor)
        .expect("edgeloop serves all");
    let cost = measure(load, &server, None).unwrap_or_else(|why| panic!("{load}: {why}"));
    let Cost {
        instructions,
        clock_reads,
        ..
    } = cost;
    let is_near = |figure: f64, reference: f64| (figure - reference).abs() <= TOLERANCE * reference;
    let holds = is_near(instructions, reference.instructions)
        && reference
            .clock_reads
            .is_none_or(|reads| is_near(clock_reads, reads));
    (!holds).then(|| {
        format!(
            "{load}: {instructions:.1} instructions, {clock_reads:.2} clock reads a turn; \
             expected {reference:?}"
        )
    })
}

#[test]
fn every_load_has_a_reference() {
    assert_eq!(OURS.map(|reference| reference.load), Load::ALL);
}

/// Without valgrind, a line says so.
#[test]
fn a_debug_build_is_refused_in_a_line() {
    let output = Command::new(env!("CARGO_BIN_EXE_benches"))
        .arg("cost")
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    let expected = match cfg!(debug_assertions) {
        true => "cargo run --release",
        false => "valgrind is missing",
    };
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains(expected), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
}
