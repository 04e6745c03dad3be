//! The text format of Prometheus (version 0.0.4), read strictly: what the format allows and this program
//! does not write, such as timestamps and blank lines, is an error as well.

use std::collections::BTreeSet;

/// A metric with all its samples.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Debug)]
pub(crate) struct Sample {
    name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
}

/// The families of a page, or the line that is wrong.
pub(crate) fn parse(page: &str) -> Result<Vec<Family>, String> {
    if !page.ends_with('\n') {
        return Err("the last line has no end".into());
    }
    let mut families: Vec<Family> = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let fail = |why: &str| format!("{why}: {line:?}");
        let help = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '));
        let (name, text) = help.ok_or_else(|| fail("no HELP"))?;
        if !is_name(name) || text.trim().is_empty() || text.contains('\\') {
            return Err(fail("a bad HELP"));
        }
        let kind = lines
            .next()
            .and_then(|it| it.strip_prefix("# TYPE ")?.split_once(' '));
        let kind = kind
            .filter(|(of, _)| *of == name)
            .ok_or_else(|| fail("no TYPE behind"))?
            .1;
        if families.iter().any(|family| family.name == name) {
            return Err(fail("a family twice"));
        }
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            samples.push(sample(line).ok_or_else(|| format!("a bad sample: {line:?}"))?);
        }
        let family = Family {
            name: name.to_owned(),
            kind: kind.to_owned(),
            samples,
        };
        check(&family).map_err(fail)?;
        families.push(family);
    }
    Ok(families)
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`
fn is_name(name: &str) -> bool {
    let is_first = |char: char| char.is_ascii_alphabetic() || "_:".contains(char);
    name.starts_with(is_first)
        && name
            .chars()
            .all(|char| is_first(char) || char.is_ascii_digit())
}

fn sample(line: &str) -> Option<Sample> {
    let at = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(at);
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = value.strip_prefix(' ')?;
    let is_number = |char: char| char.is_ascii_digit() || ".eE+-".contains(char);
    let is_plain = value.chars().all(is_number) || ["+Inf", "-Inf", "NaN"].contains(&value);
    let value = value.parse().ok().filter(|_| is_plain && is_name(name))?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// The labels up to the brace, unescaped, and the rest behind it.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        let (name, quoted) = rest.split_once("=\"")?;
        if !is_name(name) || name.contains(':') || name.starts_with("__") {
            return None;
        }
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            value.push(match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => '\n',
                    char @ ('\\' | '"') => char,
                    _ => return None,
                },
                (_, char) => char,
            });
        };
        labels.push((name.to_owned(), value));
        let after = &quoted[end + 1..];
        match after.strip_prefix('}') {
            Some(value) => return Some((labels, value)),
            None => rest = after.strip_prefix(',')?,
        }
    }
}

fn check(family: &Family) -> Result<(), &'static str> {
    let Family {
        name,
        kind,
        samples,
    } = family;
    let ids: BTreeSet<_> = samples.iter().map(|it| (&it.name, &it.labels)).collect();
    if samples.is_empty() || ids.len() < samples.len() {
        return Err("no samples, or one twice");
    }
    let is_counter = kind == "counter";
    if name.ends_with("_total") != is_counter {
        return Err("counters end in _total, and only they do");
    }
    match &**kind {
        "counter" | "gauge" if samples.iter().any(|sample| sample.name != *name) => {
            Err("a sample of another name")
        }
        "counter" | "gauge"
            if samples
                .iter()
                .any(|sample| sample.value < 0.0 || sample.value.is_nan()) =>
        {
            Err("a negative number")
        }
        "counter" | "gauge" => Ok(()),
        "histogram" => check_histogram(name, samples),
        _ => Err("an unknown type"),
    }
}

/// Buckets rise, the last one is that of +Inf and equals the count, and there are a sum and a count.
fn check_histogram(name: &str, samples: &[Sample]) -> Result<(), &'static str> {
    let [buckets @ .., sum, count] = samples else {
        return Err("a histogram without sum and count");
    };
    let bound = |bucket: &Sample| match &bucket.labels[..] {
        [(le, bound)] if le == "le" && bucket.name == format!("{name}_bucket") => {
            bound.parse::<f64>().ok()
        }
        _ => None,
    };
    let bounds: Option<Vec<f64>> = buckets.iter().map(bound).collect();
    let bounds = bounds.ok_or("a bucket without its bound")?;
    if sum.name != format!("{name}_sum") || count.name != format!("{name}_count") {
        return Err("sum and count have other names");
    }
    if !bounds.is_sorted_by(|low, high| low < high) || bounds.last() != Some(&f64::INFINITY) {
        return Err("bounds do not rise to +Inf");
    }
    if !buckets.is_sorted_by(|low, high| low.value <= high.value) {
        return Err("buckets are not cumulative");
    }
    let last = buckets.last().map(|bucket| bucket.value);
    // Each turn lies between two bounds, and so does the sum of all.
    let pairs = buckets.iter().zip(&bounds);
    let (mut before, mut smallest, mut lower_bound) = (0.0, 0.0, 0.0);
    for (bucket, bound) in pairs {
        smallest += (bucket.value - before) * lower_bound;
        (before, lower_bound) = (bucket.value, *bound);
    }
    match last == Some(count.value) && sum.value >= smallest {
        true => Ok(()),
        false => Err("count or sum are not those of the buckets"),
    }
}

const GOOD: &str = "\
# HELP a_total Things.\n# TYPE a_total counter\na_total 3\n\
# HELP b_total Ends.\n# TYPE b_total counter\nb_total{cause=\"x\"} 1\nb_total{cause=\"a \\\"b\\\\\\n\",d=\"\"} 2\n\
# HELP c_seconds Time.\n# TYPE c_seconds histogram\nc_seconds_bucket{le=\"0.1\"} 1\n\
c_seconds_bucket{le=\"1\"} 2\nc_seconds_bucket{le=\"+Inf\"} 4\nc_seconds_sum 2.5\nc_seconds_count 4\n";

#[test]
fn a_good_page_is_read() {
    let families = parse(GOOD).unwrap();
    let names: Vec<&str> = families.iter().map(|family| &*family.name).collect();
    assert_eq!(names, ["a_total", "b_total", "c_seconds"]);
    let labels = &families[1].samples[1].labels;
    assert_eq!(labels[0], ("cause".into(), "a \"b\\\n".into()));
}

/// The check that pages go through has teeth.
#[test]
fn each_fault_is_found() {
    for (right, wrong) in [
        ("# HELP a_total Things.\n", ""),
        ("Things.", ""),
        ("# TYPE a_total counter\n", ""),
        ("# TYPE a_total counter", "# TYPE a_total number"),
        ("# TYPE a_total counter", "# TYPE a_total gauge"),
        ("# TYPE a_total", "# TYPE b_total"),
        ("\na_total 3", "\na_total -3"),
        ("\na_total 3", "\na_total three"),
        ("\na_total 3", "\na_total  3"),
        ("\na_total 3", "\na_total 3 1700000000"),
        ("\na_total 3", "\na 3"),
        ("\na_total 3", ""),
        ("\na_total 3", "\na_total 3\na_total 3"),
        ("b_total", "a_total"),
        ("b_total", "b-total"),
        ("b_total", "1_total"),
        ("cause=", "cause:="),
        ("cause=", "1cause="),
        ("cause=\"x\"", "cause=x"),
        ("cause=\"x\"", "cause=\"x"),
        ("cause=\"x\"", "cause=\"\\x\""),
        ("\\n\"", "\\q\""),
        ("le=\"1\"", "le=\"0.1\""),
        ("le=\"1\"", "le=\"0.05\""),
        ("le=\"1\"", "lt=\"1\""),
        ("le=\"+Inf\"", "le=\"10\""),
        ("{le=\"1\"} 2", "{le=\"1\"} 5"),
        ("{le=\"1\"} 2", "{le=\"1\"} 0"),
        ("count 4", "count 5"),
        ("_sum 2.5", "_sum 2"),
        ("c_seconds_count 4\n", ""),
        ("_sum", "_all"),
    ] {
        let page = GOOD.replace(right, wrong);
        assert_ne!(page, GOOD, "{right:?} is not there");
        assert!(parse(&page).is_err(), "{right:?} -> {wrong:?} is not found");
    }
    assert!(parse(GOOD.trim_end()).is_err());
}
