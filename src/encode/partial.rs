//! The line that a process is still writing, as it is shown.

use bytes::Bytes;

use super::escape::escape_into;
use super::{Envelope, Timestamp, frame};

/// Encodes the text of an unfinished line as a WebSocket frame. An empty text says that there is
/// no unfinished line any more. It has no number.
pub fn partial(envelope: &Envelope, text: &[u8], timestamp: &Timestamp) -> Bytes {
    let mut payload = Vec::with_capacity(text.len() + 128);
    envelope.push_partial_head(&mut payload);
    escape_into(&mut payload, text);
    payload.push(b'"');
    payload.extend_from_slice(timestamp.tail());
    frame::text_frame(&payload)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{envelope, now, payload};
    use super::*;

    #[test]
    fn a_partial_line_has_the_shape_of_the_wire() {
        let shown = |channel, text: &[u8]| payload(&partial(&envelope(channel), text, &now()));
        assert_eq!(
            shown("process:web-1", b"50% \x1b[1m"),
            r#"{"type":"process_partial","channel":"process:web-1","processId":"web-1","data":"50% \u001b[1m","timestamp":"2026-02-19T10:00:00.123Z"}"#
        );
        assert_eq!(
            shown("logs", b""),
            r#"{"type":"process_partial","channel":"logs","data":"","timestamp":"2026-02-19T10:00:00.123Z"}"#
        );
    }
}
