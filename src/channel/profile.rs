//! The properties of a channel that never change.

use super::block::{Run, Style};
use super::client::ClientKind;
use super::size_bound::{SizeBound, TooLong};
use super::subscription::Subscription;
use crate::message::ChannelName;

/// What happens to a client whose queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// The message is skipped for it.
    Skip,
    /// It is disconnected (messages to all clients).
    Disconnect,
}

/// The properties of a channel that its deliveries need.
#[derive(Debug)]
pub(super) struct Profile {
    /// `None` for the channel of all clients, whose messages name no channel.
    pub(super) name: Option<ChannelName>,
    pub(super) style: Style,
    pub(super) overflow: Overflow,
    pub(super) size_bound: SizeBound,
}

impl Profile {
    /// Returns the name of a channel whose subscriptions have options.
    pub(super) fn name(&self) -> &ChannelName {
        self.name
            .as_ref()
            .expect("only channels with a name are subscribed to with options")
    }

    /// Cuts the lines of a run that are too long for a message. Linear in the run.
    ///
    /// # Errors
    /// [`TooLong`] for any other message that is too long.
    pub(super) fn fit(&self, run: Run) -> Result<Run, TooLong> {
        self.size_bound.fit(run, &self.style.envelope)
    }

    /// Returns whether a subscription gets the messages of this channel. An HTTP stream is a member
    /// of the channel of all clients, but carries the lines of one channel alone.
    pub(super) fn reaches(&self, subscription: &Subscription) -> bool {
        !subscription.has_left()
            && (self.name.is_some() || subscription.client.kind() == ClientKind::WebSocket)
    }
}
