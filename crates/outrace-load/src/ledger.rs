//! What a server says about one subscription with options, held against what came: the numbers of `subscribed`, `gap`
//! and batches must leave no message unnamed, and name none twice.

use std::fmt;

use serde::Deserialize;

use crate::table::count;

/// The `data` of a `subscribed`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) epoch: String,
    /// Of the message before the first that will come.
    pub(crate) seq: u64,
    pub(crate) replayed: u64,
    pub(crate) lost: u64,
}

/// The `data` of a `gap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Gap {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) count: u64,
}

/// One client's subscription to one channel, over all its connections.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// Every hole must be announced.
    gaps: bool,
    epoch: Option<String>,
    /// Number of the message before the publisher's first line.
    base: u64,
    /// Number of the last message that came, or was said to be missing.
    position: u64,
    ended: bool,
    figures: Announced,
}

/// What servers announced, of one subscription or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Announced {
    /// Gaps, and the messages in them.
    pub(crate) gaps: u64,
    pub(crate) skipped: u64,
    /// Subscriptions after the first of each client.
    pub(crate) resumed: u64,
    pub(crate) replayed: u64,
    /// What was asked for when resuming and not kept any more.
    pub(crate) lost: u64,
}

/// As reports have it, for announcements that were all found exact.
impl fmt::Display for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [gaps, skipped, resumed, replayed, lost] = [
            self.gaps,
            self.skipped,
            self.resumed,
            self.replayed,
            self.lost,
        ]
        .map(|n| count(n as f64));
        write!(
            f,
            "announced and found exact: {gaps} gaps of {skipped} lines; {resumed} resumes with {replayed} replayed and {lost} lost"
        )
    }
}

impl Announced {
    pub(crate) fn add(&mut self, other: Announced) {
        self.gaps += other.gaps;
        self.skipped += other.skipped;
        self.resumed += other.resumed;
        self.replayed += other.replayed;
        self.lost += other.lost;
    }
}

impl Ledger {
    pub(crate) fn new(gaps: bool) -> Ledger {
        Ledger {
            gaps,
            epoch: None,
            base: 0,
            position: 0,
            ended: false,
            figures: Announced::default(),
        }
    }

    /// Where to resume: epoch and number. Nothing before the first subscription, nor for who does not count gaps.
    pub(crate) fn since(&self) -> Option<(&str, u64)> {
        self.epoch
            .as_deref()
            .filter(|_| self.gaps)
            .map(|epoch| (epoch, self.position))
    }

    pub(crate) fn announced(&self) -> Announced {
        self.figures
    }

    /// Lines that came or were said to be missing.
    pub(crate) fn done(&self) -> u64 {
        self.position - self.base
    }

    /// Takes a `subscribed`. `published` lines are known to have been published before it was asked for. The lines
    /// that it says are lost.
    pub(crate) fn welcome(&mut self, welcome: &Welcome, published: u64) -> Result<u64, String> {
        let Welcome {
            epoch,
            seq,
            replayed,
            lost,
        } = welcome;
        let Some(known) = &self.epoch else {
            self.epoch = Some(epoch.clone());
            (self.base, self.position) = (*seq, *seq);
            if replayed + lost > 0 {
                return Err(format!(
                    "a first subscription without since was announced {replayed} replayed and {lost} lost"
                ));
            }
            return Ok(0);
        };
        if known != epoch {
            return Err(format!(
                "resumed in epoch {known}, but is subscribed to epoch {epoch}"
            ));
        }
        let floor = self.base + published;
        if !self.gaps {
            if *replayed + *lost > 0 || *seq < floor {
                return Err(format!(
                    "joined again without since, and was announced {replayed} replayed and {lost} lost after message \
                     {seq}, when {floor} had been published"
                ));
            }
            self.position = *seq;
            return Ok(0);
        }
        if *seq != self.position + lost {
            return Err(format!(
                "resumed after message {} with {lost} lost, which leaves off at {}, not at {seq}",
                self.position,
                self.position + lost
            ));
        }
        let seam = seq + replayed;
        if seam < floor {
            return Err(format!(
                "resumed after message {} with {lost} lost and {replayed} replayed, which is up to {seam}, but {floor} \
                 had been published",
                self.position
            ));
        }
        self.position = *seq;
        self.figures.resumed += 1;
        self.figures.replayed += replayed;
        self.figures.lost += lost;
        Ok(*lost)
    }

    /// Takes a `gap`; the lines in it.
    pub(crate) fn gap(&mut self, gap: Gap) -> Result<u64, String> {
        let Gap { from, to, count } = gap;
        let expected = self.position + 1;
        if !self.gaps {
            return Err(format!(
                "a gap from {from} to {to} was announced, which was not asked for"
            ));
        }
        if self.epoch.is_none() || self.ended {
            return Err(format!(
                "a gap from {from} to {to} was announced outside the subscription"
            ));
        }
        if from < expected {
            return Err(format!(
                "a gap from {from} to {to} was announced, but message {} had been accounted for",
                self.position
            ));
        }
        if from > expected || to < from || count != to - from + 1 {
            return Err(format!(
                "a gap of {count} from {from} to {to} was announced where {expected} is next"
            ));
        }
        self.position = to;
        self.figures.gaps += 1;
        self.figures.skipped += count;
        Ok(count)
    }

    /// Takes the publisher's line `sequence`, counted from 0.
    #[inline]
    pub(crate) fn line(&mut self, sequence: u64) -> Result<(), String> {
        let number = self.base + sequence + 1;
        if number == self.position + 1 && self.epoch.is_some() && !self.ended {
            self.position = number;
            return Ok(());
        }
        self.unexpected(number)
    }

    #[cold]
    fn unexpected(&mut self, number: u64) -> Result<(), String> {
        let expected = self.position + 1;
        if self.epoch.is_none() || self.ended {
            return Err(format!("message {number} came outside the subscription"));
        }
        if number < expected {
            return Err(format!(
                "message {number} came, or was said to be missing, already"
            ));
        }
        self.position = number;
        if self.gaps {
            return Err(format!(
                "messages {expected} to {} are missing without a gap",
                number - 1
            ));
        }
        Ok(())
    }

    /// Whether a batch that begins with line `sequence` says so.
    pub(crate) fn batch(&self, sequence: u64, seq: u64) -> Result<(), String> {
        let number = self.base + sequence + 1;
        if seq == number {
            return Ok(());
        }
        Err(format!(
            "a batch says that it begins with message {seq}, but its first line is message {number}"
        ))
    }

    /// Takes a status that is not the last: it belongs before all lines.
    pub(crate) fn status(&mut self) -> Result<(), String> {
        if self.epoch.is_some() && self.position != self.base {
            return Err(format!(
                "a status that nobody sent came after message {}",
                self.position
            ));
        }
        if self.epoch.is_some() {
            self.base += 1;
            self.position += 1;
        }
        Ok(())
    }

    /// Takes the exit status, after which nothing comes.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Closes the book on a publisher of `published` lines, of which `received` came and `missing` did not.
    pub(crate) fn close(&self, published: u64, received: u64, missing: u64) -> Result<(), String> {
        let Announced { skipped, lost, .. } = self.figures;
        if !self.gaps {
            return Ok(());
        }
        if self.done() != published {
            return Err(format!(
                "is accounted for up to line {} of {published} published",
                self.done()
            ));
        }
        if received + skipped + lost != published || skipped + lost != missing {
            return Err(format!(
                "received {received} and misses {missing} of {published} published, but was told of {skipped} in gaps \
                 and {lost} lost"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn welcome(seq: u64, replayed: u64, lost: u64) -> Welcome {
        Welcome {
            epoch: "e".to_owned(),
            seq,
            replayed,
            lost,
        }
    }

    fn gap(from: u64, to: u64) -> Gap {
        Gap {
            from,
            to,
            count: to + 1 - from,
        }
    }

    fn joined(base: u64) -> Ledger {
        let mut ledger = Ledger::new(true);
        ledger.welcome(&welcome(base, 0, 0), 0).unwrap();
        ledger
    }

    /// One line's fate.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fate {
        Comes,
        Skipped,
        /// Published while away, and not kept.
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
                        prop_assert_eq!(ledger.since(), Some(("e", first - 1)));
                        prop_assert_eq!(ledger.welcome(&welcome(last, 0, lost), (at + run) as u64), Ok(lost));
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
            let announced = Gap { from, to: (from + count).saturating_sub(1), count };
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
        assert!(ledger.line(2).unwrap_err().contains("messages 2 to 2"));
        let mut silent = Ledger::new(false);
        silent.welcome(&welcome(0, 0, 0), 0).unwrap();
        silent.line(0).unwrap();
        silent.line(2).unwrap();
        assert!(silent.gap(gap(4, 5)).is_err());
    }

    #[test]
    fn who_joins_again_without_since_goes_on_from_what_is_published_then() {
        let joined = || {
            let mut ledger = Ledger::new(false);
            ledger.welcome(&welcome(1, 0, 0), 0).unwrap();
            assert_eq!(ledger.since(), None);
            ledger
        };
        let mut ledger = joined();
        assert_eq!(ledger.welcome(&welcome(31, 0, 0), 30), Ok(0));
        ledger.line(30).unwrap();
        assert_eq!(ledger.batch(30, 32), Ok(()));
        assert!(
            joined().welcome(&welcome(30, 0, 0), 30).is_err(),
            "from before it asked"
        );
        assert!(
            joined().welcome(&welcome(31, 2, 0), 30).is_err(),
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
        assert_eq!(at_ten().welcome(&welcome(15, 5, 5), 20), Ok(5));
        assert!(
            at_ten().welcome(&welcome(15, 5, 4), 20).is_err(),
            "a message is neither lost nor to come"
        );
        assert!(
            at_ten().welcome(&welcome(15, 4, 5), 20).is_err(),
            "a published message is not replayed"
        );
        let other = Welcome {
            epoch: "f".to_owned(),
            ..welcome(10, 0, 0)
        };
        assert!(at_ten().welcome(&other, 0).unwrap_err().contains("epoch f"));
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
