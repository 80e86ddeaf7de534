//! The options of a subscription.

use super::json::JsonValue;

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

impl SubscribeOptions {
    /// Parses the options. `null` in place of the object means no options. A `null` for one option
    /// is a wrong type. The names of options match only as they are written.
    pub(super) fn parse<'a>(value: impl JsonValue<'a>) -> Result<Option<Self>, InvalidOptions> {
        if value.is_null() {
            return Ok(None);
        }
        let mut options = Self::default();
        value
            .try_for_each_entry(|key, value| {
                match key {
                    "gaps" => options.gaps = value.as_bool().ok_or(InvalidOptions)?,
                    "tail" => options.tail = Some(value.as_u64().ok_or(InvalidOptions)?),
                    "since" => options.since = Some(Since::parse(value)?),
                    "batch" => options.batch = value.as_bool().ok_or(InvalidOptions)?,
                    "detail" => options.detail = value.as_bool().ok_or(InvalidOptions)?,
                    "partial" => options.partial = value.as_bool().ok_or(InvalidOptions)?,
                    "range" => options.range = Some(Range::parse(value)?),
                    _ => {}
                }
                Ok(())
            })
            .ok_or(InvalidOptions)??;
        Ok(Some(options))
    }
}

impl Since {
    fn parse<'a>(value: impl JsonValue<'a>) -> Result<Self, InvalidOptions> {
        let (mut epoch, mut seq) = (None, None);
        value
            .try_for_each_entry(|key, value| {
                match key {
                    "epoch" => epoch = Some(value.into_text().ok_or(InvalidOptions)?.into_owned()),
                    "seq" => seq = Some(value.as_u64().ok_or(InvalidOptions)?),
                    _ => {}
                }
                Ok(())
            })
            .ok_or(InvalidOptions)??;
        match (epoch, seq) {
            (Some(epoch), Some(seq)) => Ok(Self { epoch, seq }),
            _ => Err(InvalidOptions),
        }
    }
}

impl Range {
    fn parse<'a>(value: impl JsonValue<'a>) -> Result<Self, InvalidOptions> {
        let (mut epoch, mut from, mut to) = (None, None, None);
        value
            .try_for_each_entry(|key, value| {
                match key {
                    "epoch" => epoch = Some(value.into_text().ok_or(InvalidOptions)?.into_owned()),
                    "from" => from = Some(value.as_u64().ok_or(InvalidOptions)?),
                    "to" => to = Some(value.as_u64().ok_or(InvalidOptions)?),
                    _ => {}
                }
                Ok(())
            })
            .ok_or(InvalidOptions)??;
        match (epoch, from, to) {
            (Some(epoch), Some(from), Some(to)) if 1 <= from && from <= to => {
                Ok(Self { epoch, from, to })
            }
            _ => Err(InvalidOptions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, parse};
    use super::*;

    fn options(options: &str) -> Result<Option<SubscribeOptions>, InvalidOptions> {
        let read = |data: &str| {
            let message = format!(
                r#"{{"type":"subscribe","channel":"c","data":{data},"options":{options}}}"#
            );
            match parse(message.as_bytes(), &mut Vec::new()) {
                Ok(Command::Subscribe { options, .. }) => options,
                other => panic!("{other:?}"),
            }
        };
        let options = read("0");
        // A number that the fast reader refuses: both readers apply the same rules.
        assert_eq!(read("1e999"), options);
        options
    }

    #[test]
    fn options_are_read_and_wrong_types_refused() {
        assert_eq!(options("null"), Ok(None));
        assert_eq!(options("{}"), Ok(Some(SubscribeOptions::default())));
        assert_eq!(
            options(
                r#"{"encoding":"deflate","later":{"gaps":7},"GAPS":7,"Tail":-1,"x":1e999,"\ud800":2}"#
            ),
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
            r#"{"tail":1e999}"#,
            r#"{"tail":18446744073709551616}"#,
            r#"{"since":{"epoch":"e","seq":1e2}}"#,
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
}
