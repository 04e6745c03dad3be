//! The syntax of commands: lines that begin with `/`.

use super::text::is_blank;

/// A command with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Join(&'a str),
    Rooms,
    Who,
    Msg {
        to: &'a str,
        text: &'a [u8],
    },
    Me(&'a [u8]),
    Nick(&'a str),
    Help,
    Quit(&'a [u8]),
    Ignore(&'a str),
    /// No command but a line to be said, which may begin with `/`.
    Say(&'a [u8]),
    /// A command that lacks an argument; the text is its syntax.
    Usage(&'static str),
    Unknown,
}

/// The reply to `/help`.
pub(super) const HELP: &str = "\
* /who               who is in this room
* /rooms             the rooms, and how many are in each
* /join ROOM         go to another room, a new one if need be
* /msg NAME TEXT     say something to one person
* /me TEXT           say what you do
* /nick NAME         change your name
* /ignore NAME       hear NAME no more, now or later, or again
* /quit [TEXT]       leave
* //TEXT             say a line that begins with a slash
";

impl<'a> Command<'a> {
    /// Parses a line that begins with `/`.
    pub(super) fn parse(line: &'a [u8]) -> Command<'a> {
        let line = line.strip_prefix(b"/").unwrap_or(line);
        if line.starts_with(b"/") {
            return Command::Say(line);
        }
        let (verb, rest) = split_word(line);
        let word = || str::from_utf8(split_word(rest).0).unwrap_or("\u{fffd}");
        match verb {
            b"who" => Command::Who,
            b"rooms" => Command::Rooms,
            b"help" => Command::Help,
            b"quit" if is_blank(rest) => Command::Quit(b""),
            b"quit" => Command::Quit(rest),
            b"join" if rest.is_empty() => Command::Usage("/join ROOM"),
            b"join" => Command::Join(word()),
            b"nick" if rest.is_empty() => Command::Usage("/nick NAME"),
            b"nick" => Command::Nick(word()),
            b"ignore" if rest.is_empty() => Command::Usage("/ignore NAME"),
            b"ignore" => Command::Ignore(word()),
            b"me" if is_blank(rest) => Command::Usage("/me TEXT"),
            b"me" => Command::Me(rest),
            b"msg" => match split_word(rest).1 {
                text if is_blank(text) => Command::Usage("/msg NAME TEXT"),
                text => Command::Msg { to: word(), text },
            },
            _ => Command::Unknown,
        }
    }
}

/// Splits a line into its first word and the text after the blanks that follow.
pub(super) fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = line.iter().position(is_blank).unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let start = rest.iter().position(|byte| !is_blank(byte));
    (word, &rest[start.unwrap_or(rest.len())..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_recognised() {
        for (line, expected) in [
            (&b"/who"[..], Command::Who),
            (b"/rooms  ", Command::Rooms),
            (b"/help me", Command::Help),
            (b"/join dev", Command::Join("dev")),
            (b"/join \t dev  now", Command::Join("dev")),
            (b"/join", Command::Usage("/join ROOM")),
            (b"/join ", Command::Usage("/join ROOM")),
            (b"/join \xff", Command::Join("\u{fffd}")),
            (b"/nick bob", Command::Nick("bob")),
            (b"/ignore bob", Command::Ignore("bob")),
            (b"/me waves  ", Command::Me(b"waves  ")),
            (b"/msg bob", Command::Usage("/msg NAME TEXT")),
            (
                b"/msg bob  hi there",
                Command::Msg {
                    to: "bob",
                    text: b"hi there",
                },
            ),
            (b"/quit", Command::Quit(b"")),
            (b"/quit good night", Command::Quit(b"good night")),
            (b"//etc/passwd", Command::Say(b"/etc/passwd")),
            (b"//", Command::Say(b"/")),
            (b"/", Command::Unknown),
            (b"/ who", Command::Unknown),
            (b"/WHO", Command::Unknown),
            (b"/whom", Command::Unknown),
        ] {
            assert_eq!(Command::parse(line), expected, "{line:?}");
        }
    }
}
