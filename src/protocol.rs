//! The commands of clients, parsed from untrusted bytes. Only this file uses simd_json.

use std::fmt;

use simd_json::prelude::{TypedScalarValue, ValueAsScalar, ValueIntoString};
use simd_json::tape::Value;

use crate::message::NameError;
use crate::reason::RefusalReason;

/// A command of a client. Names are not yet validated; the hub does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Subscribes to a channel.
    Subscribe {
        /// The channel. Empty, and thereby invalid, if the command names none.
        channel: &'a str,
        /// The options beyond the plain protocol. `None` if the command has none, in which case the
        /// client gets no `subscribed` reply.
        options: Result<Option<SubscribeOptions>, InvalidOptions>,
    },
    /// Unsubscribes from a channel.
    Unsubscribe {
        /// The channel, not empty.
        channel: &'a str,
    },
    /// Requests a `pong`.
    Ping,
}

/// A complete message of a client as received, for
/// [`HubBuilder::on_message`](crate::HubBuilder::on_message).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

impl<'a> ClientMessage<'a> {
    /// Returns the message's bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// The options of a subscription. An option that is not given is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Whether to send a `gap` where messages were skipped.
    pub gaps: bool,
    /// The maximum number of messages to replay from the end of the history.
    pub tail: Option<u64>,
    /// The position after which to replay the history.
    pub since: Option<Since>,
    /// Whether to send runs of lines as one message.
    pub batch: bool,
    /// Whether each message tells its number and what is known of its line.
    pub detail: bool,
    /// Whether to show the line that a process is still writing.
    pub partial: bool,
    /// The messages to send again, on an existing subscription.
    pub range: Option<Range>,
}

/// The position up to which a client has received a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since {
    /// The epoch that `seq` belongs to.
    pub epoch: String,
    /// The last message that the client has.
    pub seq: u64,
}

/// A range of messages that a client requests again, usually those of a gap. Both ends are
/// included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The epoch that both numbers belong to.
    pub epoch: String,
    /// The first message, at least 1.
    pub from: u64,
    /// The last message, at least `from`.
    pub to: u64,
}

/// The error for `options` that are not an object, have a known option of the wrong type, or have
/// an invalid range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidOptions;

/// The reason why a message was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// The message is not JSON, or is nested deeper than 1024 levels.
    BadJson,
    /// The message is JSON, but not an object.
    NotAnObject,
    /// The `type` is missing, or not one that clients send.
    UnknownType,
    /// The `type` or the `channel` is not a string.
    WrongFieldType,
    /// An `unsubscribe` names no channel.
    MissingChannel,
}

impl Ignored {
    /// Returns the reason's name for counters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::NotAnObject => "not_an_object",
            Self::UnknownType => "unknown_type",
            Self::WrongFieldType => "wrong_field_type",
            Self::MissingChannel => "missing_channel",
        }
    }
}

/// The reason why a `subscribe` was refused. Its text is the `data` of the `error` that the client
/// gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubscribeRefusal {
    /// The channel is missing, or not a valid name.
    ChannelName,
    /// No valid process id follows `process:`.
    ProcessId,
    /// The client may not subscribe to the channel.
    Unauthorized,
    /// The client has the maximum number of subscriptions.
    Limit,
    /// The options are not valid ([`InvalidOptions`]).
    Options,
    /// The channel does not exist, and the number of channels is at its maximum.
    Channels,
    /// The maximum number of ranges of this subscription is pending.
    Ranges,
}

impl SubscribeRefusal {
    /// Returns the text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChannelName => "Subscribe: invalid channel name",
            Self::ProcessId => "Subscribe: invalid process ID",
            Self::Unauthorized => "Subscribe: subscription unauthorised",
            Self::Limit => "subscription limit exceeded",
            Self::Options => "Subscribe: invalid options",
            Self::Channels => "channel limit exceeded",
            Self::Ranges => "range limit exceeded",
        }
    }

    /// Returns the counter that this refusal increments.
    pub(crate) fn reason(self) -> RefusalReason {
        match self {
            Self::ChannelName | Self::ProcessId => RefusalReason::Name,
            Self::Unauthorized => RefusalReason::Subscription,
            Self::Limit => RefusalReason::SubscriptionLimit,
            Self::Options => RefusalReason::Options,
            Self::Channels => RefusalReason::ChannelLimit,
            Self::Ranges => RefusalReason::RangeLimit,
        }
    }
}

impl From<&NameError> for SubscribeRefusal {
    fn from(error: &NameError) -> Self {
        match error {
            NameError::Channel(_) => Self::ChannelName,
            NameError::Process(_) => Self::ProcessId,
        }
    }
}

impl fmt::Display for SubscribeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Parses one message. Linear in its length for any input.
///
/// The parser overwrites the bytes, and the command borrows them. The channel is the non-empty
/// field `channel`, or else `data` if that is a string. As in go-ws, `null` counts as absent. If a
/// key occurs twice, the later one counts. Unknown keys are ignored.
///
/// # Errors
/// Returns the reason why the message has to be ignored, and counted.
pub fn parse(message: &mut [u8]) -> Result<Command<'_>, Ignored> {
    // A tape is flat, so neither building nor dropping it recurses.
    let tape = simd_json::to_tape(message).map_err(|_| Ignored::BadJson)?;
    let root = tape.as_value();
    let object = root.as_object().ok_or(Ignored::NotAnObject)?;
    let mut command = "";
    let mut channel = "";
    let mut data = "";
    let mut options = Ok(None);
    for (key, value) in &object {
        match key {
            "type" => command = text_or_null(value)?,
            "channel" => channel = text_or_null(value)?,
            "data" => data = value.into_string().unwrap_or_default(),
            "options" => options = parse_options(value),
            _ => {}
        }
    }
    if channel.is_empty() {
        channel = data;
    }
    match command {
        "subscribe" => Ok(Command::Subscribe { channel, options }),
        "unsubscribe" if channel.is_empty() => Err(Ignored::MissingChannel),
        "unsubscribe" => Ok(Command::Unsubscribe { channel }),
        "ping" => Ok(Command::Ping),
        _ => Err(Ignored::UnknownType),
    }
}

/// Returns a string, which is empty for `null`.
fn text_or_null<'a>(value: Value<'_, 'a>) -> Result<&'a str, Ignored> {
    if value.is_null() {
        Ok("")
    } else {
        value.into_string().ok_or(Ignored::WrongFieldType)
    }
}

/// Parses the options. `null` in place of the object means no options. A `null` for one option is a
/// wrong type.
fn parse_options(value: Value<'_, '_>) -> Result<Option<SubscribeOptions>, InvalidOptions> {
    if value.is_null() {
        return Ok(None);
    }
    let object = value.as_object().ok_or(InvalidOptions)?;
    let mut options = SubscribeOptions::default();
    for (key, value) in &object {
        match key {
            "gaps" => options.gaps = value.as_bool().ok_or(InvalidOptions)?,
            "tail" => options.tail = Some(value.as_u64().ok_or(InvalidOptions)?),
            "since" => options.since = Some(parse_since(value)?),
            "batch" => options.batch = value.as_bool().ok_or(InvalidOptions)?,
            "detail" => options.detail = value.as_bool().ok_or(InvalidOptions)?,
            "partial" => options.partial = value.as_bool().ok_or(InvalidOptions)?,
            "range" => options.range = Some(parse_range(value)?),
            _ => {}
        }
    }
    Ok(Some(options))
}

fn parse_since(value: Value<'_, '_>) -> Result<Since, InvalidOptions> {
    let object = value.as_object().ok_or(InvalidOptions)?;
    let (mut epoch, mut seq) = (None, None);
    for (key, value) in &object {
        match key {
            "epoch" => epoch = Some(value.into_string().ok_or(InvalidOptions)?),
            "seq" => seq = Some(value.as_u64().ok_or(InvalidOptions)?),
            _ => {}
        }
    }
    match (epoch, seq) {
        (Some(epoch), Some(seq)) => Ok(Since {
            epoch: epoch.to_owned(),
            seq,
        }),
        _ => Err(InvalidOptions),
    }
}

fn parse_range(value: Value<'_, '_>) -> Result<Range, InvalidOptions> {
    let object = value.as_object().ok_or(InvalidOptions)?;
    let (mut epoch, mut from, mut to) = (None, None, None);
    for (key, value) in &object {
        match key {
            "epoch" => epoch = Some(value.into_string().ok_or(InvalidOptions)?),
            "from" => from = Some(value.as_u64().ok_or(InvalidOptions)?),
            "to" => to = Some(value.as_u64().ok_or(InvalidOptions)?),
            _ => {}
        }
    }
    match (epoch, from, to) {
        (Some(epoch), Some(from), Some(to)) if 1 <= from && from <= to => Ok(Range {
            epoch: epoch.to_owned(),
            from,
            to,
        }),
        _ => Err(InvalidOptions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ChannelName;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    /// Parses a leaked copy of the message.
    fn read(message: impl Into<Vec<u8>>) -> Result<Command<'static>, Ignored> {
        parse(message.into().leak())
    }

    fn subscribe(channel: &'static str) -> Result<Command<'static>, Ignored> {
        Ok(Command::Subscribe {
            channel,
            options: Ok(None),
        })
    }

    fn options(options: &str) -> Result<Option<SubscribeOptions>, InvalidOptions> {
        match read(format!(
            r#"{{"type":"subscribe","channel":"c","options":{options}}}"#
        )) {
            Ok(Command::Subscribe {
                channel: "c",
                options,
            }) => options,
            other => panic!("{other:?}"),
        }
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
        assert_eq!(read(r#"{"type":"subscribe","data":["b"]}"#), subscribe(""));
        assert_eq!(read(r#"{"type":"subscribe"}"#), subscribe(""));
        assert_eq!(
            read(r#"{"type":"subscribe","channel":"\u0061\n"}"#),
            subscribe("a\n")
        );
        assert_eq!(
            read(r#"{"type":"unsubscribe","data":"a"}"#),
            Ok(Command::Unsubscribe { channel: "a" })
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
        assert_eq!(
            read(b"{\"type\":\"ping\",\"data\":\"\xff\"}"),
            Err(Ignored::BadJson)
        );
    }

    #[test]
    fn options_are_read_and_wrong_types_refused() {
        assert_eq!(options("null"), Ok(None));
        assert_eq!(options("{}"), Ok(Some(SubscribeOptions::default())));
        assert_eq!(
            options(r#"{"encoding":"deflate","later":{"gaps":7}}"#),
            Ok(Some(SubscribeOptions::default()))
        );
        assert_eq!(
            options(
                r#"{"gaps":true,"tail":0,"since":{"epoch":"e","seq":18446744073709551615,"x":1},
                    "batch":true,"detail":true,"partial":true}"#
            ),
            Ok(Some(SubscribeOptions {
                gaps: true,
                tail: Some(0),
                since: Some(Since {
                    epoch: "e".into(),
                    seq: u64::MAX
                }),
                batch: true,
                detail: true,
                partial: true,
                range: None,
            }))
        );
        assert_eq!(
            options(r#"{"range":{"epoch":"e","from":1,"to":18446744073709551615,"x":1}}"#),
            Ok(Some(SubscribeOptions {
                range: Some(Range {
                    epoch: "e".into(),
                    from: 1,
                    to: u64::MAX
                }),
                ..SubscribeOptions::default()
            }))
        );
        for wrong in [
            "7",
            "[]",
            r#""gaps""#,
            r#"{"gaps":1}"#,
            r#"{"gaps":null}"#,
            r#"{"batch":"true"}"#,
            r#"{"detail":1}"#,
            r#"{"detail":null}"#,
            r#"{"partial":"yes"}"#,
            r#"{"tail":-1}"#,
            r#"{"tail":1.5}"#,
            r#"{"tail":"9"}"#,
            r#"{"since":5}"#,
            r#"{"since":{}}"#,
            r#"{"since":{"epoch":"e"}}"#,
            r#"{"since":{"epoch":"e","seq":-1}}"#,
            r#"{"since":{"epoch":7,"seq":1}}"#,
            r#"{"gaps":true,"batch":0}"#,
            r#"{"range":null}"#,
            r#"{"range":[1,2]}"#,
            r#"{"range":{}}"#,
            r#"{"range":{"from":1,"to":2}}"#,
            r#"{"range":{"epoch":"e","from":1}}"#,
            r#"{"range":{"epoch":"e","to":1}}"#,
            r#"{"range":{"epoch":"e","from":0,"to":2}}"#,
            r#"{"range":{"epoch":"e","from":3,"to":2}}"#,
            r#"{"range":{"epoch":"e","from":1,"to":2.5}}"#,
            r#"{"range":{"epoch":7,"from":1,"to":2}}"#,
        ] {
            assert_eq!(options(wrong), Err(InvalidOptions), "{wrong}");
        }
    }

    #[test]
    fn a_bad_name_is_refused_in_the_words_of_the_wire() {
        for (name, text) in [
            ("", "Subscribe: invalid channel name"),
            ("a b", "Subscribe: invalid channel name"),
            ("process:", "Subscribe: invalid process ID"),
            ("process:a:b", "Subscribe: invalid process ID"),
        ] {
            let error = ChannelName::parse(name).unwrap_err();
            assert_eq!(SubscribeRefusal::from(&error).to_string(), text);
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
                let within = "[".repeat(1000) + &"]".repeat(1000);
                assert_eq!(
                    read(format!(r#"{{"type":"ping","data":{within}}}"#)),
                    Ok(Command::Ping)
                );
                started.elapsed()
            });
        let took = on_a_small_stack.unwrap().join().expect("no overflow");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_ignored(message in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&mut message.clone());
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
            let mut message = serde_json::to_vec(&message).unwrap();
            let expected = Command::Subscribe { channel: &channel, options: Ok(None) };
            prop_assert_eq!(parse(&mut message), Ok(expected));
        }
    }
}
