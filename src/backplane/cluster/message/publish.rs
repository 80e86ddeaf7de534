//! Messages that were published at a node that is not the channel's home.

use super::super::fields::{Fields, Malformed, put_number};
use super::super::runs;
use super::names::{channel, put_channel};
use super::{Asker, Kind, messages, put_messages};
use crate::backplane::{Part, Runs};
use crate::message::ChannelName;

/// Messages on their way to the home of their channel.
#[derive(Clone, Debug)]
pub(crate) struct Forwarded {
    /// The channel.
    pub(crate) channel: ChannelName,
    /// The number of the run among those that the sender forwards to the channel, from 1. The home
    /// takes them in this order, each once.
    pub(crate) run: u64,
    /// The number of the oldest run that no home has acknowledged. A home that does not know the
    /// sender yet begins with it.
    pub(crate) oldest: u64,
    /// For whom the sender forwards them.
    pub(crate) asker: Asker,
    /// The messages.
    pub(crate) runs: Runs,
}

/// The reason why a home refuses forwarded messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PublishRefusal {
    /// The channel's queue is full.
    Full = 0,
    /// The run is not the next one: earlier ones are missing.
    OutOfOrder = 1,
    /// The home has as many channels as allowed.
    TooManyChannels = 2,
    /// A reason that this version does not know.
    Other = 255,
}

impl PublishRefusal {
    pub(super) fn read(byte: u8) -> Self {
        [Self::Full, Self::OutOfOrder, Self::TooManyChannels]
            .into_iter()
            .find(|reason| *reason as u8 == byte)
            .unwrap_or(Self::Other)
    }
}

impl Forwarded {
    /// Splits messages so that each part fits into one payload.
    pub(crate) fn split<'a>(parts: impl IntoIterator<Item = Part<'a>>) -> Vec<Runs> {
        runs::encode(parts)
            .iter()
            .map(|part| {
                let mut bytes = Vec::new();
                part.put(&mut bytes);
                runs::decode(Fields::new(&bytes)).expect("what was encoded decodes")
            })
            .collect()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) -> Kind {
        put_channel(out, &self.channel);
        put_number(out, self.run);
        put_number(out, self.oldest);
        self.asker.put(out);
        put_messages(out, self.runs.parts());
        Kind::Publish
    }

    pub(super) fn read(mut fields: Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            channel: channel(&mut fields)?,
            run: fields.number()?,
            oldest: fields.number()?,
            asker: Asker::read(&mut fields)?,
            runs: messages(fields)?,
        })
    }
}
