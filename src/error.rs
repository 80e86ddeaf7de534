//! The errors of the engine. Names, actions and processes have theirs beside them.

/// A setting of [`HubBuilder`](crate::HubBuilder) is out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value below the least or above the most that makes sense.
    #[error("{setting} is {value}, but has to be between {least} and {most}")]
    OutOfRange {
        /// The setting's name, as the builder's method.
        setting: &'static str,
        /// What was asked for.
        value: String,
        /// The least allowed.
        least: String,
        /// The most allowed.
        most: String,
    },
}
