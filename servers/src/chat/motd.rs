//! Finding the message of the day: a text, or the content of a file.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use edgeloop_reactor::process::reason;
use nix::libc::O_NONBLOCK;

use super::text::clean;

/// The longest message, in bytes: a member has to receive all of it before it can talk.
const LEN_MAX: u64 = 1024 * 1024;
/// Endings of a file name by which a text is taken for the name of a missing file.
const ENDINGS: [&str; 4] = [".txt", ".text", ".md", ".motd"];

/// The message that an option asks for, and the path of its file if it is in one. Errors: in one
/// line, why the file cannot be read.
pub(crate) fn find(option: &OsStr) -> Result<(String, Option<PathBuf>), String> {
    let path = Path::new(option);
    match is_there(path) {
        false if !looks_like_path(&option.to_string_lossy()) => {
            Ok((harmless_lines(option.as_bytes()), None))
        }
        // Opened without O_NONBLOCK: `<(command)` is a FIFO, and the start waits for the command.
        true => Ok((read(path, File::open(path))?, Some(path.into()))),
        false => read(path, File::open(path))
            .map(|text| (text, Some(path.into())))
            .map_err(|why| format!("{why} (a text that looks like a path can stand in a file)")),
    }
}

/// The content of a file now, while the server runs. Only a regular file is read: anything else could
/// block the loop. Errors: in one line, why it cannot be read.
pub(super) fn reread(path: &Path) -> Result<String, String> {
    let options = File::options().read(true).custom_flags(O_NONBLOCK).clone();
    let file = options.open(path);
    if let Ok(file) = &file
        && file.metadata().is_ok_and(|metadata| !metadata.is_file())
    {
        return Err(format!("{} is no regular file", path.display()));
    }
    read(path, file)
}

fn read(path: &Path, file: io::Result<File>) -> Result<String, String> {
    let mut bytes = Vec::new();
    file.and_then(|file| file.take(LEN_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("{}: {}", path.display(), reason(&error)))?;
    match bytes.len() as u64 > LEN_MAX {
        true => Err(format!("{} has more than 1 MiB", path.display())),
        false => Ok(harmless_lines(&bytes)),
    }
}

/// Whether there is anything at this path, readable or not.
fn is_there(path: &Path) -> bool {
    let absent = [
        ErrorKind::NotFound,
        ErrorKind::NotADirectory,
        ErrorKind::InvalidFilename,
    ];
    fs::symlink_metadata(path).map_or_else(|error| !absent.contains(&error.kind()), |_| true)
}

/// Whether a text is more likely the name of a missing file than a message. Without this check a
/// mistyped path would be shown to all members.
fn looks_like_path(text: &str) -> bool {
    let is_word = !text.contains(char::is_whitespace);
    let is_line = !text.contains('\n');
    let begins_like_one = ["/", "./", "../", "~"]
        .iter()
        .any(|it| text.starts_with(it));
    let ends_like_one = ENDINGS.iter().any(|it| text.ends_with(it));
    is_line && (begins_like_one || ends_like_one)
        || is_word && (text.starts_with('.') || text.contains('/') && !text.contains("://"))
}

/// The lines of any text, each made harmless by [`clean`]. A line ends in LF, CR LF or CR.
fn harmless_lines(text: &[u8]) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut lines = Vec::with_capacity(text.len());
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        for line in line.split(|byte| *byte == b'\r') {
            clean(line, &mut lines);
            lines.push(b'\n');
        }
    }
    String::from_utf8(lines).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_told_from_messages() {
        for path in [
            "/etc/motd",
            "~/motd",
            "./motd",
            "../today",
            ".motd",
            "etc/motd",
            "motd.txt",
            "rules.md",
            "/home/ann/my motd",
            "the message.txt",
        ] {
            assert!(looks_like_path(path), "{path}");
        }
        for text in [
            "",
            "welcome",
            "Be kind.",
            "The talk begins at ten.",
            "Rules: https://example.org/rules",
            "https://example.org/rules",
            "Mondays and/or Fridays",
            "/help lists commands\nBe kind.",
            "Say hello!",
        ] {
            assert!(!looks_like_path(text), "{text}");
        }
    }

    #[test]
    fn lines_are_harmless_whatever_they_come_from() {
        for (text, expected) in [
            (&b""[..], ""),
            (b"\n", "\n"),
            (b"one\ntwo\n", "one\ntwo\n"),
            (b"one\r\n\r\ntwo\r\n", "one\n\ntwo\n"),
            (b"one\rtwo", "one\ntwo\n"),
            (b"\xef\xbb\xbfone", "one\n"),
            (b"caf\xe9 \x1b[2J\0\x07!", "caf\u{fffd} [2J!\n"),
            (b"o\0n\0e\0", "one\n"),
            ("Grüße, 你好\tn".as_bytes(), "Grüße, 你好\tn\n"),
        ] {
            assert_eq!(harmless_lines(text), expected, "{text:?}");
        }
    }
}
