//! The encoding of a text: UTF-8, or UTF-16 with a byte-order mark. Pure.

/// The encoding that the first bytes of a text announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// UTF-8, or any other encoding that is sent as it is.
    Utf8,
    Utf16Le,
    Utf16Be,
}

const BYTE_ORDER_MARKS: [(&[u8], Encoding); 3] = [
    (b"\xEF\xBB\xBF", Encoding::Utf8),
    (b"\xFF\xFE", Encoding::Utf16Le),
    (b"\xFE\xFF", Encoding::Utf16Be),
];

/// The longest byte-order mark.
pub(super) const MAX_MARK_BYTES: usize = 3;

impl Encoding {
    /// Returns the encoding of a text by its first bytes, and the length of its byte-order mark.
    /// Returns `None` if more bytes are needed.
    pub(super) fn detect(head: &[u8]) -> Option<(Self, usize)> {
        for (mark, encoding) in BYTE_ORDER_MARKS {
            if head.starts_with(mark) {
                return Some((encoding, mark.len()));
            }
            if mark.starts_with(head) {
                return None;
            }
        }
        Some((Self::Utf8, 0))
    }

    /// Returns the size of the smallest part of a character.
    pub(super) fn unit_bytes(self) -> usize {
        match self {
            Self::Utf8 => 1,
            Self::Utf16Le | Self::Utf16Be => 2,
        }
    }

    /// Returns the end of the line whose `\n` byte is at `chunk[at]`. Returns `None` if that byte
    /// is a part of another character. `chunk` begins with a whole unit.
    pub(super) fn line_end(self, chunk: &[u8], at: usize) -> Option<usize> {
        match self {
            Self::Utf8 => Some(at + 1),
            Self::Utf16Le => {
                (at.is_multiple_of(2) && chunk.get(at + 1) == Some(&0)).then_some(at + 2)
            }
            Self::Utf16Be => (!at.is_multiple_of(2) && chunk[at - 1] == 0).then_some(at + 1),
        }
    }

    /// Returns the unit of two bytes.
    pub(super) fn unit(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Utf16Be => u16::from_be_bytes(bytes),
            Self::Utf8 | Self::Utf16Le => u16::from_le_bytes(bytes),
        }
    }
}
