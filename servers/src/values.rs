//! Durations and sizes as users write them, for the command lines of servers and clients.

use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use humantime::DurationError;

/// Months and years, as humantime writes them.
const TOO_LONG: [&str; 8] = ["M", "month", "months", "y", "yr", "yrs", "year", "years"];

/// A duration: `500ms`, `30s`, `5m`, `1h`, and `0`. An error names the fault and the right form.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    // A minute or a typing error was meant.
    let mut units = text.split(|char: char| !char.is_alphabetic());
    if let Some(unit) = units.find(|unit| TOO_LONG.contains(unit)) {
        return Err(format!(
            "'{unit}' is too long a unit: write 500ms, 30s, 5m, 1h or 0"
        ));
    }
    humantime::parse_duration(text).map_err(|error| {
        let why = match error {
            DurationError::NumberOverflow => "this number is too large, or too exact".to_owned(),
            DurationError::UnknownUnit { unit, .. } if unit.is_empty() => {
                "a unit is missing".to_owned()
            }
            DurationError::UnknownUnit { unit, .. } => format!("'{unit}' is no unit"),
            _ => "this is no duration".to_owned(),
        };
        format!("{why}: write 500ms, 30s, 5m, 1h or 0")
    })
}

/// A number. An error names the fault.
pub fn number<N: FromStr<Err = ParseIntError>>(text: &str) -> Result<N, String> {
    text.parse()
        .map_err(|error: ParseIntError| match error.kind() {
            IntErrorKind::PosOverflow => "this number is too large".to_owned(),
            IntErrorKind::Empty => "a number is missing".to_owned(),
            _ => "this is no number: write it in digits, as 1000".to_owned(),
        })
}

/// A number of at least 1. An error names the fault.
pub fn positive<N>(text: &str) -> Result<N, String>
where
    N: FromStr<Err = ParseIntError> + From<u8> + PartialEq,
{
    match number(text)? {
        none if none == N::from(0) => Err("a number of at least 1 is needed".into()),
        number => Ok(number),
    }
}

/// A size in bytes: `4096`, `64KiB`, `1MiB`. An error names the fault and the right form.
pub fn size(text: &str) -> Result<usize, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let size = text.parse().map_err(|_| match is_number {
        true => "this number is too large".to_owned(),
        false => "this is no size: write 4096, 64KiB or 1MiB".to_owned(),
    });
    usize::try_from(ByteSize::as_u64(&size?)).map_err(|_| "this size is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_as_documented() {
        for (text, expected) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("0", 0),
        ] {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(expected)),
                "{text}"
            );
        }
        for (text, expected) in [("4096", 4096), ("64KiB", 65_536), ("1MiB", 1 << 20)] {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in ["", "5", "-1s", "soon", "1M", "2months", "1y"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "-1", "many", "1 elephant"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_error_says_what_is_wrong_with_this_duration_or_size() {
        for (text, why) in [
            ("5", "a unit is missing"),
            ("5k", "'k' is no unit"),
            ("1M", "too long a unit"),
            ("18446744073709551616s", "too large"),
            ("-5s", "no duration"),
            ("soon", "no duration"),
            ("", "no duration"),
        ] {
            let error = duration(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        for (text, why) in [
            ("18446744073709551616", "too large"),
            ("1 elephant", "no size"),
            ("", "no size"),
        ] {
            let error = size(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_says_what_is_wrong_with_this_number() {
        assert_eq!(positive("7"), Ok(7_usize));
        for (text, why) in [
            ("0", "at least 1"),
            ("18446744073709551616", "too large"),
            ("many", "no number"),
            ("-1", "no number"),
            ("", "missing"),
        ] {
            let error = positive::<usize>(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
