//! The fields of a record or a span.

use std::fmt::Write;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// Names and values, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fields(Vec<(&'static str, Value)>);

#[cfg_attr(
    not(feature = "tracing"),
    allow(dead_code, reason = "only records of tracing have fields")
)]
impl Fields {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets a field. A field that has a value already gets another one.
    pub(crate) fn set(&mut self, name: &'static str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }

    /// Sets all fields of another list.
    pub(crate) fn extend(&mut self, others: Self) {
        for (name, value) in others.0 {
            self.set(name, value);
        }
    }

    /// Takes a text field off.
    pub(crate) fn take_text(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|(known, _)| *known == name)?;
        match self.0.remove(index).1 {
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        }
    }

    /// Appends `name=value`, with a space between two of them.
    pub(crate) fn push_text(&self, out: &mut String) {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            // Writing to a string does not fail.
            let _ = match value {
                Value::String(text) => write!(out, "{space}{name}={text:?}"),
                value => write!(out, "{space}{name}={value}"),
            };
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
