//! Figures as text.

use crate::client::announced::AnnouncedTotals;

/// Formats a count, as in `1,234,567`.
pub(crate) fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if share > 0.0 && percent < 0.01 {
        "<0.01 %".to_owned()
    } else {
        format!("{percent:.2} %")
    }
}

/// Formats microseconds as milliseconds.
pub(crate) fn milliseconds(us: f64) -> String {
    let ms = us / 1e3;
    if ms < 10.0 {
        format!("{ms:.2} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

/// Formats bytes as mebibytes.
pub(crate) fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / (1024.0 * 1024.0))
}

/// Formats a value, or a dash if there is none.
pub(crate) fn or_dash(value: Option<f64>, format: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), format)
}

/// Formats what servers announced.
///
/// The sentence holds only if no fault was found, since every announcement is checked.
pub(crate) fn announced(totals: &AnnouncedTotals) -> String {
    let number = |n: u64| count(n as f64);
    format!(
        "announced and found exact: {} gaps of {} lines; {} resumes with {} replayed and {} lost",
        number(totals.gaps),
        number(totals.skipped),
        number(totals.resumed),
        number(totals.replayed),
        number(totals.lost),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!(count(1_234_567.4), "1,234,567");
        assert_eq!(count(999.0), "999");
        assert_eq!(percent(0.0), "0.00 %");
        assert_eq!(percent(0.000_01), "<0.01 %");
        assert_eq!(percent(0.25), "25.00 %");
        assert_eq!(milliseconds(1_234.0), "1.23 ms");
        assert_eq!(mebibytes(3.0 * 1024.0 * 1024.0), "3.0 MiB");
    }
}
