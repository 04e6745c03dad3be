//! What can be chosen.

use std::path::PathBuf;
use std::time::Duration;

/// What can be chosen.
#[derive(Debug)]
pub struct Settings {
    /// The longest line, in bytes.
    pub max_line: usize,
    /// Lines a second that one may say for long, 0 for any number.
    pub rate: u32,
    /// Lines that one may say at once before that counts.
    pub burst: u32,
    /// Bytes a second that a member must accept while more than `high_water` waits for it, and that
    /// a room may be told whatever waits for its members; 0 for any rate.
    pub min_rate: usize,
    /// Bytes waiting for a member above which its room is told no more than that.
    pub high_water: usize,
    /// How many lines of a room are shown to who enters it.
    pub history: usize,
    /// What is shown to who has joined.
    pub motd: Option<String>,
    /// Where that came from, to be read again on SIGHUP; `None` if it is no file's content.
    pub motd_file: Option<PathBuf>,
    /// How long one may take to give a name; zero is for ever.
    pub login_timeout: Duration,
    /// Connections from one address; `None` for any number.
    pub max_per_ip: Option<usize>,
    /// Letters of any script in names.
    pub unicode_names: bool,
    /// Budget Chat and nothing else: no commands, and every step announced.
    pub plain: bool,
    /// Who types at the server's terminal speaks to all.
    pub operator: bool,
}
