//! Statistics that distinguish a drift from noise. Pure.

use crate::run::comparison;

/// Returns the median of the finite `values`.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    comparison::median(
        values
            .into_iter()
            .filter(|value| value.is_finite())
            .collect(),
    )
}

/// Returns the Theil–Sen slope: the median of the slopes between all pairs of points.
///
/// Its unit is that of the second coordinate per unit of the first. A line through the means would
/// follow a single outlier. This one holds until nearly a third of the points are outliers. The
/// cost is quadratic in the points, of which a soak takes fewer than a thousand.
pub(super) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let pairs = points
        .iter()
        .enumerate()
        .flat_map(|(i, a)| points[i + 1..].iter().map(move |b| (a, b)));
    median(
        pairs
            .filter(|(a, b)| a.0 != b.0)
            .map(|(a, b)| (b.1 - a.1) / (b.0 - a.0)),
    )
}

/// Returns the growth over all points by their [`slope`].
pub(super) fn growth(points: &[(f64, f64)]) -> Option<f64> {
    let (first, last) = (points.first()?.0, points.last()?.0);
    Some(slope(points)? * (last - first))
}

/// Returns the medians of the first and of the last third of `values`.
///
/// It serves figures that differ tenfold from one interval to the next. They have outliers on one
/// side only, which would distort a slope. These medians hold while fewer than half of a third are
/// outliers.
pub(super) fn thirds(values: &[f64]) -> Option<(f64, f64)> {
    let third = values.len() / 3;
    let (first, last) = (&values[..third], &values[values.len() - third..]);
    Some((
        median(first.iter().copied())?,
        median(last.iter().copied())?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: f64 = 1024.0 * 1024.0;

    /// Returns values 5 s apart around `level`, with noise of either sign and some peaks.
    fn noisy(level: f64, noise: &[f64], peaks: &[bool]) -> Vec<(f64, f64)> {
        let values = noise.iter().zip(peaks.iter().cycle());
        values
            .enumerate()
            .map(|(i, (noise, peak))| {
                (
                    i as f64 * 5.0,
                    level + noise + if *peak { level } else { 0.0 },
                )
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_line_without_noise_has_its_slope(
            level in -1e6..1e6f64, slope in -1e3..1e3f64, times in prop::collection::btree_set(0u32..100_000, 2..60)
        ) {
            let points: Vec<_> = times.iter().map(|t| (f64::from(*t), level + slope * f64::from(*t))).collect();
            let found = super::slope(&points).unwrap();
            prop_assert!((found - slope).abs() <= 1e-6 * (1.0 + level.abs()), "{found} instead of {slope}");
        }

        #[test]
        fn a_leak_shows_through_noise_and_peaks(
            leak in 1.0..100.0f64,
            noise in prop::collection::vec(-2.0..2.0f64, 60..200),
            peaks in prop::collection::vec(prop::bool::weighted(0.1), 50),
        ) {
            // The slopes are in KiB per second over at least 300 s, on 20 MiB with noise of 2 MiB.
            let mut points = noisy(20.0, &noise, &peaks);
            points.iter_mut().for_each(|(at, value)| *value += leak * *at / 10.0);
            let seconds = points.last().unwrap().0;
            let grown = growth(&points).unwrap();
            let leaked = leak * seconds / 10.0;
            prop_assert!((grown - leaked).abs() < 0.2 * leaked + 2.0, "{grown} instead of {leaked}");
        }

        #[test]
        fn noise_and_peaks_alone_are_no_growth(
            noise in prop::collection::vec(-1.0..1.0f64, 60..200),
            peaks in prop::collection::vec(prop::bool::weighted(0.1), 50),
        ) {
            let points: Vec<_> = noisy(30.0 * MIB, &noise, &peaks)
                .into_iter()
                .enumerate()
                .map(|(i, (at, value))| (at, value + noise[i] * MIB))
                .collect();
            let grown = growth(&points).unwrap();
            prop_assert!(grown.abs() < 2.0 * MIB, "{} MiB", grown / MIB);
        }

        #[test]
        fn the_middle_of_three_thirds_does_not_matter(
            first in 1.0..100.0f64, last in 1.0..100.0f64, third in 1usize..50, between in prop::collection::vec(0.0..1e9f64, 0..3)
        ) {
            let middle = vec![1e9; third];
            let values = [vec![first; third], middle, between, vec![last; third]].concat();
            let third = values.len() / 3;
            prop_assume!(third * 3 <= values.len() && values[..third].iter().all(|v| *v == first));
            prop_assert_eq!(thirds(&values), Some((first, last)));
        }
    }

    #[test]
    fn peaks_in_half_of_a_third_leave_its_median() {
        let mut values = vec![10.0; 30];
        values
            .iter_mut()
            .skip(20)
            .step_by(3)
            .for_each(|value| *value = 4_000.0);
        assert_eq!(thirds(&values), Some((10.0, 10.0)));
    }

    #[test]
    fn too_few_points_have_neither_slope_nor_thirds() {
        assert_eq!(slope(&[]), None);
        assert_eq!(growth(&[(1.0, 2.0)]), None);
        assert_eq!(slope(&[(1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(thirds(&[1.0, 2.0]), None);
        assert_eq!(median([f64::NAN]), None);
    }
}
