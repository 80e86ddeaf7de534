//! The envelope of everything that travels between nodes.
//!
//! | bytes | what |
//! |---|---|
//! | 3 | the magic bytes `ORC` |
//! | 1 | the version |
//! | 1 | the kind |
//! | 1 | flags: 1 when the body is compressed with LZ4 |
//! | 2 | the length of the head |
//! | 4 | the length of the body before it was compressed |
//! | 4 | CRC-32 of the body as it travels |
//! | … | the head: the sender, and what is to be known of a message whose body cannot be read |
//! | 4 | CRC-32 of all that came before |
//! | … | the body |
//!
//! Integers have their lowest byte first. A later version keeps this layout, and only adds to the
//! end of a head. So a node can tell how many messages a block of a later version holds.

use std::borrow::Cow;

use bytes::Bytes;

use super::fields::{Fields, Malformed, put_bytes};
use super::names::NodeId;

const MAGIC: &[u8; 3] = b"ORC";
/// The version of the format that this program writes, and the latest that it reads.
pub(crate) const VERSION: u8 = 1;
const FLAG_LZ4: u8 = 1;
/// The length of what stands before the head.
const FIXED_BYTES: usize = 16;
const CRC_BYTES: usize = 4;
/// Shorter bodies are not compressed.
const MIN_COMPRESSED_BYTES: usize = 4 * 1024;
/// LZ4 makes at most this many bytes of one.
const MAX_LZ4_RATIO: usize = 255;

/// The reason why a payload could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvelopeError {
    /// The payload does not begin with the magic bytes: another program sent it.
    #[error("the payload is not one of Outrace's")]
    Foreign,
    /// The header is damaged, or the payload ends before its end.
    #[error("the header of the payload is damaged")]
    Damaged,
}

/// The reason why the body of an intact header could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// A later version of the program sent it, or one with other flags or kinds.
    #[error("the body has version {version} or a flag of a later one")]
    Newer {
        /// The version that the payload names.
        version: u8,
    },
    /// The body is longer than this node takes.
    #[error("the body has {bytes} bytes, more than this node takes")]
    TooLarge {
        /// The length before it was compressed.
        bytes: usize,
    },
    /// The body is damaged.
    #[error("the body is damaged")]
    Damaged,
}

impl From<Malformed> for BodyError {
    fn from(_: Malformed) -> Self {
        Self::Damaged
    }
}

/// Puts a message into its envelope. `head` is what follows the sender's id in the head.
///
/// # Panics
/// When the head is longer than 64 KiB, or the body longer than 4 GiB.
pub(crate) fn seal(kind: u8, from: &NodeId, head: &[u8], body: &[u8]) -> Bytes {
    let compressed = compress(body);
    let travels = compressed.as_deref().unwrap_or(body);
    let from = from.as_str().as_bytes();
    let mut out =
        Vec::with_capacity(FIXED_BYTES + 2 + from.len() + head.len() + CRC_BYTES + travels.len());
    out.extend_from_slice(MAGIC);
    out.extend([
        VERSION,
        kind,
        if compressed.is_some() { FLAG_LZ4 } else { 0 },
    ]);
    out.extend([0; 2]);
    let raw_len = u32::try_from(body.len()).expect("a body has less than 4 GiB");
    out.extend(raw_len.to_le_bytes());
    out.extend(crc32fast::hash(travels).to_le_bytes());
    put_bytes(&mut out, from);
    out.extend_from_slice(head);
    let head_len = u16::try_from(out.len() - FIXED_BYTES).expect("a head has less than 64 KiB");
    out[6..8].copy_from_slice(&head_len.to_le_bytes());
    let crc = crc32fast::hash(&out);
    out.extend(crc.to_le_bytes());
    out.extend_from_slice(travels);
    out.into()
}

/// Compresses a body where that saves an eighth of it.
fn compress(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() < MIN_COMPRESSED_BYTES {
        return None;
    }
    let compressed = lz4_flex::block::compress(body);
    (compressed.len() <= body.len() - body.len() / 8).then_some(compressed)
}

/// A payload whose header is intact.
#[derive(Clone, Debug)]
pub(crate) struct Opened<'a> {
    version: u8,
    /// The kind of the message.
    pub(crate) kind: u8,
    flags: u8,
    raw_len: usize,
    body_crc: u32,
    /// The node that sent it.
    pub(crate) from: NodeId,
    /// What follows the sender in the head.
    pub(crate) head: Fields<'a>,
    travelled: &'a [u8],
}

/// Reads the header of a payload.
///
/// # Errors
/// When there is no intact one.
pub(crate) fn open(payload: &[u8]) -> Result<Opened<'_>, EnvelopeError> {
    let mut fields = Fields::new(payload);
    if fields.array().as_ref() != Ok(MAGIC) {
        return Err(EnvelopeError::Foreign);
    }
    open_fields(payload, fields).map_err(|Malformed| EnvelopeError::Damaged)
}

fn open_fields<'a>(payload: &'a [u8], mut fields: Fields<'a>) -> Result<Opened<'a>, Malformed> {
    let [version, kind, flags] = fields.array()?;
    let head_len = u16::from_le_bytes(fields.array()?);
    let raw_len = u32::from_le_bytes(fields.array()?);
    let body_crc = u32::from_le_bytes(fields.array()?);
    let mut head = Fields::new(fields.take(usize::from(head_len))?);
    let checked = &payload[..payload.len() - fields.rest().len()];
    if u32::from_le_bytes(fields.array()?) != crc32fast::hash(checked) {
        return Err(Malformed);
    }
    Ok(Opened {
        version,
        kind,
        flags,
        raw_len: usize::try_from(raw_len).map_err(|_| Malformed)?,
        body_crc,
        from: node(&mut head)?,
        head,
        travelled: fields.rest(),
    })
}

/// Reads the id of a node.
pub(crate) fn node(fields: &mut Fields<'_>) -> Result<NodeId, Malformed> {
    NodeId::parse(fields.text()?).map_err(|_| Malformed)
}

impl<'a> Opened<'a> {
    /// Returns the error for a kind that this version does not know.
    pub(crate) fn newer(&self) -> BodyError {
        BodyError::Newer {
            version: self.version,
        }
    }

    /// Checks and unpacks the body. `max_bytes` bounds its length before it was compressed.
    ///
    /// # Errors
    /// When the body is of a later version, too large or damaged.
    pub(crate) fn body(&self, max_bytes: usize) -> Result<Cow<'a, [u8]>, BodyError> {
        if self.version > VERSION || self.flags & !FLAG_LZ4 != 0 {
            return Err(self.newer());
        }
        if self.raw_len > max_bytes {
            return Err(BodyError::TooLarge {
                bytes: self.raw_len,
            });
        }
        if crc32fast::hash(self.travelled) != self.body_crc {
            return Err(BodyError::Damaged);
        }
        if self.flags & FLAG_LZ4 == 0 {
            return if self.travelled.len() == self.raw_len {
                Ok(Cow::Borrowed(self.travelled))
            } else {
                Err(BodyError::Damaged)
            };
        }
        // A length that the bytes cannot unpack to is not reserved.
        if self.raw_len > self.travelled.len().saturating_mul(MAX_LZ4_RATIO) {
            return Err(BodyError::Damaged);
        }
        match lz4_flex::block::decompress(self.travelled, self.raw_len) {
            Ok(body) if body.len() == self.raw_len => Ok(Cow::Owned(body)),
            _ => Err(BodyError::Damaged),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in super::super) fn sender() -> NodeId {
        NodeId::new("web.1", 7).unwrap()
    }

    /// Makes a payload one of another version or with another flag, with a correct checksum.
    pub(in super::super) fn with_byte(payload: &[u8], at: usize, value: u8) -> Vec<u8> {
        let mut bytes = payload.to_vec();
        bytes[at] = value;
        let end = FIXED_BYTES + usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
        let crc = crc32fast::hash(&bytes[..end]).to_le_bytes();
        bytes[end..end + CRC_BYTES].copy_from_slice(&crc);
        bytes
    }

    #[test]
    fn a_body_is_compressed_from_4_kib_on_where_it_saves_an_eighth() {
        let flags = |body: &[u8]| seal(9, &sender(), b"", body)[5];
        assert_eq!(flags(&[b'x'; MIN_COMPRESSED_BYTES - 1]), 0);
        assert_eq!(flags(&[b'x'; MIN_COMPRESSED_BYTES]), FLAG_LZ4);
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        })
        .take(8192)
        .collect();
        assert_eq!(flags(&noise), 0);
    }

    #[test]
    fn a_length_that_the_bytes_cannot_unpack_to_is_refused() {
        let payload = seal(9, &sender(), b"", &[b'x'; 5000]);
        let mut claim = with_byte(&payload, 10, 0x10);
        let opened = open(&claim).unwrap();
        assert_eq!(opened.body(usize::MAX), Err(BodyError::Damaged));
        assert!(matches!(
            opened.body(1 << 20),
            Err(BodyError::TooLarge { .. })
        ));
        claim.truncate(20);
        assert_eq!(open(&claim).unwrap_err(), EnvelopeError::Damaged);
        assert_eq!(open(b"{}").unwrap_err(), EnvelopeError::Foreign);
    }

    #[test]
    fn a_later_version_and_an_unknown_flag_keep_a_readable_head() {
        let payload = seal(9, &sender(), b"head", b"body");
        for (at, value) in [(3, VERSION + 1), (5, 0x80)] {
            let changed = with_byte(&payload, at, value);
            let opened = open(&changed).unwrap();
            assert_eq!(
                (opened.head.rest(), opened.from.name()),
                (&b"head"[..], "web.1".into())
            );
            assert!(matches!(opened.body(100), Err(BodyError::Newer { .. })));
        }
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_and_no_damage_goes_unnoticed(
            kind: u8,
            head in prop::collection::vec(any::<u8>(), 0..20),
            part in prop::collection::vec(any::<u8>(), 0..40),
            times in 0..300usize,
            damage: prop::sample::Index,
            bit in 0..8u8,
        ) {
            let body = part.repeat(times);
            let payload = seal(kind, &sender(), &head, &body);
            let opened = open(&payload).unwrap();
            prop_assert_eq!((opened.kind, opened.head.rest()), (kind, &head[..]));
            let read = opened.body(body.len());
            prop_assert_eq!(read.as_deref(), Ok(&body[..]));
            let mut damaged = payload.to_vec();
            let at = damage.index(damaged.len());
            damaged[at] ^= 1 << bit;
            prop_assert!(open(&damaged).map_or(true, |opened| opened.body(body.len()).is_err()));
        }
    }
}
