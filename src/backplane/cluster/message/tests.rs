use proptest::prelude::*;

use super::super::envelope::tests::{sender, with_byte};
use super::super::samples::{any_message, listed, told};
use super::*;

const MAX_MESSAGE: usize = 65_536;

/// Returns everything that a message says.
fn said(message: &ClusterMessage) -> String {
    match message {
        ClusterMessage::Publish(forwarded) => format!(
            "{} {} {:?} {:?}",
            forwarded.channel,
            forwarded.run,
            forwarded.asker,
            told(&forwarded.runs)
        ),
        other => format!("{other:?}"),
    }
}

fn names(count: usize) -> Vec<ChannelName> {
    (0..count)
        .map(|index| ChannelName::parse(&format!("process:{index:0100}")).unwrap())
        .collect()
}

/// Encodes chunks, each of which must be within the bound, and decodes them.
fn travel(chunks: Vec<ClusterMessage>) -> Vec<ClusterMessage> {
    chunks
        .into_iter()
        .map(|chunk| {
            let mut body = Vec::new();
            chunk.put(&mut body);
            assert!(body.len() <= MAX_LIST_BYTES + 1024, "{}", body.len());
            ClusterMessage::decode(&chunk.encode(&sender()), MAX_MESSAGE)
                .unwrap()
                .1
        })
        .collect()
}

#[test]
fn a_long_list_of_interest_is_said_in_several_messages() {
    let all = names(3000);
    let news = InterestNews {
        added: all[..1000].to_vec(),
        removed: all[1000..1500].to_vec(),
        renewed: all[1500..].to_vec(),
    };
    let chunks = travel(news.clone().chunks());
    assert!(chunks.len() > 3);
    let mut joined = InterestNews::default();
    for chunk in chunks {
        let ClusterMessage::Interest(chunk) = chunk else {
            panic!("another kind came")
        };
        joined.added.extend(chunk.added);
        joined.removed.extend(chunk.removed);
        joined.renewed.extend(chunk.renewed);
    }
    assert_eq!(joined, news);
    assert!(InterestNews::default().chunks().is_empty());
}

#[test]
fn a_node_without_channels_still_gives_a_sign_of_life() {
    let heartbeat = |heads| Heartbeat {
        is_stale: true,
        directory_seq: 7,
        heads,
    };
    assert_eq!(heartbeat(Vec::new()).chunks().len(), 1);
    let head = |channel| Head {
        channel,
        epoch: "e".into(),
        term: 1,
        last_seq: 2,
    };
    let heads: Vec<_> = names(2000).into_iter().map(head).collect();
    let chunks = travel(heartbeat(heads.clone()).chunks());
    assert!(chunks.len() > 3);
    let joined: Vec<_> = chunks
        .into_iter()
        .flat_map(|chunk| match chunk {
            ClusterMessage::Heartbeat(chunk) => chunk.heads,
            other => panic!("another kind came: {other:?}"),
        })
        .collect();
    assert_eq!(joined, heads);
}

#[test]
fn an_unknown_kind_and_a_later_version_are_newer_and_damage_is_not() {
    let payload = ClusterMessage::DirectoryWanted.encode(&sender());
    for (at, value) in [(3, 9), (4, 200), (5, 0x40)] {
        let error = ClusterMessage::decode(&with_byte(&payload, at, value), MAX_MESSAGE);
        let error = error.unwrap_err();
        assert!(error.is_newer(), "{error}");
        assert!(matches!(error, MessageError::Body { from, .. } if from == sender()));
    }
    let block = with_byte(&payload, 4, Kind::Block as u8);
    for bytes in [&block[..], &payload[..20], b"", b"{\"type\":\"ping\"}"] {
        let error = ClusterMessage::decode(bytes, MAX_MESSAGE).unwrap_err();
        assert!(!error.is_newer(), "{error}");
    }
}

#[test]
fn an_answer_carries_a_block_of_the_greatest_length() {
    let block = Bytes::from(vec![7; runs::max_bytes(MAX_MESSAGE)]);
    let answer = ClusterMessage::Answer {
        id: 1,
        blocks: vec![block],
    };
    let (_, decoded) = ClusterMessage::decode(&answer.encode(&sender()), MAX_MESSAGE).unwrap();
    assert_eq!(said(&decoded), said(&answer));
}

#[test]
fn forwarded_messages_are_split_so_that_each_part_fits() {
    let mut all = Runs::new();
    for index in 0..20 {
        all.push_message(Message::error(vec![b'a' + index; 60_000]));
    }
    let split = Forwarded::split(all.parts());
    assert_eq!(split.len(), 5);
    let mut joined = Vec::new();
    for (run, runs) in (1..).zip(split) {
        joined.extend(told(&runs));
        let forwarded = ClusterMessage::Publish(Forwarded {
            channel: names(1).remove(0),
            run,
            oldest: 1,
            asker: Asker::new(&"é".repeat(2000)),
            runs,
        });
        let decoded = ClusterMessage::decode(&forwarded.encode(&sender()), MAX_MESSAGE);
        assert_eq!(said(&decoded.unwrap().1), said(&forwarded));
    }
    assert_eq!(joined, told(&all));
}

proptest! {
    #[test]
    fn every_kind_reads_back(message in any_message()) {
        let payload = message.encode(&sender());
        let (from, decoded) = ClusterMessage::decode(&payload, MAX_MESSAGE).unwrap();
        prop_assert_eq!(from, sender());
        prop_assert_eq!(said(&decoded), said(&message));
    }

    #[test]
    fn any_bytes_in_an_envelope_are_read_or_refused(
        kind in 0..20u8, body in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let payload = envelope::seal(kind, &sender(), &[], &body);
        if let Ok((_, message)) = ClusterMessage::decode(&payload, MAX_MESSAGE) {
            let again = ClusterMessage::decode(&message.encode(&sender()), MAX_MESSAGE).unwrap();
            prop_assert_eq!(said(&again.1), said(&message));
        }
    }

    #[test]
    fn the_figures_of_a_listed_channel_are_those_of_its_home(listed in listed()) {
        let stats = listed.stats("web".into());
        prop_assert_eq!(ListedChannel::from(&stats), listed);
        prop_assert_eq!(stats.node.as_deref(), Some("web"));
    }
}
