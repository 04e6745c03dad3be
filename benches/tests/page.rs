//! The page in a browser: every plot has its series, and every part its place, on a desktop and on
//! a phone, light and dark.
//!
//! The page is shown in frames of two widths. `inspect.js` measures what the browser has made of it
//! and leaves that in the document, which headless Chromium prints.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use benches::compare::machine::Machine;
use benches::compare::markdown::markdown;
use benches::compare::metric::metrics;
use benches::compare::model::Model;
use benches::compare::page::page;
use benches::compare::plan::{Plan, Point};
use benches::compare::plot::document;
use benches::compare::record::{Comparison, Outcome, Run};
use benches::compare::report::{Client, Latency, Report, Server};
use benches::compare::text::escape;
use benches::compare::workload::Workload;
use serde::Deserialize;

const CONNECTIONS: [usize; 6] = [1, 10, 100, 1_000, 5_000, 10_000];
const ROUNDS: usize = 3;
/// The number of connections at which fork stops.
const TOO_MANY: usize = 10_000;
const REASON: &str = "no process for it: Resource temporarily unavailable; the clients: <3 & more>";

/// The measurements of `inspect.js` in one frame.
#[derive(Debug, Deserialize)]
struct Seen {
    /// The width of the frame, in pixels.
    width: f64,
    /// The width that the page needs.
    scroll_width: f64,
    /// The colour behind the plots: red, green and blue.
    surface: [u8; 3],
    plots: Vec<Plot>,
}

#[derive(Debug, Deserialize)]
struct Plot {
    id: String,
    /// Its whole text.
    text: String,
    /// Parts that reach beyond its edge.
    outside: Vec<String>,
    /// Labels that cover each other.
    overlapping: Vec<String>,
    /// The height of its smallest letters, in pixels.
    smallest_text: f64,
    series: BTreeMap<String, Drawn>,
}

#[derive(Debug, Deserialize)]
struct Drawn {
    marks: usize,
    hollow: usize,
    /// Spreads that have a height.
    spreads: usize,
    /// Pixels from the first mark to the last.
    line_width: f64,
    colour: String,
    label: bool,
}

#[test]
fn every_plot_has_its_series_at_any_width_and_in_both_schemes() {
    let page = page(&comparison());
    for scheme in ["light", "dark"] {
        for seen in look_at(&page, scheme) {
            let place = format!("{scheme}, {} pixels", seen.width);
            assert!(
                seen.scroll_width <= seen.width,
                "{place}: {} wide",
                seen.scroll_width
            );
            let brightness = seen
                .surface
                .iter()
                .map(|&part| u32::from(part))
                .sum::<u32>()
                / 3;
            assert_eq!(
                brightness > 128,
                scheme == "light",
                "{place}: {:?}",
                seen.surface
            );
            let ids: Vec<&str> = seen.plots.iter().map(|plot| plot.id.as_str()).collect();
            let expected: Vec<&str> = metrics().map(|metric| metric.id).collect();
            assert_eq!(ids, expected, "{place}");
            seen.plots.iter().for_each(|plot| check(plot, &place));
        }
    }
}

#[test]
fn the_page_says_where_processes_and_threads_are_as_good() {
    let html = page(&comparison());
    assert!(
        html.contains("<li>Messages per second, at 1 connection</li>"),
        "{html}"
    );
    assert!(
        html.contains("<li>Throughput, at 1 connection</li>"),
        "{html}"
    );
    assert!(!html.contains("<li>Memory per connection, at"), "{html}");
    let mut loops_only = comparison();
    loops_only.plan.models = vec![Model::Reactor, Model::Mio];
    assert!(!page(&loops_only).contains("Where fork and threads are as good"));
}

#[test]
fn where_the_generator_was_the_limit_the_page_says_what_that_means() {
    let page = page(&comparison());
    let said = "The generator was the limit beside mio (at 100):";
    assert!(
        page.contains(&format!("{said} these servers could have done more.")),
        "{page}"
    );
    assert!(
        page.contains(&format!("{said} these times contain its own queue.")),
        "{page}"
    );
    // The rate at the cost of the middle round: 300,000 / (1.01 * 1.2).
    assert!(
        page.contains("<td class=\"best\">≥ 248,000<small>"),
        "{page}"
    );
}

#[test]
fn the_table_for_a_readme_has_a_row_for_each_model_and_few_columns() {
    let markdown = markdown(&comparison());
    let rows: Vec<&str> = markdown
        .lines()
        .filter(|line| line.starts_with('|'))
        .collect();
    assert_eq!(rows.len(), 2 + Model::ALL.len(), "{markdown}");
    for row in &rows {
        assert_eq!(row.matches('|').count(), 10, "{row}");
    }
    let libev = rows
        .iter()
        .find(|row| row.starts_with("| libev |"))
        .unwrap();
    assert!(libev.ends_with("| – |"), "there is no chat on it: {libev}");
    let fork = rows.iter().find(|row| row.starts_with("| fork |")).unwrap();
    assert!(fork.contains("| – |"), "it did not get that far: {fork}");
    for part in [
        "CPU µs per message<br>10,000 connections",
        "`cargo run --release -p benches",
        "2026-01-31",
    ] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
}

#[test]
fn the_page_says_of_how_many_rounds_the_medians_are() {
    let mut comparison = comparison();
    assert!(page(&comparison).contains("medians of 3 rounds"));
    // In the last round, the time was up.
    comparison.runs.truncate(comparison.runs.len() - 10);
    assert!(page(&comparison).contains("medians of 2 to 3 rounds"));
}

#[test]
fn a_page_of_nothing_is_a_page_too() {
    let mut comparison = comparison();
    comparison.runs.clear();
    comparison.plan.points.clear();
    assert!(page(&comparison).contains("Nothing was measured here"));
    comparison.plan.models.clear();
    comparison.plan.rounds = 0;
    assert!(page(&comparison).contains("Nothing was measured here"));
    assert!(markdown(&comparison).starts_with("| model |\n| --- |\n"));
    assert!(metrics().all(|metric| document(&comparison, metric).contains("</svg>")));
}

fn check(plot: &Plot, place: &str) {
    let place = format!("{place}, {}", plot.id);
    assert!(
        plot.outside.is_empty(),
        "{place}: outside: {:?}",
        plot.outside
    );
    assert!(
        plot.overlapping.is_empty(),
        "{place}: {:?}",
        plot.overlapping
    );
    assert!(
        plot.smallest_text > 8.0,
        "{place}: {} px",
        plot.smallest_text
    );

    let metric = metrics()
        .find(|metric| metric.id == plot.id)
        .expect("a metric");
    let drawn: BTreeSet<&str> = plot.series.keys().map(String::as_str).collect();
    let serving = Model::ALL
        .into_iter()
        .filter(|model| model.serves(metric.workload));
    let serving: BTreeSet<&str> = serving.map(Model::name).collect();
    assert_eq!(drawn, serving, "{place}");
    let mut colours: Vec<&str> = plot
        .series
        .values()
        .map(|drawn| drawn.colour.as_str())
        .collect();
    colours.sort_unstable();
    colours.dedup();
    assert_eq!(colours.len(), serving.len(), "{place}: {colours:?}");

    let echo = metric.workload == Workload::Echo;
    let all: Vec<usize> = points()
        .filter(|point| point.workload == metric.workload)
        .map(|point| point.connections)
        .filter(|&connections| connections >= metric.fewest_connections)
        .collect();
    for (model, drawn) in &plot.series {
        let stops = echo && model == "fork";
        let marks = all.len() - usize::from(stops);
        assert_eq!(
            (drawn.marks, drawn.spreads),
            (marks, marks),
            "{place}: {model}"
        );
        assert!(
            drawn.line_width > 30.0,
            "{place}: {model}: {}",
            drawn.line_width
        );
        assert!(drawn.label, "{place}: {model} has no name");
        let hollow = usize::from(metric.needs_generator && model == "mio");
        assert_eq!(drawn.hollow, hollow, "{place}: {model}");
    }
    // Words, because notes are broken into lines.
    let says_why = REASON.split(' ').all(|word| plot.text.contains(word));
    assert_eq!(says_why, echo, "{place}: {}", plot.text);
}

/// Shows the page in both frames.
fn look_at(page: &str, scheme: &str) -> Vec<Seen> {
    let directory = tempfile::tempdir().expect("a directory");
    let frames = [390, 1280].map(|width| {
        format!(
            r#"<iframe width="{width}" height="900" srcdoc="{}"></iframe>"#,
            escape(page)
        )
    });
    let html = format!(
        "<!DOCTYPE html><body>{}<pre></pre><script>{}</script>",
        frames.concat(),
        include_str!("page/inspect.js")
    );
    let file = directory.path().join("frames.html");
    fs::write(&file, html).expect("a file");
    let output = Command::new(browser())
        // Chromium refuses its sandbox to root, and the page is our own.
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .arg(format!(
            "--user-data-dir={}",
            directory.path().join("profile").display()
        ))
        // In Blink's own numbers, 0 is dark.
        .arg(format!(
            "--blink-settings=preferredColorScheme={}",
            u8::from(scheme == "light")
        ))
        .args(["--window-size=1400,1000", "--hide-scrollbars", "--dump-dom"])
        .arg(format!("file://{}", file.display()))
        .output()
        .expect("Chromium can be started");
    let dom = String::from_utf8(output.stdout).expect("UTF-8");
    let seen = dom
        .split_once("<pre>")
        .and_then(|(_, rest)| rest.split_once("</pre>"));
    let (seen, _) = seen.unwrap_or_else(|| {
        panic!(
            "nothing is seen:\n{dom}\n{}",
            String::from_utf8_lossy(&output.stderr)
        )
    });
    let seen = seen
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    serde_json::from_str(&seen).unwrap_or_else(|error| panic!("{error}: {seen}"))
}

/// The first browser that there is.
fn browser() -> &'static str {
    let known = ["chromium", "chromium-browser", "google-chrome"];
    let runs = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    known
        .into_iter()
        .find(runs)
        .expect("needs `chromium`: run tests/run, which installs it")
}

fn points() -> impl Iterator<Item = Point> {
    Workload::ALL.into_iter().flat_map(|workload| {
        CONNECTIONS.map(|connections| Point {
            workload,
            connections,
        })
    })
}

/// A full comparison: every model at every point, but for fork, which stops early in one workload,
/// and with a generator that was the limit at one point of mio's.
fn comparison() -> Comparison {
    let plan = Plan {
        models: Model::ALL.to_vec(),
        points: points().collect(),
        rounds: ROUNDS,
        duration_ms: 1_000,
        warm_up_ms: 100,
        time_limit_s: None,
    };
    let run = |(round, point, model)| Run {
        round,
        point,
        model,
        others: 0.05,
        outcome: outcome(round, point, model),
    };
    Comparison {
        date: "2026-01-31T12:00:00Z".into(),
        command: "cargo run --release -p benches -- compare".into(),
        machine: Machine::here(),
        cores: "the server on core 1, the generator on core 0".into(),
        versions: BTreeMap::from([("mio".into(), "1.0.0".into())]),
        commands: vec!["edgeloop echo 127.0.0.1:0 --model a-word-that-is-too-long-for-a-phone-and-must-be-broken".into()],
        warnings: vec!["Interrupted in round 3 of 3.".into()],
        runs: plan.runs().map(run).collect(),
        plan,
    }
}

fn outcome(round: usize, point: Point, model: Model) -> Outcome {
    let Point {
        workload,
        connections,
    } = point;
    if model == Model::Fork && workload == Workload::Echo && connections == TOO_MANY {
        return Outcome::Failed(REASON.into());
    }
    let place = Model::ALL
        .iter()
        .position(|&other| other == model)
        .expect("a model");
    // Some models come so close to each other that their labels have to give way.
    let cost = match connections {
        // All models are level.
        1 => 1.0,
        _ => [1.0, 4.0, 3.0, 1.01, 1.02, 0.99, 1.19, 1.2, 1.21, 1.8][place],
    };
    let cost = cost * (1.0 + 0.1 * round as f64);
    let rate = 300_000.0 / cost;
    let is_chat = workload == Workload::Chat;
    Outcome::Measured(Box::new(Report {
        connected: connections as u64,
        messages: 1_000,
        messages_per_s: rate,
        connects_per_s: (workload == Workload::Connect).then_some(rate),
        delivered_per_s: is_chat.then_some(rate * 100.0),
        latency_us: Latency {
            p50: connections as f64 * cost,
            p99: connections as f64 * cost * 2.0,
            p999: connections as f64 * cost * 200.0,
            rest: serde_json::Map::new(),
        },
        mismatches: 0,
        errors: BTreeMap::new(),
        client: Client {
            limited: model == Model::Mio && connections == 100,
            rest: serde_json::Map::new(),
        },
        server: Some(Server {
            cpu_us_per_message: cost,
            cpu_us_per_delivery: is_chat.then_some(cost / 100.0),
            pss_bytes_per_connection: Some(40.0 * cost.powi(5)),
            voluntary_switches_per_message: cost / 5.0,
            involuntary_switches_per_message: 0.01,
            switches_complete: true,
            rest: serde_json::Map::new(),
        }),
        rest: serde_json::Map::new(),
    }))
}
