//! The ways a run of messages can be written.

/// How a subscription wants its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    not(feature = "server"),
    allow(dead_code, reason = "only HTTP streams want text or events")
)]
pub enum Encoding {
    /// One WebSocket frame of JSON per message: [`FramesBuilder`](super::FramesBuilder).
    Json,
    /// The same, but runs of lines share a frame: [`BatchBuilder`](super::BatchBuilder).
    Batch,
    /// The lines alone, for plain HTTP: [`TextBuilder`](super::TextBuilder).
    Text,
    /// Server-Sent Events: [`EventsBuilder`](super::EventsBuilder).
    Events,
}
