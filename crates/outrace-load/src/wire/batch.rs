//! Reads `process_output_batch` messages without parsing JSON.
//!
//! All lines have the same width, so each line follows the previous one at a fixed distance.

use super::line_template::LineTemplate;
use super::stamp::{STAMP_BYTES, Stamp};
use memchr::memmem;

/// The first bytes of every batch.
pub(crate) const BATCH_PREFIX: &[u8] = b"{\"type\":\"process_output_batch\"";

/// The lines of one batch, from first to last.
pub(crate) struct BatchLines<'a> {
    payload: &'a [u8],
    template: &'a LineTemplate,
    at: usize,
}

/// The batch holds bytes that are no line of the feeder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MangledBatch;

impl<'a> BatchLines<'a> {
    /// Finds the lines of `payload`, which begins with [`BATCH_PREFIX`].
    ///
    /// Returns `None` if it holds no array of lines.
    pub(crate) fn parse(payload: &'a [u8], template: &'a LineTemplate) -> Option<BatchLines<'a>> {
        let at = memmem::find(payload, b"\"data\":[\"")? + 9;
        Some(BatchLines {
            payload,
            template,
            at,
        })
    }

    /// Returns the stamp of the next line, or `None` after the last line.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Stamp>, MangledBatch> {
        let Some(rest) = self.payload.get(self.at..) else {
            return Ok(None);
        };
        let stamp = Stamp::read(rest)
            .filter(|_| self.template.matches(self.payload, self.at))
            .ok_or(MangledBatch)?;
        let end = self.at + STAMP_BYTES + self.template.filler_bytes() + 1;
        match self.payload.get(end..) {
            Some([b',', b'"', ..]) => self.at = end + 2,
            Some([b']', ..]) => self.at = usize::MAX,
            _ => return Err(MangledBatch),
        }
        Ok(Some(stamp))
    }
}

/// Returns the number that the batch states for its first line.
pub(crate) fn first_seq(payload: &[u8]) -> Option<u64> {
    // The key follows the lines. No line of the feeder contains it.
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

    fn message(shape: &LineTemplate, sequences: &[u64], seq: u64) -> Vec<u8> {
        let line = |sequence: &u64| {
            let mut line = shape.line();
            Stamp {
                publisher: 7,
                sequence: *sequence,
                sent_ns: 9,
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
            let shape = LineTemplate::new(STAMP_BYTES + extra);
            let payload = message(&shape, &sequences, seq);
            prop_assert!(payload.starts_with(BATCH_PREFIX));
            let mut lines = BatchLines::parse(&payload, &shape).unwrap();
            for sequence in sequences {
                prop_assert_eq!(lines.next().unwrap().unwrap().sequence, sequence);
            }
            prop_assert_eq!(lines.next(), Ok(None));
            prop_assert_eq!(super::first_seq(&payload), Some(seq));
        }

        #[test]
        fn a_changed_byte_among_the_lines_is_noticed(
            count in 1u64..20, pick in any::<prop::sample::Index>(), byte in any::<u8>()
        ) {
            let shape = LineTemplate::new(60);
            let sequences: Vec<u64> = (0..count).collect();
            let mut payload = message(&shape, &sequences, 1);
            let first = memmem::find(&payload, b"[\"").unwrap() + 2;
            let last = memmem::rfind(&payload, b"],").unwrap();
            let at = first + pick.index(last - first);
            prop_assume!(payload[at] != byte);
            payload[at] = byte;
            let read = |payload: &[u8]| {
                let mut lines = BatchLines::parse(payload, &shape).unwrap();
                let mut stamps = Vec::new();
                while let Some(stamp) = lines.next()? {
                    stamps.push(stamp);
                }
                Ok(stamps)
            };
            let honest: Vec<Stamp> =
                sequences.iter().map(|sequence| Stamp { publisher: 7, sequence: *sequence, sent_ns: 9 }).collect();
            prop_assert!(read(&payload) != Ok::<_, MangledBatch>(honest));
        }
    }
}
