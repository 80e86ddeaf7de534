//! WebSocket frames of a server (RFC 6455 section 5.2): final and unmasked.

use bytes::Bytes;

const FINAL: u8 = 0x80;
const TEXT: u8 = FINAL | 0x1;
const BINARY: u8 = FINAL | 0x2;
const CLOSE: u8 = FINAL | 0x8;
const PING: u8 = FINAL | 0x9;

/// The maximum length of a header: opcode, length byte and 64-bit length.
pub(super) const MAX_HEADER: usize = 10;
/// The maximum payload of a control frame (RFC 6455 section 5.5).
const MAX_CONTROL: usize = 125;

/// Returns the length of the header for a payload of `payload` bytes.
#[inline]
pub(super) fn header_len(payload: usize) -> usize {
    match payload {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    }
}

/// Appends the header of a text frame with a payload of `payload` bytes.
#[inline]
pub(super) fn push_text_header(out: &mut Vec<u8>, payload: usize) {
    push_header(out, TEXT, payload);
}

#[inline]
fn push_header(out: &mut Vec<u8>, first: u8, payload: usize) {
    match payload {
        0..=125 => out.extend_from_slice(&[first, payload as u8]),
        126..=0xFFFF => {
            let [high, low] = (payload as u16).to_be_bytes();
            out.extend_from_slice(&[first, 126, high, low]);
        }
        _ => {
            out.extend_from_slice(&[first, 127]);
            out.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}

/// Writes the header of a text frame whose payload is complete at the end of `out`.
///
/// The frame starts at `start`, with `reserved` bytes for the header. If the header has another
/// length, the payload is moved. This is rare, and linear in the payload.
#[cold]
pub(super) fn set_text_header(out: &mut Vec<u8>, start: usize, reserved: usize) {
    let end = out.len();
    let payload = end - start - reserved;
    let header = header_len(payload);
    if header > reserved {
        out.resize(end + header - reserved, 0);
    }
    if header != reserved {
        out.copy_within(start + reserved..end, start + header);
        out.truncate(start + header + payload);
    }
    out[start] = TEXT;
    match header {
        2 => out[start + 1] = payload as u8,
        4 => {
            out[start + 1] = 126;
            out[start + 2..start + 4].copy_from_slice(&(payload as u16).to_be_bytes());
        }
        _ => {
            out[start + 1] = 127;
            out[start + 2..start + 10].copy_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}

/// Returns a text frame with this payload, which has to be UTF-8.
pub fn text_frame(payload: &[u8]) -> Bytes {
    data_frame(TEXT, payload)
}

/// Returns a binary frame with this payload.
pub fn binary_frame(payload: &[u8]) -> Bytes {
    data_frame(BINARY, payload)
}

fn data_frame(first: u8, payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(header_len(payload.len()) + payload.len());
    push_header(&mut frame, first, payload.len());
    frame.extend_from_slice(payload);
    frame.into()
}

/// Returns a close frame. The reason is cut at a character to at most 123 bytes, the maximum of a
/// control frame without its code.
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    let mut cut = reason.len().min(MAX_CONTROL - 2);
    while !reason.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..cut]);
    control_frame(CLOSE, &payload)
}

/// Returns a ping frame. The payload is cut to 125 bytes, the maximum of a control frame.
pub fn ping_frame(payload: &[u8]) -> Bytes {
    control_frame(PING, payload)
}

fn control_frame(first: u8, payload: &[u8]) -> Bytes {
    let payload = &payload[..payload.len().min(MAX_CONTROL)];
    let mut frame = Vec::with_capacity(2 + payload.len());
    frame.extend_from_slice(&[first, payload.len() as u8]);
    frame.extend_from_slice(payload);
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_as_long_as_its_payload_asks() {
        for (payload, header) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 0xFF, 0xFF]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = text_frame(&vec![b'x'; payload]);
            assert_eq!(frame[..header_len(payload)], header);
            assert_eq!(frame.len(), header.len() + payload);
            let binary = binary_frame(&vec![b'x'; payload]);
            assert_eq!((binary[0], &binary[1..]), (0x82, &frame[1..]));
        }
    }

    #[test]
    fn a_header_of_any_length_is_set_right_and_leaves_the_payload_whole() {
        for reserved in [2, 4, 10] {
            for payload in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
                let text: Vec<u8> = (0..payload).map(|at| b'a' + (at % 26) as u8).collect();
                let mut out = b"before".to_vec();
                out.extend_from_slice(&[0; MAX_HEADER][..reserved]);
                out.extend_from_slice(&text);
                set_text_header(&mut out, 6, reserved);
                assert_eq!(out[..6], *b"before");
                assert_eq!(
                    out[6..],
                    text_frame(&text),
                    "{payload} bytes, {reserved} reserved"
                );
            }
        }
    }

    #[test]
    fn control_frames_carry_no_more_than_they_may() {
        assert_eq!(close_frame(1000, "")[..], [0x88, 2, 3, 0xE8]);
        assert_eq!(close_frame(1013, "slow")[..], *b"\x88\x06\x03\xF5slow");
        // A cut at 123 bytes would split the last character.
        let close = close_frame(1001, &"é".repeat(200));
        assert_eq!(close[..2], [0x88, 2 + 122]);
        assert_eq!(str::from_utf8(&close[4..]), Ok(&*"é".repeat(61)));
        assert_eq!(ping_frame(b"")[..], [0x89, 0]);
    }
}
