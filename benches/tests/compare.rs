//! `benches compare` as its user meets it, on settings that take no time.
//!
//! Where the generator's report matters, a script takes its place: it writes down the servers that
//! it was asked to measure, and does as the test wants.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use benches::compare::metric::metrics;
use benches::compare::model::Model;
use benches::compare::plan::Point;
use benches::compare::record::Comparison;
use benches::compare::text::escape;
use benches::compare::workload::Workload;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tests::server::{binary, edgecall};
use tests::until;

/// How the program that is tested was built.
const DEBUG: bool = cfg!(debug_assertions);

/// The script's report on a run in which all went well.
const REPORT: &str = r#"{"connected": 1, "messages": 10, "messages_per_s": 10.0, "connects_per_s": 5.0, "delivered_per_s": 90.0,
    "latency_us": {"p50": 1, "p99": 2, "p999": 3}, "mismatches": 0, "errors": {},
    "client": {"limited": false},
    "server": {"cpu_us_per_message": 4.0, "cpu_us_per_delivery": 0.4, "pss_bytes_per_connection": 5.0,
        "voluntary_switches_per_message": 0.5, "involuntary_switches_per_message": 0.5,
        "switches_complete": true}}"#;

/// The script's report on a run in which clients were lost.
const TROUBLE: &str = r#"{"connected": 1, "messages": 10, "messages_per_s": 10.0, "connects_per_s": 5.0, "delivered_per_s": 90.0,
    "latency_us": {"p50": 1, "p99": 2, "p999": 3}, "mismatches": 0, "errors": {"reset": 7},
    "client": {"limited": false}, "server": null}"#;

/// A quick comparison of everything that there is: the whole way from the command to the files.
/// Other tests run on the same cores, so the scheduler has to be free to choose.
#[test]
fn every_model_is_measured_at_every_point() {
    let directory = directory();
    let arguments =
        "--quick --models all --connections 3 --rounds 1 --duration 300ms --warm-up 10ms --no-pin";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let output = start(directory.path(), edgecall(), &arguments)
        .wait_with_output()
        .unwrap();
    let comparison = comparison(directory.path(), &output);
    let failures: Vec<_> = comparison
        .runs
        .iter()
        .filter_map(|run| run.outcome.failure())
        .collect();
    assert!(failures.is_empty(), "{failures:?}");
    let measured = comparison
        .runs
        .iter()
        .map(|run| (run.round, run.point, run.model));
    assert!(
        measured.eq(comparison.plan.runs()),
        "{:?}",
        comparison.warnings
    );
    let expected = all_but_the_forbidden(&comparison);
    for workload in Workload::ALL {
        let models = comparison
            .runs
            .iter()
            .filter(|run| run.point.workload == workload);
        let serving = expected.iter().filter(|model| model.serves(workload));
        assert_eq!(models.count(), serving.count(), "{workload}");
    }
    for run in &comparison.runs {
        let report = comparison.reports(run.point, run.model).next().unwrap();
        assert!(report.connected >= run.point.connections as u64, "{run:?}");
        for metric in metrics().filter(|metric| metric.workload == run.point.workload) {
            assert!((metric.value)(report).is_some(), "{}: {run:?}", metric.id);
        }
    }
    let is_release = comparison.command.starts_with("cargo run --release ");
    let mut warnings = comparison.warnings.iter();
    let warns = warnings.any(|why| why.contains("not optimised"));
    assert_eq!((is_release, warns), (!DEBUG, DEBUG));
    let liburing = expected.contains(&Model::Uring).then_some("liburing");
    let libraries = ["mio", "tokio", "libuv", "libev", "libevent"];
    for library in libraries.into_iter().chain(liburing) {
        assert!(
            comparison.versions.contains_key(library),
            "{:?}",
            comparison.versions
        );
    }
    for file in ["comparison.html", "comparison.md", "comparison-rate.svg"] {
        let text = fs::read_to_string(directory.path().join(file)).unwrap();
        assert!(
            expected.iter().all(|model| text.contains(model.name())),
            "{file}:\n{text}"
        );
    }
}

/// An administrator may forbid io_uring(7); all the others must be there.
fn all_but_the_forbidden(comparison: &Comparison) -> Vec<Model> {
    let mut warnings = comparison.warnings.iter();
    let is_forbidden = warnings.any(|warning| warning.contains("io_uring is not"));
    let is_expected = |model: &Model| *model != Model::Uring || !is_forbidden;
    Model::ALL.into_iter().filter(is_expected).collect()
}

#[test]
fn where_a_model_stops_it_is_not_asked_for_more_and_the_page_says_why() {
    let directory = directory();
    let script = script(
        directory.path(),
        &format!(
            "case \"$connections $command\" in\n[23]\\ *fork*) echo '{TROUBLE}'; exit 1;;\n\
             *) echo '{REPORT}';;\nesac"
        ),
    );
    let output = start(
        directory.path(),
        &script,
        &[
            "--connections",
            "1,2,3",
            "--rounds",
            "3",
            "--models",
            "fork,thread",
        ],
    )
    .wait_with_output()
    .unwrap();
    let comparison = comparison(directory.path(), &output);
    let outcomes = |connections, model| {
        let point = Point {
            workload: Workload::Echo,
            connections,
        };
        let outcomes = comparison.outcomes(point, model);
        outcomes
            .map(|outcome| outcome.failure())
            .collect::<Vec<_>>()
    };
    let failed = Some("reset (7 times)");
    assert_eq!(outcomes(1, Model::Fork), [None; 3]);
    assert_eq!(
        outcomes(2, Model::Fork),
        [failed; 2],
        "one more chance, and no third"
    );
    assert_eq!(outcomes(3, Model::Fork), []);
    assert_eq!(outcomes(3, Model::Thread), [None; 3]);
    let page = fs::read_to_string(directory.path().join("comparison.html")).unwrap();
    assert!(page.contains("✕ fork at 2: reset (7 times)"), "{page}");

    let again = directory.path().join("again");
    let done = from(&directory.path().join("comparison.json"), &again);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(
        fs::read_to_string(again.join("comparison.html")).unwrap(),
        page
    );
}

#[test]
fn an_interrupt_ends_it_with_the_runs_so_far_and_leaves_no_process() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let directory = directory();
        let script = script(
            directory.path(),
            &format!("case \"$connections\" in 1) echo '{REPORT}';; *) exec sleep 600;; esac"),
        );
        let child = start(
            directory.path(),
            &script,
            &["--connections", "1,2", "--models", "fork"],
        );
        let asked = || fs::read_to_string(directory.path().join("asked")).unwrap_or_default();
        until("the second run", || asked().lines().count() == 2);
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let comparison = comparison(directory.path(), &output);
        assert_eq!(comparison.runs.len(), 1);
        assert_eq!(
            comparison.warnings.last().unwrap(),
            "Interrupted in round 1 of 5."
        );
        for pid in asked().split_whitespace() {
            assert!(!Path::new("/proc").join(pid).exists(), "{pid} is left");
        }
    }
}

#[test]
fn when_it_is_killed_no_process_is_left_either() {
    let directory = directory();
    let script = script(directory.path(), "exec sleep 600");
    let arguments = ["--connections", "1", "--models", "reactor"];
    let mut child = start(directory.path(), &script, &arguments);
    let asked = || fs::read_to_string(directory.path().join("asked")).unwrap_or_default();
    until("the first run", || asked().lines().count() == 1);
    child.kill().unwrap();
    child.wait().unwrap();
    for pid in asked().split_whitespace() {
        let is_gone = || !Path::new("/proc").join(pid).exists();
        until(&format!("{pid} has ended"), is_gone);
    }
}

#[test]
fn an_endless_plan_is_an_error_in_one_line() {
    for (option, value, complaint) in [
        (
            "--rounds",
            "0",
            "connections and rounds are numbers of at least 1",
        ),
        (
            "--rounds",
            "18446744073709551615",
            "there are at most 1,000 rounds",
        ),
        ("--warm-up", "876000h", "a run takes a day at most"),
    ] {
        let directory = directory();
        let child = start(directory.path(), edgecall(), &[option, value]);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(last_complaint(&output), format!("benches: {complaint}"));
    }
}

#[test]
fn nothing_measured_is_an_error_in_one_line() {
    let directory = directory();
    let script = script(
        directory.path(),
        "echo 'no such command' >&2; echo 'try --help' >&2; exit 2",
    );
    let child = start(
        directory.path(),
        &script,
        &["--connections", "1", "--rounds", "1"],
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        last_complaint(&output),
        "benches: nothing is measured: no such command"
    );
    assert!(!directory.path().join("comparison.html").exists());
}

#[test]
fn a_peer_that_cannot_be_built_is_left_out_and_the_page_says_why() {
    let directory = directory();
    let script = script(directory.path(), &format!("echo '{REPORT}'"));
    let arguments = [
        "--connections",
        "1",
        "--rounds",
        "1",
        "--models",
        "thread,raw",
    ];
    let mut command = command(directory.path(), binary(), &script, &arguments);
    // The directory has no compiler in it.
    let output = command.env("PATH", directory.path()).output().unwrap();
    let comparison = comparison(directory.path(), &output);
    assert_eq!(comparison.plan.models, [Model::Thread]);
    let why = comparison.warnings.first().unwrap();
    assert!(why.starts_with("raw is left out: cannot start cc"), "{why}");
    let page = fs::read_to_string(directory.path().join("comparison.html")).unwrap();
    assert!(page.contains(&escape(why)), "{page}");
}

#[test]
fn a_peer_that_does_not_start_is_left_out_and_the_page_says_why() {
    let directory = directory();
    let script = script(directory.path(), &format!("echo '{REPORT}'"));
    // A compiler that makes programs of its own.
    executable(
        &directory.path().join("cc"),
        "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\n\
         printf '#!/bin/sh\\necho \"not permitted\" >&2\\nexit 1\\n' >\"$2\"\nchmod +x \"$2\"\n",
    );
    let arguments = ["--rounds", "1", "--models", "thread,uring"];
    let mut command = command(directory.path(), binary(), &script, &arguments);
    let path = format!("{}:/usr/bin:/bin", directory.path().display());
    let output = command.env("PATH", path).output().unwrap();
    let comparison = comparison(directory.path(), &output);
    assert_eq!(comparison.plan.models, [Model::Thread]);
    let why = "uring is left out: not permitted.";
    assert_eq!(comparison.warnings.first().unwrap(), why);
    let page = fs::read_to_string(directory.path().join("comparison.html")).unwrap();
    assert!(page.contains(why), "{page}");
}

#[test]
fn a_server_that_does_not_start_is_told_in_its_own_words() {
    let directory = directory();
    let server = directory.path().join("edgeloop");
    executable(
        &server,
        "#!/bin/sh\necho 'edgeloop: not today' >&2\nexit 1\n",
    );
    let arguments = ["--models", "reactor", "--rounds", "1"];
    let mut command = command(directory.path(), &server, edgecall(), &arguments);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        last_complaint(&output),
        "benches: nothing is measured: edgeloop: not today"
    );
}

#[test]
fn files_that_cannot_be_written_are_known_before_anything_is_measured() {
    let directory = directory();
    let script = script(directory.path(), &format!("echo '{REPORT}'"));
    let nowhere = Path::new("/proc/comparison");
    let mut command = command(nowhere, binary(), &script, &["--connections", "1"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        last_complaint(&output),
        "benches: cannot write /proc/comparison: No such file or directory (os error 2)"
    );
    assert!(!directory.path().join("asked").exists());
}

#[test]
fn a_file_that_is_no_comparison_is_an_error_in_one_line() {
    let directory = directory();
    let file = directory.path().join("comparison.json");
    for (content, complaint) in [
        (
            "",
            "not a comparison: EOF while parsing a value at line 1 column 0",
        ),
        (
            "[1]",
            "not a comparison: invalid type: integer `1`, expected a string at line 1 column 2",
        ),
        (
            r#"{"date": "today"}"#,
            "not a comparison: missing field `command` at line 1 column 17",
        ),
    ] {
        fs::write(&file, content).unwrap();
        let output = from(&file, directory.path());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let path = file.display();
        assert_eq!(
            last_complaint(&output),
            format!("benches: cannot read {path}: {complaint}")
        );
    }
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1,
        "nothing is left behind"
    );
}

fn from(file: &Path, output: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_benches"))
        .args(["compare", "--from"])
        .arg(file)
        .arg("--output")
        .arg(output)
        .output()
        .expect("benches can be started")
}

fn last_complaint(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    stderr.lines().last().unwrap_or_default().to_owned()
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn start(directory: &Path, generator: &Path, arguments: &[&str]) -> Child {
    command(directory, binary(), generator, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("benches can be started")
}

fn command(output: &Path, server: &Path, generator: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_benches"));
    command.arg("compare").arg("--edgeloop").arg(server);
    command.arg("--edgecall").arg(generator);
    command.arg("--output").arg(output).args(arguments);
    command
}

fn comparison(directory: &Path, output: &Output) -> Comparison {
    assert!(output.status.success(), "{output:?}");
    let json = fs::read_to_string(directory.join("comparison.json")).expect("comparison.json");
    serde_json::from_str(&json).expect("a comparison")
}

/// A generator that does as the test wants: it knows `$connections` and the server's `$command`,
/// and has written its own process id and the server's to the file `asked`.
fn script(directory: &Path, body: &str) -> PathBuf {
    let path = directory.join("edgecall");
    let asked = directory.join("asked");
    let script = format!(
        r#"#!/bin/sh
[ "$1" = load ] || exit 1
while [ $# -gt 0 ]; do
    case "$1" in
    --connections) connections=$2 ;;
    --server-pid) server=$2 ;;
    esac
    shift
done
PATH=/usr/bin:/bin
command=$(tr '\0' ' ' </proc/"$server"/cmdline)
echo "$$ $server" >>'{}'
{body}
"#,
        asked.display()
    );
    executable(&path, &script);
    path
}

fn executable(path: &Path, script: &str) {
    fs::write(path, script).expect("the script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
}
