//! The reader of plain messages, on simd-json. Only this file uses it.
//!
//! It refuses some messages that Go's `encoding/json` reads: numbers beyond 64 bits, lone
//! surrogates, bytes that are no UTF-8, and more than 1,024 levels.

use std::borrow::Cow;

use simd_json::prelude::{TypedScalarValue, ValueAsScalar, ValueIntoString};
use simd_json::tape::{Tape, Value};

use super::json::JsonValue;

/// Parses a message, and overwrites it. Returns `None` if it is not JSON, or not plain.
///
/// A tape is flat, so neither building nor dropping it recurses.
pub(super) fn read(message: &mut [u8]) -> Option<Tape<'_>> {
    simd_json::to_tape(message).ok()
}

impl<'a> JsonValue<'a> for Value<'_, 'a> {
    fn is_null(&self) -> bool {
        TypedScalarValue::is_null(self)
    }

    fn as_bool(&self) -> Option<bool> {
        ValueAsScalar::as_bool(self)
    }

    fn as_u64(&self) -> Option<u64> {
        ValueAsScalar::as_u64(self)
    }

    fn into_text(self) -> Option<Cow<'a, str>> {
        self.into_string().map(Cow::Borrowed)
    }

    fn try_for_each_entry<E>(
        self,
        mut visit: impl FnMut(&str, Self) -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        let object = self.as_object()?;
        for (key, value) in &object {
            if let Err(error) = visit(key, value) {
                return Some(Err(error));
            }
        }
        Some(Ok(()))
    }
}
