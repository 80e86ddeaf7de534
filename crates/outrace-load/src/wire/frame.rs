//! WebSocket frames of RFC 6455 without extensions.
//!
//! [`parse_frame`] finds the frames in a server's bytes. The `push_` functions write frames.

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The longest accepted frame. A longer one is an invalid stream.
pub(crate) const MAX_FRAME_BYTES: usize = 64 << 20;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
    /// The length of header and payload in bytes.
    pub(crate) len: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ParsedFrame<'a> {
    Frame(Frame<'a>),
    /// The frame is incomplete. The number is its length in bytes as far as known.
    Partial(usize),
    /// The bytes are no stream of unfragmented, unmasked frames.
    Invalid(&'static str),
}

/// Parses the first frame of `bytes`.
#[inline]
pub(crate) fn parse_frame(bytes: &[u8]) -> ParsedFrame<'_> {
    let [first, second, ..] = *bytes else {
        return ParsedFrame::Partial(2);
    };
    if first & 0xf0 != 0x80 || second & 0x80 != 0 {
        return ParsedFrame::Invalid(describe_invalid(first, second));
    }
    let (header, payload) = match second {
        0..=125 => (2, usize::from(second)),
        126 => match bytes.get(2..4) {
            Some(n) => (4, usize::from(u16::from_be_bytes([n[0], n[1]]))),
            None => return ParsedFrame::Partial(4),
        },
        _ => match bytes.get(2..).and_then(|b| b.first_chunk()) {
            Some(n) => (10, u64::from_be_bytes(*n).min(u64::from(u32::MAX)) as usize),
            None => return ParsedFrame::Partial(10),
        },
    };
    if payload > MAX_FRAME_BYTES {
        return ParsedFrame::Invalid("a frame of more than 64 MiB");
    }
    let len = header + payload;
    match bytes.get(header..len) {
        Some(payload) => ParsedFrame::Frame(Frame {
            opcode: first & 0x0f,
            payload,
            len,
        }),
        None => ParsedFrame::Partial(len),
    }
}

#[cold]
fn describe_invalid(first: u8, second: u8) -> &'static str {
    if second & 0x80 != 0 {
        "a masked frame"
    } else if first & 0x70 != 0 {
        "a frame with reserved bits of an extension that was not negotiated"
    } else {
        "a fragmented message, which this generator does not read"
    }
}

/// Appends a client's frame.
///
/// The mask is constant. Masks protect proxies from browsers, and neither takes part here.
pub(crate) fn push_client_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    out.push(0x80 | opcode);
    match payload.len() {
        n @ 0..=125 => out.push(0x80 | n as u8),
        n @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
}

/// Appends a server's text frame.
pub(crate) fn push_server_text(out: &mut Vec<u8>, payload: &[u8]) {
    out.push(0x80 | TEXT);
    match payload.len() {
        n @ 0..=125 => out.push(n as u8),
        n @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Parses as a receiver does: keeps the incomplete frame and continues with the next read.
    fn cut_in_pieces(stream: &[u8], cuts: &[usize]) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        let mut kept: Vec<u8> = Vec::new();
        let mut rest = stream;
        let mut cuts = cuts.iter().copied().cycle();
        while !rest.is_empty() {
            let n = cuts.next().unwrap_or(1).clamp(1, rest.len());
            kept.extend_from_slice(&rest[..n]);
            rest = &rest[n..];
            let mut at = 0;
            loop {
                match parse_frame(&kept[at..]) {
                    ParsedFrame::Frame(frame) => {
                        frames.push((frame.opcode, frame.payload.to_vec()));
                        at += frame.len;
                    }
                    ParsedFrame::Partial(needed) => {
                        assert!(
                            needed > kept.len() - at,
                            "a frame that was all there was not cut"
                        );
                        break;
                    }
                    ParsedFrame::Invalid(why) => panic!("{why}"),
                }
            }
            kept.drain(..at);
        }
        assert!(kept.is_empty());
        frames
    }

    fn any_length() -> impl Strategy<Value = usize> {
        prop_oneof![
            0usize..300,
            120usize..130,
            65_530usize..65_540,
            Just(100_000)
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn frames_survive_arbitrary_cuts(
            lengths in prop::collection::vec(any_length(), 0..8),
            cuts in prop::collection::vec(1usize..5_000, 1..20)
        ) {
            let payloads: Vec<Vec<u8>> =
                lengths.iter().enumerate().map(|(i, n)| vec![b'a' + i as u8; *n]).collect();
            let mut stream = Vec::new();
            for payload in &payloads {
                push_server_text(&mut stream, payload);
            }
            let expected: Vec<_> = payloads.into_iter().map(|p| (TEXT, p)).collect();
            prop_assert_eq!(cut_in_pieces(&stream, &cuts), expected);
        }

        #[test]
        fn a_client_frame_unmasks_to_its_payload(length in any_length()) {
            let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let mut out = Vec::new();
            push_client_frame(&mut out, PONG, &payload);
            prop_assert_eq!(out[0], 0x80 | PONG);
            prop_assert!(out[1] & 0x80 != 0);
            let header = match out[1] & 0x7f { 126 => 4, 127 => 10, _ => 2 };
            let mask = &out[header..header + 4];
            let plain: Vec<u8> =
                out[header + 4..].iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect();
            prop_assert_eq!(plain, payload);
        }
    }

    #[test]
    fn what_a_server_must_not_send_is_named() {
        assert_eq!(
            parse_frame(&[0x81, 0x80, 0, 0, 0, 0]),
            ParsedFrame::Invalid("a masked frame")
        );
        assert!(
            matches!(parse_frame(&[0x01, 0x01, b'x']), ParsedFrame::Invalid(why) if why.contains("fragmented"))
        );
        assert!(
            matches!(parse_frame(&[0xc1, 0x01, b'x']), ParsedFrame::Invalid(why) if why.contains("reserved"))
        );
        let huge = [0x81, 127, 0xff, 0, 0, 0, 0, 0, 0, 0];
        assert!(matches!(parse_frame(&huge), ParsedFrame::Invalid(why) if why.contains("64 MiB")));
    }
}
