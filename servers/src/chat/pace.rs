//! How fast somebody may talk: a token bucket, kept as one number.
//!
//! Instead of counting tokens, [`Pace`] remembers when the bucket will be full again (the generic
//! cell rate algorithm, as ATM networks call it): each line moves that time further away, and it
//! may not be further than the whole bucket takes to fill.

use std::time::Duration;

/// Who has to wait waits for several lines at once: the timer need not run for every single one.
const WAIT: Duration = Duration::from_millis(50);

/// The rule for everybody.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// What a line costs.
    cost: Duration,
    /// What may be owed.
    depth: Duration,
    /// The shortest wait: not so long that the bucket would run over meanwhile.
    wait: Duration,
}

impl Rate {
    /// So many lines a second, after a burst of so many; `None` if that is no limit.
    pub(super) fn new(per_second: u32, burst: u32) -> Option<Rate> {
        let cost = Duration::from_secs(1).checked_div(per_second)?;
        let depth = cost.saturating_mul(burst.max(1));
        let wait = WAIT.min(depth / 2);
        Some(Rate { cost, depth, wait })
    }
}

/// One person's debt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// When the bucket is full again, in microseconds of the reactor's clock.
    full_at_us: u64,
}

impl Pace {
    /// How long the next line has to wait; zero if not at all.
    pub(super) fn wait(self, rate: Rate, now: Duration) -> Duration {
        let excess = (self.debt(now) + rate.cost).saturating_sub(rate.depth);
        match excess.is_zero() {
            true => excess,
            false => excess.max(rate.wait),
        }
    }

    /// One more line.
    pub(super) fn spend(&mut self, rate: Rate, now: Duration) {
        self.full_at_us = (now + self.debt(now) + rate.cost).as_micros() as u64;
    }

    fn debt(self, now: Duration) -> Duration {
        Duration::from_micros(self.full_at_us).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many lines may be said at once.
    fn lines(pace: &mut Pace, rate: Rate, now: Duration) -> usize {
        let may_go_on = |pace: &mut Pace| pace.wait(rate, now).is_zero();
        std::iter::repeat_with(|| may_go_on(pace).then(|| pace.spend(rate, now)))
            .take_while(Option::is_some)
            .count()
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate::new(10, 3).unwrap();
        let (mut pace, start) = (Pace::default(), 5 * SECOND);
        assert_eq!(lines(&mut pace, rate, start), 3);
        assert_eq!(pace.wait(rate, start), SECOND / 10);
        assert_eq!(pace.wait(rate, start + SECOND * 3 / 100), SECOND * 7 / 100);
        assert_eq!(
            pace.wait(rate, start + SECOND * 9 / 100),
            WAIT,
            "a timer that is worth it"
        );
        assert_eq!(lines(&mut pace, rate, start + SECOND / 10), 1);
        let later = start + 100 * SECOND;
        assert_eq!(
            lines(&mut pace, rate, later),
            3,
            "the bucket holds no more than a burst"
        );
    }

    #[test]
    fn no_rate_is_no_limit_and_no_burst_is_one_line() {
        assert!(Rate::new(0, 5).is_none());
        let rate = Rate::new(1, 0).unwrap();
        assert_eq!(lines(&mut Pace::default(), rate, SECOND), 1);
    }

    proptest! {
        #[test]
        fn in_no_time_more_than_a_burst_and_the_rate_gets_through(
            per_second in 1..2000u32, burst in 1..100u32, steps_ms in prop::collection::vec(0..50u64, 1..300),
        ) {
            let rate = Rate::new(per_second, burst).unwrap();
            let (mut pace, mut now, mut passed) = (Pace::default(), Duration::ZERO, 0u32);
            for step in steps_ms {
                now += Duration::from_millis(step);
                now += pace.wait(rate, now);
                prop_assert!(pace.wait(rate, now).is_zero(), "the wait was too short");
                pace.spend(rate, now);
                passed += 1;
                let allowed = f64::from(burst) + now.as_secs_f64() * f64::from(per_second);
                prop_assert!(f64::from(passed) <= allowed * 1.001 + 1.0);
            }
        }
    }
}
