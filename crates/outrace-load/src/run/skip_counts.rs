//! A server's own count of skipped lines.

use crate::server::stats::{ServerStats, fetch_skipped_by_channel};
use crate::server::system::System;
use crate::wire::target::Target;
use std::collections::HashMap;

/// The skipped lines x clients that a server states, if it does.
pub(super) struct SkipCounts {
    pub(super) total: Option<u64>,
    pub(super) by_channel: HashMap<String, u64>,
}

impl SkipCounts {
    pub(super) fn fetch(system: System, target: &Target) -> SkipCounts {
        let by_channel = match system {
            System::Engine | System::Relay | System::Remote => fetch_skipped_by_channel(target),
            System::Baseline | System::Floor => HashMap::new(),
        };
        SkipCounts {
            total: fetch_stats(system, target).skipped,
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
