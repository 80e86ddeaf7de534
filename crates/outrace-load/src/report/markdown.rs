//! Markdown tables, which are readable on a terminal too.

/// Formats aligned rows.
///
/// The first row is the head. The first column is aligned to the left, and the others to the right.
pub(crate) fn markdown(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |i: usize| {
        rows.iter()
            .map(|row| row[i].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            out.push_str(&if i == 0 {
                format!("| {cell:<width$} ")
            } else {
                format!("| {cell:>width$} ")
            });
        }
        out.push_str("|\n");
        if number == 0 {
            for (i, width) in widths.iter().enumerate() {
                out.push_str(&if i == 0 {
                    format!("|{:-<1$}", "", width + 2)
                } else {
                    format!("|{:-<1$}:", "", width + 1)
                });
            }
            out.push_str("|\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_markdown() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let table = markdown(&[row(["system", "n"]), row(["a", "1,000"])]);
        assert_eq!(
            table,
            "| system |     n |\n|--------|------:|\n| a      | 1,000 |\n"
        );
    }
}
