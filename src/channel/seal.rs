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
    pub(super) fn request(&self) -> Option<SealToken> {
        (self.requests.fetch_add(1, Ordering::AcqRel) == 0).then_some(SealToken(1))
    }

    /// Gives the flag up unless others have asked since: then the caller is still the sealer, and has to look again.
    pub(super) fn done(&self, answered: SealToken) -> Option<SealToken> {
        // AcqRel, paired with `underway`: the looks that follow see what was done before that was asked.
        self.looks.fetch_add(1, Ordering::AcqRel);
        self.requests
            .compare_exchange(answered.0, 0, Ordering::AcqRel, Ordering::Acquire)
            .err()
            .map(SealToken)
    }

    /// How many looks have ended. One that begins after a push finds it, so two that end after it have found it for certain.
    pub(super) fn looks(&self) -> usize {
        self.looks.load(Ordering::Acquire)
    }

    /// The look that may be under way and not see what the caller has done before this call; every later one sees it. `None` when there is none.
    ///
    /// Changes of nothing instead of loads: those of `requests` and `looks` come in one order with the sealer's own, so that a sealer which this call does
    /// not see has this call before it.
    pub(super) fn underway(&self) -> Option<Underway> {
        let looks = self.looks.fetch_add(0, Ordering::AcqRel);
        (self.requests.fetch_add(0, Ordering::AcqRel) > 0).then_some(Underway(looks))
    }

    /// Whether that look has ended.
    pub(super) fn is_over(&self, underway: &Underway) -> bool {
        self.looks.load(Ordering::Acquire) != underway.0
            || self.requests.load(Ordering::Acquire) == 0
    }

    /// Gives the flag up whatever others ask: the caller sees to it that somebody seals after this.
    pub(super) fn give_up(&self, _: SealToken) {
        self.requests.swap(0, Ordering::AcqRel);
    }
}

/// The requests that the sealer's next look answers. Held by the sealer, who alone may give the flag up.
#[derive(Debug)]
pub(super) struct SealToken(usize);

/// A look that had not ended, by how many had.
#[derive(Debug)]
pub(super) struct Underway(usize);

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
            let Some(mut answered) = self.flag.request() else {
                return;
            };
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
            model
                .sealed
                .with(|sealed| assert_eq!(unsafe { *sealed }, 3));
        });
    }

    #[test]
    fn loom_no_push_is_left_unsealed_and_there_is_one_sealer_at_a_time() {
        run(8);
    }

    /// A subscriber leaves, waits for the look that is under way, and says so, while two others seal: no look offers it anything after that.
    #[test]
    fn loom_nothing_is_offered_to_who_has_left_once_the_look_under_way_is_over() {
        let mut bounded = loom::model::Builder::new();
        bounded.preemption_bound = Some(3);
        bounded.check(|| {
            let flag = Arc::new(SealFlag::default());
            let left = Arc::new(AtomicBool::new(false));
            let gone = Arc::new(AtomicBool::new(false));
            let sealers: Vec<_> = (0..2)
                .map(|_| {
                    let (flag, left, gone) =
                        (Arc::clone(&flag), Arc::clone(&left), Arc::clone(&gone));
                    thread::spawn(move || {
                        let Some(mut answered) = flag.request() else {
                            return;
                        };
                        loop {
                            if !left.load(Ordering::Acquire) {
                                assert!(!gone.load(Ordering::SeqCst), "an offer to who is gone");
                            }
                            match flag.done(answered) {
                                None => return,
                                Some(more) => answered = more,
                            }
                        }
                    })
                })
                .collect();
            left.store(true, Ordering::Release);
            if let Some(underway) = flag.underway() {
                while !flag.is_over(&underway) {
                    thread::yield_now();
                }
            }
            gone.store(true, Ordering::SeqCst);
            for sealer in sealers {
                sealer.join().unwrap();
            }
        });
    }

    #[test]
    fn loom_a_sealer_that_gives_up_leaves_the_rest_to_the_ticker() {
        run(1);
    }
}
