//! The reader of what the fast one refuses: all that Go's `encoding/json` accepts.
//!
//! It works on the text of each value and reads only what is asked for, so a number of any size and
//! a lone surrogate pass where nobody looks at them. Its cost is linear, since the rules look at
//! three levels of a message at most.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json::JsonValue;

/// The maximum number of levels, as in Go.
const MAX_DEPTH: usize = 10_000;

/// The text of one JSON value, which is known to be valid.
#[derive(Clone, Copy)]
pub(super) struct RawJson<'a>(&'a str);

/// Checks that a message is one JSON value of at most [`MAX_DEPTH`] levels.
pub(super) fn read(message: &str) -> Option<RawJson<'_>> {
    // serde_json skips a value without recursion.
    let value: &RawValue = serde_json::from_str(message).ok()?;
    (depth(value.get()) <= MAX_DEPTH).then_some(RawJson(value.get()))
}

/// Returns the number of levels of a valid JSON value.
fn depth(json: &str) -> usize {
    let (mut depth, mut max_depth) = (0, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                max_depth = max_depth.max(depth);
            }
            b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    max_depth
}

impl<'a> JsonValue<'a> for RawJson<'a> {
    fn is_null(&self) -> bool {
        self.0 == "null"
    }

    fn as_bool(&self) -> Option<bool> {
        self.0.parse().ok()
    }

    fn as_u64(&self) -> Option<u64> {
        match self.0 {
            "-0" => Some(0),
            text => text.parse().ok(),
        }
    }

    fn into_text(self) -> Option<Cow<'a, str>> {
        self.0.starts_with('"').then(|| unquote(self.0)).flatten()
    }

    fn try_for_each_entry<E>(
        self,
        visit: impl FnMut(&str, Self) -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        if !self.0.starts_with('{') {
            return None;
        }
        serde_json::Deserializer::from_str(self.0)
            .deserialize_map(Entries(visit))
            .ok()
    }
}

/// Returns the text of a JSON string.
fn unquote(json: &str) -> Option<Cow<'_, str>> {
    serde_json::Deserializer::from_str(json)
        .deserialize_bytes(Text)
        .ok()
}

/// Takes the text of a string. serde_json gives a string as bytes when it may hold lone surrogates.
struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E: de::Error>(self, text: &'de [u8]) -> Result<Self::Value, E> {
        Ok(replace_surrogates(text))
    }

    fn visit_bytes<E: de::Error>(self, text: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(replace_surrogates(text).into_owned()))
    }
}

/// Replaces each lone surrogate by U+FFFD. In text with surrogates nothing else is invalid, and
/// each of them is three bytes that begin with 0xED.
fn replace_surrogates(text: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(text) {
        return Cow::Borrowed(text);
    }
    let mut replaced = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        replaced.push_str(chunk.valid());
        if chunk.invalid().starts_with(&[0xed]) {
            replaced.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Cow::Owned(replaced)
}

/// Visits the entries of an object until a visit fails.
struct Entries<F>(F);

impl<'de, E, F: FnMut(&str, RawJson<'de>) -> Result<(), E>> Visitor<'de> for Entries<F> {
    type Value = Result<(), E>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut visited = Ok(());
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let key = unquote(key.get()).ok_or_else(|| de::Error::custom("no key"))?;
            if visited.is_ok() {
                visited = (self.0)(&key, RawJson(value.get()));
            }
        }
        Ok(visited)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, fast};
    use super::*;
    use proptest::prelude::*;

    /// JSON that both readers accept, often with the keys of a command.
    fn json() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let key = prop_oneof![
            prop::sample::select(vec![
                "type", "Type", "channel", "CHANNEL", "data", "options", "gaps", "tail", "batch",
                "detail", "partial", "since", "range", "epoch", "seq", "from", "to",
            ])
            .prop_map(str::to_owned),
            any::<String>(),
        ];
        let text = prop_oneof![
            prop::sample::select(vec!["subscribe", "unsubscribe", "ping", "process:a", ""])
                .prop_map(str::to_owned),
            any::<String>(),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9).prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..8).prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #[test]
        fn both_readers_read_the_same(json in json()) {
            let text = json.to_string();
            let mut scratch = text.clone().into_bytes();
            let tape = fast::read(&mut scratch).expect("both accept it");
            let by_the_fast_one = Command::interpret(tape.as_value());
            let value = read(&text).expect("both accept it");
            prop_assert_eq!(Command::interpret(value), by_the_fast_one);
        }
    }

    #[test]
    fn the_depth_is_that_of_brackets_outside_of_strings() {
        for (json, levels) in [
            ("7", 0),
            ("[]", 1),
            (r#"{"[[[":"\"[\\"}"#, 1),
            (r#"[{"a":[]},[],[[1]]]"#, 3),
        ] {
            assert_eq!(depth(json), levels, "{json}");
        }
    }
}
