//! The totals of the announcements of servers.

/// The announcements for one subscription, or for many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct AnnouncedTotals {
    /// Announced gaps.
    pub(crate) gaps: u64,
    /// The messages in the gaps.
    pub(crate) skipped: u64,
    /// Subscriptions after the first one of each client.
    pub(crate) resumed: u64,
    /// Messages that were replayed on resuming.
    pub(crate) replayed: u64,
    /// Messages that a resuming client asked for and that the server no longer kept.
    pub(crate) lost: u64,
}

impl AnnouncedTotals {
    pub(crate) fn add(&mut self, other: AnnouncedTotals) {
        self.gaps += other.gaps;
        self.skipped += other.skipped;
        self.resumed += other.resumed;
        self.replayed += other.replayed;
        self.lost += other.lost;
    }
}
