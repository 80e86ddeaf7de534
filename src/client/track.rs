//! Where a watcher stands in each channel's numbering, and what messages mean there. Pure: no I/O, no clock.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::message::{ChannelName, Status};

use super::Event;

/// What a watcher asks for beyond the plain protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wishes {
    pub(super) tail: Option<u64>,
    pub(super) batch: bool,
    /// To be resumed, and told of gaps. Without it no option is sent at all.
    pub(super) resume: bool,
}

/// One channel that is watched, and what is known of it across connections.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) channel: ChannelName,
    /// The numbering, once the server has told one, and the last message that came or was told to be skipped.
    place: Option<Place>,
    /// The server has answered on this connection: what comes is counted.
    live: bool,
    /// The next message of a range that is being sent again.
    replay: Option<u64>,
    /// Ranges asked for on this connection and not yet sent to their end.
    pub(super) outstanding: usize,
}

#[derive(Debug)]
struct Place {
    epoch: String,
    seq: u64,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(borrow, default)]
    timestamp: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct StatusData<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(rename = "exitCode", default)]
    exit_code: i32,
}

#[derive(Deserialize)]
struct Subscribed {
    epoch: String,
    seq: u64,
    replayed: u64,
    lost: u64,
}

#[derive(Deserialize)]
struct Span {
    from: u64,
    to: u64,
    #[serde(default)]
    lost: u64,
}

impl Subscription {
    pub(super) fn new(channel: ChannelName) -> Self {
        Self {
            channel,
            place: None,
            live: false,
            replay: None,
            outstanding: 0,
        }
    }

    /// The connection is gone; the place in the numbering stays.
    pub(super) fn lose(&mut self) {
        self.live = false;
        self.replay = None;
        self.outstanding = 0;
    }

    /// The message that subscribes, from where it left off if it has been there.
    pub(super) fn subscribe(&self, wishes: Wishes) -> String {
        // Early servers of the protocol read the channel from `data`.
        let channel = self.channel.as_str();
        let mut message = json!({"type": "subscribe", "channel": channel, "data": channel});
        if wishes.resume || wishes.tail.is_some() || wishes.batch {
            let mut options = json!({});
            if wishes.resume {
                options["gaps"] = true.into();
            }
            if wishes.batch {
                options["batch"] = true.into();
            }
            match &self.place {
                Some(place) if wishes.resume => {
                    options["since"] = json!({"epoch": place.epoch, "seq": place.seq});
                }
                _ => {
                    if let Some(tail) = wishes.tail {
                        options["tail"] = tail.into();
                    }
                }
            }
            message["options"] = options;
        }
        message.to_string()
    }

    /// The message that asks for a range again; `None` while there is no numbering to name it in.
    pub(super) fn range(&self, from: u64, to: u64) -> Option<String> {
        let place = self
            .place
            .as_ref()
            .filter(|_| self.live && from >= 1 && from <= to)?;
        let channel = self.channel.as_str();
        let range = json!({"epoch": place.epoch, "from": from, "to": to});
        Some(
            json!({"type": "subscribe", "channel": channel, "data": channel, "options": {"range": range}})
                .to_string(),
        )
    }

    fn open(&mut self, answer: Subscribed) -> Event {
        let channel = self.channel.clone();
        let Subscribed {
            epoch,
            seq,
            replayed,
            lost,
        } = answer;
        self.live = true;
        self.replay = None;
        let item = match &self.place {
            None => Event::Subscribed {
                channel,
                epoch: epoch.clone(),
                seq,
                replayed,
                lost,
            },
            Some(before) => Event::Reconnected {
                channel,
                epoch_changed: before.epoch != epoch,
                lost,
                replayed,
            },
        };
        self.place = Some(Place { epoch, seq });
        item
    }

    /// Counts `messages`; answers the number of the first. What the server says of it, where it says so, is right.
    fn count(&mut self, messages: u64, told: Option<u64>) -> Option<u64> {
        let place = self.place.as_mut().filter(|_| self.live)?;
        if let Some(next) = &mut self.replay {
            let first = told.unwrap_or(*next);
            *next = first.saturating_add(messages);
            return Some(first);
        }
        let first = told.unwrap_or(place.seq + 1);
        place.seq = (first - 1).saturating_add(messages);
        Some(first)
    }
}

/// Reads one message. What is not one of the known shapes is `Other`, never an error: a newer server may send what
/// this client does not know.
pub(super) fn read(json: &str, subscriptions: &mut [Subscription], items: &mut VecDeque<Event>) {
    if typed(json, subscriptions, items).is_none() {
        items.push_back(Event::Other {
            json: json.to_owned(),
        });
    }
}

fn typed(
    json: &str,
    subscriptions: &mut [Subscription],
    items: &mut VecDeque<Event>,
) -> Option<()> {
    let envelope: Envelope<'_> = serde_json::from_str(json).ok()?;
    if &*envelope.kind == "error" {
        items.push_back(Event::Error {
            text: serde_json::from_str(envelope.data?.get()).ok()?,
        });
        return Some(());
    }
    let name = envelope.channel.as_deref()?;
    let mut known = subscriptions
        .iter_mut()
        .find(|known| known.channel.as_str() == name);
    let channel = match &known {
        Some(known) => known.channel.clone(),
        None => ChannelName::parse(name).ok()?,
    };
    let data = envelope.data.map_or("null", RawValue::get);
    let timestamp = || envelope.timestamp.as_deref().unwrap_or_default().to_owned();
    match &*envelope.kind {
        "subscribed" => {
            let item = known?.open(serde_json::from_str(data).ok()?);
            items.push_back(item);
        }
        "gap" => {
            let Span { from, to, .. } = serde_json::from_str(data)
                .ok()
                .filter(|span: &Span| 1 <= span.from && span.from <= span.to)?;
            let count = to - from + 1;
            if let Some(known) = known {
                known.count(count, Some(from));
            }
            items.push_back(Event::Gap {
                channel,
                from,
                to,
                count,
            });
        }
        "replay" => {
            let Span { from, to, lost } = serde_json::from_str(data).ok()?;
            known?.replay = Some(from);
            items.push_back(Event::Replay {
                channel,
                from,
                to,
                lost,
            });
        }
        "replayed" => {
            let Span { from, to, .. } = serde_json::from_str(data).ok()?;
            let known = known?;
            known.replay = None;
            known.outstanding = known.outstanding.saturating_sub(1);
            items.push_back(Event::Replayed { channel, from, to });
        }
        "process_output_batch" => {
            let lines: Vec<String> = serde_json::from_str(data).ok()?;
            let told = envelope.seq.filter(|&seq| seq >= 1);
            let first = known.and_then(|known| known.count(lines.len() as u64, told));
            let timestamp = timestamp();
            items.extend(
                lines
                    .into_iter()
                    .enumerate()
                    .map(|(index, text)| Event::Line {
                        channel: channel.clone(),
                        text,
                        seq: first.map(|first| first + index as u64),
                        timestamp: timestamp.clone(),
                    }),
            );
        }
        kind => {
            // Whatever it is, it has its number.
            let seq = known.as_mut().and_then(|known| known.count(1, None));
            let timestamp = timestamp();
            items.push_back(match kind {
                "process_output" => {
                    let text = serde_json::from_str(data);
                    text.map_or_else(
                        |_| other(json),
                        |text| Event::Line {
                            channel,
                            text,
                            seq,
                            timestamp,
                        },
                    )
                }
                "process_status" => match serde_json::from_str(data) {
                    Ok(StatusData { status, exit_code }) => Event::Status {
                        channel,
                        status: Status::from(&*status),
                        code: exit_code,
                        seq,
                        timestamp,
                    },
                    Err(_) => other(json),
                },
                _ => other(json),
            });
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
    use super::*;

    const WISHES: Wishes = Wishes {
        tail: Some(5),
        batch: true,
        resume: true,
    };

    fn web() -> ChannelName {
        ChannelName::parse("process:web").unwrap()
    }

    fn items(subscription: &mut Subscription, messages: &[&str]) -> Vec<Event> {
        let mut items = VecDeque::new();
        for message in messages {
            read(message, std::slice::from_mut(subscription), &mut items);
        }
        items.into()
    }

    fn one(message: &str) -> Event {
        items(&mut Subscription::new(web()), &[message])
            .pop()
            .unwrap()
    }

    fn line(text: &str, seq: Option<u64>) -> Event {
        Event::Line {
            channel: web(),
            text: text.to_owned(),
            seq,
            timestamp: "t".to_owned(),
        }
    }

    const SUBSCRIBED: &str = r#"{"type":"subscribed","channel":"process:web","data":{"epoch":"e","seq":7,"replayed":1,"lost":2},"timestamp":"t"}"#;
    const LINE: &str = r#"{"type":"process_output","channel":"process:web","processId":"web","data":"x","timestamp":"t"}"#;
    const BATCH: &str = r#"{"type":"process_output_batch","channel":"process:web","processId":"web","data":["a","b"],"seq":9,"timestamp":"t"}"#;
    const STATUS: &str = r#"{"type":"process_status","channel":"process:web","data":{"status":"exited","exitCode":3},"timestamp":"t"}"#;
    const GAP: &str = r#"{"type":"gap","channel":"process:web","data":{"from":12,"to":20,"count":9},"timestamp":"t"}"#;

    #[test]
    fn every_message_has_its_number_and_the_next_connection_begins_where_this_one_ended() {
        let mut web = Subscription::new(self::web());
        assert_eq!(
            web.subscribe(WISHES),
            r#"{"channel":"process:web","data":"process:web","options":{"batch":true,"gaps":true,"tail":5},"type":"subscribe"}"#
        );
        let custom = r#"{"type":"mine","channel":"process:web","data":1,"timestamp":"t"}"#;
        let seen = items(
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
                    code: 3,
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
        web.lose();
        assert_eq!(
            web.subscribe(WISHES),
            r#"{"channel":"process:web","data":"process:web","options":{"batch":true,"gaps":true,"since":{"epoch":"e","seq":22}},"type":"subscribe"}"#
        );
        assert_eq!(
            items(&mut web, &[&SUBSCRIBED.replace("\"e\"", "\"f\"")]),
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
        let mut web = Subscription::new(self::web());
        assert_eq!(web.range(1, 2), None, "there is no numbering yet");
        let replay = r#"{"type":"replay","channel":"process:web","data":{"epoch":"e","from":3,"to":5,"lost":0},"timestamp":"t"}"#;
        let gap = r#"{"type":"gap","channel":"process:web","data":{"from":4,"to":4,"count":1},"timestamp":"t"}"#;
        let replayed = r#"{"type":"replayed","channel":"process:web","data":{"from":3,"to":5},"timestamp":"t"}"#;
        let seen = items(
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
            web.range(3, 5).unwrap(),
            r#"{"channel":"process:web","data":"process:web","options":{"range":{"epoch":"e","from":3,"to":5}},"type":"subscribe"}"#
        );
    }

    #[test]
    fn a_server_that_numbers_nothing_is_watched_without_numbers() {
        let mut web = Subscription::new(self::web());
        assert_eq!(
            items(&mut web, &[LINE, LINE]),
            [line("x", None), line("x", None)]
        );
        assert_eq!(
            one(r#"{"type":"error","data":"no"}"#),
            Event::Error { text: "no".into() }
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
