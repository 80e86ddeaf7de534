//! The name of a channel's numbering.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::seal::SealToken;
use crate::sync::lock;

/// The name of a channel's numbering. It changes when the source of a
/// mirror starts a new one, and when the channel gets another home.
#[derive(Debug)]
pub(super) struct Epoch {
    name: ArcSwap<String>,
    /// Held while the name and the last number are replaced, and while both are read.
    replacing: Mutex<()>,
}

impl Epoch {
    pub(super) fn new(name: String) -> Self {
        Self {
            name: ArcSwap::from_pointee(name),
            replacing: Mutex::default(),
        }
    }

    /// Returns the current name.
    pub(super) fn name(&self) -> Arc<String> {
        self.name.load_full()
    }

    /// Replaces the name. `advance` sets the last number of the new numbering.
    pub(super) fn replace(&self, name: String, advance: impl FnOnce(), _: &SealToken) {
        let _replacing = lock(&self.replacing);
        self.name.store(Arc::new(name));
        advance();
    }

    /// Returns the current name together with a number of that numbering.
    pub(super) fn with(&self, last: impl FnOnce() -> u64) -> (Arc<String>, u64) {
        let _replacing = lock(&self.replacing);
        (self.name(), last())
    }
}
