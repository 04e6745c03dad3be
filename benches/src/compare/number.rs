//! Numbers for readers.

/// Three significant digits, thousands apart: `251,000`, `3.81`, `0.0125`. A fourth would be noise.
#[must_use]
pub fn rounded(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".into();
    }
    let magnitude = value.abs().log10().floor() as i32;
    let unit = 10_f64.powi(magnitude - 2);
    let rounded = (value / unit).round() * unit;
    // 9.999 has become 10.0, which has one digit less behind the point.
    let magnitude = rounded.abs().log10().floor() as i32;
    grouped(&format!("{rounded:.*}", (2 - magnitude).max(0) as usize))
}

/// A count: `10,000`.
#[must_use]
pub fn count(value: usize) -> String {
    grouped(&value.to_string())
}

/// How many rounds: `1 round`, `5 rounds`.
#[must_use]
pub fn rounds(number: usize) -> String {
    match number {
        1 => "1 round".into(),
        many => format!("{many} rounds"),
    }
}

/// Several of something: `1, 10 and 100`.
#[must_use]
pub fn listed(all: &[String]) -> String {
    match all {
        [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
        few => few.concat(),
    }
}

/// A count where there is little room: `10k`, `1.5k`.
#[must_use]
pub fn short_count(value: usize) -> String {
    match value {
        0..1_000 => value.to_string(),
        _ => format!("{}k", value as f64 / 1_000.0),
    }
}

/// A value on an axis, as round as it is: `0.5`, `2,000`, `150k`, `1M`.
#[must_use]
pub fn tick(value: f64) -> String {
    let (value, suffix) = match value {
        ..10_000.0 => (value, ""),
        ..1_000_000.0 => (value / 1_000.0, "k"),
        _ => (value / 1_000_000.0, "M"),
    };
    // Sums of a step such as 0.1 are off in the last digit.
    grouped(&format!("{}", (value * 1e9).round() / 1e9)) + suffix
}

/// A ratio: `0.28`, `3.6`, `206`.
#[must_use]
pub fn ratio(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        _ => rounded(value),
    }
}

/// A part: `6 %`, `0.4 %`.
#[must_use]
pub fn percent(part: f64) -> String {
    match part {
        ..0.0005 => "0 %".into(),
        ..0.0095 => format!("{:.1} %", part * 100.0),
        _ => format!("{:.0} %", part * 100.0),
    }
}

/// Puts commas into the digits before the point.
fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_at(number.find('.').unwrap_or(number.len()));
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut grouped = sign.to_owned();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_count() {
        for (value, expected) in [
            (251_342.0, "251,000"),
            (1_000_000.0, "1,000,000"),
            (999.6, "1,000"),
            (123.4, "123"),
            (12.34, "12.3"),
            (9.999, "10.0"),
            (3.812, "3.81"),
            (0.012_52, "0.0125"),
            (-41.26, "-41.3"),
            (0.0, "0"),
        ] {
            assert_eq!(rounded(value), expected, "{value}");
        }
    }

    #[test]
    fn counts_and_ticks_are_exact() {
        assert_eq!(
            [1, 999, 1_000, 10_000].map(count),
            ["1", "999", "1,000", "10,000"]
        );
        assert_eq!(
            [10, 1_000, 1_500, 10_000].map(short_count),
            ["10", "1k", "1.5k", "10k"]
        );
        assert_eq!(
            [0.0, 0.1 + 0.2, 9_000.0, 150_000.0, 2e6].map(tick),
            ["0", "0.3", "9,000", "150k", "2M"]
        );
    }

    #[test]
    fn the_last_of_several_comes_after_a_word() {
        for (all, expected) in [
            (&[][..], ""),
            (&["1"], "1"),
            (&["1", "10"], "1 and 10"),
            (&["1", "10", "100"], "1, 10 and 100"),
        ] {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            assert_eq!(listed(&all), expected);
        }
    }

    #[test]
    fn ratios_and_parts_have_few_digits() {
        assert_eq!([0.281, 3.559, 206.4].map(ratio), ["0.28", "3.56", "206"]);
        assert_eq!(
            [0.0, 0.004, 0.06, 1.5].map(percent),
            ["0 %", "0.4 %", "6 %", "150 %"]
        );
    }
}
