//! The page: one HTML file that needs nothing else.

use std::fmt::Write;

use super::metric::{Metric, SECTIONS, Section};
use super::model::Model;
use super::number::{percent, rounds};
use super::plot;
use super::record::Comparison;
use super::series::{self, Series};
use super::shape::swatch;
use super::table;
use super::verdict;

const STYLE: &str = include_str!("page.css");

const LEAD: &str = "An echo server sends back whatever it receives. Here are several, which do the \
    same in different ways, each on one core of the same machine, under the same load from a \
    generator on another core. The differences are what the ways cost.";

const HOW_TO_READ: &[&str] = &[
    "Each mark is the median of all rounds, and the thin upright line behind it reaches from the \
     least round to the greatest. The horizontal axis is logarithmic: equal steps are equal \
     ratios, such as ten times as many connections. So is the vertical one where it says so.",
    "What is called best is the best median. Level with it is whatever is within 5 % of it, and \
     whatever is as uncertain: when each of the two medians lies within the rounds of the other, \
     the next rounds could turn their order around. Nobody is called best where a hollow mark is \
     behind the others: that server might have been.",
    "A hollow mark, ≥ or ≤ in a table, means that the generator was busy all the time and the \
     server was not. For each message the generator does what an event loop does, a send and a \
     receive, which costs it about as much; so with one core for each, a good loop is often not \
     the one that is waited for. Such a rate is a lower bound, such a latency is mostly the \
     generator's own queue, and two good servers look more alike in both than they are. \
     Processor time is not concerned: it counts what the server has done, however long it had to \
     wait for more. Where rate and processor time disagree, believe processor time.",
    "A cross is where a model could not go on; why is said under the plot. Rest the pointer on a \
     mark to see its figures.",
];

const BLOCKING: &str = "A process or a thread that waits for its one client is woken as directly \
    as a loop that waits for all. With one connection there is nothing to share, so nothing is \
    gained by a loop; and where a message is large, or real work follows it, switching to another \
    task is a small part of the whole. Code that may wait is also easier to write, and a process \
    of its own keeps a crash from everybody else. Neither of these is a figure here.";

/// Below this part, other programs do not matter.
const QUIET: f64 = 0.02;

/// What a reader might conclude, and should not.
const LIMITATIONS: &[&str] = &[
    "There is no network. Loopback has no latency, no loss and no card; the kernel hands each \
     message over within the machine, and does part of the receiver's work on the sender's core.",
    "Server and generator are on one machine and share its memory, some of its caches and its \
     kernel. On a virtual machine, others may use the same cores.",
    "The server has one core. That is fair to loops, which use one, and hides what threads and \
     processes do with more.",
    "Echo is the least a server can do, and a chat not much more. The more a server does with a \
     message, the less it matters how it came to know of it.",
    "The clients wait for their answers before they ask again. A server that pauses is asked less \
     meanwhile.",
    "The models do not all do the same. The servers of edgeloop have their limits and timeouts \
     on: they watch for clients that do not read (--stall-timeout) and for those that say nothing \
     (--idle-timeout), count what they do, and can end in good order. The others do none of that, \
     which is in their favour.",
    "Absolute figures belong to this machine on this day. Only what is on the same page can be \
     compared.",
];

/// The page about a comparison.
#[must_use]
pub fn page(comparison: &Comparison) -> String {
    let sections: Vec<String> = SECTIONS
        .iter()
        .map(|section| self::section(comparison, section))
        .collect();
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The reactor, fork and threads, measured</title>
<style>
{}{STYLE}</style>
</head>
<body>
<header>
<h1>The reactor, fork and threads, measured</h1>
<p>{LEAD}</p>
<p class="muted">{}</p>
{}</header>
<main>
<h2>Who is compared</h2>
{}
<h2>At a glance</h2>
<p>Medians; bold is the best and whatever is level with it. With ≥ or ≤, the generator was the
limit: the server could have done better, and where such a one is behind, nobody is best.</p>
{}
{}<h2>How to read the plots</h2>
{}
{}
<h2>What this does not show</h2>
{}
<h2>How it was measured</h2>
{}
</main>
</body>
</html>
"#,
        plot::STYLE,
        escape(&origin(comparison)),
        warnings(comparison),
        models(comparison),
        table::summary(comparison),
        strengths(comparison),
        HOW_TO_READ
            .iter()
            .map(|text| paragraph(text))
            .collect::<String>(),
        sections.join("\n"),
        list(LIMITATIONS.iter().copied()),
        method(comparison),
    )
}

/// Text in HTML: five characters have a meaning there.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escape(text))
}

fn origin(comparison: &Comparison) -> String {
    let machine = &comparison.machine;
    format!(
        "{} · {}, {} cores · {} · medians of {}",
        comparison.date,
        machine.processor,
        machine.cores,
        machine.kernel,
        comparison.rounds()
    )
}

/// What a reader should know before believing any of it.
fn warnings(comparison: &Comparison) -> String {
    let mut all = comparison.warnings.clone();
    all.extend(comparison.others().filter(|others| others.median > QUIET).map(|others| {
        format!(
            "The machine was not quiet: other programs took {} of the time of these cores, and {} \
             in the worst run.",
            percent(others.median),
            percent(others.max)
        )
    }));
    all.extend(comparison.exceptions().map(|(run, why)| {
        format!(
            "Round {}: {} failed at \"{}\" {}, and that is not counted: {why}.",
            run.round,
            run.model,
            run.point.workload,
            verdict::with(run.point.workload, &[run.point.connections])
        )
    }));
    match all.is_empty() {
        true => String::new(),
        false => format!(
            "<div class=\"warnings\">{}</div>\n",
            list(all.iter().map(String::as_str))
        ),
    }
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let items: Vec<String> = items
        .map(|item| format!("<li>{}</li>", escape(item)))
        .collect();
    format!("<ul>{}</ul>", items.join("\n"))
}

fn models(comparison: &Comparison) -> String {
    let items = comparison
        .plan
        .models
        .iter()
        .fold(String::new(), |mut items, &model| {
            let _ = writeln!(
                items,
                r#"<li class="{model}">{}<b>{model}</b><span>{}</span></li>"#,
                swatch(model),
                escape(model.about())
            );
            items
        });
    format!("<ul class=\"models\">\n{items}</ul>")
}

/// Where a reader need not bother with a loop.
fn strengths(comparison: &Comparison) -> String {
    let blocking = [Model::Fork, Model::Thread];
    if !blocking
        .iter()
        .any(|model| comparison.plan.models.contains(model))
    {
        return String::new();
    }
    let strengths = verdict::strengths(comparison, &blocking);
    let found = match strengths.is_empty() {
        true => paragraph("Here, neither was level with the best in any figure."),
        false => {
            paragraph("Here, one of them or both had the best median, or were level with it, in:")
                + &list(strengths.iter().map(String::as_str))
        }
    };
    format!(
        "<h2>Where fork and threads are as good</h2>\n{}{found}\n",
        paragraph(BLOCKING)
    )
}

fn section(comparison: &Comparison, section: &Section) -> String {
    let cards: Vec<String> = section
        .metrics
        .iter()
        .map(|metric| card(comparison, metric))
        .collect();
    format!(
        "<section>\n<h2>{}</h2>\n<p>{}</p>\n<div class=\"cards\">\n{}\n</div>\n</section>",
        escape(section.title),
        escape(section.load),
        cards.join("\n")
    )
}

/// A plot with all that belongs to it.
fn card(comparison: &Comparison, metric: &Metric) -> String {
    let all = Series::all(comparison, metric);
    let connections = series::connections(comparison, metric);
    let said = [
        verdict::sentence(&all, metric, &connections),
        verdict::ratios(&all, metric, &connections),
        verdict::limited(&all, metric),
    ];
    let verdict = |text| format!("<p class=\"verdict\">{}</p>", escape(text));
    let said: Vec<String> = said.iter().flatten().map(|text| verdict(text)).collect();
    format!(
        r#"<article class="card" id="{}">
<h3>{} <small>{}</small></h3>
{}
{}
<p>{}</p>
<p class="muted">Not shown: {}</p>
{}
</article>"#,
        metric.id,
        escape(metric.title),
        metric.better.in_words(),
        plot::svg(comparison, metric),
        said.concat(),
        escape(metric.shows),
        escape(&decapitalised(metric.hides)),
        table::html(comparison, metric)
    )
}

/// A sentence that goes on after a colon.
fn decapitalised(sentence: &str) -> String {
    let mut characters = sentence.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

fn method(comparison: &Comparison) -> String {
    let plan = &comparison.plan;
    let versions: Vec<String> = comparison
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let run = format!(
        "{} ms, after {} ms that do not count; a new server for each",
        plan.duration_ms, plan.warm_up_ms
    );
    let order = format!(
        "{}; in each, all loads; in these, all numbers of connections; with each of these, \
         all models in turn",
        rounds(plan.rounds)
    );
    let others = comparison.others().map_or_else(String::new, |others| {
        let [median, max] = [others.median, others.max].map(percent);
        format!("took {median} of the time of these cores in the median run, {max} in the worst")
    });
    let own = [
        ("Date", comparison.date.clone()),
        ("Command", comparison.command.clone()),
        ("Cores used", comparison.cores.clone()),
        ("A run", run),
        ("Order", order),
        ("Versions", versions.join(", ")),
        ("Other programs", others),
    ];
    let facts = own.into_iter().chain(comparison.machine.facts());
    let rows = facts.fold(String::new(), |mut rows, (name, value)| {
        let _ = writeln!(
            rows,
            r#"<tr><th scope="row">{name}</th><td>{}</td></tr>"#,
            escape(&value)
        );
        rows
    });
    format!(
        "<table class=\"facts\"><tbody>\n{rows}</tbody></table>\n<p>The servers, and the generator for each \
         load:</p>\n<pre>{}</pre>",
        escape(&comparison.commands.join("\n"))
    )
}
