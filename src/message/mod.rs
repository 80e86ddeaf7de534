//! The values that are published: messages, runs of lines, process events and actions, and the
//! names of channels and processes.
//!
//! This module does no I/O, and knows neither sockets nor frames.

mod action;
mod compact;
mod event;
mod line_ends;
mod lines;
mod message_type;
mod name;
mod status;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

pub use action::{Action, ActionError, Actions, ProcessOrder};
use compact::compact;
pub use event::ProcessEvent;
#[cfg(feature = "process")]
pub(crate) use line_ends::for_each_line;
pub use lines::{Lines, LinesIter, OutputStream};
pub use message_type::MessageType;
pub(crate) use name::ProcessChannelName;
pub use name::{ChannelName, NameError, ProcessId};
pub(crate) use status::LOST;
pub use status::{Status, StatusReport};

/// A message before it is encoded. The hub adds the channel that it is published to, and the
/// timestamp.
///
/// ```
/// use outrace::{Message, MessageType, ProcessId};
/// let message = Message::new(MessageType::from("deploy"))
///     .with_process(ProcessId::parse("web")?)
///     .with_json(&serde_json::json!({"revision": 7}))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    message_type: MessageType,
    channel: Option<ChannelName>,
    process_id: Option<ProcessId>,
    data: Data,
}

/// The `data` of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Data {
    /// No data. The key `data` is omitted.
    #[default]
    None,
    /// A text, sent as a JSON string. Invalid UTF-8 is replaced by U+FFFD.
    Text(Bytes),
    /// Any valid JSON value without whitespace between its tokens. A [`Message`] takes JSON only
    /// through methods that ensure both.
    Json(Bytes),
}

impl Message {
    /// Creates a message of this type without data.
    pub fn new(message_type: MessageType) -> Self {
        Self {
            message_type,
            channel: None,
            process_id: None,
            data: Data::None,
        }
    }

    /// Makes a message of parts that were taken from one.
    pub(crate) fn from_parts(
        message_type: MessageType,
        process_id: Option<ProcessId>,
        data: Data,
    ) -> Self {
        Self {
            message_type,
            channel: None,
            process_id,
            data,
        }
    }

    /// Creates a `process_output` message with one line, without its terminator.
    pub fn output(line: impl Into<Bytes>) -> Self {
        Self::new(MessageType::ProcessOutput).with_text(line)
    }

    /// Creates a `process_status` message. The exit code of a running process is sent as 0,
    /// whatever is given.
    pub fn status(status: &Status, exit_code: i32) -> Self {
        let report = StatusReport {
            status: status.clone(),
            code: if status.is_running() { 0 } else { exit_code },
        };
        Self::new(MessageType::ProcessStatus)
            .with_json(&report)
            .expect("a string and an integer serialize")
    }

    /// Creates an `event` message with a name and a payload.
    ///
    /// # Errors
    /// Returns serde_json's error when the payload does not serialize to JSON.
    pub fn event(
        name: &str,
        payload: &(impl Serialize + ?Sized),
    ) -> Result<Self, serde_json::Error> {
        #[derive(Serialize)]
        struct EventData<'a, T: ?Sized> {
            event: &'a str,
            data: &'a T,
        }
        Self::new(MessageType::Event).with_json(&EventData {
            event: name,
            data: payload,
        })
    }

    /// Creates an `error` message with a text.
    pub fn error(text: impl Into<Bytes>) -> Self {
        Self::new(MessageType::Error).with_text(text)
    }

    /// Sets the channel that the message names, in place of the one it is published to. This is for
    /// messages to all clients.
    #[must_use]
    pub fn in_channel(mut self, channel: ChannelName) -> Self {
        self.channel = Some(channel);
        self
    }

    /// Sets the process that the message names.
    #[must_use]
    pub fn with_process(mut self, id: ProcessId) -> Self {
        self.process_id = Some(id);
        self
    }

    /// Sets a text as the data.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<Bytes>) -> Self {
        self.data = Data::Text(text.into());
        self
    }

    /// Serializes a value as the data.
    ///
    /// # Errors
    /// Returns serde_json's error when the value does not serialize to JSON.
    pub fn with_json(
        mut self,
        value: &(impl Serialize + ?Sized),
    ) -> Result<Self, serde_json::Error> {
        self.data = Data::Json(compact(serde_json::to_vec(value)?).into());
        Ok(self)
    }

    /// Sets JSON as the data. It is sent unchanged except for whitespace between tokens, which is
    /// removed.
    #[must_use]
    pub fn with_raw_json(mut self, json: Box<RawValue>) -> Self {
        self.data = Data::Json(compact(String::from(Box::<str>::from(json)).into()).into());
        self
    }

    /// Returns the message's type.
    pub fn message_type(&self) -> &MessageType {
        &self.message_type
    }

    /// Returns the channel of [`in_channel`](Self::in_channel), if it was set.
    pub fn channel(&self) -> Option<&ChannelName> {
        self.channel.as_ref()
    }

    /// Returns the process of [`with_process`](Self::with_process), if it was set.
    pub fn process_id(&self) -> Option<&ProcessId> {
        self.process_id.as_ref()
    }

    /// Returns the message's data.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Whether the message may use the reserve of a client's queue. A status or an error may, so
    /// that a flood of lines does not displace it.
    pub fn is_reserved(&self) -> bool {
        matches!(
            self.message_type,
            MessageType::ProcessStatus | MessageType::Error
        )
    }

    /// Returns whether the message is a line of text.
    pub fn is_line(&self) -> bool {
        self.message_type == MessageType::ProcessOutput && matches!(self.data, Data::Text(_))
    }

    /// Parses the data of a `process_status` message. Returns `None` for any other type, and for
    /// data that is not a status.
    pub fn status_report(&self) -> Option<StatusReport> {
        match (&self.message_type, &self.data) {
            (MessageType::ProcessStatus, Data::Json(json)) => StatusReport::read(json),
            _ => None,
        }
    }

    /// Whether it is the status of a process that has ended.
    pub(crate) fn ends_process(&self) -> bool {
        self.status_report().is_some_and(|report| {
            matches!(
                report.status,
                Status::Exited | Status::Crashed | Status::Stopped
            )
        })
    }

    /// Estimates how many bytes the type, the process and the data take when encoded, if nothing
    /// needs escaping.
    pub fn size_hint(&self) -> usize {
        let data = match &self.data {
            Data::None => 0,
            Data::Text(text) => text.len() + 2,
            Data::Json(json) => json.len(),
        };
        let process = self.process_id.as_ref().map_or(0, |id| id.as_str().len());
        self.message_type.as_str().len() + process + data
    }
}
