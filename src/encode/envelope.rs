//! What all messages of one channel have in common, written once.

use super::escape::escape_into;
use crate::message::{ChannelName, Data, Message, MessageType};

const TYPE_KEY: &[u8] = br#"{"type":""#;
const CHANNEL_KEY: &[u8] = br#","channel":""#;
const PROCESS_KEY: &[u8] = br#","processId":""#;
const DATA_KEY: &[u8] = br#","data":"#;

/// The constant parts of a channel's messages. Build it once per channel.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The head of a line: `{"type":"process_output","channel":"C","processId":"P","data":"`.
    line_head: Box<[u8]>,
    /// `,"channel":"C"`, or nothing.
    channel: Box<[u8]>,
    /// `,"processId":"P"` of a process's channel, or nothing.
    process: Box<[u8]>,
}

impl Envelope {
    /// The envelope of a channel; without one, of messages to all. The `processId` is that of a `process:`
    /// channel; lines of any other channel have none.
    pub fn new(channel: Option<&ChannelName>) -> Self {
        // Names consist of bytes that JSON need not escape.
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

    #[inline]
    pub(super) fn line_head(&self) -> &[u8] {
        &self.line_head
    }

    /// How long a message's payload is before its timestamp, if nothing in it needs escaping.
    pub(super) fn clean_len(&self, message: &Message) -> usize {
        let process = match message.process_id() {
            Some(id) => PROCESS_KEY.len() + id.as_str().len() + 1,
            None if is_of_a_process(message) => self.process.len(),
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
        TYPE_KEY.len() + message.kind().as_str().len() + 1 + channel + process + data
    }

    /// Appends a message up to its timestamp.
    pub(super) fn push_message(&self, out: &mut Vec<u8>, message: &Message) {
        out.extend_from_slice(TYPE_KEY);
        match message.kind() {
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
        } else if is_of_a_process(message) {
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
    }
}

/// Whether the process of a message that names none is its channel's.
fn is_of_a_process(message: &Message) -> bool {
    matches!(message.kind(), MessageType::ProcessOutput | MessageType::ProcessStatus)
}
