//! Counts received frames by their headers (RFC 6455 section 5.2).
//!
//! tungstenite returns whole messages, and a message may come in any number of fragments, empty
//! ones included. This file is pure: it has no I/O and no clock.

/// Counts the frames of a byte stream that arrives in pieces of any size. Does not check whether
/// the frames are legal.
#[derive(Debug)]
pub(crate) struct FrameCounter {
    /// The received part of a header.
    header: [u8; 10],
    header_bytes: u8,
    /// The bytes of mask and payload that are still to come.
    skip_bytes: u64,
    /// The frames since the last call of `take`.
    frames: u32,
    /// The fragments of the message under way.
    fragments: u32,
    max_fragments: u32,
    /// Whether a message had more fragments than `max_fragments`.
    exceeded: bool,
}

impl FrameCounter {
    pub(crate) fn new(max_fragments: u32) -> Self {
        Self {
            header: [0; 10],
            header_bytes: 0,
            skip_bytes: 0,
            frames: 0,
            fragments: 0,
            max_fragments,
            exceeded: false,
        }
    }

    /// Reads the next piece. Takes time linear in frames, not in bytes.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = usize::try_from(self.skip_bytes)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            self.skip_bytes -= skipped as u64;
            let Some((&byte, rest)) = bytes[skipped..].split_first() else {
                return;
            };
            bytes = rest;
            self.header[self.header_bytes as usize] = byte;
            self.header_bytes += 1;
            let length = match self.header[1] & 0x7f {
                _ if self.header_bytes < 2 => continue,
                126 => 4,
                127 => 10,
                _ => 2,
            };
            if self.header_bytes == length {
                self.end_header();
            }
        }
    }

    fn end_header(&mut self) {
        let [first, second, a, b, c, d, e, f, g, h] = self.header;
        let payload = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes([a, b])),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            length => u64::from(length),
        };
        self.skip_bytes = payload.saturating_add(if second & 0x80 == 0 { 0 } else { 4 });
        self.header_bytes = 0;
        self.frames = self.frames.saturating_add(1);
        // A control frame may come between fragments, and is not one.
        if first & 0x08 == 0 {
            self.fragments += 1;
            self.exceeded |= self.fragments > self.max_fragments;
            if first & 0x80 != 0 || self.exceeded {
                self.fragments = 0;
            }
        }
    }

    /// Returns how many frames have come since the last call.
    pub(crate) fn take(&mut self) -> u32 {
        std::mem::take(&mut self.frames)
    }

    /// Returns whether a message had more fragments than the maximum.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.exceeded
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Builds a frame as it is on the wire.
    fn frame(first: u8, masked: bool, length: usize) -> Vec<u8> {
        let mask_bit = if masked { 0x80 } else { 0 };
        let mut frame = vec![first];
        match length {
            n @ 0..126 => frame.push(mask_bit | n as u8),
            n @ 126..0x1_0000 => {
                frame.push(mask_bit | 126);
                frame.extend_from_slice(&(n as u16).to_be_bytes());
            }
            n => {
                frame.push(mask_bit | 127);
                frame.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        // All ones: if this were read as a header, it would count as one.
        frame.resize(frame.len() + length + if masked { 4 } else { 0 }, 0xff);
        frame
    }

    #[test]
    fn fragments_are_counted_for_each_message_and_control_frames_are_none() {
        let mut count = FrameCounter::new(3);
        for (first, exceeded) in [
            (0x01, false),
            (0x00, false),
            (0x89, false),
            (0x80, false),
            (0x02, false),
            (0x00, false),
            (0x00, false),
            (0x80, true),
        ] {
            count.read(&frame(first, true, 0));
            assert_eq!(count.is_exceeded(), exceeded);
        }
        assert_eq!((count.take(), count.take()), (8, 0));
    }

    #[test]
    fn a_length_beyond_all_bounds_overflows_nothing() {
        let mut count = FrameCounter::new(1);
        count.read(&[0x82, 0xff]);
        count.read(&[0xff; 8]);
        for _ in 0..3 {
            count.read(&[0x81; 1000]);
        }
        assert_eq!((count.take(), count.is_exceeded()), (1, false));
    }

    proptest! {
        #[test]
        fn frames_are_counted_however_they_are_cut(
            frames in prop::collection::vec(
                (
                    any::<u8>(),
                    any::<bool>(),
                    prop_oneof![0..4usize, 120..130usize, 65_530..65_540usize],
                ),
                0..12,
            ),
            cuts in prop::collection::vec(1..700usize, 1..40),
        ) {
            let bytes: Vec<u8> = frames
                .iter()
                .flat_map(|&(first, masked, length)| frame(first, masked, length))
                .collect();
            let mut count = FrameCounter::new(u32::MAX);
            let (mut rest, mut total, mut cuts) = (&bytes[..], 0, cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                count.read(piece);
                total += count.take();
                rest = more;
            }
            prop_assert_eq!(total as usize, frames.len());
        }
    }
}
