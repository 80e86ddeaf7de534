//! The encodings of a run of messages.

/// The encoding of a subscription's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// One WebSocket frame of JSON per message: [`FramesBuilder`](super::FramesBuilder).
    Json,
    /// The same, except that runs of lines share a frame: [`BatchBuilder`](super::BatchBuilder).
    Batch,
    /// As `Json`, with the number of each message and what is known of its line:
    /// [`DetailBuilder`](super::DetailBuilder).
    Detail,
    /// As `Batch`, with the same detail.
    DetailBatch,
    /// Only the lines, as text for plain HTTP: [`TextBuilder`](super::TextBuilder).
    Text,
    /// Server-Sent Events, for plain HTTP: [`EventsBuilder`](super::EventsBuilder).
    Events,
    /// For a receiver in the same process: [`LocalBuilder`](super::LocalBuilder).
    Local,
}

impl Encoding {
    /// Returns the encoding of a WebSocket subscription with these options.
    pub fn of_web_socket(batch: bool, detail: bool) -> Self {
        match (batch, detail) {
            (false, false) => Self::Json,
            (true, false) => Self::Batch,
            (false, true) => Self::Detail,
            (true, true) => Self::DetailBatch,
        }
    }
}
