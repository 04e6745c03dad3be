//! Servers on five models over real TCP on the loopback device: the reactor, fork, threads, mio and
//! tokio. Each is a process of its own with a core of its own, and its clients are this process.

mod chat;
mod connect;
mod echo;

use std::path::Path;
use std::time::Duration;

use benches::compare::cores::pinned;
use benches::or_end;
use benches::server::cores;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use edgeloop_reactor::process::{raise_descriptor_limit, reason};

/// One descriptor for each client, and some.
const DESCRIPTORS: u64 = 1_100;

/// The program that has all servers in it.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_benches"))
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        // Some iterations take milliseconds: each sample has as many of them as the others.
        .sampling_mode(SamplingMode::Flat)
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    group
}

fn check_descriptors() -> Result<(), String> {
    match raise_descriptor_limit() {
        Ok(DESCRIPTORS..) => Ok(()),
        Ok(allowed) => Err(format!(
            "{DESCRIPTORS} descriptors are needed, {allowed} allowed (ulimit -Hn)"
        )),
        Err(error) => Err(format!("the limit of descriptors: {}", reason(&error))),
    }
}

fn main() {
    or_end(check_descriptors());
    or_end(pinned(cores().generator, || {
        let mut criterion = Criterion::default().configure_from_args();
        echo::bench(&mut criterion);
        connect::bench(&mut criterion);
        chat::bench(&mut criterion);
        criterion.final_summary();
        Ok(())
    }));
}
