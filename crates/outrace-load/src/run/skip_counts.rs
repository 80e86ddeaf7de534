//! A server's own count of skipped lines.

use crate::server::stats::{ServerStats, fetch_skipped_by_channel};
use crate::server::system::System;
use crate::wire::target::Target;
use std::collections::HashMap;
use std::sync::Arc;

/// The skipped lines x clients that a server states, if it does.
pub(super) struct SkipCounts {
    pub(super) total: Option<u64>,
    pub(super) by_channel: HashMap<String, u64>,
}

impl SkipCounts {
    /// Fetches the counts of a server, or the sums over all nodes.
    pub(super) fn fetch(system: System, targets: &[Arc<Target>]) -> SkipCounts {
        let by_channel = match system {
            System::Engine | System::Relay | System::Remote => {
                fetch_skipped_by_channel(&targets[0])
            }
            // The list of a node contains the channels of all nodes.
            System::Baseline | System::Floor | System::Cluster => HashMap::new(),
        };
        SkipCounts {
            total: fetch_skipped(system, targets),
            by_channel,
        }
    }

    pub(super) fn since(mut self, earlier: SkipCounts) -> SkipCounts {
        self.total = self
            .total
            .map(|total| total.saturating_sub(earlier.total.unwrap_or(0)));
        for (channel, skipped) in &mut self.by_channel {
            *skipped =
                skipped.saturating_sub(earlier.by_channel.get(channel).copied().unwrap_or(0));
        }
        self
    }
}

/// Fetches the skipped lines x clients, summed over all nodes.
pub(super) fn fetch_skipped(system: System, targets: &[Arc<Target>]) -> Option<u64> {
    targets
        .iter()
        .map(|target| fetch_stats(system, target).skipped)
        .sum()
}

/// Fetches the totals of a server.
///
/// The floor does not speak HTTP. It prints its figures when it ends.
pub(super) fn fetch_stats(system: System, target: &Target) -> ServerStats {
    if system == System::Floor {
        ServerStats::default()
    } else {
        ServerStats::fetch(target)
    }
}
