//! Descriptors in reserve. When the process has no other left, a request is still answered.

use std::fs::File;
use std::sync::{Arc, Mutex};

use crate::sync::lock;

/// A reserve is one descriptor of this many that the process may have.
const DESCRIPTORS_PER_RESERVE: u64 = 64;
/// The most descriptors in reserve.
const MAX_RESERVE: u64 = 16;

/// Descriptors that are open only to be closed when they are needed.
#[derive(Debug)]
pub(super) struct Reserve {
    held: Mutex<Vec<File>>,
    size: usize,
}

impl Reserve {
    /// Opens a reserve of a size that suits the limit of the process: none where there is no limit
    /// to speak of.
    pub(super) fn open() -> Arc<Self> {
        let reserve = Arc::new(Self {
            held: Mutex::default(),
            size: size(),
        });
        reserve.refill();
        reserve
    }

    /// Opens what is missing, as far as the process can.
    pub(super) fn refill(&self) {
        let mut held = lock(&self.held);
        while held.len() < self.size {
            let Ok(file) = open() else { return };
            held.push(file);
        }
    }

    /// Closes one descriptor of the reserve, so that a connection can be accepted. Returns `None`
    /// when none is left.
    pub(super) fn release(self: &Arc<Self>) -> Option<ReservedPlace> {
        let mut held = lock(&self.held);
        held.pop()?;
        Some(ReservedPlace {
            may_last: held.len() > self.size / 2,
            reserve: Arc::clone(self),
        })
    }
}

/// The place of a connection that was accepted with a descriptor of the reserve. Dropping it, which
/// has to happen after the connection is closed, takes the descriptor back.
#[derive(Debug)]
pub(super) struct ReservedPlace {
    reserve: Arc<Reserve>,
    /// Whether the connection may become a WebSocket or a stream, which keeps the descriptor. Half
    /// of the reserve is for requests that are answered at once.
    pub(super) may_last: bool,
}

impl Drop for ReservedPlace {
    fn drop(&mut self) {
        self.reserve.refill();
    }
}

#[cfg(unix)]
fn size() -> usize {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(MAX_RESERVE, |limit| {
        (limit / DESCRIPTORS_PER_RESERVE).clamp(1, MAX_RESERVE)
    }) as usize
}

#[cfg(not(unix))]
fn size() -> usize {
    0
}

#[cfg(unix)]
fn open() -> std::io::Result<File> {
    File::open("/dev/null")
}

#[cfg(not(unix))]
fn open() -> std::io::Result<File> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_reserve_is_for_requests_that_are_answered_at_once() {
        let reserve = Arc::new(Reserve {
            held: Mutex::default(),
            size: 4,
        });
        assert!(reserve.release().is_none());
        reserve.refill();
        let places: Vec<_> = std::iter::from_fn(|| reserve.release()).collect();
        let may_last: Vec<_> = places.iter().map(|place| place.may_last).collect();
        assert_eq!(may_last, [true, false, false, false]);
        drop(places);
        assert_eq!(lock(&reserve.held).len(), 4);
    }

    #[test]
    fn a_reserve_of_one_is_for_requests_that_are_answered_at_once() {
        let reserve = Arc::new(Reserve {
            held: Mutex::default(),
            size: 1,
        });
        reserve.refill();
        assert!(!reserve.release().expect("it was filled").may_last);
    }
}
