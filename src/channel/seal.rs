//! Who seals a channel, and when somebody has to: two flags, kept apart from what they guard so that models can run them.

use crate::sync::{AtomicBool, AtomicUsize, Ordering};

/// Makes one thread at a time the sealer. A flag that counts: whoever raises it from 0 is the sealer, and cannot lower it past a
/// request it has not seen.
///
/// AcqRel throughout: the sealer's release at the end hands the channel's state (numbering, places, gaps) to the next sealer, and a request
/// during a seal makes the closing exchange fail, whose Acquire then sees the push that went before the request.
#[derive(Debug, Default)]
pub(super) struct SealFlag {
    requests: AtomicUsize,
    /// Looks that have ended.
    looks: AtomicUsize,
}

impl SealFlag {
    /// Asks for a seal, after a push. `Some`: the caller is the sealer. `None`: somebody is, and will look again.
    pub(super) fn request(&self) -> Option<Answered> {
        (self.requests.fetch_add(1, Ordering::AcqRel) == 0).then_some(Answered(1))
    }

    /// Gives the flag up unless others have asked since: then the caller is still the sealer, and has to look again.
    pub(super) fn done(&self, answered: Answered) -> Option<Answered> {
        // Release, paired with the Acquire of `looks`; Acquire, paired with the exchange in `under_way`.
        self.looks.fetch_add(1, Ordering::AcqRel);
        self.requests.compare_exchange(answered.0, 0, Ordering::AcqRel, Ordering::Acquire).err().map(Answered)
    }

    /// How many looks have ended. One that begins after a push finds it, so two that end after it have found it for certain.
    pub(super) fn looks(&self) -> usize {
        self.looks.load(Ordering::Acquire)
    }

    /// The look that somebody is at right now and that may not see what the caller has just stored; `None` when every look from now on sees it.
    ///
    /// Exchanges that change nothing, AcqRel: a sealer's own of the same word comes either before it, and is seen here, or after, and sees what was
    /// stored before.
    pub(super) fn under_way(&self) -> Option<LookUnderWay> {
        if self.requests.fetch_add(0, Ordering::AcqRel) == 0 {
            return None;
        }
        Some(LookUnderWay(self.looks.fetch_add(0, Ordering::AcqRel)))
    }

    /// Whether that look has ended. What it did is seen after this.
    pub(super) fn is_over(&self, look: &LookUnderWay) -> bool {
        self.looks() != look.0 || self.requests.fetch_add(0, Ordering::AcqRel) == 0
    }

    /// Gives the flag up whatever others ask: the caller sees to it that somebody seals after this.
    pub(super) fn give_up(&self, _: Answered) {
        self.requests.swap(0, Ordering::AcqRel);
    }
}

/// A look that had not ended when this was made.
#[derive(Debug)]
pub(super) struct LookUnderWay(usize);

/// The requests that the sealer's next look answers. Held by the sealer, who alone may give the flag up.
#[derive(Debug)]
pub(super) struct Answered(usize);

/// True while somebody has taken it upon himself to seal a channel soon.
///
/// AcqRel swaps, all in one modification order: who finds it raised comes before the swap that lowers it, which therefore
/// sees this thread's push.
#[derive(Debug, Default)]
pub(super) struct ScheduleFlag {
    scheduled: AtomicBool,
}

impl ScheduleFlag {
    /// True when the caller is the one who has to see to it.
    pub(super) fn raise(&self) -> bool {
        !self.scheduled.swap(true, Ordering::AcqRel)
    }

    /// To be called before the seal.
    pub(super) fn lower(&self) {
        self.scheduled.swap(false, Ordering::AcqRel);
    }
}

#[cfg(all(test, outrace_loom))]
mod models {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// A channel as far as sealing goes: what waits, what is sealed, and whether somebody seals right now.
    #[derive(Default)]
    struct Model {
        waiting: AtomicUsize,
        /// Guarded by the flag alone: two sealers at once, or one that does not see the other's work, fail the model.
        sealed: loom::cell::UnsafeCell<usize>,
        flag: SealFlag,
        scheduled: ScheduleFlag,
        due: AtomicUsize,
    }

    impl Model {
        fn push(&self) {
            self.waiting.fetch_add(1, Ordering::Release);
        }

        /// As `Channel::seal`, with as many looks in a row.
        fn seal(&self, looks_in_a_row: usize) {
            let Some(mut answered) = self.flag.request() else { return };
            for _ in 0..looks_in_a_row {
                let found = self.waiting.load(Ordering::Acquire);
                self.waiting.fetch_sub(found, Ordering::AcqRel);
                // SAFETY: loom checks that no two threads are here at once.
                self.sealed.with_mut(|sealed| unsafe { *sealed += found });
                match self.flag.done(answered) {
                    None => return,
                    Some(more) => answered = more,
                }
            }
            self.flag.give_up(answered);
            if self.scheduled.raise() {
                self.due.fetch_add(1, Ordering::Release);
            }
        }
    }

    /// Pushes from three threads, and what is due sealed at the end: everything is sealed, each by one sealer.
    fn run(looks_in_a_row: usize) {
        let mut bounded = loom::model::Builder::new();
        // Every interleaving with at most three preemptions; all of them take minutes.
        bounded.preemption_bound = Some(3);
        bounded.check(move || {
            let model = Arc::new(Model::default());
            let publishers: Vec<_> = (0..2)
                .map(|_| {
                    let model = Arc::clone(&model);
                    thread::spawn(move || {
                        model.push();
                        model.seal(looks_in_a_row);
                    })
                })
                .collect();
            model.push();
            model.seal(looks_in_a_row);
            for publisher in publishers {
                publisher.join().unwrap();
            }
            if model.due.load(Ordering::Acquire) > 0 {
                model.scheduled.lower();
                model.seal(8);
            }
            // SAFETY: all other threads have ended.
            model.sealed.with(|sealed| assert_eq!(unsafe { *sealed }, 3));
        });
    }

    /// A sealer that offers to whoever has not left, and one who leaves: once the look under way is over, nothing more is offered.
    #[test]
    fn loom_nothing_is_offered_after_the_look_under_way_when_somebody_left() {
        use crate::sync::AtomicBool;

        let mut bounded = loom::model::Builder::new();
        bounded.preemption_bound = Some(3);
        bounded.check(|| {
            let flag = Arc::new(SealFlag::default());
            let left = Arc::new(AtomicBool::new(false));
            let offered = Arc::new(AtomicUsize::new(0));
            let publisher = {
                let (flag, left, offered) = (Arc::clone(&flag), Arc::clone(&left), Arc::clone(&offered));
                thread::spawn(move || {
                    for _ in 0..2 {
                        let Some(mut answered) = flag.request() else { continue };
                        loop {
                            if !left.load(Ordering::Acquire) {
                                // Relaxed: the flag has to order it.
                                offered.store(offered.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                            }
                            match flag.done(answered) {
                                None => break,
                                Some(more) => answered = more,
                            }
                        }
                    }
                })
            };
            left.store(true, Ordering::Release);
            if let Some(look) = flag.under_way() {
                while !flag.is_over(&look) {
                    thread::yield_now();
                }
            }
            let before = offered.load(Ordering::Relaxed);
            publisher.join().unwrap();
            assert_eq!(offered.load(Ordering::Relaxed), before);
        });
    }

    #[test]
    fn loom_no_push_is_left_unsealed_and_there_is_one_sealer_at_a_time() {
        run(8);
    }

    #[test]
    fn loom_a_sealer_that_gives_up_leaves_the_rest_to_the_ticker() {
        run(1);
    }
}
