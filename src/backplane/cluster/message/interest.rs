//! The channels that a node wants to have.

use super::super::fields::{Fields, Malformed};
use super::names::{self, channel, put_channels};
use super::{ClusterMessage, Kind};
use crate::message::ChannelName;

/// A change of the channels that a node wants to have, or the renewal of what it wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InterestNews {
    /// Channels that the node wants from now on.
    pub(crate) added: Vec<ChannelName>,
    /// Channels that it wants no more.
    pub(crate) removed: Vec<ChannelName>,
    /// Channels that it still wants.
    pub(crate) renewed: Vec<ChannelName>,
}

impl InterestNews {
    /// Returns messages of at most 64 KiB that say the same.
    pub(crate) fn chunks(self) -> Vec<ClusterMessage> {
        #[derive(Clone, Copy)]
        enum To {
            Added,
            Removed,
            Renewed,
        }
        let added = self.added.into_iter().map(|name| (To::Added, name));
        let removed = self.removed.into_iter().map(|name| (To::Removed, name));
        let renewed = self.renewed.into_iter().map(|name| (To::Renewed, name));
        let all = added.chain(removed).chain(renewed).collect();
        names::chunks(all, |(_, name): &(To, ChannelName)| name.as_str().len() + 2)
            .into_iter()
            .map(|chunk| {
                let mut news = Self::default();
                for (to, name) in chunk {
                    match to {
                        To::Added => news.added.push(name),
                        To::Removed => news.removed.push(name),
                        To::Renewed => news.renewed.push(name),
                    }
                }
                ClusterMessage::Interest(news)
            })
            .collect()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) -> Kind {
        put_channels(out, &self.added);
        put_channels(out, &self.removed);
        put_channels(out, &self.renewed);
        Kind::Interest
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            added: fields.list(channel)?,
            removed: fields.list(channel)?,
            renewed: fields.list(channel)?,
        })
    }
}
