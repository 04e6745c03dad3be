//! Durations and sizes as users write them, for the command lines of servers and clients.

use std::time::Duration;

use bytesize::ByteSize;

/// `500ms`, `30s`, `5m`, `1h`, and `0`. Errors: what is wrong, and how it is written.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}: write 500ms, 30s, 5m, 1h or 0"))
}

/// `4096`, `64KiB`, `1MiB`, in bytes. Errors: how it is written.
pub fn size(text: &str) -> Result<usize, String> {
    let size: ByteSize = text
        .parse()
        .map_err(|_| "write a size as 4096, 64KiB or 1MiB".to_owned())?;
    usize::try_from(size.as_u64()).map_err(|error| error.to_string())
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
        for text in ["", "5", "-1s", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "-1", "many", "1 elephant"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
