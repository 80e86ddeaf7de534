//! Figures as text: a Markdown table, which a terminal shows as well.

use crate::ledger::Announced;
use crate::outcome::{Comparison, Outcome};
use crate::system::System;

type Column = (&'static str, fn(&Comparison, System) -> String);

const COLUMNS: &[Column] = &[
    ("delivered/s", |c, s| {
        text(c.median(s, |o| Some(o.delivered_per_second)), count)
    }),
    ("MB/s", |c, s| {
        text(c.median(s, |o| Some(o.megabytes_per_second)), |v| {
            format!("{v:.1}")
        })
    }),
    ("skipped", |c, s| {
        text(c.median(s, |o| Some(o.skipped_share())), percent)
    }),
    ("bytes/delivered", |c, s| {
        text(c.median(s, |o| o.bytes_per_delivered), |v| {
            format!("{v:.1}")
        })
    }),
    ("CPU ns/delivered", |c, s| {
        text(c.median(s, |o| o.server_cpu_ns_per_delivered), |v| {
            format!("{v:.0}")
        })
    }),
    ("server cores", |c, s| {
        text(c.median(s, |o| o.server_cores), |v| format!("{v:.2}"))
    }),
    ("generator cores", |c, s| {
        text(c.median(s, |o| Some(o.generator_cores)), |v| {
            format!("{v:.2}")
        })
    }),
    ("bytes/write", |c, s| {
        text(c.median(s, |o| o.bytes_per_write), count)
    }),
    ("peak memory", |c, s| {
        text(c.median(s, |o| Some(o.memory?.peak as f64)), mebibytes)
    }),
    ("p50", |c, s| latency(c, s, |o| Some(o.latency_us?.p50))),
    ("p90", |c, s| latency(c, s, |o| Some(o.latency_us?.p90))),
    ("p99", |c, s| latency(c, s, |o| Some(o.latency_us?.p99))),
    ("p99.9", |c, s| latency(c, s, |o| Some(o.latency_us?.p99_9))),
    ("max", |c, s| latency(c, s, |o| Some(o.latency_us?.max))),
    ("feeder late p99", |c, s| {
        latency(c, s, |o| Some(o.feeder_late_us.p99))
    }),
];

/// One table per workload, and the ratios below it.
pub(crate) fn of(comparisons: &[Comparison]) -> String {
    comparisons.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// A row per system below a head.
pub(crate) fn rows(comparison: &Comparison) -> Vec<Vec<String>> {
    let mut rows = vec![
        std::iter::once("system".to_owned())
            .chain(COLUMNS.iter().map(|c| c.0.to_owned()))
            .collect(),
    ];
    for system in comparison.systems() {
        let figures = COLUMNS.iter().map(|(_, figure)| figure(comparison, system));
        rows.push(
            std::iter::once(system.to_string())
                .chain(figures)
                .collect::<Vec<_>>(),
        );
    }
    rows
}

fn one(comparison: &Comparison) -> String {
    let workload = &comparison.workload;
    let mut out = format!("{}, {} s", workload.name, workload.seconds);
    for (wanted, what) in [
        (
            workload.channels > 1,
            format!(
                ", {} channels, {} per client",
                workload.channels, workload.per_client
            ),
        ),
        (
            workload.burst > 1,
            format!(", bursts of {}", workload.burst),
        ),
        (
            workload.stalled > 0,
            format!(", {} stalled", workload.stalled),
        ),
        (
            workload.churn > 0,
            format!(", {} come and go", workload.churn),
        ),
        (workload.wish.gaps, ", gaps".to_owned()),
        (workload.wish.batch, ", batches".to_owned()),
        (
            workload.history.is_some(),
            format!(", history {}", workload.history.unwrap_or(0)),
        ),
        (
            workload.pin,
            ", server on one core, generator on another".to_owned(),
        ),
    ] {
        if wanted {
            out.push_str(&what);
        }
    }
    out.push_str("\n\n");
    out.push_str(&markdown(&rows(comparison)));
    for line in notes(comparison) {
        out.push_str(&format!("\n{line}\n"));
    }
    out
}

/// Rows, the first of them the head, aligned.
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

/// Ratios between systems, and what a reader must know to trust the figures.
pub(crate) fn notes(comparison: &Comparison) -> Vec<String> {
    let mut notes = Vec::new();
    for other in [System::Baseline, System::Floor] {
        let cpu = comparison.ratio(other, |o| o.server_cpu_ns_per_delivered);
        let delivered = comparison.ratio(other, |o| Some(o.delivered_per_second));
        if let (Some(cpu), Some(delivered)) = (cpu, delivered) {
            notes.push(format!(
                "engine / {other}: CPU per delivered line {cpu:.3}, delivered lines per second {delivered:.3}"
            ));
        }
    }
    for system in comparison.systems() {
        let all = |figure: fn(&Outcome) -> f64| {
            comparison
                .median(system, |o| Some(figure(o)))
                .unwrap_or(0.0)
        };
        if all(|o| o.unsent as f64) > 0.0 {
            notes.push(format!(
                "{system}: {:.0} lines that were due could not be fed",
                all(|o| o.unsent as f64)
            ));
        }
        if all(|o| o.generator_cores) > 0.95 * comparison.workload.threads as f64 {
            notes.push(format!(
                "{system}: the generator used {:.2} cores and may be what bounds these figures",
                all(|o| o.generator_cores)
            ));
        }
        if all(|o| o.server_waited.unwrap_or(0.0)) > 0.05 || all(|o| o.generator_waited) > 0.2 {
            notes.push(format!(
                "{system}: the server's threads waited {:.2} s per second for a core, the generator's {:.2} s",
                all(|o| o.server_waited.unwrap_or(0.0)),
                all(|o| o.generator_waited)
            ));
        }
        if comparison.workload.stalled > 0 || comparison.workload.slow.is_some() {
            notes.push(format!(
                "{system}: of what was skipped, {:.0} deliveries were to clients that read as fast as they could",
                all(|o| o.skipped_by_readers as f64)
            ));
        }
        let told = |figure: fn(&Announced) -> u64| {
            comparison
                .median(system, |o| Some(figure(&o.announced) as f64))
                .unwrap_or(0.0)
        };
        if comparison.workload.mix || comparison.workload.wish.gaps {
            notes.push(format!(
                "{system}: announced and found true: {} gaps of {} lines; {} resumes with {} replayed and {} lost",
                count(told(|a| a.gaps)),
                count(told(|a| a.skipped)),
                count(told(|a| a.resumed)),
                count(told(|a| a.replayed)),
                count(told(|a| a.lost)),
            ));
        }
        if all(|o| o.visits as f64) > 0.0 {
            notes.push(format!(
                "{system}: {:.0} visits of clients that come and go",
                all(|o| o.visits as f64)
            ));
        }
    }
    notes
}

fn latency(comparison: &Comparison, system: System, figure: fn(&Outcome) -> Option<u64>) -> String {
    text(
        comparison.median(system, |o| figure(o).map(|us| us as f64)),
        milliseconds,
    )
}

fn text(value: Option<f64>, format: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), format)
}

/// `1,234,567`.
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

pub(crate) fn milliseconds(us: f64) -> String {
    let ms = us / 1e3;
    if ms < 10.0 {
        format!("{ms:.2} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

pub(crate) fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / (1024.0 * 1024.0))
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
