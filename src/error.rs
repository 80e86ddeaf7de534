//! The error for a setting. The errors of names, actions and processes are in their modules.

/// The error for a setting of [`HubBuilder`](crate::HubBuilder) or of the server that cannot be
/// used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The value is out of the setting's range.
    #[error("{setting} is {value}{unit}, but has to be between {min} and {max}{unit}")]
    #[non_exhaustive]
    OutOfRange {
        /// The name of the setter, such as `queue`.
        setting: &'static str,
        /// The value that was set.
        value: String,
        /// The smallest value that is allowed.
        min: String,
        /// The largest value that is allowed.
        max: String,
        /// What the values count, after a space, such as ` bytes`. It is empty for a duration,
        /// whose text has a unit.
        unit: &'static str,
    },
    /// The name cannot be a subprotocol.
    #[error(
        "{0:?} cannot be a subprotocol: it is no token of HTTP, or it begins with outrace.token."
    )]
    Subprotocol(String),
}
