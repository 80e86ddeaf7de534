//! What one client is told about its own subscription: complete messages that no seq counts.

use bytes::Bytes;

use super::escape::escape_into;
use super::{Encoding, Timestamp, events, frame};
use crate::message::ChannelName;

/// The answer to a `subscribe` with options: `seq` is that of the last message before the first that will be
/// delivered, `replayed` how many of those are from the history, `lost` how many that were asked for are no
/// longer there. As an event it has the id of `seq`, to resume from if nothing follows.
///
/// Empty in [`Encoding::Text`].
pub fn subscribed(
    encoding: Encoding,
    channel: &ChannelName,
    epoch: &str,
    seq: u64,
    replayed: u64,
    lost: u64,
    timestamp: &Timestamp,
) -> Bytes {
    let payload = message("subscribed", channel, timestamp, |out| {
        push_epoch(out, epoch);
        push_number(out, ",\"seq\":", seq);
        push_number(out, ",\"replayed\":", replayed);
        push_number(out, ",\"lost\":", lost);
    });
    wrap(encoding, "subscribed", Some((epoch, seq)), &payload)
}

/// Messages `from` to `to` were skipped for this client. As an event it has no id, so that a client that resumes
/// does so from the last message it was given, and is given these from the history.
///
/// Empty in [`Encoding::Text`].
pub fn gap(encoding: Encoding, channel: &ChannelName, from: u64, to: u64, timestamp: &Timestamp) -> Bytes {
    debug_assert!(from <= to);
    let payload = message("gap", channel, timestamp, |out| {
        push_span(out, from, to);
        push_number(out, ",\"count\":", to - from + 1);
    });
    wrap(encoding, "gap", None, &payload)
}

/// What follows, up to [`replayed`], is messages `from` to `to` again, as a client asked; `lost` of those it
/// asked for are no longer there. A WebSocket frame.
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

/// The end of what [`replay`] announced. A WebSocket frame.
pub fn replayed(channel: &ChannelName, from: u64, to: u64, timestamp: &Timestamp) -> Bytes {
    frame::text_frame(&message("replayed", channel, timestamp, |out| push_span(out, from, to)))
}

/// A message whose data is an object with these members.
fn message(
    kind: &str,
    channel: &ChannelName,
    timestamp: &Timestamp,
    members: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut out = format!(r#"{{"type":"{kind}","channel":"{channel}","data":{{"#).into_bytes();
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
    out.extend_from_slice(format!("{key}{value}").as_bytes());
}

fn wrap(encoding: Encoding, kind: &str, id: Option<(&str, u64)>, payload: &[u8]) -> Bytes {
    match encoding {
        Encoding::Json | Encoding::Batch => frame::text_frame(payload),
        Encoding::Text => Bytes::new(),
        Encoding::Events => {
            let mut out = Vec::with_capacity(payload.len() + 64);
            if let Some((epoch, seq)) = id {
                events::push_id(&mut out, epoch, seq);
            }
            events::push_event(&mut out, Some(kind), |out| out.extend_from_slice(payload));
            out.into()
        }
    }
}
