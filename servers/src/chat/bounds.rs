//! The bounds of a member's pending output, and the rates of talkers that follow from them.
//!
//! `--high-water` is a soft limit: above it a room is told its minimum rate only. The reactor's hard
//! limit, `Limits::queue_limit`, is computed here as the sum of everything that can be queued before
//! and while the soft limit takes effect. So a member that accepts the minimum rate never reaches the
//! hard limit, and any other member costs no more memory than that.

use std::time::Duration;

use edgeloop_reactor::Limits;

use super::gate::Allowance;
use super::history;
use super::pace::{RENAME, Rate, Rates};
use super::reading;
use super::room::LISTED_MAX;
use super::settings::Settings;
use crate::server::CLIENT;

/// Bytes of the longest name with the comma after it.
const NAME_MAX: usize = 32 * 4 + ", ".len();
/// Most bytes that are added to a member's line: two names, as in a whisper, brackets, and the header of
/// a message.
pub(super) const FRAME_MAX: usize = 2 * NAME_MAX + 8 + 9;
/// Factor by which a line may grow: a byte that is not UTF-8 becomes U+FFFD, which has three bytes.
const GROWTH: usize = 3;
/// Window in which the reactor measures the minimum rate, in seconds.
const WINDOW: usize = 30;
/// Bytes a second that a room which is behind is told even if the minimum rate is lower.
const SLOWEST: usize = 1024;
/// Bytes of lines from other servers that a room may be told though it is behind: what these have
/// appended before they learn of it, as after an outage of the log.
const UNDER_WAY_MAX: usize = 8 * 1024 * 1024;
/// Bytes read from a member at once, and so the most that is held of its input.
pub(super) const READ_BUDGET: usize = 4 * 1024;
/// Most bytes of replies of one callback. Above it the member waits, so that the output is flushed.
pub(super) const REPLIES_MAX: usize = 256 * 1024;
/// Most work of one callback, in units of the reactor (`Outbox::charge`): a fraction of a turn. Above it
/// the member waits, so that other connections have their turn.
pub(super) const WORK_MAX: usize = 4 * 1024 * 1024;
/// Units of work for looking at one entry of a table: a member, a room, a name, a key that is typed.
pub(super) const ENTRY: usize = 64;
/// Number of hearers that a line may have at no further cost for its author. A line to more counts that
/// many times against the bytes that the author may say.
pub(super) const HEARERS: usize = 32;
/// Changes of its name that a member may make at once.
const RENAMES_AT_ONCE: u64 = 5;
/// Seconds after which a member that has made them may make one more.
const RENAME_INTERVAL_S: u64 = 5;
/// Wait of a member above [`REPLIES_MAX`] or [`WORK_MAX`].
pub(super) const OTHERS_TURN: Duration = Duration::from_millis(1);
/// The longest line of the operator, in bytes.
pub(super) const OPERATOR_LINE_MAX: usize = 4096;
/// The beginning of each line of the operator.
pub(super) const OPERATOR_PREFIX: &str = "* operator: ";
/// Most bytes that a member is told after one read from the operator: lines of one byte, and one line
/// that was begun before.
const OPERATOR_TOLD_MAX: usize =
    READ_BUDGET / 2 * (OPERATOR_PREFIX.len() + 5) + 3 * OPERATOR_LINE_MAX;

/// The bounds that follow from the settings.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) allowance: Allowance,
    /// Rate limit of each member; `None` if there is none.
    pub(super) rates: Option<Rates>,
    /// The longest line as it is sent, in bytes.
    longest: usize,
    /// Bytes a second that a room which is behind is told.
    slowest: usize,
    /// Some members may be browsers, which are sent a header in place of a line's newline.
    pub(super) has_headers: bool,
    /// There are other servers.
    pub(super) has_others: bool,
}

impl Bounds {
    pub(super) fn new(settings: &Settings) -> Bounds {
        let longest = settings.max_line.saturating_mul(GROWTH) + FRAME_MAX;
        let slowest = settings.min_rate.max(SLOWEST);
        let at_once = (settings.high_water / 4).max(1);
        let lines = u64::from(settings.rate);
        let bytes = lines.saturating_mul(settings.max_line as u64);
        let rates = Rates {
            lines: Rate::new(lines, settings.burst.max(1).into()),
            bytes: Rate::new(bytes, at_once as u64),
            renames: Rate::new(RENAME / RENAME_INTERVAL_S, RENAMES_AT_ONCE * RENAME),
        };
        Bounds {
            allowance: Allowance {
                at_once,
                behind: Rate::new(slowest as u64, longest as u64),
            },
            rates: (lines > 0).then_some(rates),
            longest,
            slowest,
            has_headers: false,
            has_others: false,
        }
    }

    /// Bytes that a member is sent for a line of so many bytes, at the most: what counts against the
    /// allowance of a room.
    pub(super) fn sent(&self, line: usize) -> usize {
        let header = match line {
            _ if !self.has_headers => 0,
            0..=126 => 1,
            127..=0x1_0000 => 3,
            _ => 9,
        };
        line + header
    }

    /// Sets the reactor's limits so that a member that accepts the minimum rate never reaches the hard
    /// limit.
    pub(super) fn adjust(&self, settings: &Settings, limits: &mut Limits) {
        limits.min_rate = settings.min_rate;
        limits.read_budget = READ_BUDGET;
        // A lost member is announced at once; input of it that was not read yet is dropped.
        limits.keeps_unread = false;
        let refusal = (CLIENT, "* too many connections from your address\n");
        limits.refusals.push(refusal);
        let members = limits.max_connections;
        limits.queue_limit = Some(self.hard_limit(settings, limits.high_water, members));
    }

    /// Most pending output of a member that accepts the minimum rate, in bytes.
    fn hard_limit(&self, settings: &Settings, high_water: usize, members: usize) -> usize {
        let (listed, leave_at_once) = match settings.plain {
            true => (members, members),
            false => (members.min(LISTED_MAX), 0),
        };
        let names = listed.saturating_mul(NAME_MAX);
        let parts = [
            // The chat learns at the end of a turn that a member is above the high-water mark. In that
            // turn two rooms, the member's old one and its new one, may each have told it their
            // allowance and one line.
            high_water,
            self.allowance.at_once.saturating_mul(2),
            2 * self.longest,
            // From then on the room is behind: its rate over the whole window, one line by which the
            // bucket may be ahead, and one by which it may be in debt.
            WINDOW.saturating_mul(self.slowest),
            2 * self.longest,
            // Lines from other servers that were under way when these learnt that the room is behind.
            if self.has_others { UNDER_WAY_MAX } else { 0 },
            // The greeting: the names, the history with its ages, a piece of the message of the day.
            names,
            history::TOLD_MAX,
            // For a browser each line of the piece has a header, and the lines may be empty.
            2 * reading::PIECE,
            // Replies to its own commands: those of one callback before a timer and of one after
            // it, and the longest reply, which may have been begun just below the limit.
            2 * REPLIES_MAX,
            names,
            // Their headers for a browser: a reply has more than 8 bytes.
            2 * REPLIES_MAX / 8,
            // The operator's lines from one read.
            OPERATOR_TOLD_MAX,
            // With `--plain` each step is announced: all others may leave at once.
            leave_at_once.saturating_mul(NAME_MAX + "*  has left the room\n".len()),
        ];
        parts.into_iter().fold(0, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hard_limit(change: impl FnOnce(&mut Settings)) -> usize {
        let mut settings = Settings::default();
        change(&mut settings);
        let mut limits = Limits {
            max_connections: 10_000,
            high_water: settings.high_water,
            ..Limits::default()
        };
        Bounds::new(&settings).adjust(&settings, &mut limits);
        limits.queue_limit.expect("a limit")
    }

    #[test]
    fn the_hard_limit_leaves_time_for_the_minimum_rate_and_bounds_memory() {
        let default = hard_limit(|_| {});
        assert!(default < 2 * 1024 * 1024, "{default}: the README says so");
        let faster = hard_limit(|settings| settings.min_rate *= 2);
        assert_eq!(faster - default, 30 * Settings::default().min_rate);
        let higher = hard_limit(|settings| settings.high_water *= 2);
        assert_eq!(higher - default, Settings::default().high_water * 3 / 2);
        let any_rate = hard_limit(|settings| settings.min_rate = 0);
        assert_eq!(
            default - any_rate,
            30 * (Settings::default().min_rate - SLOWEST)
        );
        let plain = hard_limit(|settings| settings.plain = true);
        assert!(plain > default + 10_000 * NAME_MAX);
    }

    #[test]
    fn extreme_settings_do_not_overflow() {
        let most = |settings: &mut Settings| {
            (settings.high_water, settings.min_rate) = (usize::MAX, usize::MAX);
            (settings.max_line, settings.rate, settings.burst) = (1 << 30, u32::MAX, u32::MAX);
        };
        assert_eq!(hard_limit(most), usize::MAX);
    }
}
