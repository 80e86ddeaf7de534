//! The removal of whitespace from valid JSON.

/// Removes the whitespace between the tokens of valid JSON. Linear and in place; compact JSON is
/// only read.
///
/// A message is one line. A newline between tokens is legal JSON, but would break a reader of
/// lines.
pub(super) fn compact(mut json: Vec<u8>) -> Vec<u8> {
    let mut kept = 0;
    let mut in_string = false;
    let mut escaped = false;
    for at in 0..json.len() {
        let byte = json[at];
        if in_string {
            if escaped {
                escaped = false;
            } else if byte == b'\\' {
                escaped = true;
            } else if byte == b'"' {
                in_string = false;
            }
        } else if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            continue;
        } else if byte == b'"' {
            in_string = true;
        }
        if kept != at {
            json[kept] = byte;
        }
        kept += 1;
    }
    json.truncate(kept);
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn strings_keep_their_whitespace_and_numbers_their_digits() {
        let text = b" { \"a \\\" b\" :\n[ 1.50 ,\t-0 , \"\\\\\" , \" \" ] } \r\n".to_vec();
        assert_eq!(compact(text), br#"{"a \" b":[1.50,-0,"\\"," "]}"#);
    }

    proptest! {
        #[test]
        fn pretty_json_becomes_what_compact_json_is(
            keys in prop::collection::vec(".{0,6}", 0..4),
            text in ".{0,20}",
            number: i64,
        ) {
            let value: Value = keys
                .iter()
                .map(|key| (key.clone(), json!([text, number, {"k": key}])))
                .collect::<serde_json::Map<_, _>>()
                .into();
            let pretty = serde_json::to_vec_pretty(&value).unwrap();
            prop_assert_eq!(compact(pretty), serde_json::to_vec(&value).unwrap());
        }
    }
}
