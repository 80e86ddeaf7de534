//! A run of complete frames: an encoded block in one buffer.

use std::ops::Range;

use bytes::Bytes;

use super::frame;

/// The room that the escaper reserves beyond its output. Without it, a buffer of the exact size
/// would grow.
const ESCAPE_ROOM: usize = 256;

/// A contiguous run of complete frames.
///
/// A frame is a WebSocket text frame, or its counterpart in an HTTP stream: a line of text or an
/// event. It carries one message or, in a batch, several. Clones and slices share the bytes.
#[derive(Clone, Debug)]
pub struct Frames {
    bytes: Bytes,
    /// The byte offset of each frame's end. A run has less than 4 GiB.
    ends: Box<[u32]>,
    /// The number of messages up to each frame's end. `None` if every frame carries one message.
    counts: Option<Box<[u32]>>,
}

impl Frames {
    /// Returns the number of frames.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no frame.
    #[cfg(feature = "internals")]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the number of messages in all frames.
    pub fn messages(&self) -> usize {
        self.messages_before(self.len())
    }

    /// Returns the length of all frames in bytes.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the byte offset of a frame. For `len()`, returns the end of the last frame.
    ///
    /// # Panics
    /// Panics when `frame` is greater than `len()`.
    pub fn bytes_before(&self, frame: usize) -> usize {
        if frame == 0 {
            0
        } else {
            self.ends[frame - 1] as usize
        }
    }

    /// Returns the number of messages in the frames before a frame. For `len()`, returns the number
    /// in all frames.
    ///
    /// # Panics
    /// Panics when `frame` is greater than `len()`.
    pub fn messages_before(&self, frame: usize) -> usize {
        assert!(frame <= self.len(), "frame {frame} of {}", self.len());
        match &self.counts {
            Some(counts) if frame > 0 => counts[frame - 1] as usize,
            _ => frame,
        }
    }

    /// Returns the index of the frame that carries a message, or `len()` for a message after the
    /// last. Both count from 0. Logarithmic in the frames of a batch, otherwise constant.
    pub fn frame_of(&self, message: usize) -> usize {
        match &self.counts {
            Some(counts) => counts.partition_point(|&count| count as usize <= message),
            None => message.min(self.len()),
        }
    }

    /// Returns the bytes of a range of frames, without copying.
    ///
    /// # Panics
    /// Panics when the range ends before it starts, or after `len()`.
    pub fn slice(&self, frames: Range<usize>) -> Bytes {
        self.bytes
            .slice(self.bytes_before(frames.start)..self.bytes_before(frames.end))
    }

    /// Returns the bytes of all frames.
    #[cfg(any(test, fuzzing, feature = "internals"))]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns how many of the first frames fit into `max_messages` and `max_bytes`. Logarithmic.
    #[cfg(any(test, fuzzing, feature = "internals"))]
    pub fn fit(&self, max_messages: usize, max_bytes: usize) -> usize {
        self.fit_from(0, max_messages, max_bytes)
    }

    /// Returns how many of the frames from `start` on fit into `max_messages` and `max_bytes`.
    /// Logarithmic.
    ///
    /// # Panics
    /// Panics when `start` is greater than `len()`.
    pub fn fit_from(&self, start: usize, max_messages: usize, max_bytes: usize) -> usize {
        let messages_before = self.messages_before(start);
        let max_end = self.bytes_before(start).saturating_add(max_bytes);
        let ends = &self.ends[start..];
        // Usually all frames fit, and no search is needed.
        if self.messages() - messages_before <= max_messages && self.bytes.len() <= max_end {
            return ends.len();
        }
        let within_messages = match &self.counts {
            None => ends.len().min(max_messages),
            Some(counts) => {
                let max_count = messages_before.saturating_add(max_messages);
                counts[start..].partition_point(|&count| count as usize <= max_count)
            }
        };
        ends[..within_messages].partition_point(|&end| end as usize <= max_end)
    }
}

/// The buffer that all builders share, to which one frame after another is appended.
#[derive(Debug)]
pub(super) struct FrameBuffer {
    pub(super) bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl FrameBuffer {
    /// Creates a buffer with room for `frames` frames with `bytes` bytes in total.
    pub(super) fn with_capacity(frames: usize, bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes + ESCAPE_ROOM),
            ends: Vec::with_capacity(frames),
        }
    }

    /// Returns the number of complete frames.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Ends a frame: the bytes since the previous end.
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    #[inline]
    pub(super) fn end(&mut self) {
        let end = u32::try_from(self.bytes.len());
        self.ends
            .push(end.expect("a run of frames holds less than 4 GiB: seal blocks sooner"));
    }

    /// Appends one WebSocket text frame, whose payload `write` appends. The payload has at least
    /// `guess` bytes, and usually exactly that many.
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    // Without `always`, the compiler makes it a call for each line.
    #[inline(always)]
    pub(super) fn push_text_frame(&mut self, guess: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.reserve(frame::MAX_HEADER + guess);
        let start = self.bytes.len();
        frame::push_text_header(&mut self.bytes, guess);
        write(&mut self.bytes);
        let header = frame::header_len(guess);
        if self.bytes.len() - start - header != guess {
            frame::set_text_header(&mut self.bytes, start, header);
        }
        self.end();
    }

    /// Returns the frames, which carry one message each. Copies no frame.
    pub(super) fn finish(self) -> Frames {
        Frames {
            bytes: self.bytes.into(),
            ends: self.ends.into(),
            counts: None,
        }
    }

    /// Returns the frames. `counts` has the number of messages up to each frame's end.
    pub(super) fn finish_counted(self, counts: Vec<u32>) -> Frames {
        debug_assert_eq!(counts.len(), self.ends.len());
        // Every frame carries a message. If the numbers are equal, every frame carries one.
        let single = counts.last().map_or(0, |&count| count as usize) == counts.len();
        Frames {
            counts: (!single).then(|| counts.into()),
            ..self.finish()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Builds frames of the given numbers of bytes and messages.
    fn frames_of(frames: &[(usize, usize)]) -> Frames {
        let mut run = FrameBuffer::with_capacity(0, 0);
        let (mut counts, mut messages) = (Vec::new(), 0);
        for (index, &(bytes, carried)) in frames.iter().enumerate() {
            run.bytes.extend(vec![index as u8; bytes]);
            run.end();
            messages += carried as u32;
            counts.push(messages);
        }
        run.finish_counted(counts)
    }

    /// Frames that carry one message each, or any number. Some have no bytes.
    fn frames() -> impl Strategy<Value = Vec<(usize, usize)>> {
        let single = (0usize..200, Just(1usize));
        let batch = (0usize..200, 1usize..9);
        prop_oneof![
            prop::collection::vec(single, 0..14),
            prop::collection::vec(batch, 0..14)
        ]
    }

    #[test]
    fn counts_are_kept_only_where_a_frame_carries_several() {
        assert!(frames_of(&[]).counts.is_none());
        assert!(frames_of(&[(3, 1), (0, 1)]).counts.is_none());
        assert!(frames_of(&[(3, 1), (0, 2)]).counts.is_some());
    }

    proptest! {
        #[test]
        fn what_fits_is_the_longest_run_within_both_limits(
            model in frames(),
            max_messages in prop_oneof![0usize..70, Just(usize::MAX)],
            max_bytes in prop_oneof![0usize..2000, Just(usize::MAX)],
            start in 0usize..14,
        ) {
            let frames = frames_of(&model);
            let start = start.min(frames.len());
            let (mut count, mut messages, mut bytes) = (0, 0, 0);
            for (frame_bytes, frame_messages) in &model[start..] {
                messages += frame_messages;
                bytes += frame_bytes;
                if messages > max_messages || bytes > max_bytes {
                    break;
                }
                count += 1;
            }
            prop_assert_eq!(frames.fit_from(start, max_messages, max_bytes), count);
            if start == 0 {
                prop_assert_eq!(frames.fit(max_messages, max_bytes), count);
            }
        }

        #[test]
        fn every_message_is_in_the_frame_whose_bounds_hold_it(model in frames()) {
            let frames = frames_of(&model);
            let mut message = 0;
            for (index, &(bytes, carried)) in model.iter().enumerate() {
                prop_assert_eq!(frames.messages_before(index), message);
                prop_assert_eq!(&frames.slice(index..index + 1)[..], &vec![index as u8; bytes][..]);
                for _ in 0..carried {
                    prop_assert_eq!(frames.frame_of(message), index);
                    message += 1;
                }
            }
            prop_assert_eq!(frames.messages(), message);
            prop_assert_eq!(frames.messages_before(frames.len()), message);
            prop_assert_eq!(frames.bytes_before(frames.len()), frames.byte_len());
            for past in [message, message + 1, usize::MAX] {
                prop_assert_eq!(frames.frame_of(past), frames.len());
            }
        }
    }
}
