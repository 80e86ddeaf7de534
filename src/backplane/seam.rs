//! The seam between messages that come live and messages that are asked for again.
//!
//! Pure: no I/O, no clock.

use std::collections::BTreeMap;

use super::NumberedRun;

/// The most bytes that a seam holds while it waits for missing messages.
const MAX_HELD_BYTES: usize = 8 * 1024 * 1024;

/// Brings the messages of one numbering into order, each at most once.
///
/// Messages may be lost, repeated and reordered on their way. What is missing is asked for once,
/// and what comes after it is held meanwhile. What cannot be had is skipped, so that the messages
/// published and the numbers skipped are all the numbers.
#[derive(Debug)]
pub struct Seam {
    /// The number of the last message that was published or skipped.
    last: u64,
    /// What came too early, by its first number.
    held: BTreeMap<u64, NumberedRun>,
    held_bytes: usize,
    /// The greatest number that is known to exist and not to come by itself.
    exists: u64,
    /// The range that was asked for and not yet answered.
    asked: Option<(u64, u64)>,
}

/// What a seam has its owner do.
#[derive(Debug)]
pub enum Step {
    /// Publish these messages.
    Publish(NumberedRun),
    /// Skip the messages up to this number.
    SkipTo(u64),
    /// Ask for the messages from the first to the last of these numbers, then call
    /// [`Seam::answered`].
    Ask(u64, u64),
}

impl Seam {
    /// Creates a seam that begins after message `last`.
    pub fn new(last: u64) -> Self {
        Self {
            last,
            held: BTreeMap::new(),
            held_bytes: 0,
            exists: 0,
            asked: None,
        }
    }

    /// Returns the number of the last message that was published or skipped.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Takes messages that came, live or as a part of an answer.
    pub fn offer(&mut self, run: NumberedRun, steps: &mut Vec<Step>) {
        let Some(run) = run.after(self.last) else {
            return;
        };
        if run.first_seq() == self.last + 1 {
            self.publish(run, steps);
            self.release(steps);
        } else {
            self.hold(run);
        }
        if self.held_bytes > MAX_HELD_BYTES {
            return self.give_up(steps);
        }
        self.ask(steps);
    }

    /// Notes that messages up to number `to` exist and will not come by themselves.
    pub fn missing(&mut self, to: u64, steps: &mut Vec<Step>) {
        self.exists = self.exists.max(to);
        self.ask(steps);
    }

    /// Notes that the answer to [`Step::Ask`] is complete. What it left out cannot be had.
    pub fn answered(&mut self, steps: &mut Vec<Step>) {
        let Some((_, to)) = self.asked.take() else {
            return;
        };
        self.lost(to, steps);
        self.ask(steps);
    }

    /// Notes that messages up to number `to` cannot be had.
    pub fn lost(&mut self, to: u64, steps: &mut Vec<Step>) {
        if to > self.last {
            steps.push(Step::SkipTo(to));
            self.last = to;
        }
        self.release(steps);
    }

    /// Publishes what is held, and asks for nothing any more. For a source that is gone.
    pub fn give_up(&mut self, steps: &mut Vec<Step>) {
        self.asked = None;
        while let Some((_, run)) = self.held.pop_first() {
            // The mirror skips the numbers that are left out.
            if let Some(run) = run.after(self.last) {
                self.publish(run, steps);
            }
        }
        self.held_bytes = 0;
    }

    fn publish(&mut self, run: NumberedRun, steps: &mut Vec<Step>) {
        self.last = run.last_seq();
        steps.push(Step::Publish(run));
    }

    fn hold(&mut self, run: NumberedRun) {
        let first = run.first_seq();
        if let Some(other) = self.held.get(&first)
            && other.last_seq() >= run.last_seq()
        {
            return;
        }
        self.held_bytes += run.bytes();
        if let Some(replaced) = self.held.insert(first, run) {
            self.held_bytes -= replaced.bytes();
        }
    }

    /// Publishes what is held and due.
    fn release(&mut self, steps: &mut Vec<Step>) {
        while let Some(entry) = self.held.first_entry()
            && *entry.key() <= self.last + 1
        {
            let run = entry.remove();
            self.held_bytes -= run.bytes();
            if let Some(run) = run.after(self.last) {
                self.publish(run, steps);
            }
        }
    }

    /// Asks for what is missing before the first messages held, or else at the end.
    fn ask(&mut self, steps: &mut Vec<Step>) {
        let to = self
            .held
            .keys()
            .next()
            .map_or(self.exists, |first| first - 1);
        if self.asked.is_none() && to > self.last {
            self.asked = Some((self.last + 1, to));
            steps.push(Step::Ask(self.last + 1, to));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Lines;

    fn run(first: u64, messages: u64) -> NumberedRun {
        let lines: Lines = (first..first + messages)
            .map(|seq| seq.to_string())
            .collect();
        NumberedRun::lines(first, 0, lines)
    }

    /// What a mirror would get: the numbers published, and the numbers skipped.
    #[derive(Default)]
    struct Got {
        last: u64,
        published: Vec<u64>,
        skipped: u64,
        asked: Vec<(u64, u64)>,
    }

    impl Got {
        fn take(&mut self, steps: Vec<Step>) {
            for step in steps {
                match step {
                    Step::Publish(run) => {
                        assert!(run.first_seq() > self.last, "a message came twice");
                        self.skipped += run.first_seq() - 1 - self.last;
                        self.published.extend(run.first_seq()..=run.last_seq());
                        self.last = run.last_seq();
                    }
                    Step::SkipTo(seq) => {
                        assert!(seq > self.last);
                        self.skipped += seq - self.last;
                        self.last = seq;
                    }
                    Step::Ask(from, to) => {
                        assert!(self.last < from && from <= to);
                        self.asked.push((from, to));
                    }
                }
            }
        }
    }

    proptest! {
        /// Whatever is lost, repeated and reordered, and whatever part of an answer comes.
        #[test]
        fn published_and_skipped_are_all_numbers_each_once_and_in_order(
            runs in prop::collection::vec(1..5u64, 1..40),
            fates in prop::collection::vec((0..4u8, 0..6usize), 40),
            kept in prop::collection::vec(any::<bool>(), 200),
        ) {
            let mut next = 1;
            let mut sent = Vec::new();
            for (index, messages) in runs.iter().enumerate() {
                let (fate, delay) = fates[index];
                let copies = match fate { 0 => 0, 3 => 2, _ => 1 };
                for copy in 0..copies {
                    sent.push((index + delay * (copy + usize::from(fate == 2)), next, *messages));
                }
                next += messages;
            }
            let total = next - 1;
            sent.sort_by_key(|(place, ..)| *place);
            let (mut seam, mut got) = (Seam::new(0), Got::default());
            for (_, first, messages) in sent {
                let mut steps = Vec::new();
                seam.offer(run(first, messages), &mut steps);
                got.take(steps);
                while let Some((from, to)) = got.asked.pop() {
                    let mut steps = Vec::new();
                    for seq in (from..=to).filter(|seq| kept[*seq as usize % kept.len()]) {
                        seam.offer(run(seq, 1), &mut steps);
                    }
                    seam.answered(&mut steps);
                    got.take(steps);
                }
            }
            // The home tells its last number, so that a lost end is noticed.
            let mut steps = Vec::new();
            seam.missing(total, &mut steps);
            got.take(std::mem::take(&mut steps));
            seam.answered(&mut steps);
            got.take(steps);
            prop_assert_eq!(seam.last(), total);
            prop_assert_eq!(got.published.len() as u64 + got.skipped, total);
            prop_assert!(got.published.is_sorted());
            for seq in got.published.windows(2) {
                prop_assert!(seq[0] < seq[1]);
            }
        }
    }

    #[test]
    fn nothing_is_skipped_when_answers_are_complete() {
        let (mut seam, mut got) = (
            Seam::new(10),
            Got {
                last: 10,
                ..Got::default()
            },
        );
        let mut steps = Vec::new();
        seam.offer(run(15, 2), &mut steps);
        seam.offer(run(11, 1), &mut steps);
        seam.offer(run(12, 3), &mut steps);
        seam.answered(&mut steps);
        got.take(steps);
        assert_eq!(got.asked, [(11, 14)]);
        assert_eq!((got.published, got.skipped), ((11..=16).collect(), 0));
    }

    #[test]
    fn a_seam_that_waits_too_long_goes_on_with_what_it_has() {
        let mut seam = Seam::new(0);
        let mut steps = Vec::new();
        let big = Lines::from_iter(["x".repeat(1024 * 1024)]);
        for seq in 3..13 {
            seam.offer(NumberedRun::lines(seq, 0, big.clone()), &mut steps);
        }
        assert!(matches!(steps[0], Step::Ask(1, 2)));
        let published = steps.iter().filter(|step| matches!(step, Step::Publish(_)));
        assert_eq!(published.count(), 10);
        assert_eq!(seam.last(), 12);
    }
}
