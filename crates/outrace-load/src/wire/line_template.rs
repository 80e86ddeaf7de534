//! The bytes that follow the stamp of every line.

use super::stamp::STAMP_BYTES;

/// The content of every line of a run after its stamp.
///
/// Receivers compare each line with it, so that they notice a changed byte.
#[derive(Clone, Debug)]
pub(crate) struct LineTemplate {
    filler: Box<[u8]>,
}

impl LineTemplate {
    /// Makes lines of `line_bytes` bytes without their terminator, and at least of a stamp.
    pub(crate) fn new(line_bytes: usize) -> LineTemplate {
        const WORDS: &[u8] =
            b"GET /api/v1/items/4711 200 12.7ms worker=3 request served from cache; ";
        LineTemplate {
            filler: WORDS
                .iter()
                .copied()
                .cycle()
                .take(line_bytes.saturating_sub(STAMP_BYTES))
                .collect(),
        }
    }

    /// Returns a whole line whose stamp is still to be written.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = vec![b'~'; STAMP_BYTES];
        line.extend_from_slice(&self.filler);
        line
    }

    /// Returns the number of bytes of a line after its stamp.
    #[inline]
    pub(crate) fn filler_bytes(&self) -> usize {
        self.filler.len()
    }

    /// Returns whether the filler and a closing quote follow the stamp at `stamp_at`.
    #[inline]
    pub(crate) fn matches(&self, payload: &[u8], stamp_at: usize) -> bool {
        let from = stamp_at + STAMP_BYTES;
        let end = from + self.filler.len();
        payload.get(from..end) == Some(&self.filler) && payload.get(end) == Some(&b'"')
    }
}
