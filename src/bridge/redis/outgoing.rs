//! From local messages to payloads for Redis.

use std::sync::Arc;

use bytes::Bytes;

use super::names::Names;
use super::{MAX_PAYLOAD, Port};
use crate::bridge::{BridgeDrop, Pending, Published};
use crate::encode::{Envelope, Timestamp, escaped_prefix};
use crate::message::{Data, Message, MessageType};

/// The most bytes that a byte of a line becomes.
const MAX_ESCAPED_BYTES: usize = 6;
/// A batch with this many bytes takes no more.
const ENOUGH_BYTES: usize = 256 * 1024;
/// The most messages that are encoded before the size of a batch is looked at.
const MESSAGES_AT_ONCE: usize = 16;

/// Payloads that are sent together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The Redis channel and the body of each.
    pub(super) payloads: Vec<(Arc<str>, Vec<u8>)>,
    bytes: usize,
    /// A shutdown waits for the batch.
    pending: Vec<Pending>,
}

/// Encodes what was published locally, when there is a connection to send it to.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    names: &'a Names,
    encoder: Encoder,
    /// The messages that are encoded next.
    hand: Option<Published>,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(source_id: &str, names: &'a Names) -> Self {
        Self {
            names,
            encoder: Encoder::new(source_id),
            hand: None,
        }
    }

    /// Returns how every payload of this node begins.
    pub(super) fn head(&self) -> &[u8] {
        &self.encoder.head
    }

    /// Waits for messages, and encodes some of them. The batch is not empty.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn batch(&mut self, port: &Port) -> Batch {
        loop {
            if self.hand.is_none() {
                self.hand = Some(port.published().await);
            }
            let batch = self.encode(port);
            if !batch.payloads.is_empty() {
                return batch;
            }
        }
    }

    fn encode(&mut self, port: &Port) -> Batch {
        let mut batch = Batch::default();
        while batch.bytes < ENOUGH_BYTES
            && let Some(published) = &mut self.hand
        {
            let redis_channel: Arc<str> = self.names.redis_channel(published.channel()).into();
            let timestamp = published.sealed_at();
            batch.pending.push(published.pending().clone());
            let mut has_more = true;
            while has_more && batch.bytes < ENOUGH_BYTES {
                has_more = published.take(MESSAGES_AT_ONCE, |message| {
                    let encoded = self.encoder.encode(message, &timestamp, |body| {
                        batch.bytes += body.len();
                        batch.payloads.push((redis_channel.clone(), body));
                    });
                    if encoded == Err(TooLong) {
                        port.count_dropped(BridgeDrop::ExportTooLong, 1);
                    }
                });
            }
            if !has_more {
                self.hand = port.try_published();
            }
        }
        batch
    }
}

/// The error for a message that is too long and cannot be cut.
#[derive(Debug, PartialEq, Eq)]
struct TooLong;

/// Encodes messages as go-ws does.
#[derive(Debug)]
struct Encoder {
    /// `{"sourceId":"…","message":`.
    head: Vec<u8>,
    envelope: Envelope,
}

impl Encoder {
    fn new(source_id: &str) -> Self {
        Self {
            head: format!(r#"{{"sourceId":"{source_id}","message":"#).into_bytes(),
            // Redis names the channel.
            envelope: Envelope::new(None),
        }
    }

    /// Encodes one message, and passes each payload to `take`: a line that is too long makes
    /// several.
    ///
    /// # Errors
    /// [`TooLong`] for any other message that is too long.
    fn encode(
        &self,
        message: Message,
        timestamp: &Timestamp,
        mut take: impl FnMut(Vec<u8>),
    ) -> Result<(), TooLong> {
        let payload = self.payload(&message, timestamp);
        if payload.len() <= MAX_PAYLOAD {
            take(payload);
            return Ok(());
        }
        let mut text = line(&message).ok_or(TooLong)?;
        let empty = message.with_text(Bytes::new());
        let room = MAX_PAYLOAD
            .checked_sub(self.payload(&empty, timestamp).len())
            .filter(|&room| room >= MAX_ESCAPED_BYTES)
            .ok_or(TooLong)?;
        while !text.is_empty() {
            let piece = text.split_to(escaped_prefix(&text, room).max(1));
            take(self.payload(&empty.clone().with_text(piece), timestamp));
        }
        Ok(())
    }

    fn payload(&self, message: &Message, timestamp: &Timestamp) -> Vec<u8> {
        let mut body = self.head.clone();
        body.extend_from_slice(&self.envelope.payload(message, timestamp));
        body.push(b'}');
        body
    }
}

/// Returns the text of a line, which can be cut.
fn line(message: &Message) -> Option<Bytes> {
    match (message.message_type(), message.data()) {
        (MessageType::ProcessOutput, Data::Text(text)) => Some(text.clone()),
        // A line that came as JSON, as in an action.
        (MessageType::ProcessOutput, Data::Json(json)) => {
            serde_json::from_slice::<String>(json).ok().map(Bytes::from)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::message::{ChannelName, ProcessId};

    fn encode(message: Message) -> Result<Vec<String>, TooLong> {
        let mut payloads = Vec::new();
        let at = Timestamp::from_unix_millis(1_771_495_200_123);
        Encoder::new("me").encode(message, &at, |body| {
            payloads.push(String::from_utf8(body).unwrap());
        })?;
        Ok(payloads)
    }

    #[test]
    fn a_message_has_the_shape_of_go_ws() {
        let web = ProcessId::parse("web").unwrap();
        let line = Message::output("the line").with_process(web);
        assert_eq!(
            encode(line).unwrap(),
            [
                r#"{"sourceId":"me","message":{"type":"process_output","processId":"web","data":"the line","timestamp":"2026-02-19T10:00:00.123Z"}}"#
            ]
        );
        let named = Message::error("no").in_channel(ChannelName::parse("c").unwrap());
        assert_eq!(
            encode(named).unwrap(),
            [
                r#"{"sourceId":"me","message":{"type":"error","channel":"c","data":"no","timestamp":"2026-02-19T10:00:00.123Z"}}"#
            ]
        );
    }

    #[test]
    fn what_is_too_long_and_no_line_is_refused() {
        assert_eq!(encode(Message::error("x".repeat(65_536))), Err(TooLong));
        let event = Message::event("e", &"\0".repeat(11_000)).unwrap();
        assert_eq!(encode(event), Err(TooLong));
    }

    proptest! {
        #[test]
        fn every_piece_of_a_long_line_fits_and_together_they_are_the_line(
            pattern in prop::collection::vec(any::<u8>(), 1..9),
            len in 0usize..150_000,
        ) {
            let line: Vec<u8> = pattern.iter().copied().cycle().take(len).collect();
            let mut joined = String::new();
            for payload in encode(Message::output(line.clone())).unwrap() {
                prop_assert!(payload.len() <= MAX_PAYLOAD);
                let read: Value = serde_json::from_str(&payload).unwrap();
                joined += read["message"]["data"].as_str().unwrap();
            }
            prop_assert_eq!(joined, String::from_utf8_lossy(&line));
        }

        #[test]
        fn a_line_that_fits_exactly_is_not_cut(over in 0usize..3) {
            let whole = encode(Message::output("")).unwrap()[0].len();
            let line = "x".repeat(MAX_PAYLOAD - whole + over);
            let payloads = encode(Message::output(line)).unwrap();
            prop_assert_eq!(payloads.len(), 1 + usize::from(over > 0));
        }
    }
}
