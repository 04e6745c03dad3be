//! Several rounds as one figure: the median, and the distance of the others from it.

/// A figure that was measured in several rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median: one bad round does not move it.
    pub median: f64,
    /// The least round.
    pub min: f64,
    /// The greatest round.
    pub max: f64,
    /// The number of rounds.
    pub rounds: usize,
}

impl Spread {
    /// The spread of these values; `None` if there are none.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.retain(|value| value.is_finite());
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Spread {
            median,
            min,
            max,
            rounds: values.len(),
        })
    }

    /// Whether a value lies within the rounds.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.min..=self.max).contains(&value)
    }

    /// The distance of the furthest round from the median, as a part of the median; `None` if there
    /// is one round only, or the median is 0.
    #[must_use]
    pub fn deviation(&self) -> Option<f64> {
        let furthest = (self.max - self.median).max(self.median - self.min);
        (self.rounds > 1 && self.median != 0.0).then(|| furthest / self.median.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_one_in_any_order() {
        for (values, median) in [
            (vec![9.0, 1.0, 2.0], 2.0),
            (vec![9.0, 1.0, 3.0, 2.0], 2.5),
            (vec![9.0, 1.0], 5.0),
        ] {
            let expected = Spread {
                median,
                min: 1.0,
                max: 9.0,
                rounds: values.len(),
            };
            assert_eq!(Spread::of(values), Some(expected));
        }
    }

    #[test]
    fn the_furthest_round_counts_whichever_side_it_is_on() {
        let deviation = |values: &[f64]| Spread::of(values.to_vec()).unwrap().deviation();
        assert_eq!(deviation(&[3.0, 4.0, 4.5]), Some(0.25));
        assert_eq!(deviation(&[4.0, 4.0, 6.0]), Some(0.5));
        assert_eq!(deviation(&[4.0]), None);
        assert_eq!(deviation(&[-1.0, 0.0, 1.0]), None);
    }

    #[test]
    fn what_is_no_number_is_not_counted() {
        assert_eq!(Spread::of(vec![]), None);
        assert_eq!(Spread::of(vec![f64::NAN, f64::INFINITY]), None);
        assert_eq!(Spread::of(vec![f64::NAN, 3.0]).unwrap().rounds, 1);
    }
}
