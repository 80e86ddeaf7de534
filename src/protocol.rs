//! What clients say: commands, parsed from untrusted bytes. The only file that names simd_json.

use std::fmt;

use simd_json::prelude::{TypedScalarValue, ValueAsScalar, ValueIntoString};
use simd_json::tape::Value;

use crate::message::NameError;
use crate::reason::RefusalReason;

/// A client's command. Names are as sent: the hub judges them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Deliver this channel from now on.
    Subscribe {
        /// The channel; empty if none was named, which no channel name is.
        channel: &'a str,
        /// What beyond the plain protocol the client asks for; `None` if it asked for nothing, so that it must
        /// not be answered either.
        options: Result<Option<SubscribeOptions>, InvalidOptions>,
    },
    /// Deliver this channel no more.
    Unsubscribe {
        /// The channel, not empty.
        channel: &'a str,
    },
    /// Answer with a `pong`.
    Ping,
}

/// A whole message of a client, as it came: what [`HubBuilder::on_message`](crate::HubBuilder::on_message) is handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

impl<'a> ClientMessage<'a> {
    /// Its bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// The options of a subscription. Those that were not given are off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Say where messages were skipped.
    pub gaps: bool,
    /// First replay up to so many of the last messages kept.
    pub tail: Option<u64>,
    /// First replay what came after this.
    pub since: Option<Since>,
    /// Send runs of lines as one message.
    pub batch: bool,
    /// Send these again, on a subscription that there is already.
    pub range: Option<Range>,
}

/// Where a client left off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since {
    /// The numbering `seq` belongs to.
    pub epoch: String,
    /// The last message the client has.
    pub seq: u64,
}

/// Messages a client asks for again, first and last included: what a gap skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The numbering both belong to.
    pub epoch: String,
    /// The first, at least 1.
    pub from: u64,
    /// The last, at least `from`.
    pub to: u64,
}

/// `options` is not an object, or a known option has a wrong type, or a range is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidOptions;

/// Why a message was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// Not JSON, or nested deeper than 1024 levels.
    BadJson,
    /// JSON, but not an object.
    NotAnObject,
    /// No `type`, or one that is not a client's.
    UnknownType,
    /// `type` or `channel` is not a string.
    WrongFieldType,
    /// An `unsubscribe` that names no channel.
    MissingChannel,
}

impl Ignored {
    /// A name for counters.
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

/// Why a `subscribe` was refused: the `data` of the `error` the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubscribeRefusal {
    /// The channel is missing or breaks the rule for names.
    ChannelName,
    /// A `process:` channel that does not go on with a process id.
    ProcessId,
    /// The application does not let this client have the channel.
    Unauthorized,
    /// The client has as many subscriptions as it may.
    Limit,
    /// A known option has a wrong type.
    Options,
    /// The channel does not exist, and there are as many others as there may be.
    Channels,
    /// As many ranges of this subscription wait as may.
    Ranges,
}

impl SubscribeRefusal {
    /// The text on the wire.
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

    /// As what it is counted.
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

/// Reads one message. Linear in it, whatever it is; the bytes are overwritten, what is returned borrows them.
///
/// The channel is the non-empty `channel` field, else `data` if that is a string. `null` counts as absent, as
/// in go-ws; of a key given twice the last counts; unknown keys are ignored.
///
/// # Errors
/// Why the message is to be ignored and counted.
pub fn parse(message: &mut [u8]) -> Result<Command<'_>, Ignored> {
    // A tape is flat: neither making nor dropping it recurses.
    let tape = simd_json::to_tape(message).map_err(|_| Ignored::BadJson)?;
    let root = tape.as_value();
    let object = root.as_object().ok_or(Ignored::NotAnObject)?;
    let mut kind = "";
    let mut channel = "";
    let mut data = "";
    let mut options = Ok(None);
    for (key, value) in &object {
        match key {
            "type" => kind = text_or_null(value)?,
            "channel" => channel = text_or_null(value)?,
            "data" => data = value.into_string().unwrap_or_default(),
            "options" => options = parse_options(value),
            _ => {}
        }
    }
    if channel.is_empty() {
        channel = data;
    }
    match kind {
        "subscribe" => Ok(Command::Subscribe { channel, options }),
        "unsubscribe" if channel.is_empty() => Err(Ignored::MissingChannel),
        "unsubscribe" => Ok(Command::Unsubscribe { channel }),
        "ping" => Ok(Command::Ping),
        _ => Err(Ignored::UnknownType),
    }
}

/// A string, or an empty one for `null`.
fn text_or_null<'a>(value: Value<'_, 'a>) -> Result<&'a str, Ignored> {
    if value.is_null() {
        Ok("")
    } else {
        value.into_string().ok_or(Ignored::WrongFieldType)
    }
}

/// `null` is no options; in options, it is a wrong type like any other.
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

    /// Parses a copy that lives as long as the test.
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
                r#"{"gaps":true,"tail":0,"since":{"epoch":"e","seq":18446744073709551615,"x":1},"batch":true}"#
            ),
            Ok(Some(SubscribeOptions {
                gaps: true,
                tail: Some(0),
                since: Some(Since {
                    epoch: "e".into(),
                    seq: u64::MAX
                }),
                batch: true,
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
        fn a_channel_is_read_as_it_was_written(channel in ".{1,300}", other: String, in_data: bool) {
            let message = if in_data {
                serde_json::json!({"type": "subscribe", "data": channel, "other": other})
            } else {
                serde_json::json!({"type": "subscribe", "channel": channel, "data": other})
            };
            let mut message = serde_json::to_vec(&message).unwrap();
            prop_assert_eq!(parse(&mut message), Ok(Command::Subscribe { channel: &channel, options: Ok(None) }));
        }
    }
}
