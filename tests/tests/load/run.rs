//! Helpers that run the generator and parse its report.

use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::call::Call;
use tests::server::{Launch, Server, edgecall};

/// The status and output of a run.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The report of a run without errors.
    pub(crate) fn good(self) -> Value {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        let json = self.json();
        assert_eq!(json["mismatches"], 0, "{json}");
        assert_eq!(json["errors"], serde_json::json!({}), "{json}");
        assert!(json["messages"].as_u64() > Some(0), "{json}");
        json
    }

    /// The report of a run that has found errors.
    pub(crate) fn bad(self) -> Value {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.stderr.starts_with("edgecall: "), "{self:?}");
        self.json()
    }
}

pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(edgecall());
    command.arg("load").args(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Runs a command to its end.
pub(crate) fn finish(command: Command) -> Finished {
    let mut call = Call::spawn(command);
    let mut stdout = String::new();
    call.stdout().read_to_string(&mut stdout).expect("UTF-8");
    let (code, stderr) = call.finish();
    Finished {
        code,
        stdout,
        stderr,
    }
}

/// A short run, reported as JSON.
pub(crate) fn load(words: &[&str]) -> Finished {
    let mut command = command(words);
    command.arg("--json").env("EDGECALL_DURATION", "300ms");
    command.env("EDGECALL_WARM_UP", "100ms");
    finish(command)
}

pub(crate) fn number(json: &Value, path: &str) -> f64 {
    let value = json.pointer(path).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("no number {path} in {json}"))
}

/// Starts a server that logs nothing: these tests do not read its log.
pub(crate) fn serve(name: &str, address: &str) -> Server {
    Launch::new(name, &[address]).args(&["--quiet"]).start()
}
