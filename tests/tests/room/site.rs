//! Several chats with one room.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tests::server::{Launch, Server};
use tests::{PATIENCE, until, within};

use crate::GAP;

/// Addresses of a chat that the kernel completes.
const ANY: [&str; 2] = ["127.0.0.1:0", "http://127.0.0.1:0"];
/// No limit on what a member may say; the tests of one chat have those.
const OPTIONS: [&str; 3] = ["--rate", "0", "--quiet"];

/// Chats, and the directory of their transcripts.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) chats: Vec<Chat>,
    directory: TempDir,
}

/// A chat with a transcript, and an operator.
#[derive(Debug)]
pub(crate) struct Chat {
    pub(crate) server: Server,
    transcript: PathBuf,
    options: Vec<String>,
    keyboard: ChildStdin,
}

impl Site {
    /// A chat for each of these addresses of a Redis, with these options.
    pub(crate) fn start<S: AsRef<str>>(urls: &[S], options: &[&str]) -> Site {
        let directory = tempfile::tempdir().expect("a directory");
        let mut site = Site {
            chats: Vec::new(),
            directory,
        };
        for url in urls {
            site.add(Some(url.as_ref()), options);
        }
        site
    }

    /// One chat without a Redis.
    pub(crate) fn alone(options: &[&str]) -> Site {
        let mut site = Site::start::<&str>(&[], options);
        site.add(None, options);
        site
    }

    /// Starts another chat.
    pub(crate) fn add(&mut self, url: Option<&str>, options: &[&str]) {
        let file = format!("transcript{}", self.chats.len());
        let path = self.directory.path().join(file);
        let mut all: Vec<&str> = [&OPTIONS[..], options].concat();
        if !options.contains(&"--history") {
            all.extend(["--history", "0"]);
        }
        if let Some(url) = url {
            all.extend(["--backplane", url]);
        }
        self.chats.push(Chat::start(&path, &all));
    }

    pub(crate) fn server(&self, number: usize) -> &Server {
        &self.chats[number].server
    }

    /// Waits until all transcripts are equal and have this line, and returns their text.
    pub(crate) fn transcript_with(&self, line: &str) -> String {
        let texts = || -> Vec<String> { self.chats.iter().map(Chat::common_transcript).collect() };
        let is_there = |text: &String| text.lines().any(|other| other.ends_with(line));
        let is_complete = || {
            let texts = texts();
            texts.iter().all(|text| is_there(text) && *text == texts[0])
        };
        within(PATIENCE, is_complete);
        let mut texts = texts();
        assert!(texts.iter().all(is_there), "no {line:?} in a transcript");
        for (number, text) in texts.iter().enumerate() {
            assert_same_lines(&texts[0], text, number);
        }
        texts.swap_remove(0)
    }
}

/// Two transcripts are equal.
fn assert_same_lines(first: &str, other: &str, number: usize) {
    if first == other {
        return;
    }
    let pairs = first.lines().zip(other.lines());
    let same = pairs.take_while(|(first, other)| first == other).count();
    let around = |text: &str| {
        let lines = text.lines().skip(same.saturating_sub(2)).take(5);
        lines.collect::<Vec<_>>().join("\n")
    };
    panic!(
        "transcripts 0 and {number} differ from line {same} on:\n{}\n--- and\n{}",
        around(first),
        around(other)
    );
}

impl Chat {
    fn start(transcript: &Path, options: &[&str]) -> Chat {
        Chat::start_at(
            &ANY,
            transcript,
            options.iter().map(|&option| option.into()).collect(),
        )
    }

    fn start_at(addresses: &[&str], transcript: &Path, options: Vec<String>) -> Chat {
        let words: Vec<&str> = options.iter().map(String::as_str).collect();
        let path = transcript.to_str().expect("UTF-8");
        let mut server = Launch::new("chat", addresses)
            .args(&["--operator", "--transcript", path])
            .args(&words)
            .stdin(Stdio::piped())
            .start();
        let keyboard = server.stdin();
        Chat {
            server,
            transcript: transcript.to_owned(),
            options,
            keyboard,
        }
    }

    /// Waits until the transcript has this line, and returns its text.
    pub(crate) fn transcript_with(&self, line: &str) -> String {
        until("the transcript has its last line", || {
            self.common_transcript()
                .lines()
                .any(|other| other.ends_with(line))
        });
        self.common_transcript()
    }

    /// Types a line at the server's terminal.
    pub(crate) fn operate(&self, line: &str) {
        let mut keyboard = &self.keyboard;
        writeln!(keyboard, "{line}").expect("the operator's line is read");
    }

    /// The transcript. A gap is an event of this server, not of the log, and so is its time, which is
    /// left out.
    fn common_transcript(&self) -> String {
        let text = fs::read_to_string(&self.transcript).expect("a transcript");
        let without_time = |line: &str| match line.split_once(' ') {
            Some((_, rest)) if rest.ends_with(GAP) => format!("- {rest}"),
            _ => line.to_owned(),
        };
        text.split_inclusive('\n')
            .map(|line| match line.strip_suffix('\n') {
                Some(line) => without_time(line) + "\n",
                None => line.to_owned(),
            })
            .collect()
    }

    /// As `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.server.signal(Signal::SIGKILL);
        self.server.wait(PATIENCE).expect("it ends");
    }

    /// Ends it in good order.
    pub(crate) fn stop(&mut self) {
        self.server.signal(Signal::SIGTERM);
        assert_eq!(self.server.exit_code(), 0);
    }

    /// Starts it again, on the same ports, after its end.
    pub(crate) fn restart(&mut self) {
        let addresses: Vec<&str> = self.server.addresses().iter().map(String::as_str).collect();
        let chat = Chat::start_at(&addresses, &self.transcript, self.options.clone());
        *self = chat;
    }
}
