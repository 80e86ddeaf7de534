//! The stamp at the start of every line: its publisher, its sequence number and its intended
//! send time.
//!
//! A stamp is `~PPPPSSSSSSSSSSSS TTTTTTTTTTTTTTTT ` in lower-case hex: the publisher, the sequence
//! number from 0, and the intended send time in nanoseconds since boot. Its width is fixed and it
//! contains no character that JSON escapes. A receiver therefore finds it in the bytes of a frame
//! and decodes it with a few integer operations, without parsing JSON.

use memchr::memmem;

/// The length of a stamp in bytes, which is the length of the shortest line.
pub(crate) const STAMP_BYTES: usize = 35;

/// The highest sequence number: 12 hex digits.
pub(crate) const MAX_SEQUENCE: u64 = (1 << 48) - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) publisher: u16,
    pub(crate) sequence: u64,
    /// The intended send time in nanoseconds since boot.
    pub(crate) sent_ns: u64,
}

impl Stamp {
    /// Writes the stamp over the first [`STAMP_BYTES`] of `line`.
    ///
    /// # Panics
    ///
    /// Panics if `line` is shorter than a stamp.
    #[inline]
    pub(crate) fn write(self, line: &mut [u8]) {
        let out = &mut line[..STAMP_BYTES];
        out[0] = b'~';
        write_hex(
            u64::from(self.publisher) << 48 | self.sequence & MAX_SEQUENCE,
            &mut out[1..17],
        );
        out[17] = b' ';
        write_hex(self.sent_ns, &mut out[18..34]);
        out[34] = b' ';
    }

    /// Reads a stamp from the start of `bytes`.
    #[inline]
    pub(crate) fn read(bytes: &[u8]) -> Option<Stamp> {
        let b: &[u8; STAMP_BYTES] = bytes.first_chunk()?;
        if b[0] != b'~' || b[17] != b' ' || b[34] != b' ' {
            return None;
        }
        let word =
            |at: usize| u64::from_le_bytes(*b[at..].first_chunk().expect("the stamp is 35 bytes"));
        let (a, bad_a) = read_hex(word(1));
        let (c, bad_c) = read_hex(word(9));
        let (d, bad_d) = read_hex(word(18));
        let (e, bad_e) = read_hex(word(26));
        if bad_a | bad_c | bad_d | bad_e != 0 {
            return None;
        }
        let who = u64::from(a) << 32 | u64::from(c);
        Some(Stamp {
            publisher: (who >> 48) as u16,
            sequence: who & MAX_SEQUENCE,
            sent_ns: u64::from(d) << 32 | u64::from(e),
        })
    }
}

/// Finds the stamp in the payload of a frame.
///
/// `hint` is the position of the previous stamp. With one server and one channel the position does
/// not change, so that the search is one comparison.
#[inline]
pub(crate) fn find_stamp(payload: &[u8], hint: &mut usize) -> Option<Stamp> {
    if let Some(stamp) = payload.get(*hint..).and_then(Stamp::read) {
        return Some(stamp);
    }
    let at = memmem::find(payload, b"\"~")? + 1;
    let stamp = Stamp::read(&payload[at..])?;
    *hint = at;
    Some(stamp)
}

fn write_hex(value: u64, out: &mut [u8]) {
    const PAIRS: [[u8; 2]; 256] = {
        let digits = b"0123456789abcdef";
        let mut pairs = [[0; 2]; 256];
        let mut i = 0;
        while i < 256 {
            pairs[i] = [digits[i >> 4], digits[i & 15]];
            i += 1;
        }
        pairs
    };
    for (pair, byte) in out.chunks_exact_mut(2).zip(value.to_be_bytes()) {
        pair.copy_from_slice(&PAIRS[byte as usize]);
    }
}

/// Decodes eight lower-case hex digits at once.
///
/// Returns the value, and a number that is not zero if a character is no lower-case hex digit.
#[inline]
fn read_hex(digits: u64) -> (u32, u64) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let letters = digits >> 6 & ONES;
    // '0'..='9' are 0x3_ and 'a'..='f' are 0x6_. The high nibble must be 3, or 6 if bit 6 is set.
    let bad_high = (digits & (ONES * 0xf0)) ^ (ONES * 0x30 + letters * 0x30);
    let nibbles = (digits & (ONES * 0x0f)) + letters * 9;
    // The value of a letter must be 10..=15 and that of a digit below 10. Adding 6 carries into
    // bit 4 exactly for the values from 10 on.
    let bad_low = (nibbles & (ONES * 0xf0)) | ((nibbles + ONES * 6) >> 4 & ONES) ^ letters;
    let pairs = (nibbles << 4 | nibbles >> 8) & 0x00ff_00ff_00ff_00ff;
    let quads = (pairs << 8 | pairs >> 16) & 0x0000_ffff_0000_ffff;
    ((quads << 16 | quads >> 32) as u32, bad_high | bad_low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::line_template::LineTemplate;
    use proptest::prelude::*;

    fn any_stamp() -> impl Strategy<Value = Stamp> {
        (any::<u16>(), 0..=MAX_SEQUENCE, any::<u64>()).prop_map(|(publisher, sequence, sent_ns)| {
            Stamp {
                publisher,
                sequence,
                sent_ns,
            }
        })
    }

    proptest! {
        #[test]
        fn a_written_stamp_reads_back(stamp in any_stamp()) {
            let mut line = LineTemplate::new(60).line();
            stamp.write(&mut line);
            prop_assert_eq!(Stamp::read(&line), Some(stamp));
        }

        #[test]
        fn one_changed_byte_never_reads_back_as_the_same_stamp(
            stamp in any_stamp(), at in 0..STAMP_BYTES, byte in any::<u8>()
        ) {
            let mut line = LineTemplate::new(STAMP_BYTES).line();
            stamp.write(&mut line);
            prop_assume!(line[at] != byte);
            line[at] = byte;
            let read = Stamp::read(&line);
            prop_assert_ne!(read, Some(stamp));
            let is_digit = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            let in_number = !matches!(at, 0 | 17 | 34);
            prop_assert_eq!(read.is_some(), is_digit && in_number);
        }

        #[test]
        fn a_stamp_is_found_wherever_it_stands_and_whatever_the_hint(
            stamp in any_stamp(), before in "[ -}]{0,200}", mut hint in 0usize..400, extra in 0usize..300
        ) {
            prop_assume!(!before.contains('~'));
            let template = LineTemplate::new(STAMP_BYTES + extra);
            let mut line = template.line();
            stamp.write(&mut line);
            let mut payload = before.into_bytes();
            payload.extend_from_slice(b"\"data\":\"");
            let at = payload.len();
            payload.extend_from_slice(&line);
            payload.extend_from_slice(b"\",\"timestamp\":\"x\"}");
            prop_assert_eq!(find_stamp(&payload, &mut hint), Some(stamp));
            prop_assert_eq!(hint, at);
            prop_assert!(template.matches(&payload, at));
        }
    }

    #[test]
    fn a_line_with_other_filler_or_length_is_noticed() {
        let template = LineTemplate::new(80);
        let frame = |line: &[u8]| [line, b"\"}"].concat();
        assert!(template.matches(&frame(&template.line()), 0));
        let mut mangled = template.line();
        mangled[50] ^= 1;
        assert!(!template.matches(&frame(&mangled), 0));
        assert!(!template.matches(&frame(&LineTemplate::new(79).line()), 0));
        assert!(!template.matches(&frame(&LineTemplate::new(81).line()), 0));
    }
}
