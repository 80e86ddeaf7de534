//! The axes of a plot: the positions of values, and the labels.

/// The distribution of values over an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    /// Powers of ten.
    Log,
    /// Quantiles, where each further nine takes the same length.
    Nines,
}

/// One axis over a range of values.
pub(super) struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
}

impl Axis {
    /// Makes an axis over all finite `values`.
    pub(super) fn over(scale: Scale, values: impl Iterator<Item = f64>, from_zero: bool) -> Axis {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|v| v.is_finite() && (scale != Scale::Log || *v > 0.0)) {
            low = low.min(value);
            high = high.max(value);
        }
        if !low.is_finite() {
            (low, high) = (1.0, 10.0);
        }
        let (from, to) = match scale {
            Scale::Linear => {
                let low = if from_zero { low.min(0.0) } else { low };
                (
                    low,
                    if high > low {
                        high + (high - low) * 0.05
                    } else {
                        low + 1.0
                    },
                )
            }
            Scale::Log => {
                let from = 10_f64.powf(low.log10().floor());
                (from, 10_f64.powf(high.log10().ceil()).max(from * 10.0))
            }
            Scale::Nines => (0.0, high.clamp(0.9, 0.999_999)),
        };
        Axis { scale, from, to }
    }

    /// Returns the position of `value` between the ends, from 0 to 1.
    pub(super) fn position(&self, value: f64) -> f64 {
        let on = |v: f64| match self.scale {
            Scale::Linear => v,
            Scale::Log => v.max(self.from).log10(),
            Scale::Nines => -(1.0 - v.min(self.to)).log10(),
        };
        ((on(value) - on(self.from)) / (on(self.to) - on(self.from))).clamp(0.0, 1.0)
    }

    /// Returns the labeled values and their labels.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let step = nice_step((self.to - self.from) / 6.0);
                let first = (self.from / step).ceil() as i64;
                let last = (self.to / step).floor() as i64;
                (first..=last)
                    .map(|i| i as f64 * step)
                    .map(|v| (v, short(v)))
                    .collect()
            }
            Scale::Log => {
                let first = self.from.log10().round() as i32;
                let last = self.to.log10().round() as i32;
                (first..=last)
                    .map(|power| 10_f64.powi(power))
                    .map(|v| (v, short(v)))
                    .collect()
            }
            Scale::Nines => [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999_999]
                .into_iter()
                .filter(|v| *v <= self.to)
                .map(|v| {
                    (
                        v,
                        if v == 0.0 {
                            "min".to_owned()
                        } else {
                            format!("p{}", trim(v * 100.0, 4))
                        },
                    )
                })
                .collect(),
        }
    }
}

/// Returns 1, 2 or 5 times a power of ten that is at least `min`.
fn nice_step(min: f64) -> f64 {
    let power = 10_f64.powf(min.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|step| *step >= min * 0.999)
        .unwrap_or(power * 10.0)
}

/// Formats a label, as in `1.5k` and `20M`.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{}M", trim(value / 1e6, 2)),
        v if v >= 1e3 => format!("{}k", trim(value / 1e3, 2)),
        _ => trim(value, 4),
    }
}

/// Formats a number with at most so many digits after the point.
fn trim(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_axis_has_a_few_ticks_within_its_ends(low in 0f64..1e6, span in 1e-3f64..1e9) {
            let axis = Axis::over(Scale::Linear, [low, low + span].into_iter(), true);
            let ticks = axis.ticks();
            prop_assert!((2..=10).contains(&ticks.len()), "{ticks:?}");
            prop_assert!(ticks.iter().all(|(v, _)| axis.from <= *v && *v <= axis.to * 1.000_001));
        }
    }

    #[test]
    fn each_further_nine_takes_the_same_room() {
        let axis = Axis::over(Scale::Nines, [0.0, 0.9999].into_iter(), false);
        let room: Vec<f64> = [0.9, 0.99, 0.999, 0.9999]
            .map(|p| axis.position(p))
            .to_vec();
        for pair in room.windows(2) {
            assert!((pair[1] - pair[0] - 0.25).abs() < 1e-6, "{room:?}");
        }
        let labels: Vec<String> = axis.ticks().into_iter().map(|tick| tick.1).collect();
        assert_eq!(labels, ["min", "p50", "p90", "p99", "p99.9", "p99.99"]);
    }
}
