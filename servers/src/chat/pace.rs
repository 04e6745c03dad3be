//! How fast a member may talk: token buckets, kept as one number each.
//!
//! Instead of counting tokens, a [`Bucket`] remembers when it will be full again (the generic cell
//! rate algorithm of ATM networks): each spending moves that time further away, and a line may pass
//! while that time is no further away than an empty bucket takes to fill.
//!
//! [`Rate`] is the rule, the same for all members; [`Bucket`] is the state of one member. [`Pace`] has
//! two buckets: one of lines, which must have a token before the line, and one of bytes, which may go
//! into debt, since the length of a line with its prefix is known only when it is sent.

use std::time::Duration;

/// The shortest wait that is worth a timer: a paced member then waits once for several lines.
const WAIT: Duration = Duration::from_millis(50);
const NANOS_A_SECOND: u128 = 1_000_000_000;
/// Tokens of one change of a name: the rate of these is less than one a second.
pub(super) const RENAME: u64 = 1000;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// At least 1.
    tokens_per_second: u64,
    /// Time in which an empty bucket fills.
    depth: Duration,
    /// The shortest wait, at most half of `depth`, so that the bucket does not run over meanwhile.
    wait: Duration,
}

impl Rate {
    pub(super) fn new(tokens_per_second: u64, capacity: u64) -> Rate {
        let tokens_per_second = tokens_per_second.max(1);
        let depth = time(capacity, tokens_per_second);
        let wait = WAIT.min(depth / 2);
        Rate {
            tokens_per_second,
            depth,
            wait,
        }
    }
}

/// Time in which a number of tokens comes in.
fn time(tokens: u64, per_second: u64) -> Duration {
    let nanos = u128::from(tokens) * NANOS_A_SECOND / u128::from(per_second);
    // A quarter of the largest time, so that sums do not overflow.
    Duration::from_nanos(nanos.min(u128::from(u64::MAX / 4)) as u64)
}

/// A token bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Time when the bucket is full again, in nanoseconds of the reactor's clock.
    full_at_ns: u64,
}

impl Bucket {
    /// Wait until `tokens` may be spent; zero if they may be spent now. With `tokens` of 0, the bucket
    /// need only be out of debt.
    pub(super) fn wait(self, rate: Rate, tokens: u64, now: Duration) -> Duration {
        let owed = self.debt(now) + time(tokens, rate.tokens_per_second);
        let excess = owed.saturating_sub(rate.depth);
        match excess.is_zero() {
            true => excess,
            false => excess.max(rate.wait),
        }
    }

    /// Spends tokens, if need be into debt.
    pub(super) fn spend(&mut self, rate: Rate, tokens: u64, now: Duration) {
        let full_at = now + self.debt(now) + time(tokens, rate.tokens_per_second);
        self.full_at_ns = full_at.as_nanos() as u64;
    }

    fn debt(self, now: Duration) -> Duration {
        Duration::from_nanos(self.full_at_ns).saturating_sub(now)
    }
}

/// The rule for all members: lines a second, bytes a second, and changes of the name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) lines: Rate,
    pub(super) bytes: Rate,
    pub(super) renames: Rate,
}

/// The state of one member's rate limits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    lines: Bucket,
    bytes: Bucket,
}

impl Pace {
    /// Wait of the next line; zero if it may be said now.
    pub(super) fn wait(self, rates: Rates, now: Duration) -> Duration {
        let lines = self.lines.wait(rates.lines, 1, now);
        lines.max(self.bytes.wait(rates.bytes, 0, now))
    }

    /// Counts a line that the member has sent.
    pub(super) fn spend_line(&mut self, rates: Rates, now: Duration) {
        self.lines.spend(rates.lines, 1, now);
    }

    /// Counts bytes that the member has told others.
    pub(super) fn spend_bytes(&mut self, rates: Rates, bytes: usize, now: Duration) {
        self.bytes.spend(rates.bytes, bytes as u64, now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Number of lines that may be said at once.
    fn lines(bucket: &mut Bucket, rate: Rate, now: Duration) -> usize {
        let may_go_on = |bucket: &mut Bucket| bucket.wait(rate, 1, now).is_zero();
        std::iter::repeat_with(|| may_go_on(bucket).then(|| bucket.spend(rate, 1, now)))
            .take_while(Option::is_some)
            .count()
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate::new(10, 3);
        let (mut bucket, start) = (Bucket::default(), 5 * SECOND);
        assert_eq!(lines(&mut bucket, rate, start), 3);
        let wait = |bucket: Bucket, after: Duration| bucket.wait(rate, 1, start + after);
        assert_eq!(wait(bucket, Duration::ZERO), SECOND / 10);
        assert_eq!(wait(bucket, SECOND * 3 / 100), SECOND * 7 / 100);
        assert_eq!(
            wait(bucket, SECOND * 9 / 100),
            WAIT,
            "a timer that is worth it"
        );
        assert_eq!(lines(&mut bucket, rate, start + SECOND / 10), 1);
        let later = start + 100 * SECOND;
        assert_eq!(
            lines(&mut bucket, rate, later),
            3,
            "the bucket holds no more than a burst"
        );
    }

    #[test]
    fn bytes_may_be_said_until_they_are_owed() {
        let rates = Rates {
            lines: Rate::new(1000, 1000),
            bytes: Rate::new(1000, 500),
            renames: Rate::new(RENAME, RENAME),
        };
        let (mut pace, now) = (Pace::default(), SECOND);
        for _ in 0..2 {
            assert!(pace.wait(rates, now).is_zero());
            pace.spend_bytes(rates, 400, now);
        }
        assert_eq!(pace.wait(rates, now), SECOND * 3 / 10);
        assert!(pace.wait(rates, now + SECOND * 3 / 10).is_zero());
    }

    #[test]
    fn extreme_rates_do_not_overflow() {
        for (tokens_per_second, capacity) in [(0, 0), (1, u64::MAX), (u64::MAX, u64::MAX)] {
            let rate = Rate::new(tokens_per_second, capacity);
            let mut bucket = Bucket::default();
            bucket.spend(rate, 1 << 32, SECOND);
            let _ = bucket.wait(rate, 1 << 32, SECOND);
        }
    }

    proptest! {
        #[test]
        fn in_no_time_more_than_a_burst_and_the_rate_gets_through(
            per_second in 1..2000u32, burst in 1..100u32, steps_ms in prop::collection::vec(0..50u64, 1..300),
        ) {
            let rate = Rate::new(per_second.into(), burst.into());
            let (mut bucket, mut now, mut passed) = (Bucket::default(), Duration::ZERO, 0u32);
            for step in steps_ms {
                now += Duration::from_millis(step);
                now += bucket.wait(rate, 1, now);
                prop_assert!(bucket.wait(rate, 1, now).is_zero(), "the wait was too short");
                bucket.spend(rate, 1, now);
                passed += 1;
                let allowed = f64::from(burst) + now.as_secs_f64() * f64::from(per_second);
                prop_assert!(f64::from(passed) <= allowed * 1.001 + 1.0);
            }
        }
    }
}
