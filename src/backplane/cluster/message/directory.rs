//! The channels of a node, as the other nodes list them.

use super::super::block::epoch;
use super::super::fields::{Fields, Malformed, put_bytes, put_number, put_signed};
use super::names::{self, channel, put_channel, put_channels};
use super::{ClusterMessage, Kind};
use crate::message::{ChannelName, Status, StatusReport};
use crate::stats::ChannelStats;

const SNAPSHOT: u8 = 0;
const DELTA: u8 = 1;

/// News of the channels of a node. Every message with news has the next number, so that a lost one
/// is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryNews {
    /// The number of these news. All chunks of a snapshot have one number.
    pub(crate) seq: u64,
    /// The news.
    pub(crate) news: News,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A part of all channels of the node.
    Snapshot {
        /// The number of the part, from 0.
        chunk: u64,
        /// Whether it is the last part.
        is_last: bool,
        /// The channels.
        channels: Vec<ListedChannel>,
    },
    /// What changed since the news before.
    Delta {
        /// Channels that are new or have other figures.
        changed: Vec<ListedChannel>,
        /// Channels that are gone.
        removed: Vec<ChannelName>,
    },
}

/// A channel in the list of its home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedChannel {
    pub(crate) channel: ChannelName,
    pub(crate) subscribers: u64,
    pub(crate) published: u64,
    pub(crate) epoch: String,
    pub(crate) seq: u64,
    pub(crate) kept_bytes: u64,
    pub(crate) skipped: u64,
    pub(crate) dropped: u64,
    pub(crate) status: Option<StatusReport>,
}

impl From<&ChannelStats> for ListedChannel {
    fn from(stats: &ChannelStats) -> Self {
        Self {
            channel: stats.channel.clone(),
            subscribers: stats.subscribers as u64,
            published: stats.published,
            epoch: stats.epoch.clone(),
            seq: stats.seq,
            kept_bytes: stats.kept_bytes as u64,
            skipped: stats.skipped,
            dropped: stats.dropped,
            status: stats.status.clone(),
        }
    }
}

impl ListedChannel {
    /// Returns the figures as those of a channel of a node.
    pub(crate) fn stats(&self, node: String) -> ChannelStats {
        ChannelStats {
            channel: self.channel.clone(),
            subscribers: usize::try_from(self.subscribers).unwrap_or(usize::MAX),
            published: self.published,
            epoch: self.epoch.clone(),
            seq: self.seq,
            kept_bytes: usize::try_from(self.kept_bytes).unwrap_or(usize::MAX),
            skipped: self.skipped,
            dropped: self.dropped,
            status: self.status.clone(),
            node: Some(node),
        }
    }

    /// Returns how many bytes it takes at most.
    fn bytes(&self) -> usize {
        let status = self.status.as_ref();
        let status = status.map_or(0, |report| report.status.as_str().len());
        self.channel.as_str().len() + self.epoch.len() + status + 80
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_channel(out, &self.channel);
        put_bytes(out, self.epoch.as_bytes());
        for number in [
            self.subscribers,
            self.published,
            self.seq,
            self.kept_bytes,
            self.skipped,
            self.dropped,
        ] {
            put_number(out, number);
        }
        out.push(u8::from(self.status.is_some()));
        if let Some(report) = &self.status {
            put_bytes(out, report.status.as_str().as_bytes());
            put_signed(out, report.code.into());
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            channel: channel(fields)?,
            epoch: epoch(fields)?,
            subscribers: fields.number()?,
            published: fields.number()?,
            seq: fields.number()?,
            kept_bytes: fields.number()?,
            skipped: fields.number()?,
            dropped: fields.number()?,
            status: if fields.flag()? {
                Some(StatusReport {
                    status: Status::from(fields.text()?),
                    code: i32::try_from(fields.signed()?).map_err(|_| Malformed)?,
                })
            } else {
                None
            },
        })
    }
}

impl DirectoryNews {
    /// Returns messages of at most 64 KiB with all channels of a node: one at least.
    pub(crate) fn snapshot(seq: u64, channels: Vec<ListedChannel>) -> Vec<ClusterMessage> {
        let mut chunks = names::chunks(channels, ListedChannel::bytes);
        if chunks.is_empty() {
            chunks.push(Vec::new());
        }
        let last = chunks.len() as u64 - 1;
        (0..)
            .zip(chunks)
            .map(|(chunk, channels)| {
                ClusterMessage::Directory(Self {
                    seq,
                    news: News::Snapshot {
                        chunk,
                        is_last: chunk == last,
                        channels,
                    },
                })
            })
            .collect()
    }

    /// Returns messages of at most 64 KiB with the changes, none without any. The first has the
    /// number after `seq`, which becomes that of the last.
    pub(crate) fn delta(
        seq: &mut u64,
        changed: Vec<ListedChannel>,
        removed: Vec<ChannelName>,
    ) -> Vec<ClusterMessage> {
        let changed = names::chunks(changed, ListedChannel::bytes)
            .into_iter()
            .map(|changed| (changed, Vec::new()));
        let removed = names::chunks(removed, |name| name.as_str().len() + 2)
            .into_iter()
            .map(|removed| (Vec::new(), removed));
        changed
            .chain(removed)
            .map(|(changed, removed)| {
                *seq += 1;
                ClusterMessage::Directory(Self {
                    seq: *seq,
                    news: News::Delta { changed, removed },
                })
            })
            .collect()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) -> Kind {
        let put_listed = |out: &mut Vec<u8>, channels: &[ListedChannel]| {
            put_number(out, channels.len() as u64);
            channels.iter().for_each(|channel| channel.put(out));
        };
        put_number(out, self.seq);
        match &self.news {
            News::Snapshot {
                chunk,
                is_last,
                channels,
            } => {
                out.push(SNAPSHOT);
                put_number(out, *chunk);
                out.push(u8::from(*is_last));
                put_listed(out, channels);
            }
            News::Delta { changed, removed } => {
                out.push(DELTA);
                put_listed(out, changed);
                put_channels(out, removed);
            }
        }
        Kind::Directory
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let seq = fields.number()?;
        let news = match fields.byte()? {
            SNAPSHOT => News::Snapshot {
                chunk: fields.number()?,
                is_last: fields.flag()?,
                channels: fields.list(ListedChannel::read)?,
            },
            DELTA => News::Delta {
                changed: fields.list(ListedChannel::read)?,
                removed: fields.list(channel)?,
            },
            _ => return Err(Malformed),
        };
        Ok(Self { seq, news })
    }
}
