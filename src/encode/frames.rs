//! A run of complete frames: a whole block in one buffer.

use std::ops::Range;

use bytes::Bytes;

use super::frame;

/// What the escaper asks for beyond what it writes; without it a buffer of the right size would grow.
const ESCAPE_ROOM: usize = 256;

/// A run of complete frames, contiguous: WebSocket text frames, or what an HTTP stream has in their place. A
/// frame carries one message or, in a batch, several. Cloning and slicing share the bytes.
#[derive(Clone, Debug)]
pub struct Frames {
    bytes: Bytes,
    /// Where each frame ends; a run holds less than 4 GiB.
    ends: Box<[u32]>,
    /// How many messages there are up to each frame's end. Absent when every frame carries one.
    counts: Option<Box<[u32]>>,
}

impl Frames {
    /// How many frames.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[cfg(feature = "internals")]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many messages they carry together.
    pub fn messages(&self) -> usize {
        self.messages_before(self.len())
    }

    /// How many bytes they have together.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The byte offset at which frame `frame` starts; of `len()`, where the last one ends.
    ///
    /// # Panics
    /// If `frame` is past `len()`.
    pub fn bytes_before(&self, frame: usize) -> usize {
        if frame == 0 {
            0
        } else {
            self.ends[frame - 1] as usize
        }
    }

    /// How many messages the frames before frame `frame` carry; of `len()`, how many all of them carry.
    ///
    /// # Panics
    /// If `frame` is past `len()`.
    pub fn messages_before(&self, frame: usize) -> usize {
        assert!(frame <= self.len(), "frame {frame} of {}", self.len());
        match &self.counts {
            Some(counts) if frame > 0 => counts[frame - 1] as usize,
            _ => frame,
        }
    }

    /// The frame that carries a message, both counted from 0; `len()` for a message past the last.
    /// Logarithmic in a batch, else constant.
    pub fn frame_of(&self, message: usize) -> usize {
        match &self.counts {
            Some(counts) => counts.partition_point(|&count| count as usize <= message),
            None => message.min(self.len()),
        }
    }

    /// The bytes of some of the frames, shared.
    ///
    /// # Panics
    /// If the range ends before it starts or past `len()`.
    pub fn slice(&self, frames: Range<usize>) -> Bytes {
        self.bytes
            .slice(self.bytes_before(frames.start)..self.bytes_before(frames.end))
    }

    /// All the bytes, shared.
    #[cfg(any(test, fuzzing, feature = "internals"))]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many of the first frames carry no more than `max_messages` and `max_bytes`. Logarithmic.
    #[cfg(any(test, fuzzing, feature = "internals"))]
    pub fn fit(&self, max_messages: usize, max_bytes: usize) -> usize {
        self.fit_from(0, max_messages, max_bytes)
    }

    /// How many of the frames from `start` on carry no more than `max_messages` and `max_bytes`. Logarithmic.
    ///
    /// # Panics
    /// If `start` is past `len()`.
    pub fn fit_from(&self, start: usize, max_messages: usize, max_bytes: usize) -> usize {
        let messages_before = self.messages_before(start);
        let most_bytes = self.bytes_before(start).saturating_add(max_bytes);
        let ends = &self.ends[start..];
        // The usual case: all of them fit, and nothing needs to be searched.
        if self.messages() - messages_before <= max_messages && self.bytes.len() <= most_bytes {
            return ends.len();
        }
        let within_messages = match &self.counts {
            None => ends.len().min(max_messages),
            Some(counts) => {
                let most = messages_before.saturating_add(max_messages);
                counts[start..].partition_point(|&count| count as usize <= most)
            }
        };
        ends[..within_messages].partition_point(|&end| end as usize <= most_bytes)
    }
}

/// Frames in the making, one after another in one buffer: what all builders share.
#[derive(Debug)]
pub(super) struct FrameBuffer {
    pub(super) bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl FrameBuffer {
    /// With room for so many frames of so many bytes together.
    pub(super) fn with_capacity(frames: usize, bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes + ESCAPE_ROOM),
            ends: Vec::with_capacity(frames),
        }
    }

    /// How many frames are complete.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Makes everything since the last end a frame.
    ///
    /// # Panics
    /// If all frames together pass 4 GiB.
    #[inline]
    pub(super) fn end(&mut self) {
        let end = u32::try_from(self.bytes.len());
        self.ends
            .push(end.expect("a run of frames holds less than 4 GiB: seal blocks sooner"));
    }

    /// Appends one WebSocket text frame whose payload `write` appends: `guess` bytes at least, and as a rule
    /// exactly.
    ///
    /// # Panics
    /// If all frames together pass 4 GiB.
    // Always: left to the compiler, it is a call for each line.
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

    /// The frames, one message each. Copies no frame.
    pub(super) fn finish(self) -> Frames {
        Frames {
            bytes: self.bytes.into(),
            ends: self.ends.into(),
            counts: None,
        }
    }

    /// The frames, with how many messages there are up to each one's end.
    pub(super) fn finish_counted(self, counts: Vec<u32>) -> Frames {
        debug_assert_eq!(counts.len(), self.ends.len());
        // Every frame carries a message, so as many messages as frames are one each.
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

    /// Frames of so many bytes and messages each.
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

    /// Frames of one message each, or of any number; some of no bytes.
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
