//! The constant parts of a channel's messages, encoded once.

use super::detail::MAX_DETAIL;
use super::escape::escape_into;
use super::{Timestamp, batch};
use crate::message::{ChannelName, Data, Message, MessageType};

const TYPE_KEY: &[u8] = br#"{"type":""#;
const PARTIAL_HEAD: &[u8] = br#"{"type":"process_partial""#;
const BATCH_HEAD: &[u8] = br#"{"type":"process_output_batch""#;
const CHANNEL_KEY: &[u8] = br#","channel":""#;
const PROCESS_KEY: &[u8] = br#","processId":""#;
const DATA_KEY: &[u8] = br#","data":"#;

/// The constant parts of a channel's messages. One is built for each channel.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The head of a line: `{"type":"process_output","channel":"C","processId":"P","data":"`.
    line_head: Box<[u8]>,
    /// `,"channel":"C"`, or empty.
    channel: Box<[u8]>,
    /// `,"processId":"P"` for the channel of a process, otherwise empty.
    process: Box<[u8]>,
}

impl Envelope {
    /// Creates the envelope of a channel, or with `None` that of messages to all clients.
    ///
    /// The lines of a `process:` channel have its `processId`; those of other channels have none.
    pub fn new(channel: Option<&ChannelName>) -> Self {
        // Names consist of bytes that need no escaping in JSON.
        let process = channel
            .and_then(ChannelName::process_id)
            .map_or_else(String::new, |id| format!(r#","processId":"{id}""#));
        let channel = channel.map_or_else(String::new, |name| format!(r#","channel":"{name}""#));
        let line_head = format!(r#"{{"type":"process_output"{channel}{process},"data":""#);
        Self {
            line_head: line_head.into_bytes().into(),
            channel: channel.into_bytes().into(),
            process: process.into_bytes().into(),
        }
    }

    /// Returns the length of a line's payload, if nothing in it needs escaping.
    #[inline]
    pub(super) fn clean_line_len(&self, line: &[u8], timestamp: &Timestamp) -> usize {
        // The 1 is the quote that ends the line.
        self.line_head.len() + line.len() + 1 + timestamp.tail().len()
    }

    /// Appends a line's payload: a complete `process_output` message.
    #[inline(always)]
    pub(super) fn push_line(&self, out: &mut Vec<u8>, line: &[u8], timestamp: &Timestamp) {
        out.extend_from_slice(&self.line_head);
        escape_into(out, line);
        out.push(b'"');
        out.extend_from_slice(timestamp.tail());
    }

    /// Appends a batch's payload up to, and without, the quote of its first line.
    pub(super) fn push_batch_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(BATCH_HEAD);
        out.extend_from_slice(&self.channel);
        out.extend_from_slice(&self.process);
        out.extend_from_slice(DATA_KEY);
        out.push(b'[');
    }

    /// Returns the number of bytes that [`push_batch_head`](Self::push_batch_head) appends.
    pub(super) fn batch_head_len(&self) -> usize {
        BATCH_HEAD.len() + self.channel.len() + self.process.len() + DATA_KEY.len() + 1
    }

    /// Appends the payload of an unfinished line up to its text.
    pub(super) fn push_partial_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(PARTIAL_HEAD);
        out.extend_from_slice(&self.channel);
        out.extend_from_slice(&self.process);
        out.extend_from_slice(DATA_KEY);
        out.push(b'"');
    }

    /// Returns the most bytes that a message with one line takes beyond its escaped text, in any
    /// encoding for WebSockets.
    pub fn max_line_overhead(&self) -> usize {
        // The head of a batch is the longest. The 2 are the quotes.
        self.batch_head_len() + 2 + batch::MAX_CLOSING + MAX_DETAIL
    }

    /// Returns the length of a message's payload with its number, in bytes. Linear in the message.
    pub fn message_len(&self, message: &Message) -> usize {
        let mut payload = Vec::with_capacity(message.size_hint());
        self.push_message(&mut payload, message, &Timestamp::from_unix_millis(0));
        payload.len() + MAX_DETAIL
    }

    /// Returns a message's payload.
    #[cfg(feature = "redis")]
    pub fn payload(&self, message: &Message, timestamp: &Timestamp) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.clean_len(message, timestamp));
        self.push_message(&mut payload, message, timestamp);
        payload
    }

    /// Returns the length of a message's payload, if nothing in it needs escaping.
    pub(super) fn clean_len(&self, message: &Message, timestamp: &Timestamp) -> usize {
        let process = match message.process_id() {
            Some(id) => PROCESS_KEY.len() + id.as_str().len() + 1,
            None if inherits_process(message) => self.process.len(),
            None => 0,
        };
        let data = match message.data() {
            Data::None => 0,
            Data::Text(text) => DATA_KEY.len() + text.len() + 2,
            Data::Json(json) => DATA_KEY.len() + json.len(),
        };
        let channel = match message.channel() {
            Some(name) => CHANNEL_KEY.len() + name.as_str().len() + 1,
            None => self.channel.len(),
        };
        TYPE_KEY.len()
            + message.message_type().as_str().len()
            + 1
            + channel
            + process
            + data
            + timestamp.tail().len()
    }

    /// Appends a message's payload.
    pub(super) fn push_message(&self, out: &mut Vec<u8>, message: &Message, timestamp: &Timestamp) {
        out.extend_from_slice(TYPE_KEY);
        match message.message_type() {
            MessageType::Other(name) => escape_into(out, name.as_bytes()),
            known => out.extend_from_slice(known.as_str().as_bytes()),
        }
        out.push(b'"');
        match message.channel() {
            Some(name) => {
                out.extend_from_slice(CHANNEL_KEY);
                out.extend_from_slice(name.as_str().as_bytes());
                out.push(b'"');
            }
            None => out.extend_from_slice(&self.channel),
        }
        if let Some(id) = message.process_id() {
            out.extend_from_slice(PROCESS_KEY);
            out.extend_from_slice(id.as_str().as_bytes());
            out.push(b'"');
        } else if inherits_process(message) {
            out.extend_from_slice(&self.process);
        }
        match message.data() {
            Data::None => {}
            Data::Text(text) => {
                out.extend_from_slice(DATA_KEY);
                out.push(b'"');
                escape_into(out, text);
                out.push(b'"');
            }
            Data::Json(json) => {
                out.extend_from_slice(DATA_KEY);
                out.extend_from_slice(json);
            }
        }
        out.extend_from_slice(timestamp.tail());
    }
}

/// Whether a message without a process of its own has that of its channel.
fn inherits_process(message: &Message) -> bool {
    matches!(
        message.message_type(),
        MessageType::ProcessOutput | MessageType::ProcessStatus
    )
}
