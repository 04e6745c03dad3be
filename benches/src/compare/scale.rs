//! From values to places on an axis.

/// The division of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Equal differences are equally far apart; it begins at 0, so that lengths can be compared.
    Linear,
    /// Equal ratios are equally far apart.
    Log,
}

/// An axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    kind: Kind,
    low: f64,
    high: f64,
    /// The values with a mark.
    pub ticks: Vec<f64>,
}

impl Scale {
    /// An axis on which all of these values have a place. A logarithmic axis has none for values
    /// that are not above 0.
    #[must_use]
    pub fn covering(kind: Kind, values: impl Iterator<Item = f64> + Clone) -> Scale {
        match kind {
            Kind::Linear => linear(values.fold(0.0, f64::max)),
            Kind::Log => {
                let positive = values.filter(|&value| value > 0.0);
                let low = positive.clone().fold(f64::INFINITY, f64::min);
                let high = positive.fold(0.0, f64::max);
                if high > 0.0 {
                    logarithmic(low, high)
                } else {
                    logarithmic(1.0, 10.0)
                }
            }
        }
    }

    /// An axis for counts, with a mark at each of them.
    #[must_use]
    pub fn of_counts(counts: &[usize]) -> Scale {
        let low = counts.first().map_or(1.0, |&count| count as f64);
        let high = counts.last().map_or(1.0, |&count| count as f64);
        // Some room at both ends, more if there is one place only.
        let room = if low < high {
            (high / low).powf(0.06)
        } else {
            3.0
        };
        Scale {
            kind: Kind::Log,
            low: low / room,
            high: high * room,
            ticks: counts.iter().map(|&count| count as f64).collect(),
        }
    }

    /// The place of a value: 0 at the low end, 1 at the high end. A value beyond an end is at that
    /// end.
    #[must_use]
    pub fn place(&self, value: f64) -> f64 {
        let place = match self.kind {
            Kind::Linear => (value - self.low) / (self.high - self.low),
            Kind::Log if value <= 0.0 => 0.0,
            Kind::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        place.clamp(0.0, 1.0)
    }
}

/// From 0, in four to eight round steps.
fn linear(high: f64) -> Scale {
    let high = if high > 0.0 { high } else { 1.0 };
    let step = round_up(high / 8.0);
    let steps = (high / step).ceil();
    Scale {
        kind: Kind::Linear,
        low: 0.0,
        high: steps * step,
        ticks: (0..=steps as u32)
            .map(|index| f64::from(index) * step)
            .collect(),
    }
}

/// Between round numbers, marked at powers of ten, and between these if there are few of them.
fn logarithmic(low: f64, high: f64) -> Scale {
    let (low, high) = (round_down(low), round_up(high));
    let high = if low < high {
        high
    } else {
        round_up(low * 1.5)
    };
    let exponents = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let marks = |factors: &'static [f64]| {
        let all = exponents.clone().flat_map(move |exponent| {
            factors
                .iter()
                .map(move |factor| factor * 10_f64.powi(exponent))
        });
        // Powers of ten are not exact below 1.
        let inside = all.filter(|&mark| mark > low * 0.999 && mark < high * 1.001);
        inside.collect::<Vec<f64>>()
    };
    let decades = marks(&[1.0]);
    let ticks = if decades.len() >= 3 {
        decades
    } else {
        marks(&[1.0, 2.0, 5.0])
    };
    Scale {
        kind: Kind::Log,
        low,
        high,
        ticks,
    }
}

/// The next of ..., 0.5, 1, 2, 5, 10, ... that is not below.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= value * 0.999_999);
    factor.unwrap_or(10.0) * power
}

/// The next of these that is not above.
fn round_down(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let mut factors = [5.0, 2.0, 1.0].into_iter();
    let factor = factors.find(|factor| factor * power <= value * 1.000_001);
    factor.unwrap_or(1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In per cent of the axis.
    fn places<const N: usize>(scale: &Scale, values: [f64; N]) -> [u32; N] {
        values.map(|value| (scale.place(value) * 100.0).round() as u32)
    }

    fn covering(kind: Kind, values: &[f64]) -> Scale {
        Scale::covering(kind, values.iter().copied())
    }

    #[test]
    fn linear_axes_begin_at_zero_and_have_round_steps() {
        let scale = covering(Kind::Linear, &[17.0, 251.0]);
        assert_eq!(scale.ticks, [0.0, 50.0, 100.0, 150.0, 200.0, 250.0, 300.0]);
        assert_eq!(
            places(&scale, [0.0, 150.0, 300.0, 400.0]),
            [0, 50, 100, 100]
        );
        assert_eq!(places(&covering(Kind::Linear, &[]), [0.0]), [0]);
    }

    #[test]
    fn logarithmic_axes_are_marked_at_powers_of_ten_or_closer() {
        assert_eq!(
            covering(Kind::Log, &[30.0, 40_000.0]).ticks,
            [100.0, 1_000.0, 10_000.0]
        );
        assert_eq!(
            covering(Kind::Log, &[3.0, 40.0]).ticks,
            [2.0, 5.0, 10.0, 20.0, 50.0]
        );
        let scale = covering(Kind::Log, &[1.0, 100.0]);
        assert_eq!(
            places(&scale, [-1.0, 0.0, 1.0, 10.0, 100.0]),
            [0, 0, 0, 50, 100]
        );
    }

    #[test]
    fn one_value_or_none_has_an_axis_too() {
        for values in [&[][..], &[0.0], &[-5.0], &[7.0], &[10.0, 10.0]] {
            for kind in [Kind::Linear, Kind::Log] {
                let scale = covering(kind, values);
                assert!(scale.ticks.len() >= 2, "{kind:?} {values:?} {scale:?}");
                assert!(scale.place(7.0).is_finite());
            }
        }
        assert_eq!(places(&Scale::of_counts(&[100]), [100.0]), [50]);
    }

    #[test]
    fn counts_are_marked_where_they_are() {
        let scale = Scale::of_counts(&[1, 10, 100]);
        assert_eq!(scale.ticks, [1.0, 10.0, 100.0]);
        assert!(scale.place(1.0) > 0.0 && scale.place(100.0) < 1.0);
    }
}
