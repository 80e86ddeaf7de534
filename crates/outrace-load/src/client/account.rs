//! The account that one client keeps of the lines of one publisher.
//!
//! The account counts how many lines arrived and how many are missing, and notices a line that
//! arrives twice or out of order. It is exact without storing every line.

/// The number of recent holes that are remembered, to distinguish a late line from a repeated one.
const MAX_RECENT_HOLES: usize = 64;

/// The reason why a line must not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SequenceFault {
    /// The line had arrived already.
    #[error("line {sequence} came twice (line {expected} was next)")]
    Duplicate { sequence: u64, expected: u64 },
    /// The line was missing and arrived after a later one.
    #[error("line {sequence} came out of order (line {expected} was next)")]
    Late { sequence: u64, expected: u64 },
    /// The line is older than the remembered holes.
    #[error("line {sequence} came twice or out of order (line {expected} was next)")]
    Backwards { sequence: u64, expected: u64 },
}

/// The account that one client keeps of one publisher.
#[derive(Clone, Debug, Default)]
pub(crate) struct LineAccount {
    next: u64,
    received: u64,
    skipped: u64,
    started: bool,
    /// The last holes, each from its first sequence number to the first one after it.
    recent: Vec<(u64, u64)>,
}

impl LineAccount {
    /// Expects every line of the publisher.
    pub(crate) fn from_the_start() -> LineAccount {
        LineAccount {
            started: true,
            ..LineAccount::default()
        }
    }

    /// Expects every line after the first one that arrives. It is for a client that joins while
    /// lines flow.
    pub(crate) fn from_the_middle() -> LineAccount {
        LineAccount::default()
    }

    /// Accepts a line. Returns the number of lines that are missing before it.
    #[inline]
    pub(crate) fn receive(&mut self, sequence: u64) -> Result<u64, SequenceFault> {
        if sequence == self.next && self.started {
            self.next += 1;
            self.received += 1;
            return Ok(0);
        }
        self.receive_unexpected(sequence)
    }

    #[cold]
    fn receive_unexpected(&mut self, sequence: u64) -> Result<u64, SequenceFault> {
        if !self.started {
            self.started = true;
            self.next = sequence;
        }
        let expected = self.next;
        if sequence < expected {
            let recent = &self.recent;
            return Err(
                if recent
                    .iter()
                    .any(|hole| (hole.0..hole.1).contains(&sequence))
                {
                    SequenceFault::Late { sequence, expected }
                } else if recent.len() == MAX_RECENT_HOLES && sequence < recent[0].0 {
                    SequenceFault::Backwards { sequence, expected }
                } else {
                    SequenceFault::Duplicate { sequence, expected }
                },
            );
        }
        let missing = sequence - expected;
        if missing > 0 {
            if self.recent.len() == MAX_RECENT_HOLES {
                self.recent.remove(0);
            }
            self.recent.push((expected, sequence));
        }
        self.skipped += missing;
        self.next = sequence + 1;
        self.received += 1;
        Ok(missing)
    }

    /// Closes the account of a publisher that published `published` lines.
    ///
    /// Lines that are missing at the end count as skipped too. The error is the sequence number of
    /// a line that was received and never published.
    pub(crate) fn close(&mut self, published: u64) -> Result<(), u64> {
        if self.next > published {
            return Err(self.next - 1);
        }
        self.skipped += published - self.next;
        self.next = published;
        Ok(())
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns the sequence number after the highest received one.
    #[cfg(test)]
    pub(crate) fn next(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn received_and_skipped_add_up_to_published(kept in prop::collection::vec(any::<bool>(), 0..600)) {
            let mut account = LineAccount::from_the_start();
            let mut noticed = 0;
            for (sequence, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
                noticed += account.receive(sequence as u64).unwrap();
            }
            let received = kept.iter().filter(|kept| **kept).count() as u64;
            prop_assert_eq!(account.received(), received);
            prop_assert_eq!(account.skipped(), noticed);
            account.close(kept.len() as u64).unwrap();
            prop_assert_eq!(account.skipped(), kept.len() as u64 - received);
        }

        #[test]
        fn a_second_delivery_and_a_late_one_are_told_apart(
            kept in prop::collection::vec(any::<bool>(), 1..100), pick in any::<prop::sample::Index>()
        ) {
            let mut account = LineAccount::from_the_start();
            for (sequence, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
                account.receive(sequence as u64).unwrap();
            }
            prop_assume!(account.next() > 0);
            let sequence = pick.index(account.next() as usize) as u64;
            let before = account.clone();
            let fault = account.receive(sequence).unwrap_err();
            let expected = before.next();
            if kept[sequence as usize] {
                prop_assert_eq!(fault, SequenceFault::Duplicate { sequence, expected });
            } else {
                prop_assert_eq!(fault, SequenceFault::Late { sequence, expected });
            }
            prop_assert_eq!((account.received(), account.skipped()), (before.received(), before.skipped()));
        }
    }

    #[test]
    fn what_is_older_than_the_remembered_holes_is_still_a_fault() {
        let mut account = LineAccount::from_the_start();
        for i in 0..200 {
            account.receive(i * 2 + 1).unwrap();
        }
        assert_eq!(
            account.receive(0),
            Err(SequenceFault::Backwards {
                sequence: 0,
                expected: 400
            })
        );
    }

    #[test]
    fn a_client_that_joins_midway_counts_from_its_first_line() {
        let mut account = LineAccount::from_the_middle();
        assert_eq!(account.receive(1_000), Ok(0));
        assert_eq!(account.receive(1_003), Ok(2));
        assert_eq!((account.received(), account.skipped()), (2, 2));
        assert!(account.receive(999).is_err());
    }

    #[test]
    fn a_line_that_was_never_published_is_an_error() {
        let mut account = LineAccount::from_the_start();
        account.receive(0).unwrap();
        account.receive(1).unwrap();
        assert_eq!(account.close(1), Err(1));
    }
}
