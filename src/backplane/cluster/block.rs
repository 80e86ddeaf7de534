//! A sealed block as it travels: consecutive messages of one channel, raw, with their numbers.

use bytes::Bytes;

use super::envelope::{self, BodyError, EnvelopeError, Opened};
use super::fields::{Fields, Malformed, put_bytes, put_number, put_signed};
use super::message::Kind;
use super::names::NodeId;
use super::runs::{self, EncodedRuns};
use crate::backplane::{NumberedRun, Part, Runs};

/// The most bytes of the name of a numbering.
const MAX_EPOCH_BYTES: usize = 256;

/// What is known of a block without its messages. It has a checksum of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    /// The home that sealed the block.
    pub(crate) home: NodeId,
    /// The name of the channel's numbering.
    pub(crate) epoch: String,
    /// The term of the home.
    pub(crate) term: u64,
    /// The number of the first message.
    pub(crate) first_seq: u64,
    /// The number of messages. The block that opens a term has none.
    pub(crate) count: u64,
    /// The time of the seal in milliseconds since 1970-01-01T00:00:00Z.
    pub(crate) unix_ms: i64,
}

impl BlockHeader {
    /// Returns the number of the last message. Without messages that is the last one before.
    pub(crate) fn last_seq(&self) -> u64 {
        self.first_seq + self.count - 1
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.epoch.as_bytes());
        put_number(out, self.term);
        put_number(out, self.first_seq);
        put_number(out, self.count);
        put_signed(out, self.unix_ms);
    }

    /// Reads a head, of which a later version may have more.
    fn read(opened: &Opened<'_>) -> Result<Self, Malformed> {
        let mut head = opened.head;
        let header = Self {
            home: opened.from.clone(),
            epoch: epoch(&mut head)?,
            term: head.number()?,
            first_seq: head.number()?,
            count: head.number()?,
            unix_ms: head.signed()?,
        };
        let is_numbered = header.first_seq > 0;
        let fits = header.first_seq.checked_add(header.count).is_some();
        if is_numbered && fits {
            Ok(header)
        } else {
            Err(Malformed)
        }
    }
}

/// Reads the name of a numbering.
pub(super) fn epoch(fields: &mut Fields<'_>) -> Result<String, Malformed> {
    let epoch = fields.text()?;
    if epoch.len() > MAX_EPOCH_BYTES {
        return Err(Malformed);
    }
    Ok(epoch.to_owned())
}

/// A block with its messages.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) header: BlockHeader,
    pub(crate) runs: Runs,
}

impl Block {
    /// Returns the messages with their numbers. `None` without messages.
    pub(crate) fn numbered(self) -> Option<NumberedRun> {
        NumberedRun::from_runs(self.header.first_seq, self.header.unix_ms, self.runs)
    }
}

/// The reason why a block could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BlockError {
    /// Nothing is known of it.
    #[error(transparent)]
    Header(#[from] EnvelopeError),
    /// The payload is intact, and not a block.
    #[error("the payload is not a block")]
    NotABlock,
    /// Its messages cannot be read. Their numbers are known, and can be told as a gap.
    #[error("{reason}")]
    Body {
        /// What is known of the block.
        header: Box<BlockHeader>,
        /// The reason.
        reason: BodyError,
    },
}

impl BlockError {
    /// Returns what is known of the block.
    pub(crate) fn header(&self) -> Option<&BlockHeader> {
        match self {
            Self::Body { header, .. } => Some(header),
            Self::Header(_) | Self::NotABlock => None,
        }
    }
}

/// Encodes runs of consecutive messages, the first of which has the header's `first_seq`. Returns
/// several payloads if one would hold more than 256 KiB. The header's `count` is not used. Without
/// any message, one block without messages is returned.
pub(crate) fn encode<'a>(
    header: &BlockHeader,
    parts: impl IntoIterator<Item = Part<'a>>,
) -> Vec<Bytes> {
    let mut parts = runs::encode(parts);
    if parts.is_empty() {
        parts.push(EncodedRuns::default());
    }
    let mut header = header.clone();
    let mut payloads = Vec::with_capacity(parts.len());
    for part in parts {
        header.count = part.messages;
        let (mut head, mut body) = (Vec::with_capacity(64), Vec::new());
        header.put(&mut head);
        part.put(&mut body);
        payloads.push(envelope::seal(
            Kind::Block as u8,
            &header.home,
            &head,
            &body,
        ));
        header.first_seq += part.messages;
    }
    payloads
}

/// Decodes a block. `max_message` is the most bytes of one message of this hub.
///
/// # Errors
/// When the block is damaged, too large, or of a later version of the program.
pub(crate) fn decode(payload: &[u8], max_message: usize) -> Result<Block, BlockError> {
    let opened = envelope::open(payload)?;
    if opened.kind != Kind::Block as u8 {
        return Err(BlockError::NotABlock);
    }
    let header = BlockHeader::read(&opened).map_err(|_| EnvelopeError::Damaged)?;
    match read_runs(&opened, max_message, header.count) {
        Ok(runs) => Ok(Block { header, runs }),
        Err(reason) => Err(BlockError::Body {
            header: Box::new(header),
            reason,
        }),
    }
}

fn read_runs(opened: &Opened<'_>, max_message: usize, count: u64) -> Result<Runs, BodyError> {
    let body = opened.body(runs::max_bytes(max_message))?;
    let runs = runs::decode(Fields::new(&body))?;
    if runs.messages() as u64 == count {
        Ok(runs)
    } else {
        Err(BodyError::Damaged)
    }
}
