//! The settings of a chat.

use std::path::PathBuf;
use std::time::Duration;

use crate::server::StandardStreams;

/// Tags of the operator's terminal, and of the log's two connections; every other connection is tagged
/// [`CLIENT`](crate::server::CLIENT).
pub(super) const STDIN: u64 = 1;
pub(super) const STDOUT: u64 = 2;
pub(super) const LOG: [u64; 2] = [3, 4];

/// The settings of a chat.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The longest line, in bytes.
    pub max_line: usize,
    /// Lines a second that a member may say for long; 0 for any number.
    pub rate: u32,
    /// Lines that a member may say at once before `rate` counts.
    pub burst: u32,
    /// Bytes a second that a member must accept while its pending output is above `high_water`, and
    /// that its room may be told meanwhile; 0 for any rate.
    pub min_rate: usize,
    /// Pending output of a member, in bytes, above which its room is told `min_rate` only.
    pub high_water: usize,
    /// Number of lines of a room that are shown to a member that enters.
    pub history: usize,
    /// The message of the day, shown to each member that joins.
    pub motd: Option<String>,
    /// The file of the message of the day, read again on SIGHUP; `None` if it has none.
    pub motd_file: Option<PathBuf>,
    /// Time in which a client must give a name; zero is for ever.
    pub login_timeout: Duration,
    /// Allow letters of any script in names.
    pub unicode_names: bool,
    /// Budget Chat and nothing else: no commands, and every step announced.
    pub plain: bool,
    /// Tell all members the lines that are typed at the server's terminal.
    pub operator: bool,
}

/// The defaults of the command line.
impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_line: 4096,
            rate: 100,
            burst: 1000,
            min_rate: 8 * 1024,
            high_water: 256 * 1024,
            history: 0,
            motd: None,
            motd_file: None,
            login_timeout: Duration::from_secs(60),
            unicode_names: false,
            plain: false,
            operator: false,
        }
    }
}

impl Settings {
    /// The operator's terminal, if the chat has one.
    pub(super) fn streams(&self) -> StandardStreams {
        StandardStreams {
            stdin: self.operator.then_some(STDIN),
            stdout: self.operator.then_some(STDOUT),
        }
    }
}
