//! The messages to one client about its own subscription. They have no seq.

use bytes::Bytes;

use super::decimal::push_decimal;
use super::escape::escape_into;
use super::{Encoding, Timestamp, events, frame, local};
use crate::message::ChannelName;

/// Encodes the reply to a `subscribe` with options.
///
/// - `seq` is the seq before the first message that will be delivered.
/// - `replayed` is the number of messages that will be delivered from the history.
/// - `lost` is the number of requested messages that the history no longer has.
///
/// As an event it has the id of `seq`, so that a client can resume even if nothing follows. In
/// [`Encoding::Text`] it is empty.
pub fn subscribed(
    encoding: Encoding,
    channel: &ChannelName,
    epoch: &str,
    seq: u64,
    replayed: u64,
    lost: u64,
    timestamp: &Timestamp,
) -> Bytes {
    if encoding == Encoding::Local {
        return local::subscribed(epoch, seq, replayed, lost);
    }
    let payload = message("subscribed", channel, timestamp, |out| {
        push_epoch(out, epoch);
        push_number(out, ",\"seq\":", seq);
        push_number(out, ",\"replayed\":", replayed);
        push_number(out, ",\"lost\":", lost);
    });
    wrap(encoding, "subscribed", Some((epoch, seq)), &payload)
}

/// Stands in front of a text that begins on a line of its own, even when the line before it was cut
/// and has no end. No UTF-8 contains this byte. It is never sent.
pub const LINE_START: u8 = 0xff;

/// Encodes the notice that the messages `from` to `to` were skipped for this client.
///
/// As an event it has no id. A client that resumes then does so from the last message it received,
/// and gets the skipped ones from the history. In [`Encoding::Text`] it is a readable line
/// after [`LINE_START`].
pub fn gap(
    encoding: Encoding,
    channel: &ChannelName,
    from: u64,
    to: u64,
    timestamp: &Timestamp,
) -> Bytes {
    debug_assert!(from <= to);
    if encoding == Encoding::Text {
        let text = format!("… {} lines skipped …\n", to - from + 1);
        return [&[LINE_START], text.as_bytes()].concat().into();
    }
    if encoding == Encoding::Local {
        return local::gap(from, to);
    }
    let payload = message("gap", channel, timestamp, |out| {
        push_span(out, from, to);
        push_number(out, ",\"count\":", to - from + 1);
    });
    wrap(encoding, "gap", None, &payload)
}

/// Encodes the beginning of a repetition that the client requested, as a WebSocket frame.
///
/// The messages `from` to `to` follow, and then [`replayed`]. `lost` is the number of requested
/// messages that the history no longer has.
pub fn replay(
    channel: &ChannelName,
    epoch: &str,
    from: u64,
    to: u64,
    lost: u64,
    timestamp: &Timestamp,
) -> Bytes {
    frame::text_frame(&message("replay", channel, timestamp, |out| {
        push_epoch(out, epoch);
        out.push(b',');
        push_span(out, from, to);
        push_number(out, ",\"lost\":", lost);
    }))
}

/// Encodes the end of a repetition that [`replay`] began, as a WebSocket frame.
pub fn replayed(channel: &ChannelName, from: u64, to: u64, timestamp: &Timestamp) -> Bytes {
    frame::text_frame(&message("replayed", channel, timestamp, |out| {
        push_span(out, from, to)
    }))
}

/// Encodes a message whose data is an object with the members that `members` appends.
fn message(
    message_type: &str,
    channel: &ChannelName,
    timestamp: &Timestamp,
    members: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let head = format!(r#"{{"type":"{message_type}","channel":"{channel}","data":{{"#);
    let mut out = head.into_bytes();
    members(&mut out);
    out.push(b'}');
    out.extend_from_slice(timestamp.tail());
    out
}

fn push_epoch(out: &mut Vec<u8>, epoch: &str) {
    out.extend_from_slice(br#""epoch":""#);
    escape_into(out, epoch.as_bytes());
    out.push(b'"');
}

fn push_span(out: &mut Vec<u8>, from: u64, to: u64) {
    push_number(out, "\"from\":", from);
    push_number(out, ",\"to\":", to);
}

fn push_number(out: &mut Vec<u8>, key: &str, value: u64) {
    out.extend_from_slice(key.as_bytes());
    push_decimal(out, value);
}

/// Frames a payload as the encoding requires.
fn wrap(encoding: Encoding, event_type: &str, id: Option<(&str, u64)>, payload: &[u8]) -> Bytes {
    match encoding {
        Encoding::Json | Encoding::Batch | Encoding::Detail | Encoding::DetailBatch => {
            frame::text_frame(payload)
        }
        // Both are complete without a payload.
        Encoding::Text | Encoding::Local => Bytes::new(),
        Encoding::Events => {
            let mut out = Vec::with_capacity(payload.len() + 64);
            if let Some((epoch, seq)) = id {
                events::push_id(&mut out, epoch, seq);
            }
            events::push_event(&mut out, Some(event_type), |out| {
                out.extend_from_slice(payload)
            });
            out.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::events::tests::{SseEvent, read};
    use super::super::testing::{now, payload};
    use super::*;

    fn channel() -> ChannelName {
        ChannelName::parse("process:web").unwrap()
    }

    const AT: &str = r#","timestamp":"2026-02-19T10:00:00.123Z"}"#;

    #[test]
    fn control_messages_have_the_shapes_of_the_wire() {
        let (c, now) = (channel(), now());
        for (frame, head) in [
            (
                subscribed(Encoding::Json, &c, "k3", 41, 10, 2, &now),
                r#"{"type":"subscribed","channel":"process:web","data":{"epoch":"k3","seq":41,"replayed":10,"lost":2}"#,
            ),
            (
                gap(Encoding::Batch, &c, 5, 7, &now),
                r#"{"type":"gap","channel":"process:web","data":{"from":5,"to":7,"count":3}"#,
            ),
            (
                replay(&c, "k3", 5, 7, 1, &now),
                r#"{"type":"replay","channel":"process:web","data":{"epoch":"k3","from":5,"to":7,"lost":1}"#,
            ),
            (
                replayed(&c, 5, 7, &now),
                r#"{"type":"replayed","channel":"process:web","data":{"from":5,"to":7}"#,
            ),
        ] {
            assert_eq!(payload(&frame), format!("{head}{AT}"));
        }
        assert_eq!(
            gap(Encoding::Json, &c, 5, 7, &now),
            gap(Encoding::Batch, &c, 5, 7, &now),
            "the frame does not depend on batching"
        );
    }

    #[test]
    fn an_event_of_a_gap_leaves_the_last_id_and_one_of_a_subscription_sets_it() {
        let (c, now) = (channel(), now());
        for (event, frame, id, event_type) in [
            (
                subscribed(Encoding::Events, &c, "k3", 41, 0, 0, &now),
                subscribed(Encoding::Json, &c, "k3", 41, 0, 0, &now),
                Some("k3:41"),
                "subscribed",
            ),
            (
                gap(Encoding::Events, &c, 1, 1, &now),
                gap(Encoding::Json, &c, 1, 1, &now),
                None,
                "gap",
            ),
        ] {
            let expected = SseEvent {
                id: id.map(str::to_owned),
                event_type: event_type.to_owned(),
                data: payload(&frame),
            };
            assert_eq!(read(&event), [expected]);
        }
    }

    #[test]
    fn in_text_a_gap_is_a_line_of_words_and_an_answer_is_nothing() {
        assert!(subscribed(Encoding::Text, &channel(), "k3", 41, 0, 0, &now()).is_empty());
        assert_eq!(
            gap(Encoding::Text, &channel(), 5, 141, &now()),
            [&[LINE_START], "… 137 lines skipped …\n".as_bytes()].concat()
        );
    }

    #[test]
    fn an_epoch_of_any_text_reads_back() {
        let epoch = "a\"\\\n\u{2028}";
        let text = payload(&subscribed(
            Encoding::Json,
            &channel(),
            epoch,
            u64::MAX,
            0,
            0,
            &now(),
        ));
        let message: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(message["data"]["epoch"], epoch);
        assert_eq!(message["data"]["seq"], u64::MAX);
    }
}
