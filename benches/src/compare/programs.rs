//! The programs that take part, and their command lines.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::machine::first_line;
use super::model::Model;
use super::options::Options;
use super::plan::{Plan, Point};
use super::process::Process;
use super::workload::Workload;
use crate::peers::native::{self, Native};

/// Ports of one address that connections of one run may use up.
const CONNECTIONS_OF_A_SOURCE: usize = 20_000;
/// Addresses for connections that end: each port rests for a minute afterwards (tcp(7), TIME_WAIT).
const SOURCES_OF_SHORT_CONNECTIONS: usize = 32;
/// Members of a chat who talk.
const TALKERS: usize = 10;
/// The address for a server, which then says which port it was given.
pub const ANY_PORT: &str = "127.0.0.1:0";

/// The places of the programs.
#[derive(Debug)]
pub struct Programs {
    edgeloop: PathBuf,
    edgecall: PathBuf,
    /// This program, which has the peers in Rust in it.
    benches: PathBuf,
    /// The peers in C, in a directory that is removed with this value.
    natives: Option<TempDir>,
}

impl Programs {
    /// The programs that the user named; the others are built.
    pub fn find(options: &Options) -> Result<Programs, String> {
        Ok(Programs {
            edgecall: named_or_built("edgecall", options.edgecall.as_deref())?,
            ..Programs::servers(options.edgeloop.as_deref())?
        })
    }

    /// The servers alone, for a caller that generates the load itself.
    pub fn servers(edgeloop: Option<&Path>) -> Result<Programs, String> {
        Ok(Programs {
            edgeloop: named_or_built("edgeloop", edgeloop)?,
            benches: env::current_exe()
                .map_err(|error| format!("cannot find this program: {error}"))?,
            ..Programs::by_name()
        })
    }

    /// The programs by their names, as the page shows them.
    fn by_name() -> Programs {
        Programs {
            edgeloop: "edgeloop".into(),
            edgecall: "edgecall".into(),
            benches: "benches".into(),
            natives: None,
        }
    }

    /// Compiles the peers in C that the models need, and returns the models that are left out with
    /// the reason: they do not compile, or do not start on this kernel.
    pub fn compile(&mut self, models: &[Model]) -> Result<Vec<(Model, String)>, String> {
        let mut models = models
            .iter()
            .copied()
            .filter(|&model| is_native(model))
            .peekable();
        if models.peek().is_none() {
            return Ok(Vec::new());
        }
        let directory = tempfile::Builder::new().prefix("edgeloop-peers-").tempdir();
        let directory = directory.map_err(|error| format!("no place to compile in: {error}"))?;
        let why_not = |model: Model| {
            let mut loads = [Workload::Echo, Workload::Chat].into_iter();
            let failure = loads.find_map(|load| {
                let program = native(model, load)?;
                let path = native::build(program, directory.path());
                path.and_then(|path| try_out(&path)).err()
            });
            Some((model, failure?))
        };
        let left_out = models.filter_map(why_not).collect();
        self.natives = Some(directory);
        Ok(left_out)
    }

    /// The command of a model's server, which says on standard error where it listens.
    #[must_use]
    pub fn server(&self, model: Model, workload: Workload) -> Command {
        self.server_at(model, workload, ANY_PORT)
    }

    /// The command of a model's server at that address.
    #[must_use]
    pub fn server_at(&self, model: Model, workload: Workload, address: &str) -> Command {
        if let Some(program) = native(model, workload) {
            let directory = self.natives.as_ref().map_or(Path::new(""), TempDir::path);
            let mut command = Command::new(directory.join(program.name()));
            command.arg(address);
            return command;
        }
        let kind = match workload {
            Workload::Chat => "chat",
            _ => "echo",
        };
        let is_ours = match model {
            Model::Reactor => true,
            // Chat is served by the reactor alone.
            Model::Fork | Model::Thread => workload != Workload::Chat,
            _ => false,
        };
        let mut command = Command::new(if is_ours {
            &self.edgeloop
        } else {
            &self.benches
        });
        if is_ours {
            command.args([kind, "--quiet", "--model", model.name()]);
            // A server on the internet would have it, so its cost belongs in the figures.
            command.args(["--idle-timeout", "10min"]);
            if workload == Workload::Chat {
                command.args(["--rate", "0"]);
            }
            if model != Model::Reactor {
                // The default leaves most of the machine's processes and threads to others.
                command.args(["--max-connections", "1000000"]);
            }
        } else {
            command.args(["peer", kind, model.name()]);
        }
        command.arg(address);
        command
    }

    /// The command of the generator.
    #[must_use]
    pub fn generator(&self, plan: &Plan, point: Point, address: &str, pid: &str) -> Command {
        let sources = match point.workload {
            Workload::Connect => SOURCES_OF_SHORT_CONNECTIONS,
            _ => point.connections.div_ceil(CONNECTIONS_OF_A_SOURCE),
        };
        let mut command = Command::new(&self.edgecall);
        command.args(["load", address, "--kind", point.workload.kind()]);
        for (option, value) in [
            ("--connections", point.connections.to_string()),
            ("--size", point.workload.message_bytes().to_string()),
            ("--depth", point.workload.depth().to_string()),
            ("--duration", format!("{}ms", plan.duration_ms)),
            ("--warm-up", format!("{}ms", plan.warm_up_ms)),
            ("--threads", "1".into()),
            ("--sources", sources.to_string()),
            ("--server-pid", pid.into()),
        ] {
            command.args([option, &value]);
        }
        if point.workload == Workload::Chat {
            let talkers = TALKERS.min(point.connections);
            command.args(["--talkers", &talkers.to_string()]);
        }
        command.arg("--json");
        command
    }

    /// The versions of the programs, of the compared libraries and of the compilers.
    #[must_use]
    pub fn versions(&self, models: &[Model]) -> BTreeMap<String, String> {
        let version = |program: &Path| first_line(&program.to_string_lossy(), &["--version"]);
        let second_word = |line: String| line.split(' ').nth(1).unwrap_or_default().to_owned();
        let tree = env!("CARGO_MANIFEST_DIR");
        let programs = [
            ("edgeloop", version(&self.edgeloop).map(second_word)),
            ("edgecall", version(&self.edgecall).map(second_word)),
            (
                "rustc",
                first_line("rustc", &["--version"]).map(second_word),
            ),
            ("cc", first_line("cc", &["-dumpfullversion"])),
            (
                "commit",
                first_line("git", &["-C", tree, "describe", "--always", "--dirty"]),
            ),
        ];
        let library = |model: &Model| {
            let name = match model {
                Model::Uring => "liburing",
                _ => model.name(),
            };
            let version = match model {
                Model::Mio | Model::Tokio => locked(name),
                Model::Uring | Model::Libuv | Model::Libev | Model::Libevent => {
                    let program = self.server(*model, Workload::Echo);
                    version(Path::new(program.get_program())).map(second_word)
                }
                Model::Reactor | Model::Fork | Model::Thread | Model::Raw => None,
            };
            (name, version)
        };
        let asked = programs.into_iter().chain(models.iter().map(library));
        let known = asked.filter_map(|(name, version)| Some((name.into(), version?)));
        known.collect()
    }
}

/// The program in C that serves a load as this model, if it is one in C.
fn native(model: Model, workload: Workload) -> Option<Native> {
    match (model, workload) {
        (Model::Raw, Workload::Chat) => Some(Native::ChatRaw),
        (_, Workload::Chat) => None,
        (Model::Raw, _) => Some(Native::EchoRaw),
        (Model::Uring, _) => Some(Native::EchoUring),
        (Model::Libuv, _) => Some(Native::EchoLibuv),
        (Model::Libev, _) => Some(Native::EchoLibev),
        (Model::Libevent, _) => Some(Native::EchoLibevent),
        _ => None,
    }
}

/// Starts a peer in C, and ends it.
fn try_out(program: &Path) -> Result<(), String> {
    let mut command = Command::new(program);
    command.arg(ANY_PORT);
    Process::start(command, None)?.address().map(drop)
}

fn is_native(model: Model) -> bool {
    native(model, Workload::Echo).is_some()
}

/// The commands of a comparison, with placeholders for the parts that differ from run to run.
#[must_use]
pub fn commands(plan: &Plan) -> Vec<String> {
    let programs = Programs::by_name();
    let last = |workload| {
        plan.points
            .iter()
            .rfind(move |point| point.workload == workload)
    };
    let points: Vec<Point> = Workload::ALL
        .into_iter()
        .filter_map(last)
        .copied()
        .collect();
    let servers = points.iter().flat_map(|point| {
        let serving = plan
            .models
            .iter()
            .filter(|model| model.serves(point.workload));
        serving.map(|&model| in_words(&programs.server(model, point.workload)))
    });
    let generators = points.iter().map(|point| {
        let generator = programs.generator(plan, *point, "127.0.0.1:PORT", "PID");
        let exact = format!("--connections {}", point.connections);
        in_words(&generator).replace(&exact, "--connections N")
    });
    let mut commands: Vec<String> = Vec::new();
    for command in servers.chain(generators) {
        if !commands.contains(&command) {
            commands.push(command);
        }
    }
    commands
}

fn in_words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

fn named_or_built(package: &str, named: Option<&Path>) -> Result<PathBuf, String> {
    named.map_or_else(|| build(package), |path| Ok(path.to_owned()))
}

/// Builds the program of a package in release, and returns its path.
fn build(package: &str) -> Result<PathBuf, String> {
    let output = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .args([
            "build",
            "--release",
            "--message-format=json",
            "--package",
            package,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "{package} does not build; name one with --{package}"
        ));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut paths = messages.lines().filter_map(executable);
    paths
        .next_back()
        .ok_or_else(|| format!("cargo has built no program for {package}"))
}

/// The path in one of cargo's messages, if that message is about an executable.
fn executable(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    Some(message["executable"].as_str()?.into())
}

/// The version of a library that this program was built with.
fn locked(library: &str) -> Option<String> {
    let lock = include_str!("../../../Cargo.lock");
    let (_, entry) = lock.split_once(&format!("name = \"{library}\"\nversion = \""))?;
    Some(entry.split('"').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_that_are_compared_have_versions() {
        for library in ["mio", "tokio"] {
            let version = locked(library).unwrap();
            assert!(version.starts_with("1."), "{library} {version}");
        }
        assert_eq!(locked("no-such-library"), None);
    }

    #[test]
    fn each_load_has_the_server_that_the_model_has_for_it() {
        let called = |model, workload| in_words(&Programs::by_name().server(model, workload));
        for (model, workload, command) in [
            (
                Model::Fork,
                Workload::Bulk,
                "edgeloop echo --quiet --model fork --idle-timeout 10min \
                 --max-connections 1000000 127.0.0.1:0",
            ),
            (
                Model::Reactor,
                Workload::Chat,
                "edgeloop chat --quiet --model reactor --idle-timeout 10min --rate 0 127.0.0.1:0",
            ),
            (
                Model::Fork,
                Workload::Chat,
                "benches peer chat fork 127.0.0.1:0",
            ),
            (
                Model::Mio,
                Workload::Connect,
                "benches peer echo mio 127.0.0.1:0",
            ),
            (Model::Raw, Workload::Echo, "echo_raw 127.0.0.1:0"),
            (Model::Raw, Workload::Chat, "chat_raw 127.0.0.1:0"),
        ] {
            assert_eq!(called(model, workload), command);
        }
    }

    #[test]
    fn cargo_names_the_program_in_one_of_its_messages() {
        let built = r#"{"reason":"compiler-artifact","executable":"/a \"b\"/edgeloop"}"#;
        assert_eq!(executable(built), Some("/a \"b\"/edgeloop".into()));
        assert_eq!(executable(r#"{"executable":null}"#), None);
        assert_eq!(executable("warning: not JSON"), None);
    }
}
