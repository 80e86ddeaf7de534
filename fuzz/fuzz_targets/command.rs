//! The command parser never panics, and agrees with a naive parser of the same rules that uses
//! serde_json.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrace::internals::{
    ClientCommand as Command, Ignored, InvalidOptions, Range, Since, SubscribeOptions, parse,
};
use serde_json::Value;

/// A command with owned strings.
#[derive(Debug, PartialEq)]
enum OwnedCommand {
    Subscribe(String, Result<Option<SubscribeOptions>, InvalidOptions>),
    Unsubscribe(String),
    Ping,
}

fuzz_target!(|message: &[u8]| {
    let mut bytes = message.to_vec();
    let read = parse(&mut bytes).map(|command| match command {
        Command::Subscribe { channel, options } => {
            OwnedCommand::Subscribe(channel.to_owned(), options)
        }
        Command::Unsubscribe { channel } => OwnedCommand::Unsubscribe(channel.to_owned()),
        Command::Ping => OwnedCommand::Ping,
    });
    match serde_json::from_slice::<Value>(message) {
        // Two kinds of input are left out. `Value` keeps only the last of two equal keys, while the
        // parser also checks the type of the first. `Value` reads -0 as a float, while the parser
        // reads it as an integer.
        Ok(value)
            if !has_key_twice(message, &value) && !message.windows(2).any(|pair| pair == b"-0") =>
        {
            // The parsers differ in the range of numbers and in lone surrogates. So the parser may
            // refuse input that is not plain, but only as bad JSON.
            if read != Err(Ignored::BadJson) || is_plain(message) {
                assert_eq!(read, parse_naively(&value));
            }
        }
        Ok(_) => {}
        Err(_) if is_plain(message) => assert_eq!(read, Err(Ignored::BadJson)),
        Err(_) => {}
    }
});

/// Returns whether the message has no numbers that may be too large for a parser, no escaped
/// surrogates, and no nesting that may be too deep.
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

/// Returns whether an object of the message may have two equal keys.
///
/// The colons outside of strings are counted. Two equal keys make them more than the keys that
/// `Value` kept.
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

/// Parses a command by the rules of the wire.
fn parse_naively(value: &Value) -> Result<OwnedCommand, Ignored> {
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
        "subscribe" => Ok(OwnedCommand::Subscribe(
            channel.to_owned(),
            parse_options(object.get("options")),
        )),
        "unsubscribe" if channel.is_empty() => Err(Ignored::MissingChannel),
        "unsubscribe" => Ok(OwnedCommand::Unsubscribe(channel.to_owned())),
        "ping" => Ok(OwnedCommand::Ping),
        _ => Err(Ignored::UnknownType),
    }
}

fn parse_options(value: Option<&Value>) -> Result<Option<SubscribeOptions>, InvalidOptions> {
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
        detail: flag("detail")?,
        partial: flag("partial")?,
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
