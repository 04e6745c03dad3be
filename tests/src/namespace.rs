//! A table of host names, or a network, that is a test's own (namespaces(7), unshare(1)).
//!
//! Not everywhere is that allowed, and then such a test is left out.

use std::io::Write;
use std::process::{Command, Stdio};

use tempfile::NamedTempFile;

use crate::program::{self, needs};
use crate::skip;

/// A table of host names, in place of `/etc/hosts`, for the programs that are started under it.
#[derive(Debug)]
pub struct Hosts(NamedTempFile);

impl Hosts {
    /// Lines of an address and a name; `None` where that is not possible.
    #[must_use]
    pub fn new(lines: &str) -> Option<Self> {
        let mut file = NamedTempFile::new().expect("a temporary file");
        writeln!(file, "{lines}").expect("a temporary file");
        let hosts = Self(file);
        is_possible(&hosts.wrapper()).then_some(hosts)
    }

    /// The words before those of a program that is to know these names and no others.
    #[must_use]
    pub fn wrapper(&self) -> Vec<String> {
        let path = self.0.path().to_str().expect("a path in UTF-8");
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        words(&[
            "unshare",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            path,
        ])
    }

    /// A program that knows these names and no others.
    #[must_use]
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = command(&self.wrapper());
        command.arg(program).args(arguments);
        command
    }
}

/// The words before those of a program that is to have a network of its own: a loopback device,
/// which the shell commands `setup` prepare. `None` where that is not possible.
#[must_use]
pub fn own_network(setup: &str) -> Option<Vec<String>> {
    needs("ip");
    let script = format!("ip link set lo up && {setup} && exec \"$@\"");
    let wrapper = words(&[
        "unshare",
        "--map-root-user",
        "--net",
        "sh",
        "-c",
        &script,
        "sh",
    ]);
    is_possible(&wrapper).then_some(wrapper)
}

/// The words before those of a program that is to run in the network of a process.
#[must_use]
pub fn network_of(pid: u32) -> Vec<String> {
    words(&[
        "nsenter",
        "--preserve-credentials",
        "--user",
        "--net",
        "--target",
        &pid.to_string(),
    ])
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// A program that is started with these words, and more.
#[must_use]
pub fn command(words: &[String]) -> Command {
    let mut command = program::command(&words[0]);
    command.args(&words[1..]);
    command
}

fn is_possible(wrapper: &[String]) -> bool {
    let status = command(wrapper).arg("true").stderr(Stdio::null()).status();
    let possible = status.is_ok_and(|status| status.success());
    if !possible {
        skip("needs a namespace of its own (unshare(1))");
    }
    possible
}
