//! The sentences below a table.

use super::format;
use crate::client::announced::AnnouncedTotals;
use crate::run::comparison::Comparison;
use crate::run::outcome::Outcome;
use crate::server::system::System;

/// A generator that uses more of its threads than this may limit the figures.
const MAX_GENERATOR_SHARE: f64 = 0.95;

/// The server's threads waited noticeably for a core if they waited longer, in seconds per second.
const MAX_SERVER_WAIT: f64 = 0.05;
/// The same for the generator's threads.
const MAX_GENERATOR_WAIT: f64 = 0.2;

/// Returns the ratios between systems, and what a reader must know to judge the figures.
pub(super) fn notes(comparison: &Comparison) -> Vec<String> {
    let mut notes = Vec::new();
    for other in [System::Baseline, System::Floor, System::Relay] {
        let cpu = comparison.ratio(other, |o| o.server_cpu_ns_per_delivered);
        let delivered = comparison.ratio(other, |o| Some(o.delivered_per_second));
        if let (Some(cpu), Some(delivered)) = (cpu, delivered) {
            notes.push(format!(
                "engine / {other}: CPU per delivered line {cpu:.3}, \
                 delivered lines per second {delivered:.3}"
            ));
        }
    }
    for system in comparison.systems() {
        let sentences = of_system(comparison, system);
        notes.extend(
            sentences
                .into_iter()
                .map(|note| format!("{system}: {note}")),
        );
    }
    notes
}

fn of_system(comparison: &Comparison, system: System) -> Vec<String> {
    let mut notes = Vec::new();
    let workload = &comparison.workload;
    let median = |figure: fn(&Outcome) -> f64| {
        comparison
            .median(system, |o| Some(figure(o)))
            .unwrap_or(0.0)
    };
    let unsent = median(|o| o.unsent as f64);
    if unsent > 0.0 {
        notes.push(format!("{unsent:.0} lines that were due could not be fed"));
    }
    let generator_cores = median(|o| o.generator_cores);
    if generator_cores > MAX_GENERATOR_SHARE * workload.threads as f64 {
        notes.push(format!(
            "the generator used {generator_cores:.2} cores and may limit these figures"
        ));
    }
    let server_waited = median(|o| o.server_waited.unwrap_or(0.0));
    let generator_waited = median(|o| o.generator_waited);
    if server_waited > MAX_SERVER_WAIT || generator_waited > MAX_GENERATOR_WAIT {
        notes.push(format!(
            "the server's threads waited {server_waited:.2} s per second for a core, \
             the generator's {generator_waited:.2} s"
        ));
    }
    if workload.stalled > 0 || workload.slow.is_some() {
        let skipped = median(|o| o.skipped_by_readers as f64);
        notes.push(format!(
            "{skipped:.0} of the skipped deliveries were to clients that read as fast as they could"
        ));
    }
    if workload.mixed_subscriptions || workload.subscribe_options.gaps {
        let median = |figure: fn(&AnnouncedTotals) -> u64| {
            let value = comparison.median(system, |o| Some(figure(&o.announced) as f64));
            value.unwrap_or(0.0).round() as u64
        };
        notes.push(format::announced(&AnnouncedTotals {
            gaps: median(|a| a.gaps),
            skipped: median(|a| a.skipped),
            resumed: median(|a| a.resumed),
            replayed: median(|a| a.replayed),
            lost: median(|a| a.lost),
        }));
    }
    let visits = median(|o| o.visits as f64);
    if visits > 0.0 {
        notes.push(format!("{visits:.0} visits of clients that come and go"));
    }
    notes
}
