//! The envelope that all messages of a server share.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A message of the server. Its `data` is parsed when the type is known.
#[derive(Deserialize)]
pub(crate) struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    pub(crate) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) channel: Option<Cow<'a, str>>,
    #[cfg(feature = "relay")]
    #[serde(rename = "processId", borrow, default)]
    pub(crate) process_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) timestamp: Option<Cow<'a, str>>,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(borrow, default)]
    pub(crate) stream: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(crate) continued: bool,
    #[serde(default)]
    pub(crate) past: bool,
}

impl<'a> Envelope<'a> {
    /// Parses a message. Returns `None` if it is not one.
    pub(crate) fn parse(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// Returns the number of the message, or of the first of a run, if the server tells it.
    pub(crate) fn seq(&self) -> Option<u64> {
        self.seq.filter(|&seq| seq >= 1)
    }
}
