//! Checks what a server announces about one subscription against what arrived.
//!
//! The numbers of `subscribed`, of `gap` and of batches must cover every message, and none twice.

use super::announced::AnnouncedTotals;
use super::ledger_fault::LedgerFault;
use serde::Deserialize;

/// The `data` of a `subscribed` message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct SubscribedReply {
    pub(crate) epoch: String,
    /// The number of the message before the first one that will arrive.
    pub(crate) seq: u64,
    pub(crate) replayed: u64,
    pub(crate) lost: u64,
}

/// The `data` of a `gap` message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct GapNotice {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) count: u64,
}

/// The ledger of one client's subscription to one channel, over all its connections.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// The server must announce every hole.
    gaps: bool,
    epoch: Option<String>,
    /// The number of the message before the publisher's first line.
    base: u64,
    /// The number of the last message that arrived or was announced as missing.
    position: u64,
    ended: bool,
    totals: AnnouncedTotals,
}

impl Ledger {
    pub(crate) fn new(gaps: bool) -> Ledger {
        Ledger {
            gaps,
            epoch: None,
            base: 0,
            position: 0,
            ended: false,
            totals: AnnouncedTotals::default(),
        }
    }

    /// Returns the epoch and the number after which to resume.
    ///
    /// There is none before the first subscription, and none without gaps.
    pub(crate) fn resume_point(&self) -> Option<(&str, u64)> {
        self.epoch
            .as_deref()
            .filter(|_| self.gaps)
            .map(|epoch| (epoch, self.position))
    }

    pub(crate) fn totals(&self) -> AnnouncedTotals {
        self.totals
    }

    /// Returns the lines that arrived or were announced as missing.
    pub(crate) fn done(&self) -> u64 {
        self.position - self.base
    }

    /// Accepts a `subscribed` message. Returns the lines that it announces as lost.
    ///
    /// `published` lines are known to have been published before the client subscribed.
    pub(crate) fn subscribe(
        &mut self,
        reply: &SubscribedReply,
        published: u64,
    ) -> Result<u64, LedgerFault> {
        let SubscribedReply {
            ref epoch,
            seq,
            replayed,
            lost,
        } = *reply;
        let Some(known) = &self.epoch else {
            self.epoch = Some(epoch.clone());
            (self.base, self.position) = (seq, seq);
            if replayed + lost > 0 {
                return Err(LedgerFault::FirstWithHistory { replayed, lost });
            }
            return Ok(0);
        };
        if known != epoch {
            return Err(LedgerFault::Epoch {
                known: known.clone(),
                given: epoch.clone(),
            });
        }
        let published = self.base + published;
        let position = self.position;
        if !self.gaps {
            if replayed + lost > 0 || seq < published {
                return Err(LedgerFault::RejoinWithHistory {
                    replayed,
                    lost,
                    seq,
                    published,
                });
            }
            self.position = seq;
            return Ok(0);
        }
        if seq != position + lost {
            return Err(LedgerFault::ResumeStart {
                position,
                lost,
                seq,
            });
        }
        if seq + replayed < published {
            return Err(LedgerFault::ResumeEnd {
                position,
                lost,
                replayed,
                published,
            });
        }
        self.position = seq;
        self.totals.resumed += 1;
        self.totals.replayed += replayed;
        self.totals.lost += lost;
        Ok(lost)
    }

    /// Accepts a `gap` message. Returns the lines in it.
    pub(crate) fn gap(&mut self, gap: GapNotice) -> Result<u64, LedgerFault> {
        let GapNotice { from, to, count } = gap;
        let position = self.position;
        let expected = position + 1;
        if !self.gaps {
            return Err(LedgerFault::GapNotRequested { from, to });
        }
        if self.epoch.is_none() || self.ended {
            return Err(LedgerFault::GapOutside { from, to });
        }
        if from < expected {
            return Err(LedgerFault::GapOverlaps { from, to, position });
        }
        if from > expected || to < from || count != to - from + 1 {
            return Err(LedgerFault::GapExtent {
                from,
                to,
                count,
                expected,
            });
        }
        self.position = to;
        self.totals.gaps += 1;
        self.totals.skipped += count;
        Ok(count)
    }

    /// Accepts the publisher's line `sequence`, counted from 0.
    #[inline]
    pub(crate) fn line(&mut self, sequence: u64) -> Result<(), LedgerFault> {
        let number = self.base + sequence + 1;
        if number == self.position + 1 && self.epoch.is_some() && !self.ended {
            self.position = number;
            return Ok(());
        }
        self.unexpected_line(number)
    }

    #[cold]
    fn unexpected_line(&mut self, number: u64) -> Result<(), LedgerFault> {
        let expected = self.position + 1;
        if self.epoch.is_none() || self.ended {
            return Err(LedgerFault::Outside(number));
        }
        if number < expected {
            return Err(LedgerFault::Repeated(number));
        }
        self.position = number;
        if self.gaps {
            return Err(LedgerFault::Unannounced {
                from: expected,
                to: number - 1,
            });
        }
        Ok(())
    }

    /// Checks the number that a batch states for its first line, which is `sequence`.
    pub(crate) fn batch(&self, sequence: u64, stated: u64) -> Result<(), LedgerFault> {
        let first = self.base + sequence + 1;
        if stated == first {
            return Ok(());
        }
        Err(LedgerFault::BatchNumber { stated, first })
    }

    /// Accepts a status that is not the last one. It must come before all lines.
    pub(crate) fn status(&mut self) -> Result<(), LedgerFault> {
        if self.epoch.is_some() && self.position != self.base {
            return Err(LedgerFault::Status(self.position));
        }
        if self.epoch.is_some() {
            self.base += 1;
            self.position += 1;
        }
        Ok(())
    }

    /// Accepts the exit status. Nothing may come after it.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Checks the totals of a publisher of `published` lines, of which `received` arrived and
    /// `missing` did not.
    pub(crate) fn close(
        &self,
        published: u64,
        received: u64,
        missing: u64,
    ) -> Result<(), LedgerFault> {
        let AnnouncedTotals { skipped, lost, .. } = self.totals;
        if !self.gaps {
            return Ok(());
        }
        if self.done() != published {
            return Err(LedgerFault::Unfinished {
                done: self.done(),
                published,
            });
        }
        if received + skipped + lost != published || skipped + lost != missing {
            return Err(LedgerFault::Totals {
                received,
                missing,
                published,
                skipped,
                lost,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subscribed(seq: u64, replayed: u64, lost: u64) -> SubscribedReply {
        SubscribedReply {
            epoch: "e".to_owned(),
            seq,
            replayed,
            lost,
        }
    }

    fn gap(from: u64, to: u64) -> GapNotice {
        GapNotice {
            from,
            to,
            count: to + 1 - from,
        }
    }

    fn joined(base: u64) -> Ledger {
        let mut ledger = Ledger::new(true);
        ledger.subscribe(&subscribed(base, 0, 0), 0).unwrap();
        ledger
    }

    /// The fate of one line.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fate {
        Comes,
        Skipped,
        /// Published while the client was away, and not kept.
        Lost,
    }

    proptest! {
        #[test]
        fn an_honest_server_closes_the_book_whatever_it_skips_and_loses(
            base in 0u64..1_000,
            fates in prop::collection::vec(
                prop_oneof![Just(Fate::Comes), Just(Fate::Skipped), Just(Fate::Lost)], 0..200),
        ) {
            let mut ledger = joined(base);
            let (mut received, mut at) = (0, 0);
            while at < fates.len() {
                let run = fates[at..].iter().take_while(|fate| **fate == fates[at]).count();
                let (first, last) = (base + at as u64 + 1, base + (at + run) as u64);
                match fates[at] {
                    Fate::Comes => {
                        for sequence in at..at + run {
                            ledger.line(sequence as u64).unwrap();
                        }
                        received += run as u64;
                    }
                    Fate::Skipped => prop_assert_eq!(ledger.gap(gap(first, last)), Ok(run as u64)),
                    Fate::Lost => {
                        let lost = run as u64;
                        prop_assert_eq!(ledger.resume_point(), Some(("e", first - 1)));
                        prop_assert_eq!(ledger.subscribe(&subscribed(last, 0, lost), (at + run) as u64), Ok(lost));
                    }
                }
                at += run;
            }
            let published = fates.len() as u64;
            prop_assert_eq!(ledger.close(published, received, published - received), Ok(()));
            prop_assert!(ledger.close(published + 1, received, published + 1 - received).is_err());
        }

        #[test]
        fn a_gap_of_any_other_extent_than_the_hole_is_a_fault(
            base in 0u64..100, before in 0u64..20, hole in 0u64..20, from in 0u64..150, count in 0u64..30
        ) {
            let mut ledger = joined(base);
            (0..before).for_each(|sequence| ledger.line(sequence).unwrap());
            let next = base + before + 1;
            let announced = GapNotice { from, to: (from + count).saturating_sub(1), count };
            let right = from == next && count == hole && hole > 0;
            let told = ledger.gap(announced);
            let line = ledger.line(before + hole);
            prop_assert_eq!(told.is_ok() && line.is_ok(), right, "{:?} {:?}", told, line);
        }
    }

    #[test]
    fn a_hole_that_was_not_announced_is_a_fault_only_where_gaps_were_asked_for() {
        let mut ledger = joined(0);
        ledger.line(0).unwrap();
        assert!(
            ledger
                .line(2)
                .unwrap_err()
                .to_string()
                .contains("messages 2 to 2")
        );
        let mut silent = Ledger::new(false);
        silent.subscribe(&subscribed(0, 0, 0), 0).unwrap();
        silent.line(0).unwrap();
        silent.line(2).unwrap();
        assert!(silent.gap(gap(4, 5)).is_err());
    }

    #[test]
    fn who_joins_again_without_since_goes_on_from_what_is_published_then() {
        let joined = || {
            let mut ledger = Ledger::new(false);
            ledger.subscribe(&subscribed(1, 0, 0), 0).unwrap();
            assert_eq!(ledger.resume_point(), None);
            ledger
        };
        let mut ledger = joined();
        assert_eq!(ledger.subscribe(&subscribed(31, 0, 0), 30), Ok(0));
        ledger.line(30).unwrap();
        assert_eq!(ledger.batch(30, 32), Ok(()));
        assert!(
            joined().subscribe(&subscribed(30, 0, 0), 30).is_err(),
            "from before it asked"
        );
        assert!(
            joined().subscribe(&subscribed(31, 2, 0), 30).is_err(),
            "a replay that was not asked for"
        );
    }

    #[test]
    fn a_gap_over_what_was_received_is_a_fault() {
        let mut ledger = joined(0);
        ledger.line(0).unwrap();
        ledger.line(1).unwrap();
        assert!(
            ledger
                .gap(gap(2, 3))
                .unwrap_err()
                .to_string()
                .contains("had been accounted for")
        );
    }

    #[test]
    fn resuming_is_checked_at_both_of_its_seams() {
        let at_ten = || {
            let mut ledger = joined(0);
            (0..10).for_each(|sequence| ledger.line(sequence).unwrap());
            ledger
        };
        assert_eq!(at_ten().subscribe(&subscribed(15, 5, 5), 20), Ok(5));
        assert!(
            at_ten().subscribe(&subscribed(15, 5, 4), 20).is_err(),
            "a message is neither lost nor to come"
        );
        assert!(
            at_ten().subscribe(&subscribed(15, 4, 5), 20).is_err(),
            "a published message is not replayed"
        );
        let other = SubscribedReply {
            epoch: "f".to_owned(),
            ..subscribed(10, 0, 0)
        };
        assert!(
            at_ten()
                .subscribe(&other, 0)
                .unwrap_err()
                .to_string()
                .contains("epoch f")
        );
    }

    #[test]
    fn nothing_comes_before_the_welcome_or_after_the_end() {
        assert!(Ledger::new(true).line(0).is_err());
        assert!(Ledger::new(true).gap(gap(1, 1)).is_err());
        let mut ledger = joined(1);
        ledger.line(0).unwrap();
        ledger.end();
        assert!(ledger.line(1).is_err() && ledger.gap(gap(3, 3)).is_err());
    }

    #[test]
    fn a_batch_must_tell_the_number_of_its_first_line() {
        let ledger = joined(3);
        assert_eq!(ledger.batch(0, 4), Ok(()));
        assert!(ledger.batch(0, 5).is_err());
    }

    #[test]
    fn the_status_at_the_start_is_no_line() {
        let mut ledger = joined(0);
        ledger.status().unwrap();
        ledger.line(0).unwrap();
        assert_eq!(ledger.done(), 1);
        assert!(ledger.status().is_err());
    }
}
