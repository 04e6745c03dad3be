//! How much may wait for a member, and what follows from that for those who talk.

use std::time::Duration;

use edgeloop_reactor::Limits;

use super::gate::Allowance;
use super::history;
use super::pace::{Rate, Rates};
use super::reading;
use super::room::LISTED_MAX;
use super::settings::Settings;

/// The longest name, in bytes, and what stands between two of them.
const NAME_MAX: usize = 32 * 4 + ", ".len();
/// What a line of a member's is told with at the most: two names, as in a whisper, and signs.
pub(super) const FRAME_MAX: usize = 2 * NAME_MAX + 8;
/// A byte that is no UTF-8 is told as U+FFFD, which has three.
const GROWTH: usize = 3;
/// The reactor's window for the minimum rate, in seconds.
const WINDOW: usize = 30;
/// Bytes a second that a room which is behind is told at least, whatever the minimum rate.
const SLOWEST: usize = 1024;
/// Bytes read from a member at once: what is held back of a member is no more lines than that.
pub(super) const READ_BUDGET: usize = 4 * 1024;
/// What one member may cause in one callback, in bytes of answers and lines times hearers, before
/// the others have their turn and what was said is sent.
pub(super) const EFFORT_MAX: usize = 256 * 1024;
/// How long it waits then.
pub(super) const OTHERS_TURN: Duration = Duration::from_millis(1);
/// The longest line of the operator's, in bytes.
pub(super) const OPERATOR_LINE_MAX: usize = 4096;
/// What stands before each line of the operator's.
pub(super) const OPERATOR_PREFIX: &str = "* operator: ";
/// What the members are told of one read, at the most: lines of one byte, and a line that was begun
/// before. A byte that is no UTF-8 is told as three.
const OPERATOR_TOLD_MAX: usize =
    READ_BUDGET / 2 * (OPERATOR_PREFIX.len() + 4) + 3 * OPERATOR_LINE_MAX;

/// What the settings allow.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) allowance: Allowance,
    /// The pace of a member; `None` if there is no limit.
    pub(super) rates: Option<Rates>,
    /// Bytes of the longest line that others are told.
    longest: usize,
    /// Bytes a second that a room is told however far behind it is.
    slowest: usize,
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
        };
        Bounds {
            allowance: Allowance {
                at_once,
                behind: Rate::new(slowest as u64, longest as u64),
            },
            rates: (lines > 0).then_some(rates),
            longest,
            slowest,
        }
    }

    /// Sets the limits so that a member which keeps to the minimum rate never reaches the hard one.
    pub(super) fn adjust(&self, settings: &Settings, limits: &mut Limits) {
        limits.min_rate = settings.min_rate;
        limits.read_budget = READ_BUDGET;
        // A chat owes nothing to what it has not read of a member that is gone.
        limits.keeps_unread = false;
        let members = limits.max_connections;
        limits.queue_limit = Some(self.hard_limit(settings, limits.high_water, members));
    }

    /// The most that can come to wait for a member that accepts the minimum rate.
    fn hard_limit(&self, settings: &Settings, high_water: usize, members: usize) -> usize {
        let (listed, leave_at_once) = match settings.plain {
            true => (members, members),
            false => (members.min(LISTED_MAX), 0),
        };
        let names = listed.saturating_mul(NAME_MAX);
        let parts = [
            // The chat learns of more than this at the end of a turn. The turn may be told by two
            // rooms, the member's old one and its new one, each up to its allowance and one line.
            high_water,
            self.allowance.at_once.saturating_mul(2),
            2 * self.longest,
            // Then its room is behind: what that is told while the member is given time, with one
            // line that the bucket may be ahead, and one that it may be in debt.
            WINDOW.saturating_mul(self.slowest),
            2 * self.longest,
            // The greeting: the names, the last lines with their ages, a piece of the message.
            names,
            history::TOLD_MAX,
            reading::PIECE,
            // Its own answers: as much as one callback gives, before and after a timer, with the
            // longest answer begun before that is known.
            2 * EFFORT_MAX,
            names,
            // The operator's lines out of one read.
            OPERATOR_TOLD_MAX,
            // Where each step is announced by itself: all others leave at once.
            leave_at_once.saturating_mul(NAME_MAX + "*  has left the room\n".len()),
        ];
        parts.into_iter().fold(0, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::tests::settings;

    fn hard_limit(change: impl FnOnce(&mut Settings)) -> usize {
        let mut settings = settings();
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
        assert_eq!(faster - default, 30 * settings().min_rate);
        let higher = hard_limit(|settings| settings.high_water *= 2);
        assert_eq!(higher - default, settings().high_water * 3 / 2);
        let any_rate = hard_limit(|settings| settings.min_rate = 0);
        assert_eq!(default - any_rate, 30 * (settings().min_rate - SLOWEST));
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
