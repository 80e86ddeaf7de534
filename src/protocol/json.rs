//! A JSON value as the rules of the commands see it.

use std::borrow::Cow;

/// A value of a message. `'a` is the lifetime of its texts.
pub(super) trait JsonValue<'a>: Sized {
    /// Returns whether the value is `null`.
    fn is_null(&self) -> bool;

    /// Returns the value if it is a boolean.
    fn as_bool(&self) -> Option<bool>;

    /// Returns the value if it is a whole number, written as one, that fits.
    fn as_u64(&self) -> Option<u64>;

    /// Returns the text of a string. A lone surrogate in it is U+FFFD.
    fn into_text(self) -> Option<Cow<'a, str>>;

    /// Calls `visit` with each key and value of an object, in order and with duplicates, until it
    /// fails. Returns `None` if the value is not an object.
    fn try_for_each_entry<E>(
        self,
        visit: impl FnMut(&str, Self) -> Result<(), E>,
    ) -> Option<Result<(), E>>;
}
