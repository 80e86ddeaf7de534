//! JSON string escaping for any bytes, valid UTF-8 or not. This is the hot path of the encoder.
//!
//! Most lines contain nothing to escape. The escaper therefore tests whole chunks with a
//! branch-free fold, which the compiler vectorizes, and copies clean chunks unchanged. It tests
//! only the other chunks by words of 8 bytes, and escapes only the words that need it byte by byte.

/// The number of bytes tested at once.
const CHUNK: usize = 32;
/// The number of bytes tested at once in a chunk that is not clean.
const WORD: usize = 8;

/// The escape of each byte: up to 6 bytes, and in the last byte their number.
const ESCAPES: [[u8; WORD]; 256] = {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut table = [[0; WORD]; 256];
    let mut byte = 0;
    while byte < 256 {
        let short = match byte as u8 {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0C => b'f',
            _ => 0,
        };
        table[byte] = if short != 0 {
            [b'\\', short, 0, 0, 0, 0, 0, 2]
        } else if byte < 0x20 {
            [
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[byte >> 4],
                HEX[byte & 15],
                0,
                6,
            ]
        } else {
            [byte as u8, 0, 0, 0, 0, 0, 0, 1]
        };
        byte += 1;
    }
    table
};

/// Appends `text` as the content of a JSON string.
///
/// Invalid UTF-8 becomes U+FFFD, as in [`String::from_utf8_lossy`]. U+2028 and U+2029 are escaped
/// too, because some readers treat them as line ends.
#[inline]
pub fn escape_into(out: &mut Vec<u8>, text: &[u8]) {
    let clean = clean_prefix::<ASCII>(text);
    out.extend_from_slice(&text[..clean]);
    if clean < text.len() {
        escape_unchecked_rest(out, &text[clean..]);
    }
}

/// Returns the length of the longest prefix of `text` that ends at a character and takes at most
/// `max` bytes when it is escaped. Linear in that prefix.
///
/// The pieces of a text that is cut this way escape to the same bytes as the whole text.
pub fn escaped_prefix(text: &[u8], max: usize) -> usize {
    // A character takes at least as many bytes as it has, so none that begins later fits. The four
    // bytes more hold the one that begins last.
    let mut end = text.len().min(max.saturating_add(4));
    if end < text.len() {
        while end > max && is_continuation(text[end]) {
            end -= 1;
        }
    }
    let window = &text[..end];
    if simdutf8::basic::from_utf8(window).is_ok() && !has_separator(window) {
        escaped_prefix_clean(window, max)
    } else {
        escaped_prefix_by_characters(window, max)
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

/// Does the same for valid UTF-8 without separators.
fn escaped_prefix_clean(text: &[u8], max: usize) -> usize {
    let character = |mut at: usize| {
        while at < text.len() && is_continuation(text[at]) {
            at -= 1;
        }
        at
    };
    let (mut at, mut room) = (0, max);
    while at < text.len() {
        let clean = clean_prefix::<UTF8>(&text[at..]);
        if clean > room {
            return character(at + room);
        }
        at += clean;
        room -= clean;
        for &byte in &text[at..text.len().min(at + CHUNK)] {
            let escaped = usize::from(ESCAPES[usize::from(byte)][WORD - 1]);
            if escaped > room {
                return character(at);
            }
            room -= escaped;
            at += 1;
        }
    }
    at
}

/// Does the same for any text, one character at a time.
fn escaped_prefix_by_characters(text: &[u8], max: usize) -> usize {
    let (mut at, mut room) = (0, max);
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            let escaped = match character {
                '\u{2028}' | '\u{2029}' => 6,
                ascii if ascii.is_ascii() => usize::from(ESCAPES[ascii as usize][WORD - 1]),
                other => other.len_utf8(),
            };
            if escaped > room {
                return at;
            }
            room -= escaped;
            at += character.len_utf8();
        }
        if !chunk.invalid().is_empty() {
            let escaped = '\u{FFFD}'.len_utf8();
            if escaped > room {
                return at;
            }
            room -= escaped;
            at += chunk.invalid().len();
        }
    }
    at
}

/// Appends the rest of a text, from the first chunk that is not clean ASCII.
#[inline(never)]
fn escape_unchecked_rest(out: &mut Vec<u8>, mut text: &[u8]) {
    // This is several times faster than std on non-ASCII text, but does not locate an error.
    if simdutf8::basic::from_utf8(text).is_ok() {
        return escape_valid(out, text);
    }
    loop {
        match str::from_utf8(text) {
            Ok(valid) => return escape_valid(out, valid.as_bytes()),
            Err(error) => {
                let (valid, rest) = text.split_at(error.valid_up_to());
                escape_valid(out, valid);
                out.extend_from_slice("\u{FFFD}".as_bytes());
                // Without a length, the text ends in the middle of a character.
                let Some(invalid) = error.error_len() else {
                    return;
                };
                text = &rest[invalid..];
            }
        }
    }
}

/// Appends valid UTF-8.
fn escape_valid(out: &mut Vec<u8>, mut text: &[u8]) {
    // The part between two invalid bytes is often empty.
    if text.is_empty() {
        return;
    }
    if has_separator(text) {
        while let Some(at) = text
            .windows(3)
            .position(|window| is_separator(window[0], window[1], window[2]))
        {
            escape_special(out, &text[..at]);
            out.extend_from_slice(if text[at + 2] == 0xA8 {
                b"\\u2028"
            } else {
                b"\\u2029"
            });
            text = &text[at + 3..];
        }
    }
    escape_special(out, text);
}

#[inline]
fn is_separator(first: u8, second: u8, third: u8) -> bool {
    (first == 0xE2) & (second == 0x80) & (third & 0xFE == 0xA8)
}

/// Only printable ASCII without `"` and `\` is clean.
const ASCII: bool = true;
/// Bytes above 0x7F are clean too. For valid UTF-8 without separators.
const UTF8: bool = false;

#[inline]
fn is_dirty<const KIND: bool>(byte: u8) -> bool {
    // As a signed number, a byte above 0x7F is also below 0x20, so one comparison finds both.
    let low = if KIND == ASCII {
        (byte as i8) < 0x20
    } else {
        byte < 0x20
    };
    low | (byte == b'"') | (byte == b'\\')
}

#[inline]
fn is_clean<const KIND: bool>(chunk: &[u8]) -> bool {
    // Without an early exit, the compiler can test 16 or 32 bytes with one instruction.
    !chunk
        .iter()
        .fold(false, |dirty, &byte| dirty | is_dirty::<KIND>(byte))
}

/// Returns the number of bytes in clean chunks before the first chunk that is not clean: all bytes,
/// or a multiple of [`CHUNK`].
#[inline]
fn clean_prefix<const KIND: bool>(text: &[u8]) -> usize {
    let Some(last) = text.len().checked_sub(CHUNK) else {
        return if is_clean_short::<KIND>(text) {
            text.len()
        } else {
            0
        };
    };
    let mut clean = 0;
    for chunk in text.as_chunks::<{ 4 * CHUNK }>().0 {
        if !is_clean::<KIND>(chunk) {
            break;
        }
        clean += chunk.len();
    }
    for chunk in text[clean..].as_chunks::<CHUNK>().0 {
        if !is_clean::<KIND>(chunk) {
            return clean;
        }
        clean += CHUNK;
    }
    // The last chunk overlaps the one before, so that the last bytes fill a chunk.
    if clean == text.len() || is_clean::<KIND>(&text[last..]) {
        text.len()
    } else {
        clean
    }
}

/// Does the same as [`is_clean`] for less than a chunk, by two overlapping halves.
#[inline]
fn is_clean_short<const KIND: bool>(text: &[u8]) -> bool {
    if let (Some(first), Some(last)) = (text.first_chunk::<16>(), text.last_chunk::<16>()) {
        is_clean::<KIND>(first) & is_clean::<KIND>(last)
    } else if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        is_clean::<KIND>(first) & is_clean::<KIND>(last)
    } else {
        text.iter().all(|&byte| !is_dirty::<KIND>(byte))
    }
}

/// Whether valid UTF-8 contains U+2028 or U+2029, which are `E2 80 A8` and `E2 80 A9`.
fn has_separator(text: &[u8]) -> bool {
    let Some(starts) = text.len().checked_sub(2) else {
        return false;
    };
    let (first, second, third) = (&text[..starts], &text[1..starts + 1], &text[2..]);
    first
        .chunks(CHUNK)
        .zip(second.chunks(CHUNK))
        .zip(third.chunks(CHUNK))
        .any(|((first, second), third)| {
            first
                .iter()
                .zip(second)
                .zip(third)
                .fold(false, |any, ((&first, &second), &third)| {
                    any | is_separator(first, second, third)
                })
        })
}

/// Appends valid UTF-8 without separators, chunk by chunk.
fn escape_special(out: &mut Vec<u8>, mut text: &[u8]) {
    loop {
        let clean = clean_prefix::<UTF8>(text);
        out.extend_from_slice(&text[..clean]);
        text = &text[clean..];
        if text.is_empty() {
            return;
        }
        let (chunk, rest) = text.split_at(text.len().min(CHUNK));
        escape_chunk(out, chunk);
        text = rest;
    }
}

/// Appends a chunk of at most [`CHUNK`] bytes, word by word.
///
/// A word with something to escape is written byte by byte from the table, without a branch.
/// Jumping from one special byte to the next would cost more branch mispredictions than it saves
/// work.
#[inline]
fn escape_chunk(out: &mut Vec<u8>, chunk: &[u8]) {
    // A byte can become 6 bytes, and each step writes a whole word.
    let start = out.len();
    out.resize(start + CHUNK * 6 + WORD, 0);
    let built = &mut out[start..];
    let mut len = 0;
    let (words, rest) = chunk.as_chunks::<WORD>();
    for word in words {
        if dirty_bytes(u64::from_le_bytes(*word)) == 0 {
            built[len..len + WORD].copy_from_slice(word);
            len += WORD;
        } else {
            len = escape_bytes(built, len, word);
        }
    }
    len = escape_bytes(built, len, rest);
    out.truncate(start + len);
}

#[inline]
fn escape_bytes(built: &mut [u8], mut len: usize, bytes: &[u8]) -> usize {
    for &byte in bytes {
        let escape = &ESCAPES[usize::from(byte)];
        built[len..len + WORD].copy_from_slice(escape);
        len += usize::from(escape[WORD - 1]);
    }
    len
}

/// Returns a word with the top bit set in every byte that is below 0x20, `"` or `\` in `word`.
#[inline]
fn dirty_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; WORD]);
    const TOPS: u64 = 0x80 * ONES;
    // The additions to bytes of seven bits do not carry into the next byte, so the result is exact.
    let low = word & !TOPS;
    let not_control = low + (0x80 - 0x20) * ONES;
    let not_quote = (low ^ (b'"' as u64 * ONES)) + 0x7F * ONES;
    let not_backslash = (low ^ (b'\\' as u64 * ONES)) + 0x7F * ONES;
    !((not_control & not_quote & not_backslash) | word) & TOPS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(text: &[u8]) -> Vec<u8> {
        let mut out = b"kept".to_vec();
        escape_into(&mut out, text);
        out.split_off(4)
    }

    /// Escapes one character at a time.
    fn naive(text: &[u8]) -> String {
        let mut out = String::new();
        for c in String::from_utf8_lossy(text).chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '\u{2028}' | '\u{2029}' | '\0'..'\u{20}' => {
                    out.push_str(&format!("\\u{:04x}", c as u32))
                }
                other => out.push(other),
            }
        }
        out
    }

    fn assert_escaped(text: &[u8]) {
        let out = escaped(text);
        assert_eq!(
            String::from_utf8(out.clone()).unwrap(),
            naive(text),
            "{text:?}"
        );
        let read: String =
            serde_json::from_str(&format!("\"{}\"", str::from_utf8(&out).unwrap())).unwrap();
        assert_eq!(read, String::from_utf8_lossy(text), "{text:?}");
    }

    #[test]
    fn every_byte_at_every_place_around_a_chunk_is_escaped() {
        for byte in 0..=255 {
            for len in [1, 7, 8, 9, 31, 32, 33, 40, 63, 64, 65, 100] {
                for at in
                    (0..len).filter(|at| len < 34 || [0, 7, 8, 31, 32, 33, len - 1].contains(at))
                {
                    let mut text = vec![b'a'; len];
                    text[at] = byte;
                    assert_escaped(&text);
                }
            }
        }
    }

    #[test]
    fn separators_are_escaped_wherever_they_stand() {
        for before in 0..70 {
            for separator in [
                "\u{2028}",
                "\u{2029}",
                "\u{2027}",
                "\u{202a}",
                "\u{2068}",
                "ｨ",
                "\u{2028}\u{2029}\"",
            ] {
                assert_escaped(format!("{}{separator}é{separator}", "x".repeat(before)).as_bytes());
            }
        }
    }

    #[test]
    fn invalid_text_becomes_what_from_utf8_lossy_makes_of_it() {
        for text in [
            &b"\xff"[..],
            b"a\xc3",
            b"\xe2\x80",
            b"\xe2\x80\xe2\x80\xa8",
            b"\xf0\x9f\x98",
            b"\xf0\x9f\x98\"",
            b"\xed\xa0\x80",
            b"\xc0\xaf\\",
            b"\xf4\x90\x80\x80",
            b"\x80\xa8\xe2",
        ] {
            assert_escaped(text);
            assert_escaped(&[&[b' '; 31][..], text, &[b'x'; 40]].concat());
        }
    }

    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            "[a-z ]{0,40}".prop_map(String::into_bytes),
            "\\PC{0,20}".prop_map(String::into_bytes),
            "[\"\\\\\n\t\0\x1f\x7f]{0,12}".prop_map(String::into_bytes),
            "[\u{2028}\u{2029}é…]{0,6}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..12),
        ];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn a_prefix_ends_at_a_character_and_before_the_first_that_does_not_fit() {
        for (text, max, prefix) in [
            (&b"abc"[..], 2, 2),
            (b"abc", 3, 3),
            (b"abc", 9, 3),
            (b"", 0, 0),
            (b"\0\0", 11, 1),
            (b"a\"b", 2, 1),
            ("aé".as_bytes(), 2, 1),
            ("\u{2028}x".as_bytes(), 5, 0),
            (b"\xffx", 2, 0),
            (b"\xe2\x80x", 3, 2),
        ] {
            assert_eq!(escaped_prefix(text, max), prefix, "{text:?} in {max}");
        }
    }

    proptest! {
        #[test]
        fn pieces_fit_are_as_long_as_they_can_be_and_escape_as_the_whole(
            text in lines(), max in 6usize..300,
        ) {
            let (mut rest, mut joined) = (&text[..], Vec::new());
            while !rest.is_empty() {
                let len = escaped_prefix(rest, max);
                let piece = escaped(&rest[..len]);
                prop_assert!(len > 0 && piece.len() <= max);
                if let Some(next) = String::from_utf8_lossy(&rest[len..]).chars().next() {
                    let next = naive(next.to_string().as_bytes());
                    prop_assert!(piece.len() + next.len() > max, "{next:?} would have fit");
                }
                joined.extend(piece);
                rest = &rest[len..];
            }
            prop_assert_eq!(joined, escaped(&text));
        }

        #[test]
        fn any_bytes_read_back_as_their_lossy_text(text in lines()) {
            assert_escaped(&text);
        }
    }
}
