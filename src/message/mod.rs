//! What is published: messages, runs of lines, process events, actions, and the names they go by.
//!
//! Nothing here knows a socket or a frame.

mod action;
mod compact;
mod event;
mod kind;
mod lines;
mod name;
mod status;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

pub use action::{Action, ActionError, Actions, ProcessOrder};
use compact::compact;
pub use event::ProcessEvent;
pub use kind::MessageType;
pub use lines::Lines;
pub(crate) use name::ProcessChannelName;
pub use name::{ChannelName, NameError, ProcessId};
pub use status::{Status, StatusReport};

/// One message, before it is encoded. Its channel and its timestamp come from where it is published.
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
    kind: MessageType,
    channel: Option<ChannelName>,
    process_id: Option<ProcessId>,
    data: Data,
}

/// The `data` of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Data {
    /// None: the key is left out.
    #[default]
    None,
    /// A text, sent as a JSON string; what is not UTF-8 in it becomes U+FFFD.
    Text(Bytes),
    /// Valid JSON of any kind without whitespace between its tokens. No [`Message`] takes one from outside
    /// unchecked.
    Json(Bytes),
}

impl Message {
    /// A message of this type without data.
    pub fn new(kind: MessageType) -> Self {
        Self {
            kind,
            channel: None,
            process_id: None,
            data: Data::None,
        }
    }

    /// One line of a process.
    pub fn output(line: impl Into<Bytes>) -> Self {
        Self::new(MessageType::ProcessOutput).with_text(line)
    }

    /// A process started or ended. The exit code of a running process is 0, whatever is given.
    pub fn status(status: &Status, exit_code: i32) -> Self {
        #[derive(Serialize)]
        struct StatusData<'a> {
            status: &'a str,
            #[serde(rename = "exitCode")]
            exit_code: i32,
        }
        let exit_code = if status.is_running() { 0 } else { exit_code };
        Self::new(MessageType::ProcessStatus)
            .with_json(&StatusData {
                status: status.as_str(),
                exit_code,
            })
            .expect("a string and an integer serialise")
    }

    /// An event with its payload.
    ///
    /// # Errors
    /// If the payload does not serialise to JSON.
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

    /// An error text.
    pub fn error(text: impl Into<Bytes>) -> Self {
        Self::new(MessageType::Error).with_text(text)
    }

    /// The same message, said to be of this channel although it is sent elsewhere: to all clients, as a rule.
    #[must_use]
    pub fn in_channel(mut self, channel: ChannelName) -> Self {
        self.channel = Some(channel);
        self
    }

    /// The same message, said of this process.
    #[must_use]
    pub fn with_process(mut self, id: ProcessId) -> Self {
        self.process_id = Some(id);
        self
    }

    /// The same message with a text as its data.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<Bytes>) -> Self {
        self.data = Data::Text(text.into());
        self
    }

    /// The same message with a value as its data.
    ///
    /// # Errors
    /// If the value does not serialise to JSON.
    pub fn with_json(
        mut self,
        value: &(impl Serialize + ?Sized),
    ) -> Result<Self, serde_json::Error> {
        self.data = Data::Json(compact(serde_json::to_vec(value)?).into());
        Ok(self)
    }

    /// The same message with JSON as its data, sent as it is but for whitespace between tokens.
    #[must_use]
    pub fn with_raw_json(mut self, json: Box<RawValue>) -> Self {
        self.data = Data::Json(compact(String::from(Box::<str>::from(json)).into()).into());
        self
    }

    /// Its type.
    pub fn message_type(&self) -> &MessageType {
        &self.kind
    }

    /// The channel it says it is of, if that is not where it is published.
    pub fn channel(&self) -> Option<&ChannelName> {
        self.channel.as_ref()
    }

    /// The process it is about, if it names one itself.
    pub fn process_id(&self) -> Option<&ProcessId> {
        self.process_id.as_ref()
    }

    /// Its data.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Whether it may use the reserve of a client's queue: a status or an error must not be lost behind a
    /// flood of lines.
    pub fn is_reserved(&self) -> bool {
        matches!(self.kind, MessageType::ProcessStatus | MessageType::Error)
    }

    /// What it says about a process, if it is a `process_status` that says something.
    pub fn status_report(&self) -> Option<StatusReport> {
        match (&self.kind, &self.data) {
            (MessageType::ProcessStatus, Data::Json(json)) => StatusReport::read(json),
            _ => None,
        }
    }

    /// About how many bytes its type, process and data take when encoded, if nothing needs escaping.
    pub fn size_hint(&self) -> usize {
        let data = match &self.data {
            Data::None => 0,
            Data::Text(text) => text.len() + 2,
            Data::Json(json) => json.len(),
        };
        self.kind.as_str().len() + self.process_id.as_ref().map_or(0, |id| id.as_str().len()) + data
    }
}
