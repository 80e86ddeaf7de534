//! Names within messages.

use super::super::fields::{Fields, Malformed, put_bytes};
use super::super::names::NodeId;
use crate::message::ChannelName;

pub(super) fn put_channel(out: &mut Vec<u8>, channel: &ChannelName) {
    put_bytes(out, channel.as_str().as_bytes());
}

pub(super) fn channel(fields: &mut Fields<'_>) -> Result<ChannelName, Malformed> {
    ChannelName::parse(fields.text()?).map_err(|_| Malformed)
}

/// Appends the id of a node, or an empty text for none.
pub(super) fn put_node(out: &mut Vec<u8>, node: Option<&NodeId>) {
    put_bytes(out, node.map_or(b"", |node| node.as_str().as_bytes()));
}

/// Reads the id of a node. `None` for an empty text.
pub(super) fn node(fields: &mut Fields<'_>) -> Result<Option<NodeId>, Malformed> {
    let text = fields.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    NodeId::parse(text).map(Some).map_err(|_| Malformed)
}

/// Appends a list of names.
pub(super) fn put_channels(out: &mut Vec<u8>, channels: &[ChannelName]) {
    super::put_number(out, channels.len() as u64);
    for channel in channels {
        put_channel(out, channel);
    }
}

/// Splits a list into chunks, each of which takes at most 64 KiB. `bytes` returns what an entry
/// takes at most.
pub(super) fn chunks<T>(entries: Vec<T>, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut chunks = Vec::new();
    let mut open = Vec::new();
    let mut used = 0;
    for entry in entries {
        let bytes = bytes(&entry);
        if used + bytes > super::MAX_LIST_BYTES && !open.is_empty() {
            chunks.push(std::mem::take(&mut open));
            used = 0;
        }
        used += bytes;
        open.push(entry);
    }
    if !open.is_empty() {
        chunks.push(open);
    }
    chunks
}
