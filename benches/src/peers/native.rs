//! Peers in C, built from `benches/peers/` when they are needed, by the compiler that is there.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory of the sources.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
/// Files that every peer is linked with.
const COMMON: [&str; 3] = ["common.c", "edges.c", "unsent.c"];
/// The macro for the version of the library, where pkg-config(1) knows it.
const VERSION: &str = "LIBRARY_VERSION";

/// A peer in C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Native {
    /// Echo on epoll(7), without a library.
    EchoRaw,
    /// Echo on io_uring(7), with liburing.
    EchoUring,
    /// Echo on libuv.
    EchoLibuv,
    /// Echo on libev.
    EchoLibev,
    /// Echo on libevent's bufferevents.
    EchoLibevent,
    /// Chat on epoll(7), without a library.
    ChatRaw,
}

/// A library that is not part of every system.
struct Library {
    /// The name for pkg-config(1).
    module: &'static str,
    /// The option for the linker, where pkg-config(1) does not know the library.
    flag: &'static str,
    header: &'static str,
    /// The package of Debian with the header in it.
    package: &'static str,
}

const LIBURING: Library = Library {
    module: "liburing",
    flag: "-luring",
    header: "liburing.h",
    package: "liburing-dev",
};
const LIBUV: Library = Library {
    module: "libuv",
    flag: "-luv",
    header: "uv.h",
    package: "libuv1-dev",
};
const LIBEV: Library = Library {
    module: "libev",
    flag: "-lev",
    header: "ev.h",
    package: "libev-dev",
};
const LIBEVENT: Library = Library {
    module: "libevent",
    flag: "-levent",
    header: "event2/event.h",
    package: "libevent-dev",
};

impl Native {
    /// All peers in C.
    pub const ALL: [Native; 6] = [
        Native::EchoRaw,
        Native::EchoUring,
        Native::EchoLibuv,
        Native::EchoLibev,
        Native::EchoLibevent,
        Native::ChatRaw,
    ];

    /// The name of the program, and of its source without `.c`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Native::EchoRaw => "echo_raw",
            Native::EchoUring => "echo_uring",
            Native::EchoLibuv => "echo_libuv",
            Native::EchoLibev => "echo_libev",
            Native::EchoLibevent => "echo_libevent",
            Native::ChatRaw => "chat_raw",
        }
    }

    /// A second file, where a program has one of its own.
    fn part(self) -> Option<&'static str> {
        (self == Native::EchoUring).then_some("uring.c")
    }

    fn library(self) -> Option<Library> {
        match self {
            Native::EchoRaw | Native::ChatRaw => None,
            Native::EchoUring => Some(LIBURING),
            Native::EchoLibuv => Some(LIBUV),
            Native::EchoLibev => Some(LIBEV),
            Native::EchoLibevent => Some(LIBEVENT),
        }
    }
}

impl fmt::Display for Native {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Compiles a peer into a directory, and returns its path. The program is called with HOST:PORT,
/// and says where it listens as `benches peer` does. An error is one line, with the package that is
/// missing if that is the reason.
pub fn build(program: Native, directory: &Path) -> Result<PathBuf, String> {
    let path = directory.join(program.name());
    let library = program.library();
    let mut compiler = Command::new("cc");
    compiler
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&path)
        .arg(format!("{program}.c"))
        .args(program.part())
        .args(COMMON)
        .args(library.iter().flat_map(Library::flags))
        // The complaints are searched for words, and so have to be in English.
        .env("LC_ALL", "C")
        .current_dir(SOURCES);
    let output = compiler
        .output()
        .map_err(|error| format!("cannot start cc to build {program}: {error} (Debian: gcc)"))?;
    if output.status.success() {
        Ok(path)
    } else {
        Err(why_not(program, &String::from_utf8_lossy(&output.stderr)))
    }
}

impl Library {
    /// The arguments for the compiler and the linker.
    fn flags(&self) -> Vec<String> {
        let mut flags = self.ask_for(&["--cflags", "--libs"]);
        let version = self.ask_for(&["--modversion"]);
        if flags.is_empty() {
            flags.push(self.flag.to_owned());
        }
        flags.extend(version.first().map(|it| format!("-D{VERSION}=\"{it}\"")));
        flags
    }

    /// The words that pkg-config(1) knows; none if it does not know the library, or is not there.
    fn ask_for(&self, options: &[&str]) -> Vec<String> {
        let asked = Command::new("pkg-config")
            .args(options)
            .arg(self.module)
            .output();
        let told = asked.ok().filter(|told| told.status.success());
        let words = told.map(|told| String::from_utf8_lossy(&told.stdout).into_owned());
        let words = words.iter().flat_map(|words| words.split_whitespace());
        words.map(str::to_owned).collect()
    }

    /// Whether the compiler or the linker says that the library is not there.
    fn is_missed_in(&self, complaint: &str) -> bool {
        complaint.contains(&format!("{}: No such file", self.header))
            || complaint.contains(&format!("cannot find {}", self.flag))
    }
}

/// The reason of a failure, in a line.
fn why_not(program: Native, complaint: &str) -> String {
    let first = complaint.lines().find(|line| line.contains("error"));
    let first = first.or(complaint.lines().next()).unwrap_or("cc failed");
    match program.library() {
        Some(library) if library.is_missed_in(complaint) => format!(
            "cannot build {program}: {} is missing (Debian: {})",
            library.module, library.package
        ),
        _ => format!("cannot build {program}: {first}"),
    }
}

/// The library of a built peer, and its version: `libuv 1.44.2`. The library itself is asked.
pub fn version(program: &Path) -> Result<String, String> {
    let name = program.display();
    let output = Command::new(program).arg("--version").output();
    let output = output.map_err(|error| format!("cannot start {name}: {error}"))?;
    let version = String::from_utf8_lossy(&output.stdout);
    match version.trim() {
        "" => Err(format!("{name} has no version")),
        version => Ok(version.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        for complaint in [
            "echo_libuv.c:9:10: fatal error: uv.h: No such file or directory\n 9 | #include <uv.h>",
            "/usr/bin/ld: cannot find -luv: No such file or directory\ncollect2: error: ld returned 1",
        ] {
            assert_eq!(
                why_not(Native::EchoLibuv, complaint),
                "cannot build echo_libuv: libuv is missing (Debian: libuv1-dev)"
            );
        }
    }

    #[test]
    fn any_other_complaint_is_cut_to_a_line() {
        for (complaint, expected) in [
            (
                "In function 'main':\na.c:1: error: no\nnote",
                "a.c:1: error: no",
            ),
            ("strange", "strange"),
            ("", "cc failed"),
        ] {
            let expected = format!("cannot build echo_libuv: {expected}");
            assert_eq!(why_not(Native::EchoLibuv, complaint), expected);
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let error = build(Native::EchoRaw, Path::new("/nowhere")).unwrap_err();
        assert!(error.starts_with("cannot build echo_raw: "), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
}
