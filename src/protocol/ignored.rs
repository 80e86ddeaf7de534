//! The reasons why a message of a client was ignored.

/// The reason why a message was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// The message is not JSON, or is nested deeper than 10,000 levels.
    BadJson,
    /// The message is JSON, but not an object.
    NotAnObject,
    /// The `type` is missing, or not one that clients send.
    UnknownType,
    /// The `type` or the `channel` is not a string.
    WrongFieldType,
    /// A `subscribe` or an `unsubscribe` names no channel.
    MissingChannel,
}

impl Ignored {
    /// Returns the reason's name for counters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::NotAnObject => "not_an_object",
            Self::UnknownType => "unknown_type",
            Self::WrongFieldType => "wrong_field_type",
            Self::MissingChannel => "missing_channel",
        }
    }
}
