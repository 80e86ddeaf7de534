use outrace_testkit::BrokerServer;

use super::*;

with_every_broker! {
    a_block_is_stored_behind_the_expected_one_alone_and_reaches_subscribers
    blocks_of_eight_writers_are_each_stored_once
    what_is_published_and_not_appended_is_not_stored
    stored_blocks_are_read_from_a_position_on_and_bounded_in_bytes
    stored_blocks_outlive_a_broker_that_is_killed
    a_channel_with_any_characters_has_blocks_of_its_own
    stored_blocks_are_gone_after_their_age
    without_storing_nothing_is_appended_or_read
}

/// Appends a block behind `expected`, and returns its position.
async fn append(broker: &Arc<dyn Broker>, token: &Token, payload: Bytes, expected: u64) -> u64 {
    let appended = broker.append(token, payload, expected).await;
    let Ok(Appended::Stored(position)) = appended else {
        panic!("{appended:?}");
    };
    assert!(position > expected);
    position
}

async fn a_block_is_stored_behind_the_expected_one_alone_and_reaches_subscribers(
    server: BrokerServer,
) {
    let (home, mirror) = (connect(&server, "a").await, connect(&server, "b").await);
    let channel = token("c");
    mirror
        .subscribe(&Topic::Blocks(channel.clone()))
        .await
        .unwrap();
    assert_eq!(home.last_stored(&channel).await, Ok(None));
    let early = home.append(&channel, "no".into(), 5).await;
    assert_eq!(early, Ok(Appended::Conflict(0)));
    let first = append(&home, &channel, "one".into(), 0).await;
    let late = home.append(&channel, "no".into(), 0).await;
    assert_eq!(late, Ok(Appended::Conflict(first)));
    let second = append(&home, &channel, "two".into(), first).await;

    let last = mirror.last_stored(&channel).await;
    assert_eq!(last, Ok(Some((second, "two".into()))));
    let all = mirror.stored(&channel, 0, usize::MAX).await;
    assert_eq!(all, Ok(vec![(first, "one".into()), (second, "two".into())]));
    // Subscribers may get those too that are refused.
    let mut arrived = Vec::new();
    while arrived.last() != Some(&Bytes::from("two")) {
        arrived.push(message(&mirror).await.1);
    }
    arrived.retain(|payload| payload != "no");
    assert_eq!(arrived, ["one", "two"]);
}

async fn blocks_of_eight_writers_are_each_stored_once(server: BrokerServer) {
    let channel = token("c");
    let mut writers = Vec::new();
    for number in 0..8_usize {
        let broker = connect(&server, &format!("w{number}")).await;
        let channel = channel.clone();
        writers.push(tokio::spawn(async move {
            for block in 0..5 {
                let payload = Bytes::from(format!("{number}.{block}"));
                let mut expected = 0;
                while let Appended::Conflict(last) = broker
                    .append(&channel, payload.clone(), expected)
                    .await
                    .unwrap()
                {
                    expected = last;
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let broker = connect(&server, "r").await;
    let blocks = broker.stored(&channel, 0, usize::MAX).await.unwrap();
    assert!(blocks.is_sorted_by(|(one, _), (next, _)| one < next));
    let mut payloads: Vec<_> = blocks.into_iter().map(|(_, payload)| payload).collect();
    for number in 0..8 {
        let is_its = |payload: &&Bytes| payload.starts_with(number.to_string().as_bytes());
        let its: Vec<_> = payloads.iter().filter(is_its).collect();
        assert!(its.is_sorted(), "{its:?}");
    }
    payloads.sort();
    payloads.dedup();
    assert_eq!(payloads.len(), 40);
}

async fn what_is_published_and_not_appended_is_not_stored(server: BrokerServer) {
    let (home, mirror) = (connect(&server, "a").await, connect(&server, "b").await);
    let channel = token("c");
    let topic = Topic::Blocks(channel.clone());
    mirror.subscribe(&topic).await.unwrap();
    let first = append(&home, &channel, "stored".into(), 0).await;
    home.publish(&topic, "partial".into()).await.unwrap();
    let second = append(&home, &channel, "stored too".into(), first).await;
    for expected in ["stored", "partial", "stored too"] {
        assert_eq!(message(&mirror).await, (topic.clone(), expected.into()));
    }
    let stored = home.stored(&channel, first + 1, usize::MAX).await;
    assert_eq!(stored, Ok(vec![(second, "stored too".into())]));
}

async fn stored_blocks_are_read_from_a_position_on_and_bounded_in_bytes(server: BrokerServer) {
    let broker = connect(&server, "a").await;
    let (channel, other) = (token("c"), token("d"));
    let (mut positions, mut last, mut last_other) = (Vec::new(), 0, 0);
    for number in 0..20 {
        last = append(&broker, &channel, vec![number; 1000].into(), last).await;
        last_other = append(&broker, &other, vec![0; 5000].into(), last_other).await;
        positions.push(last);
    }
    let read = async |from, max_bytes| {
        let blocks = broker.stored(&channel, from, max_bytes).await.unwrap();
        blocks
            .iter()
            .map(|(position, _)| *position)
            .collect::<Vec<_>>()
    };
    assert_eq!(read(0, 2500).await, positions[..3]);
    assert_eq!(read(positions[3], 1).await, positions[3..4]);
    assert_eq!(read(positions[3] + 1, 2000).await, positions[4..6]);
    assert_eq!(read(0, 0).await, [0_u64; 0]);
    assert_eq!(read(last + 1, 1000).await, [0_u64; 0]);
    // Read as a node catches up.
    let (mut from, mut all) = (0, Vec::new());
    loop {
        let some = read(from, 3500).await;
        let Some(last) = some.last() else { break };
        from = last + 1;
        all.extend(some);
    }
    assert_eq!(all, positions);
}

async fn stored_blocks_outlive_a_broker_that_is_killed(mut server: BrokerServer) {
    let broker = connect(&server, "a").await;
    let channel = token("c");
    let mut last = 0;
    for number in 0..50 {
        last = append(&broker, &channel, vec![number; 20_000].into(), last).await;
    }
    server.kill().await;
    server.start_again().await;
    reconnected(&broker).await;
    let kept = broker.last_stored(&channel).await;
    assert_eq!(kept, Ok(Some((last, vec![49; 20_000].into()))));
    assert_eq!(
        broker.stored(&channel, 0, usize::MAX).await.unwrap().len(),
        50
    );
    append(&broker, &channel, "next".into(), last).await;
}

async fn a_channel_with_any_characters_has_blocks_of_its_own(server: BrokerServer) {
    let broker = connect(&server, "a").await;
    for (number, name) in ODD_NAMES.iter().enumerate() {
        append(&broker, &token(name), number.to_string().into(), 0).await;
    }
    for (number, name) in ODD_NAMES.iter().enumerate() {
        let (_, payload) = broker.last_stored(&token(name)).await.unwrap().unwrap();
        assert_eq!(payload, number.to_string());
    }
}

async fn stored_blocks_are_gone_after_their_age(server: BrokerServer) {
    let max_age = Some(Duration::from_secs(1));
    let aging = BrokerSettings {
        storing: Some(Storing { max_age }),
        ..settings("a")
    };
    let channel = token("c");
    // Another node of the cluster kept them for ever.
    let forever = connect(&server, "b").await;
    append(&forever, &token("d"), "x".into(), 0).await;
    let broker = connect_with(&server, aging).await;
    assert_eq!(broker.is_persistent().await, Ok(true));
    let begun = std::time::Instant::now();
    let last = append(&broker, &channel, "old".into(), 0).await;
    while broker.last_stored(&channel).await.unwrap().is_some() {
        a_moment().await;
    }
    assert!(
        begun.elapsed() > Duration::from_millis(950),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(broker.stored(&channel, 0, usize::MAX).await, Ok(vec![]));
    let late = broker.append(&channel, "late".into(), last).await;
    assert_eq!(late, Ok(Appended::Conflict(0)));
    assert!(append(&broker, &channel, "new".into(), 0).await > last);
}

async fn without_storing_nothing_is_appended_or_read(server: BrokerServer) {
    let live = BrokerSettings {
        storing: None,
        ..settings("a")
    };
    let broker = connect_with(&server, live).await;
    let channel = token("c");
    let is_unsupported = |error| matches!(error, BrokerError::Unsupported(_));
    assert!(
        broker
            .append(&channel, "x".into(), 0)
            .await
            .is_err_and(is_unsupported)
    );
    assert!(
        broker
            .last_stored(&channel)
            .await
            .is_err_and(is_unsupported)
    );
    assert!(
        broker
            .stored(&channel, 0, 1)
            .await
            .is_err_and(is_unsupported)
    );
}
