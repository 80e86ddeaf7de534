//! Reads `process_output_batch` messages by their bytes: every line has the same width, so one follows the other at a
//! fixed distance, and nothing is parsed as JSON.

use crate::stamp::{LineShape, STAMP_BYTES, Stamp};
use memchr::memmem;

pub(crate) const HEAD: &[u8] = b"{\"type\":\"process_output_batch\"";

/// The lines of one message, from first to last.
pub(crate) struct Lines<'a> {
    payload: &'a [u8],
    shape: &'a LineShape,
    at: usize,
}

/// What follows the last line, or why the message is none of those fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mangled;

impl<'a> Lines<'a> {
    /// `payload` begins with [`HEAD`]. Nothing if it holds no run of lines.
    pub(crate) fn of(payload: &'a [u8], shape: &'a LineShape) -> Option<Lines<'a>> {
        let at = memmem::find(payload, b"\"data\":[\"")? + 9;
        Some(Lines { payload, shape, at })
    }

    /// The next line's stamp; nothing after the last.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Stamp>, Mangled> {
        let Some(rest) = self.payload.get(self.at..) else {
            return Ok(None);
        };
        let stamp = Stamp::read(rest)
            .filter(|_| self.shape.follows(self.payload, self.at))
            .ok_or(Mangled)?;
        let end = self.at + STAMP_BYTES + self.shape.filler_bytes() + 1;
        match self.payload.get(end..) {
            Some([b',', b'"', ..]) => self.at = end + 2,
            Some([b']', ..]) => self.at = usize::MAX,
            _ => return Err(Mangled),
        }
        Ok(Some(stamp))
    }
}

/// The message's own word for the number of its first line.
pub(crate) fn seq(payload: &[u8]) -> Option<u64> {
    // Behind the lines, and no line of those fed has such a key.
    let at = memmem::rfind(payload, b"],\"seq\":")? + 8;
    let digits = payload[at..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    std::str::from_utf8(&payload[at..at + digits])
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(shape: &LineShape, sequences: &[u64], seq: u64) -> Vec<u8> {
        let line = |sequence: &u64| {
            let mut line = shape.line();
            Stamp {
                publisher: 7,
                sequence: *sequence,
                sent: 9,
            }
            .write(&mut line);
            format!("\"{}\"", String::from_utf8(line).unwrap())
        };
        let lines: Vec<String> = sequences.iter().map(line).collect();
        format!(
            "{{\"type\":\"process_output_batch\",\"channel\":\"process:load\",\"processId\":\"load\",\"data\":[{}],\"seq\":{seq},\"timestamp\":\"t\"}}",
            lines.join(",")
        )
        .into_bytes()
    }

    proptest! {
        #[test]
        fn every_stamp_of_a_batch_is_found_in_order(
            sequences in prop::collection::vec(0u64..1 << 48, 1..140), extra in 0usize..200, seq in any::<u64>()
        ) {
            let shape = LineShape::new(STAMP_BYTES + extra);
            let payload = message(&shape, &sequences, seq);
            prop_assert!(payload.starts_with(HEAD));
            let mut lines = Lines::of(&payload, &shape).unwrap();
            for sequence in sequences {
                prop_assert_eq!(lines.next().unwrap().unwrap().sequence, sequence);
            }
            prop_assert_eq!(lines.next(), Ok(None));
            prop_assert_eq!(super::seq(&payload), Some(seq));
        }

        #[test]
        fn a_changed_byte_among_the_lines_is_noticed(
            count in 1u64..20, pick in any::<prop::sample::Index>(), byte in any::<u8>()
        ) {
            let shape = LineShape::new(60);
            let sequences: Vec<u64> = (0..count).collect();
            let mut payload = message(&shape, &sequences, 1);
            let first = memmem::find(&payload, b"[\"").unwrap() + 2;
            let last = memmem::rfind(&payload, b"],").unwrap();
            let at = first + pick.index(last - first);
            prop_assume!(payload[at] != byte);
            payload[at] = byte;
            let read = |payload: &[u8]| {
                let mut lines = Lines::of(payload, &shape).unwrap();
                let mut stamps = Vec::new();
                while let Some(stamp) = lines.next()? {
                    stamps.push(stamp);
                }
                Ok(stamps)
            };
            let honest: Vec<Stamp> =
                sequences.iter().map(|sequence| Stamp { publisher: 7, sequence: *sequence, sent: 9 }).collect();
            prop_assert!(read(&payload) != Ok::<_, Mangled>(honest));
        }
    }
}
