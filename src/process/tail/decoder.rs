//! Turns the bytes of a text into UTF-8, chunk by chunk. Pure.

use super::encoding::Encoding;

/// Decodes one text. A byte-order mark is dropped.
#[derive(Debug)]
pub(super) enum TextDecoder {
    /// The first bytes, which may be a byte-order mark.
    Start {
        head: Vec<u8>,
        /// The encoding of a text whose first bytes are gone.
        assumed: Encoding,
    },
    Utf8,
    Utf16 {
        encoding: Encoding,
        /// The first byte of a unit.
        odd: Option<u8>,
        /// The first half of a surrogate pair.
        high: Option<u16>,
    },
}

impl TextDecoder {
    /// Creates a decoder for a text from its beginning.
    pub(super) fn new() -> Self {
        Self::restarted(Encoding::Utf8)
    }

    /// Creates a decoder for a text from its beginning. Without that, the encoding is `assumed`.
    pub(super) fn restarted(assumed: Encoding) -> Self {
        Self::Start {
            head: Vec::new(),
            assumed,
        }
    }

    /// Creates a decoder for the rest of a text.
    pub(super) fn resumed(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Utf8 => Self::Utf8,
            Encoding::Utf16Le | Encoding::Utf16Be => Self::Utf16 {
                encoding,
                odd: None,
                high: None,
            },
        }
    }

    /// Returns whether the bytes are passed on as they are.
    pub(super) fn is_identity(&self) -> bool {
        matches!(self, Self::Utf8)
    }

    /// Returns the encoding, as far as it is known.
    pub(super) fn encoding(&self) -> Encoding {
        match self {
            Self::Start { assumed, .. } => *assumed,
            Self::Utf8 => Encoding::Utf8,
            Self::Utf16 { encoding, .. } => *encoding,
        }
    }

    /// Returns the size of the smallest part of a character in the text that begins with `first`.
    pub(super) fn unit_bytes(&self, first: u8) -> usize {
        match self {
            // Both byte-order marks of UTF-16 are read whole.
            Self::Start { head, .. } if head.is_empty() && first >= 0xFE => 2,
            _ => self.encoding().unit_bytes(),
        }
    }

    /// Takes note that bytes were passed over.
    pub(super) fn skip(&mut self) {
        if let Self::Start { head, assumed } = self
            && head.is_empty()
        {
            *self = Self::resumed(*assumed);
        }
    }

    /// Decodes `bytes` and passes the text to `emit`.
    pub(super) fn decode(&mut self, bytes: &[u8], emit: &mut dyn FnMut(&[u8])) {
        match self {
            Self::Utf8 => emit(bytes),
            Self::Utf16 {
                encoding,
                odd,
                high,
            } => {
                let text = decode_utf16(*encoding, odd, high, bytes);
                emit(text.as_bytes());
            }
            Self::Start { head, .. } => {
                head.extend_from_slice(bytes);
                if let Some((encoding, mark)) = Encoding::detect(head) {
                    let head = std::mem::take(head);
                    *self = Self::resumed(encoding);
                    self.decode(&head[mark..], emit);
                }
            }
        }
    }

    /// Ends the text: passes the bytes that were held back to `emit`.
    pub(super) fn finish(&mut self, emit: &mut dyn FnMut(&[u8])) {
        match self {
            Self::Start { head, .. } => emit(&std::mem::take(head)),
            Self::Utf8 => {}
            Self::Utf16 { odd, high, .. } => {
                if odd.take().is_some() | high.take().is_some() {
                    emit("\u{FFFD}".as_bytes());
                }
            }
        }
    }
}

/// Decodes the units that `bytes` complete. A lone surrogate becomes U+FFFD.
fn decode_utf16(
    encoding: Encoding,
    odd: &mut Option<u8>,
    high: &mut Option<u16>,
    bytes: &[u8],
) -> String {
    let mut bytes = odd.take().into_iter().chain(bytes.iter().copied());
    let mut units = Vec::with_capacity(bytes.size_hint().0 / 2 + 1);
    units.extend(high.take());
    while let Some(first) = bytes.next() {
        match bytes.next() {
            Some(second) => units.push(encoding.unit([first, second])),
            None => *odd = Some(first),
        }
    }
    // The other half may be in the next chunk.
    *high = units.pop_if(|unit| (0xD800..0xDC00).contains(unit));
    char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(text: &[u8], chunk_bytes: usize) -> String {
        let mut decoder = TextDecoder::new();
        let mut out = Vec::new();
        for chunk in text.chunks(chunk_bytes) {
            decoder.decode(chunk, &mut |text| out.extend_from_slice(text));
        }
        decoder.finish(&mut |text| out.extend_from_slice(text));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn half_a_byte_order_mark_is_text_if_nothing_follows() {
        let mut decoder = TextDecoder::new();
        let mut out = Vec::new();
        decoder.decode(b"\xEF\xBB", &mut |text| out.extend_from_slice(text));
        assert!(out.is_empty());
        decoder.finish(&mut |text| out.extend_from_slice(text));
        assert_eq!(out, b"\xEF\xBB");
    }

    #[test]
    fn lone_surrogates_and_half_units_become_replacement_characters() {
        for chunk_bytes in 1..9 {
            let lone = b"\xFF\xFEa\0\x00\xD8b\0\x00\xDC";
            assert_eq!(decoded(lone, chunk_bytes), "a\u{FFFD}b\u{FFFD}");
            assert_eq!(decoded(b"\xFE\xFF\0a\xD8\x00", chunk_bytes), "a\u{FFFD}");
            assert_eq!(decoded(b"\xFE\xFF\0a\0", chunk_bytes), "a\u{FFFD}");
        }
    }

    proptest! {
        #[test]
        fn text_comes_out_whole_wherever_it_is_cut(text in "[a\u{e9}\u{20ac}\u{1f600}\n]{0,30}", chunk_bytes in 1..9usize) {
            let units: Vec<u16> = text.encode_utf16().collect();
            let little = [vec![0xFF, 0xFE], units.iter().flat_map(|unit| unit.to_le_bytes()).collect()].concat();
            let big = [vec![0xFE, 0xFF], units.iter().flat_map(|unit| unit.to_be_bytes()).collect()].concat();
            let marked = [b"\xEF\xBB\xBF", text.as_bytes()].concat();
            for bytes in [&little[..], &big, &marked, text.as_bytes()] {
                prop_assert_eq!(&decoded(bytes, chunk_bytes), &text);
            }
        }
    }
}
