//! What was published to channels whose home is elsewhere or not known yet: bounded over the whole
//! hub, until a home has numbered it.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

use super::Run;
use crate::sync::{AtomicUsize, Ordering};

/// The most bytes that wait for their home, in all channels together.
pub(crate) const MAX_PENDING_BYTES: usize = 8 * 1024 * 1024;
/// The most statuses and errors that wait beyond that bound.
const MAX_RESERVED: usize = 1024;
/// What a run takes beside its bytes, and what each of its messages does.
const RUN_OVERHEAD: usize = 64;
const MESSAGE_OVERHEAD: usize = 8;

/// The bound on what waits for a home. Every access is Relaxed: the counts bound memory, and order
/// nothing.
#[derive(Debug, Default)]
pub(crate) struct PendingBudget {
    bytes: AtomicUsize,
    messages: AtomicUsize,
    /// Statuses and errors that wait beyond the bound in bytes.
    reserved: AtomicUsize,
    /// Notified when room is made.
    freed: Notify,
}

/// The room that one run takes, until it is dropped.
#[derive(Debug)]
struct Charge {
    budget: Arc<PendingBudget>,
    bytes: usize,
    messages: usize,
    is_reserved: bool,
}

/// A run that waits for its home, or is on its way there.
#[derive(Debug)]
pub(crate) struct PendingRun {
    run: Run,
    charge: Charge,
}

/// The runs of one channel that wait for its home, the oldest first.
#[derive(Debug, Default)]
pub(super) struct PendingRuns(VecDeque<PendingRun>);

fn cost(run: &Run) -> usize {
    run.bytes() + RUN_OVERHEAD + run.messages() * MESSAGE_OVERHEAD
}

fn is_reserved(run: &Run) -> bool {
    matches!(run, Run::Message(message) if message.is_reserved())
}

impl PendingBudget {
    /// Takes a run. Returns it when there is no room.
    ///
    /// A status or an error has a reserve of its own beyond the bound. A run of any size is taken
    /// when nothing else waits.
    pub(super) fn admit(self: &Arc<Self>, run: Run) -> Result<PendingRun, Run> {
        let bytes = cost(&run);
        let within = |held: usize| {
            let is_within = held == 0 || held + bytes <= MAX_PENDING_BYTES;
            is_within.then_some(held + bytes)
        };
        let (relaxed, counted) = (Ordering::Relaxed, &self.bytes);
        let has_room = counted.fetch_update(relaxed, relaxed, within).is_ok();
        let has_place = has_room || (is_reserved(&run) && self.reserve());
        if !has_place {
            return Err(run);
        }
        let messages = run.messages();
        self.messages.fetch_add(messages, relaxed);
        let charge = Charge {
            budget: Arc::clone(self),
            bytes: if has_room { bytes } else { 0 },
            messages,
            is_reserved: !has_room,
        };
        Ok(PendingRun { run, charge })
    }

    fn reserve(&self) -> bool {
        let room = |held| (held < MAX_RESERVED).then_some(held + 1);
        let (relaxed, reserved) = (Ordering::Relaxed, &self.reserved);
        reserved.fetch_update(relaxed, relaxed, room).is_ok()
    }

    /// Returns whether there is room for messages of so many bytes, and for so many statuses and
    /// errors. What has room when nothing else waits has room.
    pub(crate) fn has_room(&self, bytes: usize, reserved: usize) -> bool {
        let held = self.bytes.load(Ordering::Relaxed);
        let fits = |more: usize| held == 0 || held + more <= MAX_PENDING_BYTES;
        let has_reserve = self.reserved.load(Ordering::Relaxed) + reserved <= MAX_RESERVED;
        fits(bytes) && (has_reserve || fits(bytes + reserved * RUN_OVERHEAD))
    }

    /// Returns the messages that wait, and the bytes that they take.
    pub(crate) fn held(&self) -> (usize, usize) {
        let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (read(&self.messages), read(&self.bytes))
    }

    /// Waits until room was made. To be created before the room is looked at.
    pub(crate) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }

    /// Has those who wait for room look again.
    pub(super) fn wake(&self) {
        self.freed.notify_waiters();
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let budget = &self.budget;
        budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        budget.messages.fetch_sub(self.messages, Ordering::Relaxed);
        if self.is_reserved {
            budget.reserved.fetch_sub(1, Ordering::Relaxed);
        }
        budget.wake();
    }
}

impl Charge {
    /// Splits off the part for the first `messages` messages, of so many bytes.
    fn split(&mut self, bytes: usize, messages: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.messages -= messages;
        Self {
            budget: Arc::clone(&self.budget),
            bytes,
            messages,
            is_reserved: false,
        }
    }
}

impl PendingRun {
    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    /// Returns the run. The room that it took is free when `then` has returned.
    pub(super) fn release<T>(self, then: impl FnOnce(Run) -> T) -> T {
        then(self.run)
    }

    /// Splits off as many of the first messages as fit into `room` bytes, at least one. Returns
    /// `None` when all of them fit, or the run can't be split.
    fn split(&mut self, room: usize) -> Option<Self> {
        let all = self.run.messages();
        let fitting = self.run.fitting(0..all, room).max(self.run.least());
        if fitting >= all {
            return None;
        }
        let first = self.run.part(0..fitting);
        let rest = std::mem::replace(&mut self.run, Run::Pieces(Vec::new()));
        self.run = rest.without_first(fitting);
        Some(Self {
            charge: self.charge.split(cost(&first), fitting),
            run: first,
        })
    }
}

impl PendingRuns {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, run: PendingRun) {
        self.0.push_back(run);
    }

    /// Gives back runs that come before all others.
    pub(super) fn give_back(&mut self, runs: Vec<PendingRun>) {
        for run in runs.into_iter().rev() {
            self.0.push_front(run);
        }
    }

    /// Takes the oldest runs: `most_bytes` bytes at most, but at least one message.
    pub(super) fn take(&mut self, most_bytes: usize) -> Vec<PendingRun> {
        let (mut taken, mut room) = (Vec::new(), most_bytes);
        while let Some(next) = self.0.front_mut() {
            let bytes = next.run.bytes();
            if bytes > room {
                if taken.is_empty() {
                    let first = next.split(room);
                    taken.extend(first.or_else(|| self.0.pop_front()));
                }
                break;
            }
            room -= bytes;
            taken.extend(self.0.pop_front());
        }
        taken
    }

    /// Takes all runs.
    pub(super) fn take_all(&mut self) -> VecDeque<PendingRun> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::line;
    use super::*;
    use crate::message::{Lines, Message, Status};

    fn status() -> Run {
        Run::Message(Box::new(Message::status(&Status::Exited, 0)))
    }

    #[test]
    fn beyond_the_bound_statuses_alone_are_taken_and_all_room_comes_back() {
        let budget = Arc::<PendingBudget>::default();
        let mut runs = PendingRuns::default();
        let kilobyte = || Run::Line(vec![b'x'; 1024].into());
        let mut lines = 0;
        while let Ok(run) = budget.admit(kilobyte()) {
            runs.push(run);
            lines += 1;
        }
        assert_eq!(lines, MAX_PENDING_BYTES / cost(&kilobyte()));
        assert!(!budget.has_room(1024, 0) && budget.has_room(0, 1));
        for _ in 0..MAX_RESERVED {
            runs.push(budget.admit(status()).expect("it has a reserve"));
        }
        // The last ones may find room among the lines.
        while let Ok(run) = budget.admit(status()) {
            runs.push(run);
        }
        assert!(budget.admit(kilobyte()).is_err() && budget.admit(status()).is_err());
        assert!(!budget.has_room(0, MAX_RESERVED));
        drop(runs.take(1024));
        runs.push(budget.admit(kilobyte()).expect("a line has gone"));
        drop(runs);
        assert_eq!(budget.held(), (0, 0));
        assert_eq!(budget.reserved.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_run_of_any_size_is_taken_when_nothing_waits_and_leaves_in_parts() {
        let budget = Arc::<PendingBudget>::default();
        let mut runs = PendingRuns::default();
        let lines: Lines = (0..40_000).map(|_| vec![b'x'; 300]).collect();
        assert!(lines.byte_len() > MAX_PENDING_BYTES);
        runs.push(budget.admit(Run::Lines(lines)).expect("nothing waits"));
        assert!(budget.admit(line("no")).is_err());
        let (mut messages, mut parts) = (0, 0);
        loop {
            let taken = runs.take(1 << 20);
            if taken.is_empty() {
                break;
            }
            let bytes: usize = taken.iter().map(|run| run.run().bytes()).sum();
            assert!(bytes <= 1 << 20);
            messages += taken.iter().map(|run| run.run().messages()).sum::<usize>();
            parts += 1;
        }
        assert_eq!((messages, parts, budget.held()), (40_000, 12, (0, 0)));
    }

    #[test]
    fn what_is_given_back_is_the_first_again() {
        let budget = Arc::<PendingBudget>::default();
        let mut runs = PendingRuns::default();
        for text in ["1", "2", "3"] {
            runs.push(budget.admit(line(text)).expect("there is room"));
        }
        let first = runs.take(2);
        assert_eq!(
            (first.len(), runs.take(0).len()),
            (2, 1),
            "at least one message"
        );
        runs.give_back(first);
        let texts = runs
            .take_all()
            .into_iter()
            .map(|run| format!("{:?}", run.run));
        let texts: Vec<_> = texts.collect();
        assert_eq!(texts.len(), 2);
        assert!(
            texts[0].contains('1') && texts[1].contains('2'),
            "{texts:?}"
        );
    }
}
