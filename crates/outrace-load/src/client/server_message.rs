//! The messages of a server that are not lines. They are rare.

use super::ledger::{GapNotice, Ledger, SubscribedReply};
use super::ledger_fault::LedgerFault;
use memchr::memmem;
use serde::Deserialize;

/// The type of a message, as far as a client cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageType {
    Pong,
    Subscribed,
    Gap,
    ProcessStatus,
    ProcessOutput,
    Error,
    Other,
}

impl MessageType {
    /// Finds the type of a message without parsing it.
    pub(super) fn of(payload: &[u8]) -> MessageType {
        let Some(at) = memmem::find(payload, b"\"type\":\"") else {
            return MessageType::Other;
        };
        let rest = &payload[at + 8..];
        let name = rest.split(|byte| *byte == b'"').next().unwrap_or_default();
        match name {
            b"pong" => MessageType::Pong,
            b"subscribed" => MessageType::Subscribed,
            b"gap" => MessageType::Gap,
            b"process_status" => MessageType::ProcessStatus,
            b"process_output" => MessageType::ProcessOutput,
            b"error" => MessageType::Error,
            _ => MessageType::Other,
        }
    }
}

/// A message that a ledger accepts.
#[derive(Deserialize)]
pub(super) struct Announcement {
    pub(super) channel: String,
    data: serde_json::Value,
}

/// The reason why an announcement is a fault.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnnouncementFault {
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("never subscribed to {0}")]
    Channel(String),
    #[error("never asked for it")]
    NotRequested,
    #[error(transparent)]
    Ledger(#[from] LedgerFault),
}

impl Announcement {
    pub(super) fn parse(payload: &[u8]) -> Result<Announcement, AnnouncementFault> {
        Ok(serde_json::from_slice(payload)?)
    }

    /// Passes the announcement to the ledger of its channel. Returns the lines that it announces as
    /// missing.
    ///
    /// `published` lines are known to have been published before the client subscribed.
    pub(super) fn apply(
        self,
        message_type: MessageType,
        is_last: bool,
        ledger: &mut Ledger,
        published: u64,
    ) -> Result<u64, AnnouncementFault> {
        match message_type {
            MessageType::Subscribed => {
                let reply: SubscribedReply = serde_json::from_value(self.data)?;
                Ok(ledger.subscribe(&reply, published)?)
            }
            MessageType::Gap => {
                let gap: GapNotice = serde_json::from_value(self.data)?;
                Ok(ledger.gap(gap)?)
            }
            _ if is_last => {
                ledger.end();
                Ok(0)
            }
            _ => {
                ledger.status()?;
                Ok(0)
            }
        }
    }
}

/// Returns whether a status is the last one of a process.
pub(super) fn is_last_status(payload: &[u8]) -> bool {
    [&b"exited"[..], b"crashed", b"stopped"]
        .iter()
        .any(|status| memmem::find(payload, status).is_some())
}

/// Returns the beginning of a message for a fault.
pub(super) fn excerpt(payload: &[u8]) -> String {
    const MAX_BYTES: usize = 200;
    String::from_utf8_lossy(&payload[..payload.len().min(MAX_BYTES)]).into_owned()
}
