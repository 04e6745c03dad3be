//! A server as a process: start it, learn its addresses, read its log and its counters, end it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use crate::command::{binary, edgecall};

use crate::command::command;
use crate::process::{open_descriptors, state, wait_for_exit};
use crate::{PATIENCE, until};

/// The values of `--model`: ways to serve connections.
pub const MODELS: [&str; 3] = ["reactor", "fork", "thread"];

/// A builder for the command line and the environment of a server.
#[derive(Debug)]
#[must_use]
pub struct Launch {
    wrapper: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    stdin: Stdio,
    stdout: Stdio,
    listeners: usize,
}

impl Launch {
    /// The server `name` on these addresses.
    pub fn new(name: &str, addresses: &[&str]) -> Self {
        let words = std::iter::once(name).chain(addresses.iter().copied());
        Self {
            wrapper: Vec::new(),
            arguments: words.map(str::to_owned).collect(),
            environment: Vec::new(),
            stdin: Stdio::null(),
            stdout: Stdio::piped(),
            listeners: addresses.len(),
        }
    }

    /// The echo server on a TCP port that the kernel picks.
    pub fn echo() -> Self {
        Self::new("echo", &["127.0.0.1:0"])
    }

    /// Expects this many banners: one for each address that the names stand for.
    pub fn listeners(mut self, count: usize) -> Self {
        self.listeners = count;
        self
    }

    /// Serves connections by this one of the [`MODELS`].
    pub fn model(self, model: &str) -> Self {
        self.args(&["--model", model])
    }

    /// Adds these arguments.
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().copied().map(str::to_owned));
        self
    }

    /// Adds this environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets stdin, which is `/dev/null` by default.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// Sets stdout, which is collected by default.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = stdout.into();
        self
    }

    /// Starts the server through another program, which must become the server (as by `exec`)
    /// rather than its parent.
    pub fn under<S: AsRef<str>>(mut self, wrapper: &[S]) -> Self {
        self.wrapper
            .extend(wrapper.iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Limits the server to this many descriptors (soft and hard limit).
    pub fn descriptors(self, limit: usize) -> Self {
        self.under(&[
            "prlimit".to_owned(),
            format!("--nofile={limit}:{limit}"),
            "--".to_owned(),
        ])
    }

    /// Starts the server and waits until it listens on every address.
    #[must_use]
    pub fn start(self) -> Server {
        let listeners = self.listeners;
        let mut server = self.spawn();
        for _ in 0..listeners {
            let seen = server.banner_lines;
            let (index, line) = server
                .stderr
                .wait_from(seen, PATIENCE, |line| line.contains("listening on "))
                .unwrap_or_else(|| panic!("no banner; on stderr:\n{}", server.stderr.text()));
            server.banner_lines = index + 1;
            let (_, address) = line.split_once("listening on ").expect("a banner");
            server.addresses.push(address.trim_end().to_owned());
        }
        server
    }

    /// Starts the server without waiting for banners.
    #[must_use]
    pub fn spawn(self) -> Server {
        let mut words = self.wrapper.iter().map(String::as_str);
        let binary = binary().to_str().expect("a path in UTF-8");
        let mut command = command(words.next().unwrap_or(binary));
        if !self.wrapper.is_empty() {
            command.args(words).arg(binary);
        }
        let mut child = command
            .args(&self.arguments)
            .envs(self.environment)
            .stdin(self.stdin)
            .stdout(self.stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().map(Lines::collect);
        let stdout = stdout.unwrap_or_else(Lines::ended);
        let stderr = Lines::collect(child.stderr.take().expect("piped"));
        Server {
            child,
            stdout,
            stderr,
            addresses: Vec::new(),
            banner_lines: 0,
        }
    }

    /// Runs the program to its end.
    #[must_use]
    pub fn run(self) -> Finished {
        self.spawn().finish()
    }
}

/// The status and output of a server that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status; -1 if a signal ended it.
    pub code: i32,
    /// Its whole stdout.
    pub stdout: String,
    /// Its whole stderr.
    pub stderr: String,
}

impl Finished {
    /// The one line of stderr that says why the program failed. Log lines may precede it.
    #[must_use]
    pub fn complaint(&self) -> &str {
        let complaints = self
            .stderr
            .lines()
            .filter(|line| line.starts_with("edgeloop: "));
        assert_eq!(complaints.count(), 1, "{self:?}");
        let last = self.stderr.lines().next_back().expect("a line");
        assert!(last.starts_with("edgeloop: "), "{self:?}");
        last
    }
}

/// A running server. Dropping it kills the process.
#[derive(Debug)]
pub struct Server {
    child: Child,
    stdout: Arc<Lines>,
    stderr: Arc<Lines>,
    addresses: Vec<String>,
    /// How many lines of stderr were already searched for banners.
    banner_lines: usize,
}

impl Server {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The addresses in its banners, in order.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The address after `scheme` in the first banner with that scheme (`tcp://`, `udp://`).
    #[must_use]
    pub fn address(&self, scheme: &str) -> SocketAddr {
        let address = self
            .addresses
            .iter()
            .find_map(|address| address.strip_prefix(scheme));
        let address = address.unwrap_or_else(|| panic!("no {scheme} in {:?}", self.addresses));
        address
            .parse()
            .unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    /// The first TCP address.
    #[must_use]
    pub fn tcp(&self) -> SocketAddr {
        self.address("tcp://")
    }

    /// The first address for browsers.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.address("http://")
    }

    /// The first UDP address.
    #[must_use]
    pub fn udp(&self) -> SocketAddr {
        self.address("udp://")
    }

    /// Its standard input, which must be a pipe.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("piped")
    }

    /// Its stdout so far; empty if the test has set another stdout.
    #[must_use]
    pub fn stdout(&self) -> &Lines {
        &self.stdout
    }

    /// Waits until it has printed this line, and returns the line's number.
    #[expect(clippy::must_use_candidate, reason = "to wait for it is the point")]
    pub fn prints(&self, wanted: &str) -> usize {
        let found = self.stdout.wait_from(0, PATIENCE, |line| line == wanted);
        let (index, _) =
            found.unwrap_or_else(|| panic!("no {wanted:?} on stdout:\n{}", self.stdout.text()));
        index
    }

    /// Waits until a line on stderr contains this, and returns the line.
    #[expect(clippy::must_use_candidate, reason = "to wait for it is the point")]
    pub fn logs(&self, wanted: &str) -> String {
        let found = self.stderr.wait_for(PATIENCE, |line| line.contains(wanted));
        found.unwrap_or_else(|| panic!("no {wanted:?} on stderr:\n{}", self.stderr.text()))
    }

    /// Its stderr so far.
    #[must_use]
    pub fn stderr(&self) -> &Lines {
        &self.stderr
    }

    /// How many descriptors it has open, once its loop runs and has opened those of the start.
    #[must_use]
    pub fn open_descriptors(&self) -> usize {
        let _ = self.stats();
        open_descriptors(self.pid())
    }

    /// Waits until at most `baseline` descriptors are open, and fails if there are fewer.
    pub fn descriptors_return_to(&self, baseline: usize) {
        until("all descriptors are closed", || {
            open_descriptors(self.pid()) <= baseline
        });
        assert_eq!(open_descriptors(self.pid()), baseline);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).expect("kill");
    }

    /// Stops it with SIGSTOP and waits until it has stopped.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        until("the server has stopped", || {
            matches!(state(self.pid()), 'T' | 't')
        });
    }

    /// Lets it run again.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Waits for it to end; `None` if it does not within `patience`.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        wait_for_exit(&mut self.child, patience)
    }

    /// Waits for it to end and returns its exit status; -1 if a signal ended it.
    pub fn exit_code(&mut self) -> i32 {
        let status = self
            .wait(PATIENCE)
            .unwrap_or_else(|| panic!("the server did not end: {self:?}"));
        status.code().unwrap_or(-1)
    }

    /// Waits for it to end, and returns its status and output.
    pub fn finish(&mut self) -> Finished {
        let code = self.exit_code();
        self.stdout.wait_for_end();
        self.stderr.wait_for_end();
        Finished {
            code,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }

    /// Asks it for its counters (SIGUSR1).
    #[must_use]
    pub fn stats(&self) -> Stats {
        let seen = self.stderr.count();
        self.signal(Signal::SIGUSR1);
        let line = self
            .stderr
            .wait_from(seen, PATIENCE, |line| line.contains("stats:"));
        let (_, line) =
            line.unwrap_or_else(|| panic!("no counters; on stderr:\n{}", self.stderr.text()));
        Stats::parse(&line)
    }

    /// Asks for its counters until `condition` holds for them, and returns these.
    pub fn stats_until(&self, what: &str, mut condition: impl FnMut(&Stats) -> bool) -> Stats {
        let mut stats = self.stats();
        until(what, || {
            stats = self.stats();
            condition(&stats)
        });
        stats
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("stderr of the server:\n{}", self.stderr.text());
        }
    }
}

/// The counters of a server at one moment.
#[derive(Clone, Debug)]
pub struct Stats(BTreeMap<String, u64>);

impl Stats {
    /// Parses all `name=number` pairs in a line.
    fn parse(line: &str) -> Self {
        let pairs = line.split_whitespace().filter_map(|word| {
            let (name, value) = word.trim_end_matches(',').split_once('=')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(pairs.collect())
    }

    /// The counter `name`; zero if the line did not have it.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// By how much the counter `name` grew since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self, name: &str) -> u64 {
        self.get(name) - earlier.get(name)
    }
}

/// The lines that a process writes, collected while it runs.
#[derive(Debug, Default)]
pub struct Lines {
    state: Mutex<LinesState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LinesState {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    pub(crate) fn collect(source: impl Read + Send + 'static) -> Arc<Self> {
        let lines = Arc::new(Self::default());
        let collector = Arc::clone(&lines);
        thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
                collector.change(|state| {
                    state
                        .lines
                        .push(String::from_utf8_lossy(&line).into_owned());
                });
            }
            collector.change(|state| state.ended = true);
        });
        lines
    }

    /// An output that is empty and has ended.
    fn ended() -> Arc<Self> {
        let lines = Self::default();
        lines.change(|state| state.ended = true);
        Arc::new(lines)
    }

    fn change(&self, change: impl FnOnce(&mut LinesState)) {
        change(&mut self.state.lock().expect("no test panics in here"));
        self.changed.notify_all();
    }

    /// How many lines there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state
            .lock()
            .expect("no test panics in here")
            .lines
            .len()
    }

    /// All lines, each with its line end.
    #[must_use]
    pub fn text(&self) -> String {
        let state = self.state.lock().expect("no test panics in here");
        state
            .lines
            .iter()
            .flat_map(|line| [line.as_str(), "\n"])
            .collect()
    }

    /// Waits for a line that is `wanted`; `None` if the output ends or `patience` is over first.
    pub fn wait_for(&self, patience: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        self.wait_from(0, patience, wanted).map(|(_, line)| line)
    }

    /// As [`wait_for`](Self::wait_for), from line number `first` on; the line comes with its
    /// number.
    pub fn wait_from(
        &self,
        first: usize,
        patience: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Option<(usize, String)> {
        let deadline = Instant::now() + patience;
        let mut next = first;
        let mut state = self.state.lock().expect("no test panics in here");
        loop {
            while let Some(line) = state.lines.get(next) {
                if wanted(line) {
                    return Some((next, line.clone()));
                }
                next += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            (state, _) = self
                .changed
                .wait_timeout(state, left)
                .expect("no test panics in here");
        }
    }

    /// Waits for the end of the output.
    pub fn wait_for_end(&self) {
        let state = self.state.lock().expect("no test panics in here");
        let (state, _) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !state.ended)
            .expect("no test panics in here");
        assert!(state.ended, "the output does not end");
    }
}
