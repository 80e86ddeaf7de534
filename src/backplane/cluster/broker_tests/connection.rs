use std::time::Instant;

use outrace_testkit::{BrokerServer, eventually};

use super::*;

with_every_broker! {
    after_a_restart_the_connection_comes_back_with_its_subscriptions
    a_subscription_without_a_connection_is_there_when_one_is
    while_the_broker_hangs_every_call_ends_in_time
    while_the_broker_is_gone_every_call_ends_at_once
    after_a_restart_without_its_data_a_broker_works_from_the_beginning
}

async fn after_a_restart_the_connection_comes_back_with_its_subscriptions(
    mut server: BrokerServer,
) {
    let (sender, receiver) = (connect(&server, "a").await, connect(&server, "b").await);
    let topics: Vec<Topic> = (0..300)
        .map(|number| blocks_of(&number.to_string()))
        .collect();
    for topic in &topics {
        receiver.subscribe(topic).await.unwrap();
    }
    receiver.unsubscribe(&topics[7]).await.unwrap();
    for restart in 1..=2 {
        server.stop().await;
        server.start_again().await;
        tokio::join!(reconnected(&sender), reconnected(&receiver));
        for topic in &topics {
            sender.publish(topic, "x".into()).await.unwrap();
            if *topic != topics[7] {
                assert_eq!(message(&receiver).await, (topic.clone(), "x".into()));
            }
        }
        assert_eq!(receiver.counters().reconnects, restart);
    }
}

async fn a_subscription_without_a_connection_is_there_when_one_is(mut server: BrokerServer) {
    server.stop().await;
    let (sender, receiver) = (open(&server, settings("a")), open(&server, settings("b")));
    let early = receiver.subscribe(&Topic::Everyone).await;
    assert_eq!(early, Err(BrokerError::Unreachable));
    server.start_again().await;
    for broker in [&sender, &receiver] {
        assert_eq!(broker.next().await, Incoming::Connected { first: true });
    }
    sender.publish(&Topic::Everyone, "x".into()).await.unwrap();
    assert_eq!(message(&receiver).await, (Topic::Everyone, "x".into()));
}

/// The limit of a call, with the time that a busy machine needs.
const LIMIT: Duration = Duration::from_millis(3500);

/// Makes every call once, at the same time. Returns the errors of those that change something and
/// of those that read.
async fn every_call(broker: &Arc<dyn Broker>) -> (Vec<BrokerError>, Vec<BrokerError>) {
    let (key, channel) = (Key::Home(token("c")), token("c"));
    let topic = blocks_of("c");
    let begun = Instant::now();
    let changes = async {
        let calls = tokio::join!(
            broker.create(&key, "x".into()),
            broker.replace(&key, "x".into(), 1),
            broker.append(&channel, "x".into(), 0),
        );
        let (create, replace, append) = calls;
        vec![
            create.unwrap_err(),
            replace.unwrap_err(),
            append.unwrap_err(),
        ]
    };
    let reads = async {
        let calls = tokio::join!(
            broker.read(&key),
            broker.last_stored(&channel),
            broker.stored(&channel, 0, 1000),
            broker.is_persistent(),
            broker.subscribe(&topic),
        );
        let (read, last, stored, is_persistent, subscribed) = calls;
        vec![
            read.unwrap_err(),
            last.unwrap_err(),
            stored.unwrap_err(),
            is_persistent.unwrap_err(),
            subscribed.unwrap_err(),
        ]
    };
    let ended = tokio::join!(changes, reads);
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    ended
}

async fn while_the_broker_hangs_every_call_ends_in_time(server: BrokerServer) {
    let broker = connect(&server, "a").await;
    let key = Key::Session(node_id("a"));
    broker.create(&key, "x".into()).await.unwrap();
    server.pause();
    let (changes, reads) = every_call(&broker).await;
    for error in changes {
        assert_eq!(error, BrokerError::Unknown);
    }
    for error in reads {
        assert!(matches!(error, BrokerError::TimedOut), "{error:?}");
    }
    // Blocks that fill every buffer on the way, until one is refused or the connection is lost.
    let block = Bytes::from(vec![0; 256 * 1024]);
    loop {
        let begun = Instant::now();
        let published = broker.publish(&blocks_of("c"), block.clone()).await;
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        if published.is_err() {
            break;
        }
    }
    assert_eq!(broker.next().await, Incoming::Disconnected);
    server.resume();
    assert_eq!(broker.next().await, Incoming::Connected { first: false });
    assert!(broker.read(&key).await.is_ok());
}

async fn while_the_broker_is_gone_every_call_ends_at_once(mut server: BrokerServer) {
    let broker = connect(&server, "a").await;
    broker.is_persistent().await.unwrap();
    server.kill().await;
    assert_eq!(broker.next().await, Incoming::Disconnected);
    let begun = Instant::now();
    let (changes, reads) = every_call(&broker).await;
    for error in changes.into_iter().chain(reads) {
        assert_eq!(error, BrokerError::Unreachable);
    }
    let published = broker.publish(&blocks_of("c"), "x".into()).await;
    assert_eq!(published, Err(BrokerError::Unreachable));
    broker.close().await;
    assert!(begun.elapsed() < Duration::from_secs(1));
}

async fn after_a_restart_without_its_data_a_broker_works_from_the_beginning(
    mut server: BrokerServer,
) {
    let broker = connect(&server, "a").await;
    let (key, channel) = (Key::Home(token("c")), token("c"));
    broker.create(&key, "lost".into()).await.unwrap();
    let stored = broker.append(&channel, "lost".into(), 0).await;
    let Ok(Appended::Stored(last)) = stored else {
        panic!("{stored:?}");
    };
    server.kill().await;
    server.start_empty().await;
    reconnected(&broker).await;
    assert_eq!(broker.read(&key).await, Ok(None));
    assert_eq!(broker.last_stored(&channel).await, Ok(None));
    let lost = broker.append(&channel, "x".into(), last).await;
    assert_eq!(lost, Ok(Appended::Conflict(0)));
    let created = broker.create(&key, "new".into()).await;
    assert!(matches!(created, Ok(Created::Yes(_))), "{created:?}");
    let stored = broker.append(&channel, "new".into(), 0).await;
    assert!(matches!(stored, Ok(Appended::Stored(_))), "{stored:?}");
    eventually(|| broker.counters().reconnects == 1).await;
}
