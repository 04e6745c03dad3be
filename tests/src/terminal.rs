//! A terminal, and what it shows.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, OutputFlags, SetArg, tcgetattr, tcsetattr};

use crate::until;

/// A pseudo-terminal of 24 lines of 80 characters: pty(7).
#[derive(Debug)]
pub struct Terminal {
    /// What programs open.
    line: OwnedFd,
    /// What a user types on.
    keyboard: File,
    shown: Arc<Mutex<Vec<u8>>>,
    watcher: JoinHandle<()>,
}

impl Terminal {
    /// A terminal that shows what is written to it byte for byte, and not what is typed.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it opens a device")]
    pub fn new() -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).expect("openpty");
        let mut settings = tcgetattr(&pty.slave).expect("tcgetattr");
        settings.output_flags.remove(OutputFlags::OPOST);
        settings.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&pty.slave, SetArg::TCSANOW, &settings).expect("tcsetattr");
        let keyboard = File::from(pty.master);
        let mut screen = keyboard.try_clone().expect("dup");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let screen_content = Arc::clone(&shown);
        let watcher = thread::spawn(move || {
            let mut bytes = [0; 4096];
            // EIO when nobody has it open any more.
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                let mut shown = screen_content.lock().expect("no test panics in here");
                shown.extend_from_slice(&bytes[..count]);
            }
        });
        Self {
            line: pty.slave,
            keyboard,
            shown,
            watcher,
        }
    }

    /// For a program's stdin, stdout or stderr.
    #[must_use]
    pub fn line(&self) -> Stdio {
        self.line.try_clone().expect("dup").into()
    }

    /// Types.
    pub fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("write");
    }

    /// What was written to it so far.
    #[must_use]
    pub fn shown(&self) -> String {
        let shown = self.shown.lock().expect("no test panics in here");
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Waits until this was written to it.
    pub fn shows(&self, text: &str) {
        until(text, || self.shown().contains(text));
    }

    /// All that was written to it, when nobody has it open any more.
    #[must_use]
    pub fn finish(self) -> String {
        drop(self.line);
        self.watcher.join().expect("no test panics in here");
        let shown = self.shown.lock().expect("no test panics in here");
        String::from_utf8_lossy(&shown).into_owned()
    }
}
