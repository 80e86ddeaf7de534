//! Counts the work of channels and writers, and tells the pace what it cost.

use std::sync::Arc;

use super::clock::Clock;
use super::tally::Tally;
use crate::reason::RefusalReason;
use crate::stats::Totals;

/// Where channels and writers report their work.
#[derive(Debug)]
pub(crate) struct Recorder {
    totals: Arc<Totals>,
    clock: Arc<Clock>,
}

impl Recorder {
    pub(super) fn new(totals: Arc<Totals>, clock: Arc<Clock>) -> Self {
        Self { totals, clock }
    }

    /// Records a block of so many messages.
    pub(super) fn block(&self, messages: usize) {
        self.totals.count_block(messages);
    }

    /// Records the end of a pass. `asked` is the time at which its flush was asked for, and 0 when
    /// none was.
    pub(super) fn pass(&self, tally: &Tally, asked: u64) {
        self.totals
            .count_fan_out(tally.offered, tally.skipped, tally.discarded);
        if tally.reached.clients > 0 || tally.reached.exported > 0 {
            let now = self.clock.now();
            self.clock.spent(now, tally.reached);
            if asked > 0 {
                self.totals.count_flush(now.saturating_sub(asked));
            }
        }
    }

    /// Records messages x subscribers that were skipped because the channel took no more. They
    /// count as skipped beside this.
    pub(super) fn overrun(&self, messages: u64) {
        self.totals.count_overrun(messages);
    }

    /// Records messages that their channel took no more, whoever is subscribed to it.
    pub(super) fn dropped(&self, messages: u64) {
        self.totals.count_dropped(messages);
    }

    /// Records a pass that panicked.
    pub(super) fn panicked(&self) {
        self.totals.count_panicked();
    }

    /// Records a refusal.
    pub(super) fn refused(&self, reason: RefusalReason) {
        self.totals.count_refused(reason);
    }

    /// Records how long a write to a socket took, in nanoseconds.
    pub(crate) fn write_took(&self, nanoseconds: u64) {
        self.clock.wrote(nanoseconds);
        self.totals.count_write_time(nanoseconds);
    }

    /// Records the messages that a write completed, and all bytes that it wrote.
    pub(crate) fn written(&self, messages: usize, bytes: usize) {
        self.totals.count_write(messages as u64, bytes as u64);
    }
}
