//! The two ways to publish lines to subscribers without room.

use std::time::Duration;

use crate::{Lossless, Publisher};

/// A publisher that either skips subscribers without room or waits for them.
///
/// Clones publish to the same channel and share the waiting: see [`Lossless`].
#[derive(Clone, Debug)]
pub enum LineSender {
    /// Never waits. A subscriber without room is skipped.
    Plain(Publisher),
    /// Waits for subscribers without room, within a bound.
    Lossless(Lossless),
}

impl LineSender {
    /// Creates a sender that waits for each subscriber without room for at most `wait_limit`, or
    /// one that never waits if `wait_limit` is `None`.
    pub fn new(publisher: Publisher, wait_limit: Option<Duration>) -> Self {
        match wait_limit {
            Some(limit) => Self::Lossless(Lossless::new(publisher, limit)),
            None => Self::Plain(publisher),
        }
    }

    /// Returns the publisher that the lines go through.
    pub fn publisher(&self) -> &Publisher {
        match self {
            Self::Plain(publisher) => publisher,
            Self::Lossless(lossless) => lossless.publisher(),
        }
    }

    /// Returns the waiting policy, or `None` for a sender that never waits.
    pub fn lossless(&self) -> Option<&Lossless> {
        match self {
            Self::Plain(_) => None,
            Self::Lossless(lossless) => Some(lossless),
        }
    }

    /// Ends all waiting, now and in the future. Does nothing for a sender that never waits.
    pub fn disable_lossless(&self) {
        if let Self::Lossless(lossless) = self {
            lossless.give_up();
        }
    }
}

impl From<Publisher> for LineSender {
    fn from(publisher: Publisher) -> Self {
        Self::Plain(publisher)
    }
}

impl From<Lossless> for LineSender {
    fn from(lossless: Lossless) -> Self {
        Self::Lossless(lossless)
    }
}
