//! The name of a channel's numbering.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::seal::SealToken;

/// The name of a channel's numbering. Only a mirror's changes, when its source starts a new one.
#[derive(Debug)]
pub(super) struct Epoch(ArcSwap<String>);

impl Epoch {
    pub(super) fn new(name: String) -> Self {
        Self(ArcSwap::from_pointee(name))
    }

    /// Returns the current name.
    pub(super) fn name(&self) -> Arc<String> {
        self.0.load_full()
    }

    /// Replaces the name.
    pub(super) fn replace(&self, name: String, _: &SealToken) {
        self.0.store(Arc::new(name));
    }
}
