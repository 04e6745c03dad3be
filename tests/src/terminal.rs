//! A pseudo-terminal: programs run on it, and the test types on it and reads its output.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, killpg};
use nix::sys::termios::{
    FlowArg, LocalFlags, OutputFlags, SetArg, Termios, tcflow, tcgetattr, tcsetattr,
};
use nix::unistd::Pid;

use crate::PATIENCE;
use crate::program::command;

/// A pseudo-terminal: pty(7).
#[derive(Debug)]
pub struct Terminal {
    /// The end that programs open.
    line: OwnedFd,
    /// The end on which a user types.
    keyboard: File,
    shown: Arc<Mutex<Vec<u8>>>,
    watcher: JoinHandle<()>,
}

impl Terminal {
    /// A terminal that shows output byte for byte and does not echo input.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it opens a device")]
    pub fn new() -> Self {
        // CLOEXEC: a program that another test starts meanwhile must inherit neither end.
        let keyboard = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC);
        let keyboard = keyboard.expect("posix_openpt");
        grantpt(&keyboard).expect("grantpt");
        unlockpt(&keyboard).expect("unlockpt");
        let name = ptsname_r(&keyboard).expect("ptsname_r");
        let mut options = File::options();
        options.read(true).write(true);
        let line = options.custom_flags(OFlag::O_NOCTTY.bits()).open(name);
        let line = OwnedFd::from(line.expect("a terminal can be opened"));
        let mut settings = tcgetattr(&line).expect("tcgetattr");
        settings.output_flags.remove(OutputFlags::OPOST);
        settings.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&line, SetArg::TCSANOW, &settings).expect("tcsetattr");
        let keyboard = File::from(OwnedFd::from(keyboard));
        let mut screen = keyboard.try_clone().expect("dup");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let screen_content = Arc::clone(&shown);
        let watcher = thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails with EIO once no process has the terminal open.
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                let mut shown = screen_content.lock().expect("no test panics in here");
                shown.extend_from_slice(&bytes[..count]);
            }
        });
        Self {
            line,
            keyboard,
            shown,
            watcher,
        }
    }

    /// The terminal as a program's stdin, stdout or stderr.
    #[must_use]
    pub fn line(&self) -> Stdio {
        self.line.try_clone().expect("dup").into()
    }

    /// Its mode: termios(3).
    #[must_use]
    pub fn mode(&self) -> Termios {
        tcgetattr(&self.line).expect("tcgetattr")
    }

    /// Whether a program edits the typed line, and not the kernel.
    #[must_use]
    pub fn is_edited(&self) -> bool {
        !self.mode().local_flags.contains(LocalFlags::ICANON)
    }

    /// Runs a program from a shell whose controlling terminal this is, so that Ctrl-C reaches it.
    /// When the program has ended, the shell shows `status N` and waits, so that the terminal stays
    /// as the program left it.
    #[must_use]
    pub fn run(&self, words: &[&str]) -> Session {
        let script = "trap : INT; \"$@\"; echo \"status $?\"; read -r line";
        let program = command(words[0]);
        let child = command("setsid")
            .args(["--ctty", "sh", "-c", script, "sh"])
            .arg(program.get_program())
            .args(&words[1..])
            .env("TERM", "xterm")
            .stdin(self.line())
            .stdout(self.line())
            .stderr(self.line())
            .spawn()
            .expect("setsid starts");
        Session { child }
    }

    /// Suspends output, as Ctrl-S does: tcflow(3).
    pub fn stop(&self) {
        tcflow(&self.line, FlowArg::TCOOFF).expect("tcflow");
    }

    /// Resumes output, as Ctrl-Q does.
    pub fn go_on(&self) {
        tcflow(&self.line, FlowArg::TCOON).expect("tcflow");
    }

    /// Types this text.
    pub fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("write");
    }

    /// The output so far.
    #[must_use]
    pub fn shown(&self) -> String {
        let shown = self.shown.lock().expect("no test panics in here");
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Waits until the output contains this text.
    pub fn shows(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.shown().contains(text) {
            let shown = self.shown();
            assert!(Instant::now() < deadline, "no {text:?} in {shown:?}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until no program has the terminal open, and returns the whole output.
    #[must_use]
    pub fn finish(self) -> String {
        drop(self.line);
        self.watcher.join().expect("no test panics in here");
        let shown = self.shown.lock().expect("no test panics in here");
        String::from_utf8_lossy(&shown).into_owned()
    }
}

/// A shell on a terminal, and the program it runs. Dropping it kills both.
#[derive(Debug)]
pub struct Session {
    child: Child,
}

impl Session {
    /// The process id of the shell.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        let _ = killpg(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGKILL,
        );
        let _ = self.child.wait();
    }
}
