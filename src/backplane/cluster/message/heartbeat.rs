//! A node's sign of life, with the last numbers of its channels.

use super::super::block::epoch;
use super::super::fields::{Fields, Malformed, put_bytes, put_number};
use super::names::{self, channel, put_channel};
use super::{ClusterMessage, Kind};
use crate::message::ChannelName;

/// Sent once a second, so that a lost last block is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    /// Whether the node could not renew its session for too long.
    pub(crate) is_stale: bool,
    /// The number of the last news of its channels, so that lost news are noticed.
    pub(crate) directory_seq: u64,
    /// The channels that the node is home of and that other nodes want.
    pub(crate) heads: Vec<Head>,
}

/// The last number of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The channel.
    pub(crate) channel: ChannelName,
    /// The name of its numbering.
    pub(crate) epoch: String,
    /// The term of its home.
    pub(crate) term: u64,
    /// The number of the last message.
    pub(crate) last_seq: u64,
}

impl Heartbeat {
    /// Returns messages of at most 64 KiB that say the same: one at least.
    pub(crate) fn chunks(self) -> Vec<ClusterMessage> {
        let bytes = |head: &Head| head.channel.as_str().len() + head.epoch.len() + 24;
        let mut chunks = names::chunks(self.heads, bytes);
        if chunks.is_empty() {
            chunks.push(Vec::new());
        }
        chunks
            .into_iter()
            .map(|heads| {
                ClusterMessage::Heartbeat(Self {
                    is_stale: self.is_stale,
                    directory_seq: self.directory_seq,
                    heads,
                })
            })
            .collect()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) -> Kind {
        out.push(u8::from(self.is_stale));
        put_number(out, self.directory_seq);
        put_number(out, self.heads.len() as u64);
        for head in &self.heads {
            put_channel(out, &head.channel);
            put_bytes(out, head.epoch.as_bytes());
            put_number(out, head.term);
            put_number(out, head.last_seq);
        }
        Kind::Heartbeat
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            is_stale: fields.flag()?,
            directory_seq: fields.number()?,
            heads: fields.list(|fields| {
                Ok(Head {
                    channel: channel(fields)?,
                    epoch: epoch(fields)?,
                    term: fields.number()?,
                    last_seq: fields.number()?,
                })
            })?,
        })
    }
}
