//! Prepared lines.

use super::line_sink::LineSink;
use crate::wire::line_template::LineTemplate;
use crate::wire::stamp::{STAMP_BYTES, Stamp};
use crate::workload::Workload;
use std::ops::Range;

/// The most bytes of lines that are prepared for one write.
const CHUNK_BYTES: usize = 64 * 1024;

/// Prepared lines in one buffer, of which only the stamps change.
///
/// Line `i` belongs to channel `i % channels`.
#[derive(Default)]
pub(super) struct LineBuffer {
    bytes: Vec<u8>,
    places: Vec<LinePlace>,
}

/// The position of one line in the buffer.
struct LinePlace {
    begin: usize,
    stamp: usize,
    end: usize,
}

impl LineBuffer {
    /// Prepares as many lines as [`CHUNK_BYTES`] hold, and at least one for each channel.
    pub(super) fn new(workload: &Workload, sink: &LineSink) -> LineBuffer {
        let line = LineTemplate::new(workload.line_bytes).line();
        let channels = workload.channels;
        let count = (CHUNK_BYTES / (line.len() + 1))
            .max(1)
            .next_multiple_of(channels);
        let mut buffer = LineBuffer::default();
        for i in 0..count {
            let (before, after) = sink.frame(&workload.process_id(i % channels));
            let begin = buffer.bytes.len();
            buffer.bytes.extend_from_slice(before.as_bytes());
            let stamp = buffer.bytes.len();
            buffer.bytes.extend_from_slice(&line);
            buffer.bytes.extend_from_slice(after.as_bytes());
            buffer.places.push(LinePlace {
                begin,
                stamp,
                end: buffer.bytes.len(),
            });
        }
        buffer
    }

    /// Returns the number of prepared lines.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Writes the stamp of the `line`-th line of all channels to the place `index`.
    pub(super) fn write_stamp(
        &mut self,
        index: usize,
        line: u64,
        sent_ns: u64,
        workload: &Workload,
    ) {
        let channels = workload.channels as u64;
        let stamp = Stamp {
            publisher: (line % channels) as u16,
            sequence: line / channels,
            sent_ns,
        };
        let at = self.places[index].stamp;
        stamp.write(&mut self.bytes[at..at + STAMP_BYTES]);
    }

    /// Returns the bytes of consecutive lines.
    pub(super) fn bytes(&self, lines: Range<usize>) -> &[u8] {
        &self.bytes[self.places[lines.start].begin..self.places[lines.end - 1].end]
    }
}
