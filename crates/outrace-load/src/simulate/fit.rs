//! Least squares without negative coefficients: a cost is never below zero, whatever the noise.

/// The passes over all coefficients. Each pass can only lower the error, and the few coefficients
/// of this program settle within far fewer.
const PASSES: usize = 20_000;

/// Returns the coefficients that explain `measured` best as sums of `factors`, by relative error.
///
/// Each row of `factors` belongs to one measured value. Values that are not positive are left out.
pub(super) fn fit<const N: usize>(factors: &[[f64; N]], measured: &[f64]) -> [f64; N] {
    let rows: Vec<[f64; N]> = factors
        .iter()
        .zip(measured)
        .filter(|(_, value)| **value > 0.0)
        .map(|(row, value)| row.map(|factor| factor / value))
        .collect();
    let mut coefficients = [0.0; N];
    // What the other coefficients leave of each value, which is 1 after the division above.
    let mut left = vec![1.0; rows.len()];
    for _ in 0..PASSES {
        for at in 0..N {
            let square: f64 = rows.iter().map(|row| row[at] * row[at]).sum();
            if square == 0.0 {
                continue;
            }
            let slope: f64 = rows
                .iter()
                .zip(&left)
                .map(|(row, left)| row[at] * left)
                .sum();
            let new = (coefficients[at] + slope / square).max(0.0);
            let change = new - coefficients[at];
            coefficients[at] = new;
            for (row, left) in rows.iter().zip(&mut left) {
                *left -= row[at] * change;
            }
        }
    }
    coefficients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_values_give_their_coefficients() {
        let factors = [[1.0, 2.0], [3.0, 1.0], [5.0, 7.0]];
        let measured = factors.map(|[a, b]| 3.0 * a + 0.5 * b);
        let [a, b] = fit(&factors, &measured);
        assert!((a - 3.0).abs() < 1e-6 && (b - 0.5).abs() < 1e-6, "{a} {b}");
    }

    #[test]
    fn noise_makes_no_cost_negative() {
        let coefficients = fit(&[[1.0, 1.0], [1.0, 2.0]], &[2.0, 1.0]);
        assert!(
            coefficients.iter().all(|cost| *cost >= 0.0),
            "{coefficients:?}"
        );
    }
}
