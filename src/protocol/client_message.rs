//! A message of a client, as the application sees it.

/// A complete message of a client as received, for
/// [`HubBuilder::on_message`](crate::HubBuilder::on_message).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientMessage<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

impl<'a> ClientMessage<'a> {
    /// Returns the message's bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}
