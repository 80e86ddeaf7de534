//! Values of every kind, for tests.

use bytes::Bytes;
use proptest::prelude::*;

use super::message::*;
use super::names::NodeId;
use crate::backplane::{Part, Runs};
use crate::message::{
    ChannelName, Lines, Message, MessageType, OutputStream, ProcessId, ProcessOrder, Status,
    StatusReport,
};

pub(super) fn channels() -> impl Strategy<Value = ChannelName> {
    "[a-zA-Z0-9_.:-]{1,12}".prop_filter_map("process: needs an id", |name| {
        ChannelName::parse(&name).ok()
    })
}

pub(super) fn nodes() -> impl Strategy<Value = NodeId> {
    ("[a-z.]{1,8}", any::<u64>()).prop_map(|(name, run)| NodeId::new(&name, run).unwrap())
}

pub(super) fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..24).prop_map(Bytes::from)
}

fn lines() -> impl Strategy<Value = Lines> {
    let line = (bytes(), any::<bool>());
    (prop::collection::vec(line, 1..8), 0..3u8, any::<bool>()).prop_map(|(lines, stream, past)| {
        let continued = (0u32..)
            .zip(&lines)
            .filter(|(_, (_, continued))| *continued)
            .map(|(index, _)| index)
            .collect();
        let mut run: Lines = lines.iter().map(|(line, _)| line).collect();
        run = run.with_continued(continued);
        run = match stream {
            0 => run,
            1 => run.with_stream(OutputStream::Stdout),
            _ => run.with_stream(OutputStream::Stderr),
        };
        if past { run.with_past() } else { run }
    })
}

pub(super) fn messages() -> impl Strategy<Value = Message> {
    let message_type = prop_oneof![
        Just(MessageType::ProcessOutput),
        Just(MessageType::ProcessStatus),
        Just(MessageType::Error),
        ".{0,6}".prop_map(|name| MessageType::from(&*name)),
    ];
    let process = prop::option::of("[a-z.]{1,6}".prop_map(|id| ProcessId::parse(&id).unwrap()));
    let data = (0..4u8, bytes(), any::<f32>());
    (message_type, prop::option::of(channels()), process, data).prop_map(
        |(message_type, channel, process, (kind, text, number))| {
            let mut message = Message::new(message_type);
            if let Some(channel) = channel {
                message = message.in_channel(channel);
            }
            if let Some(process) = process {
                message = message.with_process(process);
            }
            match kind {
                0 => message,
                1 => message.with_text(text),
                2 => message
                    .with_json(&serde_json::json!({"a": [number, "b c"]}))
                    .unwrap(),
                _ => message.with_json(&"").unwrap(),
            }
        },
    )
}

pub(super) fn runs() -> impl Strategy<Value = Runs> {
    #[derive(Clone, Debug)]
    enum Sample {
        Line(Bytes),
        Lines(Lines),
        Message(Message),
        Pieces(Message, Vec<Bytes>),
    }
    let sample = prop_oneof![
        bytes().prop_map(Sample::Line),
        lines().prop_map(Sample::Lines),
        messages().prop_map(Sample::Message),
        (messages(), prop::collection::vec(bytes(), 2..4))
            .prop_map(|(message, pieces)| Sample::Pieces(message, pieces)),
    ];
    prop::collection::vec(sample, 0..6).prop_map(|samples| {
        let mut runs = Runs::new();
        for sample in samples {
            match sample {
                Sample::Line(line) => runs.push_line(line),
                Sample::Lines(lines) => runs.push_lines(lines),
                Sample::Message(message) => runs.push_message(message),
                Sample::Pieces(message, pieces) => runs.push_pieces(
                    pieces
                        .into_iter()
                        .map(|piece| message.clone().with_text(piece))
                        .collect(),
                ),
            }
        }
        runs
    })
}

/// Returns everything that is known of messages. Lines are equal here only with equal detail.
pub(super) fn told(runs: &Runs) -> Vec<String> {
    runs.parts()
        .map(|part| match part {
            Part::Lines(lines) => format!(
                "{:?} {:?} {} {:?}",
                lines.iter().collect::<Vec<_>>(),
                lines.stream(),
                lines.is_past(),
                lines.continued()
            ),
            other => format!("{other:?}"),
        })
        .collect()
}

fn heads() -> impl Strategy<Value = Vec<Head>> {
    let head = (channels(), "[a-z0-9]{0,9}", any::<u64>(), any::<u64>());
    let head = head.prop_map(|(channel, epoch, term, last_seq)| Head {
        channel,
        epoch,
        term,
        last_seq,
    });
    prop::collection::vec(head, 0..5)
}

pub(super) fn listed() -> impl Strategy<Value = ListedChannel> {
    let status = prop::option::of((".{0,6}", any::<i32>()));
    (channels(), "[a-z0-9]{0,9}", any::<[u64; 6]>(), status).prop_map(
        |(channel, epoch, figures, status)| ListedChannel {
            channel,
            epoch,
            subscribers: figures[0],
            published: figures[1],
            seq: figures[2],
            kept_bytes: figures[3],
            skipped: figures[4],
            dropped: figures[5],
            status: status.map(|(status, code)| StatusReport {
                status: Status::from(status),
                code,
            }),
        },
    )
}

fn directory() -> impl Strategy<Value = DirectoryNews> {
    let names = prop::collection::vec(channels(), 0..4);
    let listed = prop::collection::vec(listed(), 0..4);
    (any::<u64>(), any::<(bool, bool)>(), listed, names).prop_map(
        |(seq, (is_snapshot, is_last), channels, removed)| DirectoryNews {
            seq,
            news: if is_snapshot {
                News::Snapshot {
                    chunk: seq / 2,
                    is_last,
                    channels,
                }
            } else {
                News::Delta {
                    changed: channels,
                    removed,
                }
            },
        },
    )
}

fn requests() -> impl Strategy<Value = Request> {
    let numbers = (any::<[u64; 3]>(), 1..u64::MAX);
    (channels(), numbers, 0..3u8).prop_map(|(channel, ([id, a, b], from), kind)| Request {
        id,
        channel,
        max_bytes: a,
        wanted: match kind {
            0 => Requested::Tail(b),
            1 => Requested::After {
                epoch: "e".into(),
                seq: b,
                term: a,
            },
            _ => Requested::Range {
                epoch: "e".into(),
                from,
                to: from.max(b),
            },
        },
    })
}

/// A message of any kind.
pub(super) fn any_message() -> impl Strategy<Value = ClusterMessage> {
    use ClusterMessage as M;
    let names = || prop::collection::vec(channels(), 0..4);
    let asker = || ".{0,9}".prop_map(|name| Asker::new(&name));
    let interest = (names(), names(), names()).prop_map(|(added, removed, renewed)| {
        M::Interest(InterestNews {
            added,
            removed,
            renewed,
        })
    });
    let beat = (any::<bool>(), any::<u64>(), heads());
    let not_home = (any::<u64>(), channels(), prop::option::of(nodes()));
    let reason = prop_oneof![
        Just(PublishRefusal::Full),
        Just(PublishRefusal::OutOfOrder),
        Just(PublishRefusal::TooManyChannels),
        Just(PublishRefusal::Other),
    ];
    let order = prop_oneof![
        Just(ProcessOrder::Start),
        Just(ProcessOrder::Stop),
        Just(ProcessOrder::Restart)
    ];
    prop_oneof![
        ("[a-z]{0,9}", bytes()).prop_map(|(epoch, text)| M::Partial { epoch, text }),
        interest,
        beat.prop_map(|(is_stale, directory_seq, heads)| M::Heartbeat(Heartbeat {
            is_stale,
            directory_seq,
            heads,
        })),
        directory().prop_map(M::Directory),
        Just(M::DirectoryWanted),
        requests().prop_map(M::Request),
        (any::<u64>(), prop::collection::vec(bytes(), 0..4))
            .prop_map(|(id, blocks)| M::Answer { id, blocks }),
        (any::<[u64; 4]>(), any::<bool>()).prop_map(|(numbers, is_cut)| {
            let [id, term, first_kept, last_seq] = numbers;
            M::Answered(Answered {
                id,
                epoch: "e".into(),
                term,
                first_kept,
                last_seq,
                is_cut,
            })
        }),
        not_home.prop_map(|(id, channel, home)| M::NotHome { id, channel, home }),
        (channels(), any::<u64>(), asker(), runs()).prop_map(|(channel, run, asker, runs)| {
            M::Publish(Forwarded {
                channel,
                run,
                oldest: run / 2,
                asker,
                runs,
            })
        }),
        (channels(), any::<u64>()).prop_map(|(channel, run)| M::Accepted { channel, run }),
        (channels(), any::<u64>(), reason).prop_map(|(channel, run, reason)| M::Refused {
            channel,
            run,
            reason
        }),
        (any::<u64>(), "[a-z]{1,9}", order, asker()).prop_map(|(id, process, order, asker)| {
            M::Order(Order {
                id,
                process_id: ProcessId::parse(&process).unwrap(),
                order,
                asker,
            })
        }),
        (any::<u64>(), prop::option::of(".{0,9}"))
            .prop_map(|(id, refusal)| M::Ordered(Ordered { id, refusal })),
        messages().prop_map(M::Broadcast),
        Just(M::Bye),
        Just(M::Leaving),
        Just(M::Settled),
    ]
}
