//! The command parser never panics, and reads what a plain reading of the same rules with serde_json reads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrace::internals::{
    ClientCommand as Command, Ignored, InvalidOptions, Range, Since, SubscribeOptions, parse,
};
use serde_json::Value;

/// The command with owned texts.
#[derive(Debug, PartialEq)]
enum Read {
    Subscribe(String, Result<Option<SubscribeOptions>, InvalidOptions>),
    Unsubscribe(String),
    Ping,
}

fuzz_target!(|message: &[u8]| {
    let mut bytes = message.to_vec();
    let read = parse(&mut bytes).map(|command| match command {
        Command::Subscribe { channel, options } => Read::Subscribe(channel.to_owned(), options),
        Command::Unsubscribe { channel } => Read::Unsubscribe(channel.to_owned()),
        Command::Ping => Read::Ping,
    });
    match serde_json::from_slice::<Value>(message) {
        // Of a key given twice `Value` only has the last, where the parser also checks the type of the first. It takes -0 for a float, where the parser
        // takes it for the number it is.
        Ok(value)
            if !has_key_twice(message, &value) && !message.windows(2).any(|pair| pair == b"-0") =>
        {
            // The parsers differ in which numbers they can hold and in how they take lone surrogates; whatever
            // serde_json reads, the parser may only refuse as bad JSON.
            if read != Err(Ignored::BadJson) || is_plain(message) {
                assert_eq!(read, naive(&value));
            }
        }
        Ok(_) => {}
        Err(_) if is_plain(message) => assert_eq!(read, Err(Ignored::BadJson)),
        Err(_) => {}
    }
});

/// No numbers that a parser may find too large, no escaped surrogates, no nesting that a parser may find too deep.
fn is_plain(message: &[u8]) -> bool {
    let digits = message.iter().filter(|byte| byte.is_ascii_digit()).count();
    let opened = message
        .iter()
        .filter(|byte| matches!(byte, b'[' | b'{'))
        .count();
    digits < 16
        && opened < 100
        && !message
            .windows(2)
            .any(|pair| pair == b"\\u" || matches!(pair, [b'0'..=b'9', b'e' | b'E']))
}

/// Whether a key of the message, its options, its `since` or its `range` may stand there twice: judged by the count of colons
/// outside of what `Value` kept, without parsing again.
fn has_key_twice(message: &[u8], value: &Value) -> bool {
    fn keys(value: &Value) -> usize {
        match value {
            Value::Array(items) => items.iter().map(keys).sum(),
            Value::Object(map) => map.len() + map.values().map(keys).sum::<usize>(),
            _ => 0,
        }
    }
    let mut in_string = false;
    let mut escaped = false;
    let mut colons = 0;
    for &byte in message {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b':') => colons += 1,
            _ => {}
        }
    }
    colons != keys(value)
}

fn naive(value: &Value) -> Result<Read, Ignored> {
    let object = value.as_object().ok_or(Ignored::NotAnObject)?;
    let text = |key: &str| match object.get(key) {
        None | Some(Value::Null) => Ok(""),
        Some(value) => value.as_str().ok_or(Ignored::WrongFieldType),
    };
    let (kind, channel) = (text("type")?, text("channel")?);
    let channel = match (channel, object.get("data")) {
        ("", Some(Value::String(data))) => data,
        (channel, _) => channel,
    };
    match kind {
        "subscribe" => Ok(Read::Subscribe(
            channel.to_owned(),
            options(object.get("options")),
        )),
        "unsubscribe" if channel.is_empty() => Err(Ignored::MissingChannel),
        "unsubscribe" => Ok(Read::Unsubscribe(channel.to_owned())),
        "ping" => Ok(Read::Ping),
        _ => Err(Ignored::UnknownType),
    }
}

fn options(value: Option<&Value>) -> Result<Option<SubscribeOptions>, InvalidOptions> {
    let object = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value.as_object().ok_or(InvalidOptions)?,
    };
    let flag = |key: &str| {
        object
            .get(key)
            .map_or(Ok(false), |value| value.as_bool().ok_or(InvalidOptions))
    };
    Ok(Some(SubscribeOptions {
        gaps: flag("gaps")?,
        tail: object
            .get("tail")
            .map(|value| value.as_u64().ok_or(InvalidOptions))
            .transpose()?,
        since: object
            .get("since")
            .map(|since| {
                let epoch = since
                    .get("epoch")
                    .and_then(Value::as_str)
                    .ok_or(InvalidOptions)?
                    .to_owned();
                let seq = since
                    .get("seq")
                    .and_then(Value::as_u64)
                    .ok_or(InvalidOptions)?;
                Ok(Since { epoch, seq })
            })
            .transpose()?,
        batch: flag("batch")?,
        range: object
            .get("range")
            .map(|range| {
                let epoch = range
                    .get("epoch")
                    .and_then(Value::as_str)
                    .ok_or(InvalidOptions)?
                    .to_owned();
                let number =
                    |key: &str| range.get(key).and_then(Value::as_u64).ok_or(InvalidOptions);
                let (from, to) = (number("from")?, number("to")?);
                if from == 0 || to < from {
                    Err(InvalidOptions)
                } else {
                    Ok(Range { epoch, from, to })
                }
            })
            .transpose()?,
    }))
}
