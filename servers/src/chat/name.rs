//! What may be a name.

/// The longest name, in characters.
const MAX: usize = 32;

/// What is wrong with a name, said to whoever wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Illegal {
    Empty,
    TooLong,
    Characters,
    Taken,
}

impl Illegal {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Illegal::Empty => "a name needs at least one letter or digit",
            Illegal::TooLong => "a name has 32 characters at the most",
            Illegal::Characters => "a name has letters and digits only",
            Illegal::Taken => "this name is taken",
        }
    }
}

/// Letters that are not seen: the fillers of Korean syllables (Unicode's
/// `Default_Ignorable_Code_Point`). With one of them a name would look like another.
const UNSEEN: [char; 4] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}'];

/// The name that a line asks for, if it may be one: letters and digits, of ASCII or of any script.
pub(super) fn legal(line: &[u8], unicode: bool) -> Result<&str, Illegal> {
    let name = str::from_utf8(line).map_err(|_| Illegal::Characters)?;
    let may_be = |char: char| match unicode {
        true => char.is_alphanumeric() && !UNSEEN.contains(&char),
        false => char.is_ascii_alphanumeric(),
    };
    match name.chars().count() {
        0 => Err(Illegal::Empty),
        _ if !name.chars().all(may_be) => Err(Illegal::Characters),
        1..=MAX => Ok(name),
        _ => Err(Illegal::TooLong),
    }
}

/// The same for a room, whose name may have hyphens and underscores too. A `#` in front is what
/// people are used to from elsewhere, and means nothing.
pub(super) fn legal_room(name: &str, unicode: bool) -> Result<&str, Illegal> {
    let name = name.strip_prefix('#').unwrap_or(name);
    let letters: String = name.replace(['-', '_'], "x");
    legal(letters.as_bytes(), unicode).map(|_| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_letters_and_digits() {
        let longest = "x".repeat(32);
        for name in ["a", "Bob", "007", longest.as_str()] {
            assert_eq!(legal(name.as_bytes(), false), Ok(name));
        }
        let too_long = "x".repeat(33);
        for (name, illegal) in [
            (&b""[..], Illegal::Empty),
            (b" ", Illegal::Characters),
            (b"bob ", Illegal::Characters),
            (b"two words", Illegal::Characters),
            (b"under_score", Illegal::Characters),
            (b"\xff", Illegal::Characters),
            (b"a\0", Illegal::Characters),
            (b"\x1b[2J", Illegal::Characters),
            ("é".as_bytes(), Illegal::Characters),
            (too_long.as_bytes(), Illegal::TooLong),
        ] {
            assert_eq!(legal(name, false), Err(illegal), "{name:?}");
        }
    }

    #[test]
    fn letters_of_any_script_if_they_are_asked_for() {
        let longest = "é".repeat(32);
        for name in [
            "é",
            "Ольга",
            "小明",
            "สมชาย",
            "שלום",
            "bob7",
            "٣",
            longest.as_str(),
        ] {
            assert_eq!(legal(name.as_bytes(), true), Ok(name));
            let illegal = (name != "bob7").then_some(Illegal::Characters);
            assert_eq!(legal(name.as_bytes(), false).err(), illegal, "{name}");
        }
        let too_long = "é".repeat(33);
        assert_eq!(legal(too_long.as_bytes(), true), Err(Illegal::TooLong));
        for name in [
            "a b",
            "\u{202e}bob",
            "\u{200b}",
            "👩",
            "e\u{301}",
            "bob\u{3164}",
            "\u{ffa0}",
            "\u{ad}bob",
            "bob\u{2800}",
            "a\u{9b}",
        ] {
            assert_eq!(
                legal(name.as_bytes(), true),
                Err(Illegal::Characters),
                "{name:?}"
            );
        }
    }

    #[test]
    fn rooms_may_have_hyphens() {
        assert_eq!(legal_room("#off-topic_2", false), Ok("off-topic_2"));
        assert_eq!(legal_room("#", false), Err(Illegal::Empty));
        assert_eq!(legal_room("a/b", false), Err(Illegal::Characters));
    }
}
