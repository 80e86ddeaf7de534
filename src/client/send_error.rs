//! The reasons why a watcher sends no message.

/// The reason why [`Watcher::send`](super::Watcher::send) did not accept a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no connection.
    #[error("there is no connection")]
    NotConnected,
    /// 4,096 messages wait to be sent. They are sent while events are asked for.
    #[error("as many messages wait to be sent as may")]
    Full,
    /// The message cannot be serialized.
    #[error("the message cannot be serialized")]
    Serialize(#[source] serde_json::Error),
}
