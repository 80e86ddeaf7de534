//! What nodes send, decoded and encoded again, for the fuzz target.

use bytes::Bytes;

use super::block::{self, Block};
use super::described::each;
use super::envelope;
use super::lease::{HomeRecord, SessionRecord};
use super::message::ClusterMessage;
use super::names::NodeId;
use crate::backplane::NumberedRun;

/// A payload that was decoded.
#[derive(Debug)]
pub struct ClusterPayload(Decoded);

#[derive(Debug)]
enum Decoded {
    Block(Block),
    Message(NodeId, ClusterMessage),
}

impl ClusterPayload {
    /// Decodes a block or any other message. `max_message` is the most bytes of one message.
    pub fn decode(payload: &[u8], max_message: usize) -> Option<Self> {
        let block = block::decode(payload, max_message).map(Decoded::Block);
        let message = ClusterMessage::decode(payload, max_message)
            .map(|(from, message)| Decoded::Message(from, message));
        assert!(
            block.is_err() || message.is_err(),
            "a payload is of one kind"
        );
        block.ok().or(message.ok()).map(Self)
    }

    /// Encodes it again. Only a block can become several payloads.
    pub fn encode(&self) -> Vec<Bytes> {
        match &self.0 {
            Decoded::Block(block) => block::encode(&block.header, block.runs.parts()),
            Decoded::Message(from, message) => vec![message.encode(from)],
        }
    }

    /// Returns the number of the first message and each message of a block. Of another message the
    /// one text tells everything.
    pub fn told(&self) -> (u64, Vec<String>) {
        match &self.0 {
            Decoded::Block(block) => (block.header.first_seq, each(&block.runs)),
            Decoded::Message(from, ClusterMessage::Publish(forwarded)) => {
                let (channel, run, oldest) = (&forwarded.channel, forwarded.run, forwarded.oldest);
                let mut all = each(&forwarded.runs);
                let asker = &forwarded.asker;
                all.push(format!("{from} {channel} {run} {oldest} {asker:?}"));
                (0, all)
            }
            Decoded::Message(from, message) => (0, vec![format!("{from} {message:?}")]),
        }
    }

    /// Returns the name and the messages of a block, as a mirror takes them.
    pub fn into_numbered(self) -> Option<(String, NumberedRun)> {
        match self.0 {
            Decoded::Block(block) => Some((block.header.epoch.clone(), block.numbered()?)),
            Decoded::Message(..) => None,
        }
    }
}

/// Puts any head and body into an envelope with correct checksums.
pub fn cluster_envelope(kind: u8, head: &[u8], body: &[u8]) -> Bytes {
    let from = NodeId::new("fuzz", 7).expect("the name is valid");
    envelope::seal(kind, &from, head, body)
}

/// Reads a value of the broker as each kind of record. What is read is the same after it was
/// written again.
///
/// # Panics
/// If it is not.
pub fn recode_records(value: &[u8]) {
    if let Ok(record) = SessionRecord::decode(value) {
        assert_eq!(SessionRecord::decode(&record.encode()), Ok(record));
    }
    if let Ok(record) = HomeRecord::decode(value) {
        assert_eq!(HomeRecord::decode(&record.encode()), Ok(record));
    }
}
