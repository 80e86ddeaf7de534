//! Pins threads to cores.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The reason why a thread can't be pinned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AffinityError {
    #[error("could not read the cores of this program: {0}")]
    Read(rustix::io::Errno),
    #[error("could not pin to core {core}: {error}; pinning needs at least two cores")]
    Pin {
        core: usize,
        error: rustix::io::Errno,
    },
}

/// Keeps the calling thread, and the threads and processes that it starts, on one core.
///
/// The previous cores are restored when this is dropped.
pub(crate) struct PinnedThread {
    previous: CpuSet,
}

impl PinnedThread {
    pub(crate) fn to_core(core: usize) -> Result<PinnedThread, AffinityError> {
        let previous = sched_getaffinity(None).map_err(AffinityError::Read)?;
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).map_err(|error| AffinityError::Pin { core, error })?;
        Ok(PinnedThread { previous })
    }
}

impl Drop for PinnedThread {
    fn drop(&mut self) {
        // The thread had these cores before. If they can't be restored, nothing better can be done.
        let _ = sched_setaffinity(None, &self.previous);
    }
}
