//! A test's own table of host names, or its own network (namespaces(7), unshare(1)).
//!
//! Some machines do not allow namespaces; a test that needs one is skipped there.

use std::io::Write;
use std::process::{Command, Stdio};

use tempfile::NamedTempFile;

use crate::program::{self, needs};
use crate::skip;

/// A table of host names in place of `/etc/hosts`, for the programs that are started under it.
#[derive(Debug)]
pub struct Hosts(NamedTempFile);

impl Hosts {
    /// A table of these lines, each an address and a name. `None` where namespaces are not allowed.
    #[must_use]
    pub fn new(lines: &str) -> Option<Self> {
        let mut file = NamedTempFile::new().expect("a temporary file");
        writeln!(file, "{lines}").expect("a temporary file");
        let hosts = Self(file);
        is_possible(&hosts.wrapper()).then_some(hosts)
    }

    /// The words to put before a command, so that it knows these names and no others.
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

    /// A command that knows these names and no others.
    #[must_use]
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = command(&self.wrapper());
        command.arg(program).args(arguments);
        command
    }
}

/// The words to put before a command, so that it has its own network: a loopback device, which the
/// shell commands `setup` configure. `None` where namespaces are not allowed.
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

/// The words to put before a command, so that it has its own view of the file system, which the shell
/// commands `setup` change. `None` where namespaces are not allowed.
#[must_use]
pub fn own_mount(setup: &str) -> Option<Vec<String>> {
    let script = format!("{setup} && exec \"$@\"");
    let wrapper = words(&[
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        &script,
        "sh",
    ]);
    is_possible(&wrapper).then_some(wrapper)
}

/// The words to put before a command, so that it runs in the network of this process.
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

/// A command that begins with these words; the caller adds the rest.
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
