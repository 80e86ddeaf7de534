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
}

impl SealFlag {
    /// Asks for a seal, after a push. `Some`: the caller is the sealer. `None`: somebody is, and will look again.
    pub(super) fn request(&self) -> Option<Answered> {
        (self.requests.fetch_add(1, Ordering::AcqRel) == 0).then_some(Answered(1))
    }

    /// Gives the flag up unless others have asked since: then the caller is still the sealer, and has to look again.
    pub(super) fn done(&self, answered: Answered) -> Option<Answered> {
        self.requests.compare_exchange(answered.0, 0, Ordering::AcqRel, Ordering::Acquire).err().map(Answered)
    }

    /// Gives the flag up whatever others ask: the caller sees to it that somebody seals after this.
    pub(super) fn give_up(&self, _: Answered) {
        self.requests.swap(0, Ordering::AcqRel);
    }
}

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
