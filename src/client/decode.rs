//! Turns the messages of a server into events.
//!
//! Pure: no I/O, no clock.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::LineDetail;
use crate::message::{ChannelName, Status};

use super::envelope::Envelope;
use super::event::Event;
use super::tracked_channel::TrackedChannel;

/// The data of `process_status`.
#[derive(Deserialize)]
struct StatusChange<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(rename = "exitCode", default)]
    exit_code: i32,
}

/// The data of `gap`, `replay` and `replayed`.
#[derive(Deserialize)]
struct NumberRange {
    from: u64,
    to: u64,
    #[serde(default)]
    lost: u64,
}

/// Appends the events of one message.
///
/// A message of unknown shape becomes [`Event::Other`] and is never an error, because a newer
/// server may send messages that this client does not know.
pub(super) fn decode(json: &str, channels: &mut [TrackedChannel], events: &mut VecDeque<Event>) {
    if decode_known(json, channels, events).is_none() {
        events.push_back(other(json));
    }
}

/// Appends the events of a message of known shape. Returns `None` for any other message.
fn decode_known(
    json: &str,
    channels: &mut [TrackedChannel],
    events: &mut VecDeque<Event>,
) -> Option<()> {
    let message = Envelope::parse(json)?;
    if &*message.kind == "error" {
        events.push_back(Event::Error {
            message: serde_json::from_str(message.data?.get()).ok()?,
        });
        return Some(());
    }
    let name = message.channel.as_deref()?;
    let mut tracked = channels
        .iter_mut()
        .find(|tracked| tracked.name().as_str() == name);
    let channel = match &tracked {
        Some(tracked) => tracked.name().clone(),
        None => ChannelName::parse(name).ok()?,
    };
    let data = message.data.map_or("null", RawValue::get);
    let detail = LineDetail {
        is_stderr: message.stream.as_deref() == Some("stderr"),
        is_continued: message.continued,
        is_past: message.past,
    };
    let timestamp = || message.timestamp.as_deref().unwrap_or_default().to_owned();
    match &*message.kind {
        "subscribed" => {
            let event = tracked?.confirm(serde_json::from_str(data).ok()?);
            events.push_back(event);
        }
        "gap" => {
            let NumberRange { from, to, .. } = serde_json::from_str(data)
                .ok()
                .filter(|range: &NumberRange| 1 <= range.from && range.from <= range.to)?;
            let count = to - from + 1;
            if let Some(tracked) = tracked {
                tracked.count(count, Some(from));
            }
            events.push_back(Event::Gap {
                channel,
                from,
                to,
                count,
            });
        }
        "replay" => {
            let NumberRange { from, to, lost } = serde_json::from_str(data).ok()?;
            tracked?.start_replay(from);
            events.push_back(Event::Replay {
                channel,
                from,
                to,
                lost,
            });
        }
        "replayed" => {
            let NumberRange { from, to, .. } = serde_json::from_str(data).ok()?;
            tracked?.finish_replay();
            events.push_back(Event::Replayed { channel, from, to });
        }
        "process_output_batch" => {
            let lines: Vec<String> = serde_json::from_str(data).ok()?;
            let told = message.seq();
            let first = tracked.and_then(|tracked| tracked.count(lines.len() as u64, told));
            let (timestamp, count) = (timestamp(), lines.len());
            events.extend(
                lines
                    .into_iter()
                    .enumerate()
                    .map(|(index, text)| Event::Line {
                        channel: channel.clone(),
                        text,
                        seq: first.map(|first| first + index as u64),
                        timestamp: timestamp.clone(),
                        detail: LineDetail {
                            // Only the last line of a batch may go on.
                            is_continued: detail.is_continued && index + 1 == count,
                            ..detail
                        },
                    }),
            );
        }
        "process_partial" => {
            let text = serde_json::from_str(data).ok()?;
            events.push_back(Event::Partial { channel, text });
        }
        kind => {
            // Every message of a channel takes a number, also one of unknown type.
            let told = message.seq();
            let seq = tracked.as_mut().and_then(|tracked| tracked.count(1, told));
            let timestamp = timestamp();
            let event = match kind {
                "process_output" => serde_json::from_str(data).ok().map(|text| Event::Line {
                    channel,
                    text,
                    seq,
                    timestamp,
                    detail,
                }),
                "process_status" => {
                    serde_json::from_str(data)
                        .ok()
                        .map(|StatusChange { status, exit_code }| Event::Status {
                            channel,
                            status: Status::from(&*status),
                            exit_code,
                            seq,
                            timestamp,
                        })
                }
                _ => None,
            };
            events.push_back(event.unwrap_or_else(|| other(json)));
        }
    }
    Some(())
}

fn other(json: &str) -> Event {
    Event::Other {
        json: json.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tracked_channel::WatchOptions;
    use super::*;

    const OPTIONS: WatchOptions = WatchOptions {
        tail: Some(5),
        batch: true,
        resume: true,
        detail: false,
        partial: false,
    };

    fn web() -> ChannelName {
        ChannelName::parse("process:web").unwrap()
    }

    fn events(tracked: &mut TrackedChannel, messages: &[&str]) -> Vec<Event> {
        let mut events = VecDeque::new();
        for message in messages {
            decode(message, std::slice::from_mut(tracked), &mut events);
        }
        events.into()
    }

    fn one(message: &str) -> Event {
        events(&mut TrackedChannel::new(web()), &[message])
            .pop()
            .unwrap()
    }

    fn line(text: &str, seq: Option<u64>) -> Event {
        Event::Line {
            channel: web(),
            text: text.to_owned(),
            seq,
            timestamp: "t".to_owned(),
            detail: LineDetail::default(),
        }
    }

    const SUBSCRIBED: &str = r#"{"type":"subscribed","channel":"process:web","data":{"epoch":"e","seq":7,"replayed":1,"lost":2},"timestamp":"t"}"#;
    const LINE: &str = r#"{"type":"process_output","channel":"process:web","processId":"web","data":"x","timestamp":"t"}"#;
    const BATCH: &str = r#"{"type":"process_output_batch","channel":"process:web","processId":"web","data":["a","b"],"seq":9,"timestamp":"t"}"#;
    const STATUS: &str = r#"{"type":"process_status","channel":"process:web","data":{"status":"exited","exitCode":3},"timestamp":"t"}"#;
    const GAP: &str = r#"{"type":"gap","channel":"process:web","data":{"from":12,"to":20,"count":9},"timestamp":"t"}"#;

    #[test]
    fn the_detail_of_lines_is_told_and_a_partial_line_takes_no_number() {
        let mut web = TrackedChannel::new(self::web());
        let options = WatchOptions {
            detail: true,
            partial: true,
            ..OPTIONS
        };
        assert_eq!(
            web.subscribe_request(options),
            r#"{"channel":"process:web","data":"process:web","options":{"batch":true,"detail":true,"gaps":true,"partial":true,"tail":5},"type":"subscribe"}"#
        );
        let seen = events(
            &mut web,
            &[
                SUBSCRIBED,
                r#"{"type":"process_partial","channel":"process:web","data":"50%","timestamp":"t"}"#,
                r#"{"type":"process_output_batch","channel":"process:web","data":["a","b"],"seq":8,"timestamp":"t","stream":"stderr","continued":true}"#,
                r#"{"type":"process_output","channel":"process:web","data":"c","timestamp":"t","seq":12,"past":true}"#,
                LINE,
            ],
        );
        let detailed = |text: &str, seq, is_stderr, is_continued, is_past| Event::Line {
            channel: self::web(),
            text: text.to_owned(),
            seq: Some(seq),
            timestamp: "t".to_owned(),
            detail: LineDetail {
                is_stderr,
                is_continued,
                is_past,
            },
        };
        assert_eq!(
            seen[1..],
            [
                Event::Partial {
                    channel: self::web(),
                    text: "50%".into()
                },
                detailed("a", 8, true, false, false),
                detailed("b", 9, true, true, false),
                detailed("c", 12, false, false, true),
                line("x", Some(13)),
            ]
        );
    }

    #[test]
    fn every_message_has_its_number_and_the_next_connection_begins_where_this_one_ended() {
        let mut web = TrackedChannel::new(self::web());
        assert_eq!(
            web.subscribe_request(OPTIONS),
            r#"{"channel":"process:web","data":"process:web","options":{"batch":true,"gaps":true,"tail":5},"type":"subscribe"}"#
        );
        let custom = r#"{"type":"mine","channel":"process:web","data":1,"timestamp":"t"}"#;
        let seen = events(
            &mut web,
            &[SUBSCRIBED, LINE, BATCH, STATUS, GAP, custom, LINE],
        );
        let channel = self::web();
        assert_eq!(
            seen,
            [
                Event::Subscribed {
                    channel: channel.clone(),
                    epoch: "e".into(),
                    seq: 7,
                    replayed: 1,
                    lost: 2
                },
                line("x", Some(8)),
                line("a", Some(9)),
                line("b", Some(10)),
                Event::Status {
                    channel: channel.clone(),
                    status: Status::Exited,
                    exit_code: 3,
                    seq: Some(11),
                    timestamp: "t".into()
                },
                Event::Gap {
                    channel: channel.clone(),
                    from: 12,
                    to: 20,
                    count: 9
                },
                Event::Other {
                    json: custom.into()
                },
                line("x", Some(22)),
            ]
        );
        web.disconnect();
        assert_eq!(
            web.subscribe_request(OPTIONS),
            r#"{"channel":"process:web","data":"process:web","options":{"batch":true,"gaps":true,"since":{"epoch":"e","seq":22}},"type":"subscribe"}"#
        );
        assert_eq!(
            events(&mut web, &[&SUBSCRIBED.replace("\"e\"", "\"f\"")]),
            [Event::Reconnected {
                channel,
                epoch_changed: true,
                lost: 2,
                replayed: 1
            }]
        );
    }

    #[test]
    fn a_range_sent_again_has_its_own_numbers_and_leaves_the_place() {
        let mut web = TrackedChannel::new(self::web());
        assert_eq!(web.range_request(1, 2), None, "there is no numbering yet");
        let replay = r#"{"type":"replay","channel":"process:web","data":{"epoch":"e","from":3,"to":5,"lost":0},"timestamp":"t"}"#;
        let gap = r#"{"type":"gap","channel":"process:web","data":{"from":4,"to":4,"count":1},"timestamp":"t"}"#;
        let replayed = r#"{"type":"replayed","channel":"process:web","data":{"from":3,"to":5},"timestamp":"t"}"#;
        let seen = events(
            &mut web,
            &[SUBSCRIBED, replay, LINE, gap, LINE, replayed, LINE],
        );
        let channel = self::web();
        assert_eq!(
            seen[1..],
            [
                Event::Replay {
                    channel: channel.clone(),
                    from: 3,
                    to: 5,
                    lost: 0
                },
                line("x", Some(3)),
                Event::Gap {
                    channel: channel.clone(),
                    from: 4,
                    to: 4,
                    count: 1
                },
                line("x", Some(5)),
                Event::Replayed {
                    channel,
                    from: 3,
                    to: 5
                },
                line("x", Some(8)),
            ]
        );
        assert_eq!(
            web.range_request(3, 5).unwrap(),
            r#"{"channel":"process:web","data":"process:web","options":{"range":{"epoch":"e","from":3,"to":5}},"type":"subscribe"}"#
        );
    }

    #[test]
    fn a_server_that_numbers_nothing_is_watched_without_numbers() {
        let mut web = TrackedChannel::new(self::web());
        assert_eq!(
            events(&mut web, &[LINE, LINE]),
            [line("x", None), line("x", None)]
        );
        assert_eq!(
            one(r#"{"type":"error","data":"no"}"#),
            Event::Error {
                message: "no".into()
            }
        );
    }

    #[test]
    fn what_is_not_known_is_kept_as_it_came() {
        for json in [
            r#"{"type":"event","data":{"event":"x","data":1},"timestamp":"t"}"#,
            r#"{"type":"pong","timestamp":"t"}"#,
            r#"{"type":"process_output","channel":"process:web","data":{"not":"a line"}}"#,
            r#"{"type":"process_output","data":"no channel"}"#,
            r#"{"type":"gap","channel":"process:web","data":{"from":0,"to":0}}"#,
            r#"{"type":"gap","channel":"process:web","data":{"from":5,"to":4}}"#,
            r#"{"type":"subscribed","channel":"process:web"}"#,
            r#"{"type":"process_output_batch","channel":"process:web","data":"x","seq":0}"#,
            "not JSON",
        ] {
            assert_eq!(one(json), Event::Other { json: json.into() });
        }
    }
}
