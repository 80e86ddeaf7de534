use outrace_testkit::{BrokerServer, eventually};

use super::*;
use crate::backplane::cluster::inbox::InboxBounds;

with_every_broker! {
    messages_of_a_topic_arrive_once_and_in_their_order
    a_topic_with_any_characters_gets_its_own_messages_alone
    a_full_inbox_of_blocks_counts_what_it_drops_and_leaves_the_others_alone
    an_ended_subscription_returns_no_later_message
    clusters_with_different_prefixes_do_not_hear_each_other
    what_was_published_before_a_close_arrives
    a_block_of_256_kib_arrives_whole
}

async fn messages_of_a_topic_arrive_once_and_in_their_order(server: BrokerServer) {
    let (home, mirror) = (connect(&server, "a").await, connect(&server, "b").await);
    let topic = blocks_of("c");
    for _ in 0..2 {
        mirror.subscribe(&topic).await.unwrap();
    }
    for number in 0..500 {
        let payload = Bytes::from(number.to_string());
        home.publish(&topic, payload.clone()).await.unwrap();
        if number % 50 == 49 {
            // The inbox is not what this is about.
            for number in number - 49..=number {
                let expected = (topic.clone(), Bytes::from(number.to_string()));
                assert_eq!(message(&mirror).await, expected);
            }
        }
    }
    assert_eq!(mirror.counters().dropped_blocks, 0);
}

async fn a_topic_with_any_characters_gets_its_own_messages_alone(server: BrokerServer) {
    let (sender, receiver) = (connect(&server, "a").await, connect(&server, "b").await);
    let mut topics: Vec<Topic> = ODD_NAMES
        .iter()
        .map(|name| Topic::Blocks(token(name)))
        .collect();
    topics.extend([Topic::Interest, Topic::Directory, Topic::Everyone]);
    for node in ["b", "B", "b.c"] {
        topics.extend([Topic::Node(node_id(node)), Topic::Publishes(node_id(node))]);
    }
    for topic in &topics {
        receiver.subscribe(topic).await.unwrap();
    }
    for (number, topic) in topics.iter().enumerate() {
        sender
            .publish(topic, number.to_string().into())
            .await
            .unwrap();
        let expected = (topic.clone(), Bytes::from(number.to_string()));
        assert_eq!(message(&receiver).await, expected);
    }
}

async fn a_full_inbox_of_blocks_counts_what_it_drops_and_leaves_the_others_alone(
    server: BrokerServer,
) {
    let sender = connect(&server, "a").await;
    let bounds = InboxBounds {
        max_block_bytes: 10 * 1200,
        ..InboxBounds::default()
    };
    let slow = BrokerSettings {
        inbox: bounds,
        ..settings("b")
    };
    let slow = connect_with(&server, slow).await;
    slow.subscribe(&blocks_of("c")).await.unwrap();
    slow.subscribe(&Topic::Interest).await.unwrap();
    sender.publish(&Topic::Interest, "i".into()).await.unwrap();
    for _ in 0..100 {
        let block = vec![7; 1000].into();
        sender.publish(&blocks_of("c"), block).await.unwrap();
    }
    eventually(|| slow.counters().dropped_blocks == 90).await;
    assert_eq!(message(&slow).await, (Topic::Interest, "i".into()));
    for _ in 0..10 {
        assert_eq!(message(&slow).await.0, blocks_of("c"));
    }
    sender
        .publish(&Topic::Interest, "end".into())
        .await
        .unwrap();
    assert_eq!(message(&slow).await, (Topic::Interest, "end".into()));
    assert_eq!(slow.counters().dropped_others, 0);
}

async fn an_ended_subscription_returns_no_later_message(server: BrokerServer) {
    let (sender, receiver) = (connect(&server, "a").await, connect(&server, "b").await);
    receiver.subscribe(&Topic::Interest).await.unwrap();
    receiver.subscribe(&Topic::Directory).await.unwrap();
    receiver.unsubscribe(&Topic::Interest).await.unwrap();
    sender.publish(&Topic::Interest, "no".into()).await.unwrap();
    sender
        .publish(&Topic::Directory, "yes".into())
        .await
        .unwrap();
    assert_eq!(message(&receiver).await, (Topic::Directory, "yes".into()));
    receiver.subscribe(&Topic::Interest).await.unwrap();
    sender
        .publish(&Topic::Interest, "again".into())
        .await
        .unwrap();
    assert_eq!(message(&receiver).await, (Topic::Interest, "again".into()));
}

async fn clusters_with_different_prefixes_do_not_hear_each_other(server: BrokerServer) {
    let other = BrokerSettings {
        prefix: Prefix::parse("other").unwrap(),
        ..settings("a")
    };
    let other = connect_with(&server, other).await;
    let (sender, receiver) = (connect(&server, "a").await, connect(&server, "b").await);
    receiver.subscribe(&Topic::Everyone).await.unwrap();
    other.publish(&Topic::Everyone, "no".into()).await.unwrap();
    sender
        .publish(&Topic::Everyone, "yes".into())
        .await
        .unwrap();
    assert_eq!(message(&receiver).await.1, "yes");
    let key = Key::Home(token("c"));
    other.create(&key, "theirs".into()).await.unwrap();
    assert_eq!(sender.read(&key).await, Ok(None));
    other.append(&token("c"), "theirs".into(), 0).await.unwrap();
    assert_eq!(sender.last_stored(&token("c")).await, Ok(None));
}

async fn what_was_published_before_a_close_arrives(server: BrokerServer) {
    let (sender, receiver) = (connect(&server, "a").await, connect(&server, "b").await);
    receiver.subscribe(&blocks_of("c")).await.unwrap();
    for number in 0..30 {
        let block = vec![number; 10_000].into();
        sender.publish(&blocks_of("c"), block).await.unwrap();
    }
    sender.close().await;
    for number in 0..30 {
        assert_eq!(message(&receiver).await.1[0], number);
    }
    let late = sender.publish(&blocks_of("c"), "late".into()).await;
    assert_eq!(late, Err(BrokerError::Unreachable));
    let late = sender.subscribe(&blocks_of("c")).await;
    assert_eq!(late, Err(BrokerError::Unreachable));
}

async fn a_block_of_256_kib_arrives_whole(server: BrokerServer) {
    let (sender, receiver) = (connect(&server, "a").await, connect(&server, "b").await);
    receiver.subscribe(&blocks_of("c")).await.unwrap();
    let block: Bytes = (0..=255_u8)
        .cycle()
        .take(256 * 1024)
        .collect::<Vec<_>>()
        .into();
    sender
        .publish(&blocks_of("c"), block.clone())
        .await
        .unwrap();
    assert_eq!(message(&receiver).await.1, block);
    let position = sender.append(&token("c"), block.clone(), 0).await.unwrap();
    assert_eq!(message(&receiver).await.1, block);
    let Appended::Stored(position) = position else {
        panic!("{position:?}");
    };
    let last = receiver.last_stored(&token("c")).await;
    assert_eq!(last, Ok(Some((position, block))));
}
