//! How fast somebody may talk: a token bucket, kept as one number.
//!
//! Instead of counting tokens, [`Pace`] remembers when the bucket will be full again (the generic
//! cell rate algorithm, as ATM networks call it): each line moves that time further away, and it
//! may not be further than the whole bucket takes to fill.

use std::time::Duration;

/// The rule for everybody.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// What a line costs.
    cost: Duration,
    /// What may be owed.
    depth: Duration,
}

impl Rate {
    /// So many lines a second, after a burst of so many; `None` if that is no limit.
    pub(super) fn new(per_second: u32, burst: u32) -> Option<Rate> {
        let cost = Duration::from_secs(1).checked_div(per_second)?;
        let depth = cost.saturating_mul(burst.max(1));
        Some(Rate { cost, depth })
    }
}

/// One person's debt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// When the bucket is full again, in microseconds of the reactor's clock.
    full_at_us: u64,
}

impl Pace {
    /// One more line: `Err` says how long to wait before it is tried again.
    pub(super) fn spend(&mut self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let debt = Duration::from_micros(self.full_at_us).saturating_sub(now);
        let debt = debt + rate.cost;
        let wait = debt.saturating_sub(rate.depth);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.full_at_us = (now + debt).as_micros() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate::new(10, 3).unwrap();
        let (mut pace, start) = (Pace::default(), 5 * SECOND);
        assert_eq!([0; 3].map(|_| pace.spend(rate, start)), [Ok(()); 3]);
        assert_eq!(pace.spend(rate, start), Err(SECOND / 10));
        assert_eq!(pace.spend(rate, start + SECOND / 20), Err(SECOND / 20));
        assert_eq!(pace.spend(rate, start + SECOND / 10), Ok(()));
        let later = start + 100 * SECOND;
        assert_eq!([0; 3].map(|_| pace.spend(rate, later)), [Ok(()); 3]);
        assert!(pace.spend(rate, later).is_err(), "the bucket has a bottom");
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert!(Rate::new(0, 5).is_none());
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
                match pace.spend(rate, now) {
                    Ok(()) => passed += 1,
                    Err(wait) => {
                        now += wait;
                        prop_assert_eq!(pace.spend(rate, now), Ok(()), "the wait was too short");
                        passed += 1;
                    }
                }
                let allowed = f64::from(burst) + now.as_secs_f64() * f64::from(per_second);
                prop_assert!(f64::from(passed) <= allowed * 1.001 + 1.0);
            }
        }
    }
}
