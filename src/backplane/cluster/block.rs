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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::envelope::tests::{sender, with_byte};
    use super::super::samples::{each, runs, told};
    use super::*;
    use crate::message::{Lines, Message, Status};

    const MAX_MESSAGE: usize = 65_536;

    fn header() -> BlockHeader {
        BlockHeader {
            home: sender(),
            epoch: "e1".into(),
            term: 1_700_000_000_000,
            first_seq: 5,
            count: 0,
            unix_ms: -1,
        }
    }

    fn long_lines(lines: usize, len: usize) -> Runs {
        let mut runs = Runs::new();
        runs.push_lines((0..lines).map(|line| format!("{line:0len$}")).collect());
        runs
    }

    /// Decodes payloads that follow each other, and returns each message with its detail.
    fn join(payloads: &[Bytes]) -> (Vec<String>, u64) {
        let (mut all, mut next) = (Vec::new(), header().first_seq);
        for payload in payloads {
            let block = decode(payload, MAX_MESSAGE).unwrap();
            assert_eq!(block.header.first_seq, next);
            next = block.header.last_seq() + 1;
            all.extend(each(&block.runs));
        }
        (all, next)
    }

    #[test]
    fn a_block_of_more_than_256_kib_is_split_and_numbered_on() {
        let runs = long_lines(10_000, 100);
        let payloads = encode(&header(), runs.parts());
        assert_eq!(payloads.len(), 4);
        let (all, next) = join(&payloads);
        assert_eq!(all, each(&runs));
        assert_eq!(next, 10_005);
        let largest = payloads.iter().map(|payload| {
            let body = envelope::open(payload).unwrap().body(usize::MAX).unwrap();
            assert!(body.len() <= runs::MAX_RUNS_BYTES);
            body.len()
        });
        assert!(largest.max().unwrap() > runs::MAX_RUNS_BYTES - 200);
    }

    #[test]
    fn a_message_that_is_longer_than_a_block_travels_alone() {
        let max_message = 2 * runs::MAX_RUNS_BYTES;
        let text = "x".repeat(max_message);
        let mut runs = Runs::new();
        runs.push_line("before".into());
        runs.push_message(Message::error(text));
        runs.push_line("after".into());
        let payloads = encode(&header(), runs.parts());
        assert_eq!(payloads.len(), 3);
        assert!(decode(&payloads[1], max_message).is_ok());
        let refused = decode(&payloads[1], MAX_MESSAGE).unwrap_err();
        assert_eq!(
            refused
                .header()
                .map(|header| (header.first_seq, header.count)),
            Some((6, 1))
        );
    }

    #[test]
    fn pieces_that_two_payloads_share_all_go_on_but_the_last() {
        let piece = |index: usize| Message::output(vec![b'a' + index as u8; 60_000]);
        let mut runs = Runs::new();
        runs.push_pieces((0..9).map(piece).collect());
        let payloads = encode(&header(), runs.parts());
        assert!(payloads.len() > 1);
        let mut continued = Vec::new();
        for payload in &payloads {
            for part in decode(payload, MAX_MESSAGE).unwrap().runs.parts() {
                match part {
                    Part::Lines(lines) => {
                        let indexes = lines.continued();
                        continued.extend((0..lines.len() as u32).map(|at| indexes.contains(&at)));
                    }
                    Part::Pieces(pieces) => {
                        continued.extend((1..=pieces.len()).map(|at| at < pieces.len()));
                    }
                    _ => continued.push(false),
                }
            }
        }
        let expected: Vec<bool> = (0..9).map(|index| index < 8).collect();
        assert_eq!(continued, expected);
    }

    #[test]
    fn a_reserved_status_stays_one() {
        let mut runs = Runs::new();
        runs.push_message(Message::status(&Status::Crashed, 3));
        let payloads = encode(&header(), runs.parts());
        let block = decode(&payloads[0], MAX_MESSAGE).unwrap();
        let Some(Part::Message(message)) = block.runs.parts().next() else {
            panic!("a message came as something else")
        };
        assert!(message.is_reserved());
        assert_eq!(message.status_report().map(|report| report.code), Some(3));
    }

    #[test]
    fn what_cannot_be_read_is_known_to_the_number() {
        let payload = encode(&header(), long_lines(100, 100).parts()).remove(0);
        let known = |payload: &[u8]| {
            let error = decode(payload, MAX_MESSAGE).unwrap_err();
            let header = error.header().cloned();
            let BlockError::Body { reason, .. } = error else {
                panic!("the header is intact: {error}")
            };
            let header = header.unwrap();
            assert_eq!(
                (header.first_seq, header.last_seq(), &*header.epoch),
                (5, 104, "e1")
            );
            reason
        };
        assert_eq!(
            known(&with_byte(&payload, 3, 9)),
            BodyError::Newer { version: 9 }
        );
        assert_eq!(known(&payload[..payload.len() - 1]), BodyError::Damaged);
        let mut damaged = payload.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(known(&damaged), BodyError::Damaged);
        let mut unknown = payload.to_vec();
        unknown[30] ^= 1;
        assert!(
            decode(&unknown, MAX_MESSAGE)
                .unwrap_err()
                .header()
                .is_none()
        );
    }

    #[test]
    fn numbers_that_no_channel_can_reach_are_damage() {
        for first_seq in [0, u64::MAX] {
            let header = BlockHeader {
                first_seq,
                ..header()
            };
            let mut part = EncodedRuns::default();
            part.messages = 0;
            let mut head = Vec::new();
            BlockHeader { count: 1, ..header }.put(&mut head);
            let payload = envelope::seal(Kind::Block as u8, &sender(), &head, b"");
            let refused = decode(&payload, MAX_MESSAGE).unwrap_err();
            assert_eq!(refused, BlockError::Header(EnvelopeError::Damaged));
        }
    }

    #[test]
    fn the_block_that_opens_a_term_has_no_messages() {
        let payloads = encode(&header(), []);
        assert_eq!(payloads.len(), 1);
        let block = decode(&payloads[0], MAX_MESSAGE).unwrap();
        assert_eq!((block.header.last_seq(), block.header.count), (4, 0));
        assert!(block.numbered().is_none());
    }

    #[test]
    fn lines_do_not_share_the_payload() {
        let lines: Lines = ["one", "two"].into_iter().collect();
        let mut runs = Runs::new();
        runs.push_lines(lines);
        let payload = encode(&header(), runs.parts()).remove(0);
        let block = decode(&payload, MAX_MESSAGE).unwrap();
        assert!(payload.is_unique());
        assert_eq!(each(&block.runs), each(&runs));
    }

    proptest! {
        #[test]
        fn all_that_a_home_knows_of_a_block_survives(
            runs in runs(),
            first_seq in 1..u64::MAX / 2,
            term: u64,
            unix_ms: i64,
            epoch in "[a-z0-9]{0,20}",
        ) {
            let header = BlockHeader { first_seq, term, unix_ms, epoch, ..header() };
            let payloads = encode(&header, runs.parts());
            prop_assert_eq!(payloads.len(), 1);
            let block = decode(&payloads[0], MAX_MESSAGE).unwrap();
            let count = runs.messages() as u64;
            prop_assert_eq!(&block.header, &BlockHeader { count, ..header });
            prop_assert_eq!(told(&block.runs), told(&runs));
        }

        #[test]
        fn any_bytes_after_an_intact_header_are_read_or_refused(
            body in prop::collection::vec(any::<u8>(), 0..200), count in 0..50u64,
        ) {
            let mut head = Vec::new();
            BlockHeader { count, ..header() }.put(&mut head);
            let payload = envelope::seal(Kind::Block as u8, &sender(), &head, &body);
            match decode(&payload, MAX_MESSAGE) {
                Ok(block) => prop_assert_eq!(block.runs.messages() as u64, count),
                Err(error) => prop_assert_eq!(error.header().map(|header| header.count), Some(count)),
            }
        }
    }
}
