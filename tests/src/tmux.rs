//! Real terminals, as a user has them: windows of a `tmux` server that belongs to the test.

use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::PATIENCE;
use crate::program::command;

/// A `tmux` server on a private socket. Dropping it kills all programs that run in it.
#[derive(Debug)]
pub struct Tmux {
    directory: TempDir,
}

impl Tmux {
    /// A server without windows; the first window starts it.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it starts a program")]
    pub fn new() -> Self {
        Self {
            directory: TempDir::new().expect("a temporary directory"),
        }
    }

    /// Opens a window with a shell, whose prompt is `$`.
    #[must_use]
    pub fn window(&self, columns: u16, rows: u16) -> Window<'_> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let shell = "exec env PS1='$ ' bash --norc --noprofile -i";
        let options = ["-d", "-P", "-F", "#{pane_id}", "-x", &columns, "-y", &rows];
        let id = self.tell(&[&["new-session"], &options[..], &[shell]].concat());
        let window = Window {
            tmux: self,
            id: id.trim().to_owned(),
        };
        window.shows("$");
        window
    }

    fn tell(&self, words: &[&str]) -> String {
        let output = self.command(words).output().expect("tmux starts");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {words:?}: {complaint}");
        String::from_utf8(output.stdout).expect("tmux speaks UTF-8")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut tmux = command("tmux");
        tmux.args(["-u", "-f", "/dev/null", "-S"]);
        tmux.arg(self.directory.path().join("socket"));
        tmux.args(words).env_remove("TMUX").env("LC_ALL", "C.UTF-8");
        tmux
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // A window that closes sends SIGHUP, which some programs ignore.
        let leaders = self
            .command(&["list-panes", "-a", "-F", "#{pane_pid}"])
            .output();
        for leader in leaders
            .iter()
            .flat_map(|output| output.stdout.split(|&byte| byte == b'\n'))
        {
            String::from_utf8_lossy(leader)
                .parse()
                .into_iter()
                .for_each(kill_session);
        }
        // The command fails if no window was ever opened.
        let _ = self.command(&["kill-server"]).output();
    }
}

/// Kills all processes of a session (setsid(2)), the leader last.
fn kill_session(leader: i32) {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_in_it = |pid: &i32| session_of(*pid) == Some(leader) && *pid != leader;
    for pid in pids.filter(is_in_it).chain([leader]) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// The session of a process, if it still exists: proc_pid_stat(5).
fn session_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(3)?.parse().ok()
}

/// A window with a shell.
#[derive(Debug)]
pub struct Window<'a> {
    tmux: &'a Tmux,
    id: String,
}

impl Window<'_> {
    /// Types this text, letter by letter.
    pub fn type_in(&self, text: &str) {
        self.tmux
            .tell(&["send-keys", "-t", &self.id, "-l", "--", text]);
    }

    /// Presses keys by their names: `Enter`, `Left`, `C-z`.
    pub fn press(&self, keys: &[&str]) {
        let words = ["send-keys", "-t", &self.id];
        self.tmux.tell(&[&words[..], keys].concat());
    }

    /// Pastes this text, as with a mouse: bracketed if the program has asked for that.
    pub fn paste(&self, text: &str) {
        self.tmux.tell(&["set-buffer", "--", text]);
        self.tmux.tell(&["paste-buffer", "-p", "-t", &self.id]);
    }

    /// Types a line.
    pub fn enter(&self, line: &str) {
        self.type_in(line);
        self.press(&["Enter"]);
    }

    /// Types a command for the shell. `edgeloop` and `edgecall` are the programs under test.
    pub fn run(&self, line: &str) {
        let word = |word: &str| match word {
            "edgeloop" | "edgecall" => command(word).get_program().display().to_string(),
            _ => word.to_owned(),
        };
        let words: Vec<String> = line.split(' ').map(word).collect();
        self.enter(&format!("clear; {}", words.join(" ")));
    }

    /// Makes the shell read a line, which the kernel edits, and print it after `read`. Meanwhile
    /// the terminal is in the mode in which shells start programs.
    pub fn read_line(&self) {
        self.enter("printf 'rea%s\\n' dy; read -r line; echo \"read $line\"");
        self.shows("ready");
    }

    /// The rows of the screen, without blank rows at the end.
    #[must_use]
    pub fn rows(&self) -> Vec<String> {
        let screen = self.tmux.tell(&["capture-pane", "-p", "-t", &self.id]);
        let rows = screen.trim_end().lines();
        rows.map(|row| row.trim_end().to_owned()).collect()
    }

    /// Waits until these are the last rows of the screen.
    pub fn ends_in(&self, rows: &[&str]) {
        self.wait(&format!("{rows:#?} at the end"), |screen| {
            screen.ends_with(&rows.iter().map(|&row| row.to_owned()).collect::<Vec<_>>())
        });
    }

    /// Waits until a row contains this, and returns the row.
    #[expect(clippy::must_use_candidate, reason = "to wait for it is the point")]
    pub fn shows(&self, text: &str) -> String {
        let screen = self.wait(text, |screen| screen.iter().any(|row| row.contains(text)));
        let row = screen.into_iter().find(|row| row.contains(text));
        row.expect("it is there")
    }

    fn wait(&self, what: &str, condition: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.rows();
            if condition(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "no {what} in {screen:#?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Resizes it.
    pub fn resize(&self, columns: u16, rows: u16) {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let size = ["-x", &columns, "-y", &rows];
        self.tmux
            .tell(&[&["resize-window", "-t", &self.id], &size[..]].concat());
    }

    /// One of tmux's variables, such as `pane_title`.
    #[must_use]
    pub fn variable(&self, name: &str) -> String {
        let format = format!("#{{{name}}}");
        let words = ["display-message", "-p", "-t", &self.id, &format];
        self.tmux.tell(&words).trim_end().to_owned()
    }

    /// The process id of its shell.
    #[must_use]
    pub fn shell(&self) -> u32 {
        self.variable("pane_pid").parse().expect("a process id")
    }

    /// Closes it, as a click would.
    pub fn close(self) {
        self.tmux.tell(&["kill-pane", "-t", &self.id]);
    }
}
