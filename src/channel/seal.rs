//! The election of a channel's sealer, and the request to seal a channel soon: two flags, kept
//! apart from the data they guard so that models can run them.

use std::sync::{Mutex, MutexGuard};

use crate::sync::{AtomicBool, AtomicUsize, Ordering, lock};

/// Makes one thread at a time the sealer.
///
/// The flag counts requests. The thread that raises it from 0 is the sealer, and cannot lower it
/// past a request that it has not seen.
///
/// AcqRel throughout. The sealer's release at the end hands the channel's state (numbering, places,
/// gaps) to the next sealer. A request during a pass makes the closing exchange fail, whose Acquire
/// then sees the push that went before the request.
#[derive(Debug, Default)]
pub(super) struct SealFlag {
    requests: AtomicUsize,
    /// Passes that have ended.
    passes: AtomicUsize,
}

impl SealFlag {
    /// Asks for a pass, after a push. Returns a token when the caller becomes the sealer. Returns
    /// `None` when another thread is the sealer, which then makes another pass.
    pub(super) fn request(&self) -> Option<SealToken> {
        (self.requests.fetch_add(1, Ordering::AcqRel) == 0).then_some(SealToken(1))
    }

    /// Gives the flag up, unless there were requests since: then the caller is still the sealer,
    /// and has to make another pass.
    pub(super) fn done(&self, token: SealToken) -> Option<SealToken> {
        // AcqRel, paired with `underway`: the passes that follow see what came before that call.
        self.passes.fetch_add(1, Ordering::AcqRel);
        self.requests
            .compare_exchange(token.0, 0, Ordering::AcqRel, Ordering::Acquire)
            .err()
            .map(SealToken)
    }

    /// Returns whether no thread was the sealer a moment ago. Relaxed: a hint for callers that only
    /// want to help.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    /// Returns the number of passes that have ended. A pass that begins after a push finds it, so
    /// two passes that end after a push have found it for certain.
    pub(super) fn passes(&self) -> usize {
        self.passes.load(Ordering::Acquire)
    }

    /// Returns the pass that may be under way and not see what the caller did before this call;
    /// `None` when there is none. Every later pass sees it.
    ///
    /// `fetch_add(0)` instead of loads: read-modify-writes of `requests` and `passes` share one
    /// modification order with the sealer's own, so a sealer that this call misses is ordered after
    /// it.
    pub(super) fn underway(&self) -> Option<PassUnderway> {
        let passes = self.passes.fetch_add(0, Ordering::AcqRel);
        (self.requests.fetch_add(0, Ordering::AcqRel) > 0).then_some(PassUnderway(passes))
    }

    /// Returns whether that pass has ended.
    pub(super) fn is_over(&self, underway: &PassUnderway) -> bool {
        self.passes.load(Ordering::Acquire) != underway.0
            || self.requests.load(Ordering::Acquire) == 0
    }

    /// Gives the flag up whatever requests there are. The caller ensures that the channel is sealed
    /// after this.
    pub(super) fn give_up(&self, _: SealToken) {
        self.requests.swap(0, Ordering::AcqRel);
    }
}

/// The proof that its holder is the sealer. Only [`SealFlag`] makes one.
///
/// It holds the number of requests that the sealer's next pass answers.
#[derive(Debug)]
pub(super) struct SealToken(usize);

/// A pass that had not ended, identified by the number of passes that had.
#[derive(Debug)]
pub(super) struct PassUnderway(usize);

/// A value that only the sealer may touch: opening it takes the sealer's token.
///
/// The mutex is never contended, since there is one sealer at a time. It makes the value shareable
/// without `unsafe`.
#[derive(Debug, Default)]
pub(super) struct SealerCell<T>(Mutex<T>);

impl<T> SealerCell<T> {
    /// Opens the value. After a panic in an earlier pass it must still be valid: see
    /// [`lock`](crate::sync::lock).
    pub(super) fn open(&self, _: &SealToken) -> MutexGuard<'_, T> {
        lock(&self.0)
    }
}

/// True while a thread has undertaken to seal a channel soon.
///
/// AcqRel swaps, all in one modification order: a thread that finds it raised comes before the swap
/// that lowers it, which therefore sees that thread's push.
#[derive(Debug, Default)]
pub(super) struct ScheduleFlag {
    scheduled: AtomicBool,
}

impl ScheduleFlag {
    /// Raises the flag. Returns true when it was down: then the caller has to have the channel
    /// sealed.
    pub(super) fn raise(&self) -> bool {
        !self.scheduled.swap(true, Ordering::AcqRel)
    }

    /// Lowers the flag. To be called before the seal.
    pub(super) fn lower(&self) {
        self.scheduled.swap(false, Ordering::AcqRel);
    }
}

#[cfg(all(test, outrace_loom))]
mod models {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// The part of a channel that concerns sealing: what waits, what is sealed, and the flags.
    #[derive(Default)]
    struct Model {
        waiting: AtomicUsize,
        /// Guarded by the flag alone. Two sealers at once fail the model, and so does a sealer that
        /// does not see the other's work.
        sealed: loom::cell::UnsafeCell<usize>,
        flag: SealFlag,
        scheduled: ScheduleFlag,
        due: AtomicUsize,
    }

    impl Model {
        fn push(&self) {
            self.waiting.fetch_add(1, Ordering::Release);
        }

        /// Does the same as `Channel::seal`, with this many passes in a row.
        fn seal(&self, max_passes: usize) {
            let Some(mut token) = self.flag.request() else {
                return;
            };
            for _ in 0..max_passes {
                let found = self.waiting.load(Ordering::Acquire);
                self.waiting.fetch_sub(found, Ordering::AcqRel);
                // SAFETY: loom checks that no two threads are here at once.
                self.sealed.with_mut(|sealed| unsafe { *sealed += found });
                match self.flag.done(token) {
                    None => return,
                    Some(more) => token = more,
                }
            }
            self.flag.give_up(token);
            if self.scheduled.raise() {
                self.due.fetch_add(1, Ordering::Release);
            }
        }
    }

    /// Pushes from three threads, and seals what is due at the end: every push is sealed, by one
    /// sealer at a time.
    fn run(max_passes: usize) {
        let mut bounded = loom::model::Builder::new();
        // Every interleaving with at most three preemptions. All of them take minutes.
        bounded.preemption_bound = Some(3);
        bounded.check(move || {
            let model = Arc::new(Model::default());
            let publishers: Vec<_> = (0..2)
                .map(|_| {
                    let model = Arc::clone(&model);
                    thread::spawn(move || {
                        model.push();
                        model.seal(max_passes);
                    })
                })
                .collect();
            model.push();
            model.seal(max_passes);
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

    /// A subscriber leaves and waits for the pass under way, while two other threads seal: no pass
    /// offers it anything after that.
    #[test]
    fn loom_nothing_is_offered_to_a_subscriber_that_left_once_the_pass_under_way_is_over() {
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
                        let Some(mut token) = flag.request() else {
                            return;
                        };
                        loop {
                            if !left.load(Ordering::Acquire) {
                                assert!(
                                    !gone.load(Ordering::SeqCst),
                                    "an offer to a subscriber that is gone"
                                );
                            }
                            match flag.done(token) {
                                None => return,
                                Some(more) => token = more,
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
