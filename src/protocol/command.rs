//! A command of a client, and the rules by which a message is one.

use std::borrow::Cow;

use super::json::JsonValue;
use super::{Ignored, InvalidOptions, SubscribeOptions, fast, tolerant};

/// A command of a client. Names are not yet validated; the hub does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Subscribes to a channel.
    Subscribe {
        /// The channel, not empty.
        channel: Cow<'a, str>,
        /// The options beyond the plain protocol. `None` if the command has none, in which case the
        /// client gets no `subscribed` reply.
        options: Result<Option<SubscribeOptions>, InvalidOptions>,
    },
    /// Unsubscribes from a channel.
    Unsubscribe {
        /// The channel, not empty.
        channel: Cow<'a, str>,
    },
    /// Requests a `pong`.
    Ping,
}

impl<'a> Command<'a> {
    /// Applies the rules to a message.
    pub(super) fn interpret(message: impl JsonValue<'a>) -> Result<Self, Ignored> {
        let mut kind = Field::new("type");
        let mut channel = Field::new("channel");
        let mut data = Field::new("data");
        let mut options = Ok(None);
        message
            .try_for_each_entry(|key, value| {
                if let Some(slot) = kind.slot(key) {
                    read_text(slot, value);
                } else if let Some(slot) = channel.slot(key) {
                    read_text(slot, value);
                } else if let Some(slot) = data.slot(key) {
                    *slot = Some(Ok(value.into_text().unwrap_or_default()));
                } else if key == "options" {
                    options = SubscribeOptions::parse(value);
                }
                Ok::<(), Ignored>(())
            })
            .ok_or(Ignored::NotAnObject)??;
        let (kind, mut channel) = (kind.finish()?, channel.finish()?);
        if channel.is_empty() {
            channel = data.finish()?;
        }
        match &*kind {
            "subscribe" | "unsubscribe" if channel.is_empty() => Err(Ignored::MissingChannel),
            "subscribe" => Ok(Self::Subscribe { channel, options }),
            "unsubscribe" => Ok(Self::Unsubscribe { channel }),
            "ping" => Ok(Self::Ping),
            _ => Err(Ignored::UnknownType),
        }
    }

    /// Returns the command with a channel of its own.
    fn into_owned(self) -> Command<'static> {
        match self {
            Self::Subscribe { channel, options } => Command::Subscribe {
                channel: Cow::Owned(channel.into_owned()),
                options,
            },
            Self::Unsubscribe { channel } => Command::Unsubscribe {
                channel: Cow::Owned(channel.into_owned()),
            },
            Self::Ping => Command::Ping,
        }
    }
}

/// Parses one message. Linear in its length for any input.
///
/// The parser works in `scratch`, which should be empty, and the command may borrow from it.
///
/// All that Go's `encoding/json` accepts is accepted, and read in the same way: the names of
/// `type`, `channel` and `data` match in any case, a later value of the same name replaces an
/// earlier one, `null` in place of a string changes nothing, a lone surrogate and a byte that is no
/// UTF-8 are U+FFFD. An exact name wins over one in another case. Unknown keys are ignored. The
/// channel is the field `channel` unless that is empty, or else `data` if that is a string.
///
/// # Errors
/// Returns the reason why the message has to be ignored, and counted.
pub fn parse<'a>(message: &[u8], scratch: &'a mut Vec<u8>) -> Result<Command<'a>, Ignored> {
    scratch.extend_from_slice(message);
    if let Some(tape) = fast::read(scratch) {
        return Command::interpret(tape.as_value());
    }
    // A byte that is no UTF-8 is only valid within a string, and so is the character that replaces
    // it.
    let text = String::from_utf8_lossy(message);
    let value = tolerant::read(&text).ok_or(Ignored::BadJson)?;
    Command::interpret(value).map(Command::into_owned)
}

/// A text that was read, or the reason why it could not be.
type Reading<'a> = Result<Cow<'a, str>, Ignored>;

/// A field of a message: what stands under its exact name, and under its name in another case.
struct Field<'a> {
    name: &'static str,
    exact: Option<Reading<'a>>,
    folded: Option<Reading<'a>>,
}

impl<'a> Field<'a> {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            exact: None,
            folded: None,
        }
    }

    /// Returns where the value of this key belongs, if the key names the field.
    ///
    /// Go folds two more characters to ASCII, U+017F to `s` and U+212A to `k`. No field has one of
    /// these letters, so folding ASCII is the same.
    fn slot(&mut self, key: &str) -> Option<&mut Option<Reading<'a>>> {
        if key == self.name {
            Some(&mut self.exact)
        } else if key.eq_ignore_ascii_case(self.name) {
            Some(&mut self.folded)
        } else {
            None
        }
    }

    /// Returns the text of the field. It is empty if the message does not have the field.
    fn finish(self) -> Reading<'a> {
        self.exact.or(self.folded).unwrap_or(Ok(Cow::Borrowed("")))
    }
}

/// Reads a field that has to be a string. `null` leaves what was read before. One wrong type spoils
/// the field, also if a string follows.
fn read_text<'a>(slot: &mut Option<Reading<'a>>, value: impl JsonValue<'a>) {
    if !value.is_null() && !matches!(slot, Some(Err(_))) {
        *slot = Some(value.into_text().ok_or(Ignored::WrongFieldType));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    /// Parses a message with a leaked scratch.
    fn read(message: impl Into<Vec<u8>>) -> Result<Command<'static>, Ignored> {
        parse(&message.into(), Box::leak(Box::default()))
    }

    fn subscribe(channel: &'static str) -> Result<Command<'static>, Ignored> {
        Ok(Command::Subscribe {
            channel: channel.into(),
            options: Ok(None),
        })
    }

    #[test]
    fn the_channel_is_the_field_or_else_the_data() {
        assert_eq!(
            read(r#"{"type":"subscribe","channel":"a"}"#),
            subscribe("a")
        );
        assert_eq!(read(r#"{"type":"subscribe","data":"a"}"#), subscribe("a"));
        assert_eq!(
            read(r#"{"data":"b","channel":"a","type":"subscribe"}"#),
            subscribe("a")
        );
        assert_eq!(
            read(r#"{"type":"subscribe","channel":"","data":"b"}"#),
            subscribe("b")
        );
        assert_eq!(
            read(r#"{"type":"subscribe","channel":null,"data":"b"}"#),
            subscribe("b")
        );
        assert_eq!(
            read(r#"{"type":"subscribe","channel":"a","data":{"b":[1]}}"#),
            subscribe("a")
        );
        assert_eq!(
            read(r#"{"type":"subscribe","channel":"\u0061\n"}"#),
            subscribe("a\n")
        );
        assert_eq!(
            read(r#"{"type":"unsubscribe","data":"a"}"#),
            Ok(Command::Unsubscribe {
                channel: "a".into()
            })
        );
        assert_eq!(
            read(r#"{"type":"ping","more":{"type":"subscribe"},"data":7}"#),
            Ok(Command::Ping)
        );
        assert_eq!(read(" {\"type\" :\n\"ping\"}\r\n"), Ok(Command::Ping));
    }

    #[test]
    fn what_is_no_command_is_ignored_for_a_named_reason() {
        for (message, reason) in [
            ("", Ignored::BadJson),
            ("{", Ignored::BadJson),
            (r#"{"type":"ping"} {"type":"ping"}"#, Ignored::BadJson),
            (r#"{"type":"ping",}"#, Ignored::BadJson),
            ("7", Ignored::NotAnObject),
            ("null", Ignored::NotAnObject),
            (r#"[{"type":"ping"}]"#, Ignored::NotAnObject),
            ("{}", Ignored::UnknownType),
            (r#"{"type":null}"#, Ignored::UnknownType),
            (r#"{"type":"Ping"}"#, Ignored::UnknownType),
            (
                r#"{"type":"process_output","channel":"a"}"#,
                Ignored::UnknownType,
            ),
            (r#"{"type":7}"#, Ignored::WrongFieldType),
            (
                r#"{"type":["subscribe"],"channel":"a"}"#,
                Ignored::WrongFieldType,
            ),
            (
                r#"{"type":"subscribe","channel":7,"data":"a"}"#,
                Ignored::WrongFieldType,
            ),
            (
                r#"{"type":"subscribe","channel":{}}"#,
                Ignored::WrongFieldType,
            ),
            (
                r#"{"type":"unsubscribe","data":false}"#,
                Ignored::MissingChannel,
            ),
        ] {
            assert_eq!(read(message), Err(reason), "{message}");
        }
    }

    #[test]
    fn a_subscribe_that_names_no_channel_is_ignored() {
        for message in [
            r#"{"type":"subscribe"}"#,
            r#"{"type":"subscribe","channel":""}"#,
            r#"{"type":"subscribe","channel":null,"data":null}"#,
            r#"{"type":"subscribe","data":""}"#,
            r#"{"type":"subscribe","data":["b"]}"#,
            r#"{"type":"subscribe","data":{"channel":"b"}}"#,
            r#"{"type":"subscribe","data":7}"#,
            r#"{"type":"subscribe","data":true,"options":{"gaps":7}}"#,
            r#"{"type":"subscribe","data":1e999}"#,
        ] {
            assert_eq!(read(message), Err(Ignored::MissingChannel), "{message}");
        }
    }

    #[test]
    fn deep_nesting_costs_neither_stack_nor_time() {
        let on_a_small_stack = std::thread::Builder::new()
            .stack_size(128 * 1024)
            .spawn(|| {
                let started = Instant::now();
                for deep in [
                    "[".repeat(32_000),
                    "[".repeat(32_000) + &"]".repeat(32_000),
                    r#"{"type":"ping","data":"#.to_owned()
                        + &"[".repeat(32_000)
                        + &"]".repeat(32_000)
                        + "}",
                    r#"{"a":"#.repeat(10_000),
                ] {
                    assert_eq!(read(deep), Err(Ignored::BadJson));
                }
                for (levels, expected) in [
                    (1_000, Ok(Command::Ping)),
                    (1_025, Ok(Command::Ping)),
                    (9_999, Ok(Command::Ping)),
                    (10_000, Err(Ignored::BadJson)),
                ] {
                    let within = "[".repeat(levels) + "\"[\\\"[\"" + &"]".repeat(levels);
                    assert_eq!(
                        read(format!(r#"{{"type":"ping","data":{within}}}"#)),
                        expected,
                        "{levels}"
                    );
                }
                started.elapsed()
            });
        let took = on_a_small_stack.unwrap().join().expect("no overflow");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_ignored(message in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&message, &mut Vec::new());
        }

        #[test]
        fn a_channel_is_read_as_it_was_written(
            channel in ".{1,300}",
            other: String,
            in_data: bool,
        ) {
            let message = if in_data {
                serde_json::json!({"type": "subscribe", "data": channel, "other": other})
            } else {
                serde_json::json!({"type": "subscribe", "channel": channel, "data": other})
            };
            let message = serde_json::to_vec(&message).unwrap();
            let expected = Command::Subscribe { channel: channel.into(), options: Ok(None) };
            let mut scratch = Vec::new();
            prop_assert_eq!(parse(&message, &mut scratch), Ok(expected));
        }
    }
}
