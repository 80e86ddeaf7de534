//! Counts the frames that come in, by their headers alone (RFC 6455 section 5.2): tungstenite shows whole messages, and a message may come in
//! any number of fragments, empty ones too. Pure.

/// The headers of an incoming stream of frames, however it is cut into pieces. Says nothing about whether they are legal.
#[derive(Debug)]
pub(crate) struct FrameCount {
    /// The part of a header that has come.
    header: [u8; 10],
    have: u8,
    /// Bytes of mask and payload still to come.
    skip: u64,
    /// Frames since they were last taken.
    frames: u32,
    /// Fragments of the message under way.
    fragments: u32,
    most_fragments: u32,
    /// Some message had more fragments than it may.
    exceeded: bool,
}

impl FrameCount {
    pub(crate) fn new(most_fragments: u32) -> Self {
        Self {
            header: [0; 10],
            have: 0,
            skip: 0,
            frames: 0,
            fragments: 0,
            most_fragments,
            exceeded: false,
        }
    }

    /// Reads on. Linear in frames, not in bytes.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = usize::try_from(self.skip)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            self.skip -= skipped as u64;
            let Some((&byte, rest)) = bytes[skipped..].split_first() else {
                return;
            };
            bytes = rest;
            self.header[self.have as usize] = byte;
            self.have += 1;
            let length = match self.header[1] & 0x7f {
                _ if self.have < 2 => continue,
                126 => 4,
                127 => 10,
                _ => 2,
            };
            if self.have == length {
                self.end_of_header();
            }
        }
    }

    fn end_of_header(&mut self) {
        let [first, second, a, b, c, d, e, f, g, h] = self.header;
        let payload = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes([a, b])),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            length => u64::from(length),
        };
        self.skip = payload.saturating_add(if second & 0x80 == 0 { 0 } else { 4 });
        self.have = 0;
        self.frames = self.frames.saturating_add(1);
        // Control frames stand between fragments and are none.
        if first & 0x08 == 0 {
            self.fragments += 1;
            self.exceeded |= self.fragments > self.most_fragments;
            if first & 0x80 != 0 || self.exceeded {
                self.fragments = 0;
            }
        }
    }

    /// How many frames have come since this was last called.
    pub(crate) fn take(&mut self) -> u32 {
        std::mem::take(&mut self.frames)
    }

    /// Whether some message had more fragments than it may.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.exceeded
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as it stands on the wire.
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
        // All ones, which would be a header if it were taken for one.
        frame.resize(frame.len() + length + if masked { 4 } else { 0 }, 0xff);
        frame
    }

    #[test]
    fn fragments_are_counted_for_each_message_and_control_frames_are_none() {
        let mut count = FrameCount::new(3);
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
        let mut count = FrameCount::new(1);
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
                (any::<u8>(), any::<bool>(), prop_oneof![0..4usize, 120..130usize, 65_530..65_540usize]),
                0..12,
            ),
            cuts in prop::collection::vec(1..700usize, 1..40),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|&(first, masked, n)| frame(first, masked, n)).collect();
            let mut count = FrameCount::new(u32::MAX);
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
